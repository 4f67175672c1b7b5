"""The position of a run: the number of its steps and epochs, and its best error rate. Every checkpoint holds it."""

import math
from dataclasses import dataclass, replace

from rnnt.config import TrainConfig


@dataclass(frozen=True)
class Position:
    """The position of a run between two steps. It tells how to go on."""

    step: int = 0  # steps done, those that were skipped included
    epoch: int = 0  # epochs done
    batch: int = 0  # batches done in the epoch that is not done yet
    unscored: bool = False  # a validation comes before the next step
    skipped: int = 0  # steps that did not change the weights, because a loss or gradient was not finite
    skipped_in_row: int = 0  # number of skipped steps since the last one that was not skipped
    # The error rate that decides, of the best model that is kept; infinite before the first validation.
    best_wer: float = math.inf
    # The lowest error rate of a model that could not be written. Without validation 0 if that is the latest model.
    lost_wer: float = math.inf

    def after_step(self, skipped: bool) -> "Position":
        """Return the position after one more step."""
        return replace(
            self,
            step=self.step + 1,
            batch=self.batch + 1,
            skipped=self.skipped + skipped,
            skipped_in_row=self.skipped_in_row + 1 if skipped else 0,
        )

    def after_epoch(self) -> "Position":
        """Return the position after the last batch of the epoch."""
        return replace(self, epoch=self.epoch + 1, batch=0)

    def validation_due(self, train: TrainConfig) -> bool:
        """Return whether a validation follows the last epoch that was done."""
        since = self.epoch - train.validate_from
        return self.epoch >= train.epochs or (since >= 0 and since % train.validate_every == 0)

    def target_reached(self, train: TrainConfig) -> bool:
        """Return whether the best model has reached train.target_wer. False if no target is set."""
        return bool(train.target_wer) and self.best_wer <= train.target_wer

    def finished(self, train: TrainConfig, total: int) -> bool:
        """Return whether the run ends here. total: its last step, if the target is not reached before."""
        trained = self.epoch >= train.epochs or self.step >= total
        return self.target_reached(train) or (trained and not self.unscored)

    @property
    def best_is_lost(self) -> bool:
        """Whether the model that should have been kept could not be written."""
        return self.lost_wer < self.best_wer

    def state_dict(self) -> dict:
        """Return the entries of a checkpoint from which `from_state` makes this position."""
        state = {
            "position": {"step": self.step, "epoch": self.epoch, "batch": self.batch, "unscored": self.unscored},
            "skipped": [self.skipped, self.skipped_in_row],
            "best_wer": self.best_wer,
        }
        return state | ({"lost_wer": self.lost_wer} if self.best_is_lost else {})

    @classmethod
    def from_state(cls, state: dict) -> "Position":
        """Return the position in a checkpoint. Raises ValueError, KeyError or TypeError if it is damaged.

        Checkpoints of the first version have no `unscored`.
        """
        if not isinstance(state["position"], dict):
            raise ValueError("the position is not a dictionary")
        skipped, skipped_in_row = state["skipped"]
        counts = {name: state["position"][name] for name in ("step", "epoch", "batch")}
        counts |= {"skipped": skipped, "skipped_in_row": skipped_in_row}
        unscored = state["position"].get("unscored", False)
        wers = {"best_wer": state["best_wer"], "lost_wer": state.get("lost_wer", math.inf)}
        for name, value in counts.items():
            if type(value) is not int or not 0 <= value < 2**48:
                raise ValueError(f"the position's {name} is not a count")
        if type(unscored) is not bool or not all(type(value) in (int, float) and value >= 0 for value in wers.values()):
            raise ValueError("the position's unscored, best_wer or lost_wer is damaged")
        return cls(**counts, unscored=unscored, **wers)
