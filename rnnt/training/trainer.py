"""One training run: data, model, validation and checkpoints."""

import signal
import time
from dataclasses import replace
from pathlib import Path

import torch

from rnnt.config import Config
from rnnt.device import set_precision
from rnnt.error_rate import word_error_rate
from rnnt.evaluation import Evaluation
from rnnt.recognizer import Recognizer
from rnnt.training.data import TrainingData, open_splits
from rnnt.training.distributed import Processes
from rnnt.training.events import Events
from rnnt.training.meter import Meter
from rnnt.training.mlperf import MlperfLog
from rnnt.training.position import Position
from rnnt.training.run import RunFolder
from rnnt.training.share import check_shares
from rnnt.training.statistics import measure
from rnnt.training.step import Stepper
from rnnt.training.stop import Stop
from rnnt.training.validation import validate


class Trainer:
    """Trains by `config` on the splits in `data` and keeps everything in the run's folder `out`.

    A folder that holds a run already is resumed at its newest whole checkpoint; on a CPU the weights are then the same
    bit for bit as if the run had never stopped. With several processes (see Processes) each makes a Trainer with the
    same arguments, and the first one writes, also the events for MLPerf into the file `mlperf_log`. Raises ValueError
    where the run there has other settings or data.
    """

    def __init__(self, config: Config, data: Path, out: Path, mlperf_log: Path | None = None):
        self.config = config
        self.processes = Processes(config.device)
        self.mlperf = MlperfLog(mlperf_log if self.processes.main else None)
        self.device = self.processes.device
        self.notes = set_precision(config.precision, self.device)
        self.meter: Meter | None = None
        check_shares(config.train, self.processes)
        rate = config.features.sample_rate
        train_split = open_splits(data, config.data.train, rate)
        self.valid_split = open_splits(data, config.data.valid, rate) if config.data.valid else None
        self.folder = RunFolder(out, config, self.processes)
        tokenizer = self.folder.open_tokenizer(train_split.texts())
        self.data = TrainingData(train_split, tokenizer, config, self.device)
        self.notes += [self.data.left_out] if self.data.left_out else []

        torch.manual_seed(config.seed)
        self.recognizer = Recognizer(config, tokenizer).to(self.device)
        self.model = self.recognizer.model
        self.stepper = Stepper(self.recognizer.features, self.model, config, self.processes)
        self.position = Position()

        state, problems = self.folder.load_newest()
        self.notes += problems
        if state is not None:
            self._restore(state)
        elif config.features.normalization == "global":
            mean, std = self.processes.from_main(
                lambda: measure(self.recognizer.features, self.data.loader, self.data.usable, config.seed)
            )
            self.recognizer.features.mean.copy_(mean)
            self.recognizer.features.std.copy_(std)
        if state is None:
            train, valid = len(self.data.usable), len(self.valid_split or ())
            self.mlperf.begin(config, self.device, self.processes.count, train_samples=train, eval_samples=valid)
        else:
            self.mlperf.resume(self.position.step, self.position.epoch, self.position.unscored)
        self.events: Events | None = None  # the first process's
        if self.processes.main:
            self.folder.write(tokenizer)
            self.events = Events(out, self.position.step if state is not None else None)

    # ---- state -----------------------------------------------------------------------------------------------------

    def _state(self) -> dict:
        return {
            "recognizer": self.recognizer.state_dict(),
            **self.stepper.state_dict(),
            **self.position.state_dict(),
            "utterances": len(self.data.dataset),
        }

    def _restore(self, state: dict) -> None:
        before, now = state["utterances"], len(self.data.dataset)
        if before != now:
            raise ValueError(
                f"{self.folder.path} was trained on {before} utterances, {now} are given; "
                "give the same data or another --out"
            )
        self.recognizer.load_state_dict(state["recognizer"])
        self.stepper.load_state_dict(state)
        self.position = Position.from_state(state)

    def _save_checkpoint(self) -> None:
        if not self.processes.main:
            return
        try:
            self.folder.save_checkpoint(self.position.step, self._state())
        except OSError as error:
            self.meter.say(f"warning: {error}; training goes on with the checkpoints there are")

    # ---- the run ---------------------------------------------------------------------------------------------------

    def run(self) -> float:
        """Train to the end; returns the best WER on the validation splits (inf without one).

        Once any process gets SIGINT or SIGTERM, all stop after the step or in the validation that they are in, a
        checkpoint is saved, and SystemExit(128 + the signal's number) is raised. A second one ends a process at once.
        """
        config, main = self.config.train, self.processes.main
        total = self.data.total_steps()
        with Meter(total, self.position.step, silent=not main) as self.meter, Stop(announce=main) as stop:
            for note in self.notes:
                self.meter.say(note)
            self.mlperf.run_start()
            stopped = False
            while not stopped and self._unfinished(total):
                if not self.position.unscored:
                    self.mlperf.epoch_start(config, self.position.epoch + 1, self.position.step)
                    stopped = self._run_epoch(total, stop)
                    epoch_scored = self.position.batch == 0 and self.position.validation_due(config)
                    self.position = replace(self.position, unscored=self.position.step >= total or epoch_scored)
                if self.position.unscored and not stopped:
                    stopped = not self._validate(stop)
                    self.position = replace(self.position, unscored=stopped)
                    if not stopped:
                        self.mlperf.block_stop(self.position.step)
                self._save_checkpoint()
            if not stopped:
                self.mlperf.run_stop(self.position.step, self.position.target_reached(config))
            if self.position.target_reached(config):
                self.meter.say(f"target of {100 * config.target_wer:.2f} % reached")
        if main:
            self.events.close()
        self.processes.leave()
        if stopped:
            raise SystemExit(128 + (stop.signal or signal.SIGTERM))
        return self.position.best_wer

    def _unfinished(self, total: int) -> bool:
        position, config = self.position, self.config.train
        more = position.epoch < config.epochs and position.step < total
        return (position.unscored or more) and not position.target_reached(config)

    def _run_epoch(self, total: int, stop: Stop) -> bool:
        """The rest of the present epoch, or up to step `total`; True where a signal ended it."""
        start, length = self.position, self.data.sampler.steps(self.position.epoch)
        started = time.monotonic()
        stopped = False
        for size, shares in self.data.rest_of_epoch(start, total, self.processes):
            fraction = start.epoch + self.position.batch / length
            outcome = self.stepper.take(shares, size, self.position.step, fraction, stop)
            self.position = self.position.after_step(bool(outcome.problem))
            self._check(outcome.problem)
            now = time.monotonic()
            rate = size / (now - started)
            started = now
            self._log(
                epoch=round(fraction, 4), loss=outcome.loss, lr=outcome.lr,
                grad_norm=outcome.grad_norm, utterances_per_second=round(rate, 1),
                **({"skipped": outcome.problem} if outcome.problem else {}),
            )  # fmt: skip
            self.meter.step(f"epoch {start.epoch + 1}, loss {outcome.loss:.3f}, {rate:.0f} utt/s")
            stopped = outcome.stop
            if stopped:
                break
            every, step = self.config.train.checkpoint_every, self.position.step
            # At the end of an epoch or of the run, run() saves the checkpoint, because it must record whether a
            # validation is due.
            if every and step % every == 0 and self.position.batch < length and step < total:
                self._save_checkpoint()
        if self.position.batch >= length:
            self.position = self.position.after_epoch()
            self.mlperf.epoch_stop(self.position.step)
        return stopped

    def _check(self, problem: str) -> None:
        """Report a skipped step. Raises ValueError after `train.max_skipped` in a row."""
        if not problem:
            return
        self.meter.say(f"step {self.position.step} skipped ({self.position.skipped} so far): {problem}")
        if self.position.skipped_in_row >= self.config.train.max_skipped:
            raise ValueError(
                f"{self.position.skipped_in_row} steps in a row without a finite loss and gradient: the run has "
                "diverged; start again with a lower optim.lr"
            )

    def _log(self, **values) -> None:
        if self.events is not None:
            self.events.log(self.position.step, **values, time=round(time.time(), 1))

    def _validate(self, stop: Stop) -> bool:
        """Score the averaged weights on the validation splits; keep them as RUN/best if they are the best so far.

        False where a signal cut it short.
        """
        with self.stepper.ema.swapped():
            if self.valid_split is None:
                if self.processes.main:
                    self._save_best()
                return True
            self.mlperf.eval_start(self.position.step)
            result = validate(self.recognizer, self.valid_split, self.processes, stop, self.meter)
            if result is not None:
                best_wer = self.processes.from_main(lambda: self._judge(result))
                self.position = replace(self.position, best_wer=best_wer)
            return result is not None

    def _judge(self, result: Evaluation) -> float:
        """Report a validation and keep the model if it is the best; returns the WER of the best one that is kept."""
        rate = word_error_rate(result.pairs)
        position = self.position
        self.mlperf.eval_stop(position.step, rate.rate)
        for name, reason in result.skipped:
            self.meter.say(f"not scored: {name}: {reason}")
        self._log(epoch=position.epoch, valid_wer=rate.rate, valid_loss=result.loss)
        self.meter.say(f"epoch {position.epoch}, step {position.step}: validation {rate}")
        return rate.rate if rate.rate <= position.best_wer and self._save_best() else position.best_wer

    def _save_best(self) -> bool:
        try:
            self.folder.save_best(self.recognizer)
        except OSError as error:
            self.meter.say(f"warning: {error}; training goes on")
            return False
        return True
