"""The position of a run: how far it has come. Every checkpoint holds it."""

import math
from dataclasses import dataclass, replace

from rnnt.config import TrainConfig


@dataclass(frozen=True)
class Position:
    """How far a run has come, between two of its steps."""

    step: int = 0  # steps done, those that were skipped included
    epoch: int = 0  # epochs done
    batch: int = 0  # batches done of the epoch after these
    unscored: bool = False  # the validation at this position has not been done yet
    skipped: int = 0  # steps that were skipped
    skipped_in_row: int = 0  # how many of them in a row up to now
    best_wer: float = math.inf  # of the best model that is kept; infinite before the first validation
    # The lowest WER of a model that could not be written. Without validation 0 if that is the latest model.
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
        """Whether the last epoch that was done is one of those to validate."""
        since = self.epoch - train.validate_from
        return self.epoch >= train.epochs or (since >= 0 and since % train.validate_every == 0)

    def target_reached(self, train: TrainConfig) -> bool:
        """Whether a model is as good as train.target_wer asks, if it asks for anything."""
        return bool(train.target_wer) and self.best_wer <= train.target_wer

    def finished(self, train: TrainConfig, total: int) -> bool:
        """Whether the run ends here. total: its last step, unless the target is reached before."""
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
        """Return the position in a checkpoint. Those of the first version have no `unscored`."""
        skipped, skipped_in_row = state["skipped"]
        wers = {"best_wer": state["best_wer"], "lost_wer": state.get("lost_wer", math.inf)}
        return cls(**state["position"], skipped=skipped, skipped_in_row=skipped_in_row, **wers)
