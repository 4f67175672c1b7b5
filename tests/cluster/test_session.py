"""The address of a Ray, and the versions of its machines. Nothing here starts Ray."""

import socket
import sys

import pytest

from rnnt.cluster import session
from rnnt.cluster.session import check_address, connected, require_ray, require_versions, versions, with_address


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (["--cluster"], "local"),
        (["--cluster", "--out", "x"], "local"),
        (["--cluster", "recordings"], "local"),
        (["--cluster", "s3://archive/a"], "local"),
        (["--cluster", "auto"], "auto"),
        (["--cluster", "10.0.0.1:6379", "recordings"], "10.0.0.1:6379"),
        (["--cluster", "head-node.example:6379"], "head-node.example:6379"),
        (["--cluster", "[::1]:6379"], "[::1]:6379"),
        (["--cluster", "ray://head:10001"], "ray://head:10001"),
    ],
    ids=" ".join,
)
def test_the_address_may_be_left_out(given, address):
    result = with_address(["transcribe", "model", *given])
    assert result[result.index("--cluster") + 1] == address
    assert [x for x in result if x != address] == ["transcribe", "model", *(x for x in given if x != address)]


def test_an_address_where_nothing_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(
        ValueError, match=rf"^no Ray runs at 127\.0\.0\.1:{port} \(.*refused\); start it there with: ray"
    ):
        check_address(f"127.0.0.1:{port}")
    with pytest.raises(ValueError, match="run the command on a machine of the cluster, with --cluster auto"):
        check_address("ray://127.0.0.1:1")
    check_address("auto")


def test_without_ray_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(session, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"^--cluster needs the package ray: pip install 'rnnt\[cluster\]'$"):
        require_ray()


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "Version mismatch: The cluster was started with:\n Python: 3.12",
            "at a:1 has other versions: Version mismatch",
        ),
        (
            "cannot\nconnect",
            r"^no Ray answers at a:1 \(cannot connect\); .*, or set RAY_AUTH_MODE=token if",
        ),
    ],
    ids=["versions", "connection"],
)
def test_rays_own_complaints_become_one_line(monkeypatch, message, shown):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(session, "check_address", lambda address: None)
    monkeypatch.setattr(ray, "init", lambda **_: (_ for _ in ()).throw(RuntimeError(message)))
    with pytest.raises(ValueError, match=shown) as caught, connected("a:1"):
        pass
    assert "\n" not in str(caught.value)


def test_machines_with_other_versions_are_named(monkeypatch):
    require_versions(versions())
    assert versions()["Python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    where = socket.gethostname()
    with pytest.raises(ValueError, match=rf"^{where} has Python 3\.\d+, this machine 2\.7; install the same on all$"):
        require_versions(versions() | {"Python": "2.7"})
    with pytest.raises(ValueError, match=r"has rnnt .*, this machine 99; install the same on all"):
        require_versions(versions() | {"rnnt": "99"})
