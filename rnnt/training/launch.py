"""Starts several processes from one command with torchrun's launcher, and reports their errors."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnnt.text import reason

_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # set by the launcher, one for each process
_LOST = ("closed by peer", "reset by peer", "Broken pipe")  # how gloo says so
# Seconds from a signal until the launcher kills a process: enough for a step and a checkpoint. Python handles a signal
# only between two calls of C functions, so it may do so late.
_GRACE = "120"


def launched() -> bool:
    """Return whether torchrun has started this process, or a program that sets the same environment variables."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(arguments: list[str], processes: int, nodes: int = 1, rendezvous: str = "", restarts: int = 0) -> None:
    """Run `rnnt ARGUMENTS` in `processes` processes on this machine, and return when all have succeeded.

    nodes: number of machines. Each of them makes this call, and they meet at `rendezvous`, HOST:PORT on one of them.
    restarts: how often all processes are started again after one of them has failed.

    When no restart is left, prints the error of the process that failed first and raises SystemExit with its exit code.
    Raises ValueError if there are several machines and no `rendezvous`.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from rnnt.training.stop import ignores_hangup

    if nodes > 1 and not rendezvous:
        raise ValueError(f"{nodes} machines need a place to meet: --rendezvous HOST:PORT, one of them and a free port")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what they say is said here, in a line
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", _GRACE)
    # Else processes that are started again find the addresses of those before them (pytorch/pytorch#135712).
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=nodes, max_nodes=nodes, nproc_per_node=processes, max_restarts=restarts,
        rdzv_backend="c10d", rdzv_endpoint=rendezvous or "localhost:0", run_id="rnnt",
        signals_to_handle="SIGTERM,SIGINT,SIGQUIT" + ("" if ignores_hangup() else ",SIGHUP"),
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "rnnt.cli", *arguments)
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from None
    except ChildFailedError as error:
        # Times are whole seconds: in the second of an error, the processes that the launcher then ended come second.
        ended = (-signal.SIGTERM, 128 + signal.SIGTERM)
        rank, failure = min(error.failures.items(), key=lambda item: (item[1].exitcode in ended, item[1].timestamp))
        code = failure.exitcode
        if os.path.exists(failure.error_file):
            print(f"error: {failure.message}", file=sys.stderr)
            code = code if code > 0 else 2  # killed after it had told why it ends
        elif code < 0:
            print(f"error: process {rank} was killed by {failure.signal_name()}", file=sys.stderr)
        elif code < 128:  # above: stopped by a signal, as asked for
            print(f"error: process {rank} ended with exit code {code}; see what it wrote above", file=sys.stderr)
        raise SystemExit(128 - code if code < 0 else code) from None


def tell_launcher(message: str) -> bool:
    """Hand an error's line to the launcher, which prints the first one.

    Returns False if no launcher started this process, or if the disk of the launcher's files is full.
    """
    path = os.environ.get(_ERROR_FILE)
    if not path:
        return False
    try:
        with open(path, "w") as file:
            json.dump({"message": message, "timestamp": int(time.time())}, file)
    except OSError:
        Path(path).unlink(missing_ok=True)  # it may hold a part of the line
        return False
    return True


@contextmanager
def yielding_to_the_first() -> Iterator[None]:
    """Hold back an error that only says that another process is gone, during a `with`.

    It waits until the launcher has seen the process that ended first and its error. Then it raises SystemExit.
    """
    from torch.distributed import DistError

    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, DistError) and not any(text in str(error) for text in _LOST):
            raise
        time.sleep(2)
        tell_launcher(f"the processes no longer reach each other: {reason(error)}")
        raise SystemExit(1) from None
