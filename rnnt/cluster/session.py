"""Ray: a local one, or a running cluster. It is imported when a job starts, so other commands need not have it."""

from __future__ import annotations

import logging
import os
import platform
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from rnnt.text import reason

LOCAL = "local"
_ADDRESS = re.compile(r"auto|local|ray://.*|[\w.-]+:\d+|\[[\da-fA-F:]+\]:\d+")
_CONNECT_SECONDS = 5.0
_START = "start it there with: ray start --head"


def with_address(arguments: list[str]) -> list[str]:
    """Return a command's arguments, in which `--cluster` without an address gets that of a local Ray.

    >>> with_address(["transcribe", "--cluster", "model", "a.wav"])
    ['transcribe', '--cluster', 'local', 'model', 'a.wav']
    """
    result = []
    for argument, following in zip(arguments, [*arguments[1:], ""]):
        result.append(argument)
        if argument == "--cluster" and not _ADDRESS.fullmatch(following):
            result.append(LOCAL)
    return result


def require_ray() -> None:
    """Raise ImportError if the package ray is missing."""
    if find_spec("ray") is None:
        raise ImportError("--cluster needs the package ray: pip install 'rnnt[cluster]'")


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Start a local Ray, if the address is `local`, or connect to a running one, for the length of a `with`.

    address: HOST:PORT of a cluster's head, or `auto` for the cluster that this machine belongs to. Raises ValueError
    with one line if no Ray runs there or it has another version.
    """
    require_ray()
    check_address(address)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's coming default; spares a warning
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "worker died or was killed")  # the job's own line counts them
    import ray

    options = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options |= {"num_cpus": len(os.sched_getaffinity(0)), "include_dashboard": False}
    try:
        with _quiet_errors():
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise ValueError(_complaint(address, error)) from None
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # deaths of workers are counted in the job's own line
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet_errors() -> Iterator[None]:
    """Send standard error of the whole process to nowhere: Ray writes a line for each second of waiting to it."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def versions() -> dict[str, str]:
    """Return the versions that must be the same on all machines of a job."""
    try:
        rnnt = version("rnnt")
    except PackageNotFoundError:  # run from a folder without installing
        rnnt = "not installed"
    return {"Python": ".".join(platform.python_version_tuple()[:2]), "rnnt": rnnt}


def require_versions(wanted: dict[str, str]) -> None:
    """Raise ValueError, on a worker, if it has other versions than the driver."""
    for name, found in versions().items():
        if found != wanted[name]:
            where = socket.gethostname()
            raise ValueError(f"{where} has {name} {found}, this machine {wanted[name]}; install the same on all")


def check_address(address: str) -> None:
    """Raise ValueError if nothing answers at an address: Ray itself would try for minutes."""
    if address.startswith("ray://"):
        raise ValueError(f"{address}: run the command on a machine of the cluster, with --cluster auto")
    host, sign, port = address.rpartition(":")
    if not sign:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(f"no Ray runs at {address} ({reason(error)}); {_START}") from None


def _complaint(address: str, error: Exception) -> str:
    text = str(error)
    if "ersion mismatch" in text:
        return f"the cluster at {address} has other versions: {reason(error)}"
    if address == LOCAL:
        return f"Ray does not start on this machine: {reason(error)}"
    if address == "auto":
        return "this machine belongs to no running Ray; give the address HOST:PORT, or none to start a local one"
    token = "" if "RAY_AUTH_MODE" in os.environ else ", or set RAY_AUTH_MODE=token if it asks for a token"
    return f"no Ray answers at {address} ({reason(error)}); {_START}{token}"
