"""The actors that decode: one for each core, or for each GPU, of every machine of a cluster.

Ray restarts no actor here and repeats no call. The pool makes an actor in place of one that died, and gives work only
to actors that have answered, so nothing ever waits for an actor that is dead or was never started.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rnnt.cluster.session import require_versions, versions

# Of each core, for the schedule of Ray. An actor per core would take all of them, and reading would wait for ever.
DECODING, READING = 0.8, 0.2
_LOOK_SECONDS = 5.0  # between two looks at the machines of the cluster
QUEUE = 2  # windows that an actor has: one that it decodes, and the next one, which it need not wait for
_STARTS = 3  # of actors of a machine that may fail one after the other


class DecodingActor:
    """An actor: it checks the versions on its machine, loads the model, and decodes windows."""

    def __init__(self, wanted: dict[str, str], work: Any):
        require_versions(wanted)
        self._worker = work.open()

    def ready(self) -> None:
        """Return when the worker is there."""

    def decode(self, window: Any) -> Any:
        """Return the results of a window."""
        return self._worker.decode(window)


@dataclass
class _Actor:
    handle: Any
    node: str
    ready: bool = False
    queue: deque = field(default_factory=deque)  # results that are awaited, oldest first


class Pool:
    """Actors that decode windows of recordings. work: an object reference to the job's `Work`."""

    def __init__(self, work: Any, gpus: bool):
        kind = ray.remote(DecodingActor)
        self._options = {"num_cpus": DECODING, "num_gpus": int(gpus), "max_restarts": 0, "max_task_retries": 0}
        self._make: Callable[..., Any] = kind.options
        self._work, self._resource = work, "GPU" if gpus else "CPU"
        self._actors: dict[Any, _Actor] = {}  # by the reference that is awaited
        self._all: list[_Actor] = []
        self._failures: Counter[str] = Counter()  # by machine: actors that died before they were ready
        self._looked = 0.0
        self.cores = 0  # of all machines
        self.deaths = 0

    @property
    def size(self) -> int:
        """The number of actors that are ready."""
        return sum(actor.ready for actor in self._all)

    @property
    def awaited(self) -> Collection[Any]:
        """The references that `ray.wait` is to wait for."""
        return self._actors.keys()

    def look(self) -> None:
        """Start actors on machines that have too few: new ones, and those whose actors died."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        have = Counter(actor.node for actor in self._all)
        machines = [node for node in ray.nodes() if node["Alive"]]
        self.cores = int(sum(node["Resources"].get("CPU", 0) for node in machines))
        for node in machines:
            name, most = node["NodeID"], int(node["Resources"].get(self._resource, 0))
            for _ in range(have[name], most if self._failures[name] < _STARTS else 0):
                self._start(name)
        if not self._all and any(self._failures[node["NodeID"]] >= _STARTS for node in machines):
            raise ValueError(
                "every worker dies while it loads the model, perhaps for lack of memory; take other machines"
            )

    def _start(self, node: str) -> None:
        where = NodeAffinitySchedulingStrategy(node, soft=False)
        handle = self._make(**self._options, scheduling_strategy=where).remote(versions(), self._work)
        actor = _Actor(handle, node)
        self._all.append(actor)
        self._actors[handle.ready.remote()] = actor

    def free(self, most: int = QUEUE) -> _Actor | None:
        """Return the ready actor with the fewest windows, or None if all have `most`."""
        able = [actor for actor in self._all if actor.ready and len(actor.queue) < most]
        return min(able, key=lambda actor: len(actor.queue), default=None)

    def give(self, actor: _Actor, window: Any) -> Any:
        """Let an actor decode a window, and return the reference to its results."""
        reference = actor.handle.decode.remote(window)
        actor.queue.append(reference)
        self._actors[reference] = actor
        return reference

    def began(self, reference: Any) -> bool:
        """Note that an actor is ready, if that is what this reference says. Raises ValueError if it cannot work."""
        actor = self._actors[reference]
        if actor.queue or actor.ready:
            return False
        try:
            ray.get(reference)
        except ray.exceptions.ActorDiedError as error:
            if "creation task" in str(error):  # an exception, which other actors would raise too
                lines = [line.strip() for line in str(error).split("\n") if line.strip()]
                mend = "; install rnnt[cluster] on all machines" if "ModuleNotFoundError" in lines[-1] else ""
                raise ValueError(f"a worker cannot start: {lines[-1]}{mend}") from None
            self._failures[actor.node] += 1
            self._drop(actor)
        except ray.exceptions.RayError:
            self._drop(actor)
        else:
            actor.ready = True
            self._failures[actor.node] = 0
            del self._actors[reference]
        return True

    def done(self, reference: Any) -> None:
        """Take a result off the queue of its actor."""
        self._actors.pop(reference).queue.remove(reference)

    def lost(self, reference: Any) -> list[Any]:
        """Give up the actor that was to make this result. Return all results that it owes, oldest first."""
        actor = self._actors[reference]
        owed = list(actor.queue)
        self._drop(actor)
        return owed

    def close(self) -> None:
        """End all actors."""
        for actor in self._all:
            ray.kill(actor.handle)

    def _drop(self, actor: _Actor) -> None:
        self.deaths += 1
        self._all.remove(actor)
        self._actors = {reference: other for reference, other in self._actors.items() if other is not actor}
        ray.kill(actor.handle)
        self._looked = 0.0
