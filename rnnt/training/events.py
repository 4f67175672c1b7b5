"""The log of a run: metrics.jsonl, one JSON object per line, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
import math
import threading
import time
import warnings
from numbers import Number
from pathlib import Path

from rnnt.error_rate import ErrorRate
from rnnt.files import LineFile, whole_lines
from rnnt.training.listener import Listener
from rnnt.training.position import Position
from rnnt.training.step import Outcome


class Events(Listener):
    """Writes the log of the run in `folder`: `metrics.jsonl`, and TensorBoard's files in `tensorboard/`.

    resume_step: None starts a new log in place of one that exists. When a run resumes after this step, the rows of
    later steps and an incomplete last line are removed, so that its log ends like that of an undisturbed run.
    TensorBoard is told to forget these steps too.

    A full disk does not stop a run: there is one warning, rows that do not fit are lost whole, and later rows are
    written once there is room.
    """

    def __init__(self, folder: Path | str, resume_step: int | None = None) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "metrics.jsonl"
        self._first_step = 0 if resume_step is None else resume_step + 1
        self._board = None
        self._board_error: OSError | None = None
        self._hook = threading.excepthook
        self._warned = False
        self.folder.mkdir(parents=True, exist_ok=True)
        resuming = resume_step is not None and self.path.exists()
        end = whole_lines(self.path, lambda line: _step_of(line) <= resume_step) if resuming else 0
        self._file = LineFile(self.path, end)

    def step(self, position: Position, outcome: Outcome, epoch: float, rate: float) -> None:
        skipped = {"skipped": outcome.problem} if outcome.problem else {}
        self.log(
            position.step, epoch=round(epoch, 4), loss=outcome.loss, lr=outcome.lr, grad_norm=outcome.grad_norm,
            utterances_per_second=round(rate, 1), **skipped, time=_now(),
        )  # fmt: skip

    def validation_stop(self, position: Position, rate: ErrorRate, loss: float) -> None:
        scores = {f"valid_{rate.unit.label.lower()}": rate.rate, "valid_loss": loss}
        self.log(position.step, epoch=position.epoch, **scores, time=_now())

    def log(self, step: int, **values) -> None:
        """Append the row {"step": step, **values}.

        values: numbers (also 0-dim tensors or arrays), strings, lists of these, or None.

        Numbers that are not finite are written as null, because JSON has no other word for them. TensorBoard gets the
        numbers under their names.
        """
        plain = {name: _plain(value) for name, value in values.items()}
        finite = {name: _without_nan(value) for name, value in plain.items()}
        line = json.dumps({"step": int(step), **finite}, allow_nan=False).encode() + b"\n"
        try:
            self._file.append(line)
        except OSError as error:
            self._warn(error)
        self._write_board(int(step), plain)

    def close(self) -> None:
        """Close the files. A second call does nothing; a call of log() after it is an error."""
        self._file.close()
        if self._board is not None:
            try:
                self._board.close()
            except OSError as error:
                self._board_error = error
            self._board = None
        threading.excepthook = self._hook
        if self._board_error is not None:
            self._warn(self._board_error)

    def _write_board(self, step: int, values: dict) -> None:
        numbers = {name: value for name, value in values.items() if isinstance(value, Number)}
        if self._board_error is not None:
            self._warn(self._board_error)
        if self._board_error is not None or not numbers:
            return
        try:
            if self._board is None:
                from torch.utils.tensorboard import SummaryWriter  # imported late: it takes seconds

                threading.excepthook = self._take_error  # before its thread starts
                self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self._first_step)
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
        except OSError as error:
            self._board_error = error
            self._warn(error)

    def _take_error(self, failure: threading.ExceptHookArgs) -> None:
        """Keep an error of the thread that writes for TensorBoard, for which Python would print a traceback."""
        if isinstance(failure.exc_value, OSError) and type(failure.thread).__name__ == "_AsyncWriterThread":
            self._board_error = failure.exc_value
        else:
            self._hook(failure)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"cannot write the log in {self.folder} ({error}); training goes on", stacklevel=3)


def _now() -> float:
    return round(time.time(), 1)


def _plain(value):
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def _without_nan(value):
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _step_of(line: bytes) -> float:
    """Return the step of a row, infinity if the line is not a row."""
    try:
        return json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return math.inf
