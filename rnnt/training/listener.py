"""The interface through which a trainer reports the events of a run."""

from rnnt.error_rate import ErrorRate
from rnnt.training.position import Position
from rnnt.training.step import Outcome


class Listener:
    """Receives the events of a run. Only the first process has listeners.

    The trainer calls one method for each event. These methods do nothing: a listener overrides those that it needs.
    position: how far the run has come when the event happens.
    """

    def run_start(self, position: Position, total: int) -> None:
        """Training begins, or goes on after a checkpoint. total: the last step, if the target is not reached before."""

    def epoch_start(self, position: Position) -> None:
        """An epoch begins or goes on. `position.epoch` counts the epochs before it."""

    def step(self, position: Position, outcome: Outcome, epoch: float, rate: float) -> None:
        """A step is done. epoch: epochs done before it, with a fraction; rate: utterances per second."""

    def epoch_stop(self, position: Position) -> None:
        """An epoch is done. `position.epoch` counts it."""

    def validation_start(self, position: Position) -> None:
        """A validation begins."""

    def validation_progress(self, done: int, total: int) -> None:
        """A part of a validation is done: `done` of the `total` utterances that this process decodes."""

    def validation_stop(self, position: Position, rate: ErrorRate, loss: float) -> None:
        """A validation is done. rate: the error rate that decides; loss: in nats per symbol."""

    def block_stop(self, position: Position) -> None:
        """The epochs up to a validation and the validation itself are done."""

    def run_stop(self, position: Position, target_reached: bool) -> None:
        """The run is done. Not called if a signal stops the run."""

    def note(self, text: str) -> None:
        """Show or record a line of text for the user."""

    def close(self) -> None:
        """Close files. This is the last call, and it comes after an error too."""
