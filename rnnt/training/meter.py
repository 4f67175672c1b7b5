"""The live line of a run, on standard error: steps, loss, rate and time left."""

from contextlib import suppress

from rnnt.error_rate import ErrorRate
from rnnt.progress import Display, Task
from rnnt.text import visible
from rnnt.training.listener import Listener
from rnnt.training.position import Position
from rnnt.training.step import Outcome

_PLAIN_SECONDS = 15.0


class Meter(Listener):
    """Shows the steps of a run, a validation while it goes on, and notes.

    A run goes on if nothing can be shown, as when its terminal is closed or the file that it writes to is on a full
    disk.
    """

    def __init__(self) -> None:
        self._display = Display(_PLAIN_SECONDS)
        self._steps: Task | None = None
        self._validation: Task | None = None

    def run_start(self, position: Position, total: int) -> None:
        with suppress(OSError):
            self._steps = self._display.task("train", total, "steps", position.step)

    def step(self, position: Position, outcome: Outcome, epoch: float, rate: float) -> None:
        if self._steps is None:
            return
        with suppress(OSError):
            self._steps.update(position.step, f"epoch {position.epoch + 1}, loss {outcome.loss:.3f}, {rate:.0f} utt/s")

    def validation_progress(self, done: int, total: int) -> None:
        with suppress(OSError):
            if self._validation is None:
                self._validation = self._display.task("validation", total, "utt")
            self._validation.update(done)

    def validation_stop(self, position: Position, rate: ErrorRate, loss: float) -> None:
        if self._validation is not None:
            with suppress(OSError):
                self._validation.remove()
            self._validation = None
        self.note(f"epoch {position.epoch}, step {position.step}: validation {rate}")

    def note(self, text: str) -> None:
        with suppress(OSError):
            self._display.note(visible(text))

    def close(self) -> None:
        with suppress(OSError):
            self._display.close()
