"""The log that MLPerf's compliance checker reads: settings, epochs, validations and times of a run."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from rnnt.config import Config, TrainConfig
from rnnt.error_rate import ErrorRate
from rnnt.files import LineFile
from rnnt.training.listener import Listener
from rnnt.training.position import Position

_TOKEN = b":::MLLOG "
_ROOT = Path(__file__).parents[2]  # paths in the log are relative to it
_TENSORS = ("pre_rnn", "post_rnn", "pred_embed", "dec_rnn", "joint_pred", "joint_enc", "joint_net")
_DIVISIONS = ("closed", "open")
_STATUSES = ("onprem", "cloud", "preview", "research")


class MlperfLog(Listener):
    """Writes the log of a run with these settings into the file `path`, through the package mlperf-logging.

    Call begin() or resume() before the first event. A block is the epochs from one validation to the next. A run that
    was killed and resumed logs the same events as an undisturbed one, and its times include the pause. A full disk does
    not stop a run: there is one warning.

    Raises ValueError if the package is missing, `path` is another kind of file, or a variable MLPERF_SUBMISSION_* of
    the environment has a value that MLPerf does not know.
    """

    def __init__(self, path: Path, config: Config):
        self.path, self.config = path, config
        self._created = time.time()
        self._file: LineFile | None = None
        self._started = False
        self._epoch: int | None = None  # the epoch that is going on, counted from 1
        self._block: int | None = None  # the first epoch of the block that is going on
        self._done = 0  # epochs
        self._run_stop_at: int | None = None  # the byte at which the line of the run's end begins
        try:
            from mlperf_logging.mllog.mllog import MLLogger
        except ImportError:
            raise ValueError(
                "--mlperf-log needs mlperf-logging, which is not installed: bash install.sh mlperf"
            ) from None
        self._submission = _submission()
        self._logger_class = MLLogger
        if path.exists():
            for _ in _events(path):  # raises ValueError if it is another kind of file, before anything is written
                pass

    def begin(self, device: torch.device, processes: int, train_samples: int, eval_samples: int) -> None:
        """Begin a new log with all settings, in place of the log of a run that did not come to its end.

        train_samples: utterances in an epoch; eval_samples: utterances in a validation. Raises ValueError if `path` is
        the log of a run that ended.
        """
        if self.path.exists() and any(event["key"] == "run_stop" for event, _ in _events(self.path)):
            raise ValueError(f"{self.path} holds the log of a run that ended; remove it, or give another --mlperf-log")
        self._open(0)
        created = int(1000 * self._created)
        # False, because a run empties no caches: the rules leave that to the script that starts a submission.
        self._write("event", "cache_clear", False, time_ms=created)
        self._write("start", "init_start", time_ms=created)
        gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        hardware = f"{processes} x {gpu or platform.processor() or platform.machine()}"
        submission = {"submission_platform": hardware} | self._submission
        samples = {"train_samples": train_samples, "eval_samples": eval_samples}
        for key, value in (submission | samples | _settings(self.config)).items():
            self._write("event", key, value)
        for tensor in _TENSORS:
            self._write("event", "weights_initialization", tensor=tensor)

    def resume(self, position: Position) -> None:
        """Continue the log of a run that resumes at this position; later lines are removed.

        Raises ValueError if `path` is not the log of that run.
        """
        end = 0
        for event, event_end in _events(self.path) if self.path.exists() else ():
            step = event["metadata"].get("step_num", 0)
            if step > position.step or (position.unscored and step == position.step and event["key"] == "eval_start"):
                break
            self._follow(event["key"], event["metadata"], end)
            end = event_end
        if not self._started or self._done != position.epoch:
            have = f"{self._done} whole epochs" if self._started else "no run"
            raise ValueError(
                f"{self.path} is not this run's log so far: it holds {have}, the run resumes after {position.epoch}; "
                "give the file that the run began with, or leave out --mlperf-log"
            )
        self._open(end)

    def run_start(self, position: Position, total: int) -> None:
        if not self._started:
            self._write("end", "init_stop")
            self._write("start", "run_start")

    def epoch_start(self, position: Position) -> None:
        epoch, step = position.epoch + 1, position.step
        if self._run_stop_at is not None:  # the run had ended, and its train.epochs or train.steps was raised
            self._file.truncate(self._run_stop_at)
            self._run_stop_at = None
        if self._block is None:
            count = _block_length(self.config.train, epoch)
            self._write("start", "block_start", first_epoch_num=epoch, epoch_count=count, step_num=step)
        if self._epoch is None:
            self._write("start", "epoch_start", epoch_num=epoch, step_num=step)

    def epoch_stop(self, position: Position) -> None:
        self._write("end", "epoch_stop", epoch_num=self._epoch, step_num=position.step)

    def validation_start(self, position: Position) -> None:
        self._write("start", "eval_start", epoch_num=self._last_epoch(), step_num=position.step)

    def validation_stop(self, position: Position, rate: ErrorRate, loss: float) -> None:
        place = {"epoch_num": self._last_epoch(), "step_num": position.step}
        self._write("event", "eval_accuracy", rate.rate, **place)
        self._write("end", "eval_stop", **place)

    def block_stop(self, position: Position) -> None:
        self._write("end", "block_stop", first_epoch_num=self._block, step_num=position.step)

    def run_stop(self, position: Position, target_reached: bool) -> None:
        """Log the end of the run, unless it had ended before: "success" if it reached the target, else "aborted"."""
        if self._run_stop_at is None:
            status = "success" if target_reached else "aborted"
            self._write("end", "run_stop", status=status, epoch_num=self._last_epoch(), step_num=position.step)

    def close(self) -> None:
        self._file.close()

    def _last_epoch(self) -> int:
        return self._done if self._epoch is None else self._epoch

    def _open(self, end: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = _Lines(self.path, end)
        self._file = lines.file
        logger = logging.Logger("mlperf")  # not logging.getLogger(): two runs in one process must not share it
        logger.addHandler(lines)
        # Each line names the source line of its event, which is three calls up: where this class was called.
        self._logger = self._logger_class(logger, default_stack_offset=3, root_dir=re.escape(str(_ROOT)))

    def _write(self, kind: str, key: str, value=None, time_ms: int | None = None, **metadata) -> None:
        self._follow(key, metadata, self._file.end)
        getattr(self._logger, kind)(key, value, metadata, time_ms=time_ms)

    def _follow(self, key: str, metadata: dict, begin: int) -> None:
        """Remember an event whose line begins at byte `begin`."""
        if key == "run_start":
            self._started = True
        elif key == "epoch_start":
            self._epoch = metadata["epoch_num"]
        elif key == "epoch_stop":
            self._epoch, self._done = None, metadata["epoch_num"]
        elif key == "block_start":
            self._block = metadata["first_epoch_num"]
        elif key == "block_stop":
            self._block = None
        elif key == "run_stop":
            self._run_stop_at = begin


class _Lines(logging.Handler):
    """Appends each message to the log as a line, which is on the disk when the call returns.

    A checkpoint must not be newer than the log: the run could not be resumed with it.
    """

    def __init__(self, path: Path, end: int):
        super().__init__()
        self._path = path
        self.file = LineFile(path, end, durable=True)
        self._warned = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.file.append(record.getMessage().encode() + b"\n")
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(f"cannot write {self._path} ({error}); training goes on", stacklevel=2)


def _events(path: Path) -> Iterator[tuple[dict, int]]:
    """Yield the events of a log, each with the byte after it. An incomplete last line is skipped."""
    end = 0
    with open(path, "rb") as file:
        for line in file:
            end += len(line)
            whole = line.endswith(b"\n")
            try:
                if line[: len(_TOKEN)] != _TOKEN[: len(line)]:
                    raise ValueError
                event = json.loads(line[len(_TOKEN) :]) if whole else None
            except ValueError:
                raise ValueError(f"{path} is no MLPerf log; give another --mlperf-log") from None
            if event is not None:
                yield event, end


def _block_length(train: TrainConfig, first: int) -> int:
    """Return the number of epochs from `first`, counted from 1, to the next one that is validated."""
    blocks = max(0, math.ceil((first - train.validate_from) / train.validate_every))
    return min(train.validate_from + blocks * train.validate_every, train.epochs) - first + 1


def _submission() -> dict[str, str]:
    """Return who submits and on which system, from the variables MLPERF_SUBMISSION_* or by default."""
    defaults = {"org": "unnamed", "platform": "", "division": "closed", "status": "research"}
    given = {name: os.environ.get(f"MLPERF_SUBMISSION_{name.upper()}", "") for name in defaults}
    for name, choices in (("division", _DIVISIONS), ("status", _STATUSES)):
        if given[name] and given[name] not in choices:
            raise ValueError(
                f"MLPERF_SUBMISSION_{name.upper()} is {given[name]!r}; set it to one of {', '.join(choices)}"
            )
    values = {name: given[name] or default for name, default in defaults.items()} | {"benchmark": "rnnt"}
    return {f"submission_{name}": value for name, value in values.items() if value}


def _settings(config: Config) -> dict:
    """Return the settings under MLPerf's names (mlperf_logging.mllog.constants), without those that a run lacks."""
    optim, schedule, augment, data, train = config.optim, config.schedule, config.augment, config.data, config.train
    optimizer = {
        "opt_name": optim.name,
        "opt_base_learning_rate": optim.lr,
        f"opt_{optim.name}_beta_1": optim.beta1,
        f"opt_{optim.name}_beta_2": optim.beta2,
        f"opt_{optim.name}_epsilon": optim.eps,
        "opt_weight_decay": optim.weight_decay,
        "opt_gradient_clip_norm": optim.max_grad_norm or math.inf,
        "opt_learning_rate_warmup_epochs": schedule.warmup,
        "opt_learning_rate_alt_warmup_func": True,  # linear from zero
        "opt_learning_rate_alt_decay_func": schedule.name == "hold",  # a factor per epoch
        "opt_lamb_learning_rate_min": schedule.minimum,
    }
    if schedule.name == "hold":
        optimizer |= {
            "opt_lamb_learning_rate_hold_epochs": schedule.hold,
            "opt_lamb_learning_rate_decay_poly_power": schedule.decay,  # MLPerf's name for the factor
        }
    return {
        "seed": config.seed,
        "global_batch_size": train.batch,
        "gradient_accumulation_steps": train.accumulation,
        **optimizer,
        "data_train_max_duration": data.max_seconds,
        "data_train_num_buckets": data.buckets,
        "data_speed_perturbaton_min": augment.speed_min,
        "data_speed_perturbaton_max": augment.speed_max,
        "data_spec_augment_freq_n": augment.frequency_masks,
        "data_spec_augment_freq_min": 0,
        "data_spec_augment_freq_max": augment.frequency_width,
        "data_spec_augment_time_n": augment.time_masks,
        "data_spec_augment_time_min": 0,
        "data_spec_augment_time_max": augment.time_width,
        "model_weights_initialization_scale": config.model.init_scale,
        "model_eval_ema_factor": train.ema,
        "eval_max_prediction_symbols": config.decoding.max_symbols,
    }
