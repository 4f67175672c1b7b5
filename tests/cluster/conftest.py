"""One S3 server and one Ray of two cores for all tests of the cluster: each takes seconds to start."""

import logging
from contextlib import contextmanager
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class _Bucket:
    query: str
    system: object

    def __call__(self, path):
        return f"s3://archive/{path}?{self.query}"

    def put(self, path, content):
        with self.system.open_output_stream(f"archive/{path}") as file:
            file.write(content)


@pytest.fixture(scope="session")
def s3():
    """A bucket on a local S3 server: a function of a path that returns its URI, with `put`."""
    from pyarrow import fs

    server_module = pytest.importorskip("moto.server", reason="needs moto[server]")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        variables.setenv(name, "test")
    variables.setenv("AWS_EC2_METADATA_DISABLED", "true")
    system = fs.S3FileSystem(endpoint_override=f"http://{host}:{port}", allow_bucket_creation=True)
    system.create_dir("archive")
    yield _Bucket(f"endpoint_override={host}:{port}&scheme=http", system)
    server.stop()
    variables.undo()


@pytest.fixture(scope="session")
def address(s3):
    """The address of a Ray of two cores, whose workers may read from the S3 server."""
    pytest.importorskip("ray", reason="needs ray[data]")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="session")
def with_ray(address):
    """A context in which this process is connected to Ray. Workers get the module's classes by value."""
    from ray import cloudpickle

    from rnnt.cluster.session import connected

    @contextmanager
    def connect(module):
        cloudpickle.register_pickle_by_value(module)
        try:
            with connected(address):
                yield
        finally:
            cloudpickle.unregister_pickle_by_value(module)

    return connect
