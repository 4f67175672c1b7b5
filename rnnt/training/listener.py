"""What the trainer tells of a run while it goes on."""

from rnnt.error_rate import ErrorRate
from rnnt.training.position import Position
from rnnt.training.step import Outcome


class Listener:
    """Is told of the events of a run, in the first process alone. A listener overrides the methods that it needs.

    position: how far the run has come when the event happens.
    """

    def run_start(self, position: Position, total: int) -> None:
        """Set-up is done, and training begins or goes on. total: the last step, unless the target is reached before."""

    def epoch_start(self, position: Position) -> None:
        """The epoch after `position.epoch` begins or goes on."""

    def step(self, position: Position, outcome: Outcome, epoch: float, rate: float) -> None:
        """A step was done. epoch: epochs done before it, with a fraction; rate: utterances per second."""

    def epoch_stop(self, position: Position) -> None:
        """An epoch is done; `position` is after it."""

    def validation_start(self, position: Position) -> None:
        """A validation begins."""

    def validation_progress(self, done: int, total: int) -> None:
        """So many of the utterances that this process validates are done."""

    def validation_stop(self, position: Position, rate: ErrorRate, loss: float) -> None:
        """A validation is done. rate: of words; loss: in nats per symbol."""

    def block_stop(self, position: Position) -> None:
        """The epochs from one validation to the next are done, the validation included."""

    def run_stop(self, position: Position, target_reached: bool) -> None:
        """The run is done. It is not called if a signal stops the run."""

    def note(self, text: str) -> None:
        """There is a line of text for the user."""

    def close(self) -> None:
        """No event follows. It is called last, even after an error."""
