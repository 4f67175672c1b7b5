"""Actors that cannot start: one line instead of a job that waits for ever."""

import os
import signal
import sys

import pytest


class Broken:
    """A work whose actors cannot load their model."""

    def open(self):
        raise ValueError("the model is\ndamaged")


class Deadly:
    """A work whose actors die while they load their model."""

    def open(self):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def pool(with_ray):
    """A function that makes a pool, and waits until its actors are ready."""
    with with_ray(sys.modules[__name__]):
        import ray

        from rnnt.cluster.pool import Pool

        def make(work):
            pool = Pool(ray.put(work), gpus=False)
            while not pool.size:
                pool.look()
                for reference in ray.wait(list(pool.awaited), timeout=20)[0]:
                    assert pool.began(reference)
            return pool

        yield make


def test_an_error_of_an_actor_is_the_users(pool):
    with pytest.raises(ValueError, match=r"a worker cannot start: .*damaged"):
        pool(Broken())


def test_machines_with_another_version(pool, monkeypatch):
    monkeypatch.setattr("rnnt.cluster.pool.versions", lambda: {"Python": "2.7", "rnnt": "0"})
    with pytest.raises(
        ValueError, match=r"a worker cannot start: .* has Python 3.*, this machine 2\.7; install the same"
    ):
        pool(Broken())


def test_actors_that_always_die_at_the_start(pool):
    with pytest.raises(ValueError, match="every worker dies while it loads the model"):
        pool(Deadly())
