"""A training run: steps, validations, checkpoints, and what is told of them."""

import math
import signal
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from rnnt.calibration import FILE as CALIBRATION
from rnnt.calibrator import calibrate, save_calibration
from rnnt.config import Config
from rnnt.dataset import Dataset
from rnnt.device import set_precision
from rnnt.error_rate import score_pairs
from rnnt.evaluation import Evaluation
from rnnt.measure import measure_of
from rnnt.model.joint import require_no_durations
from rnnt.recognizer import Recognizer, load
from rnnt.scene import open_surroundings
from rnnt.threads import Threads
from rnnt.training import checkpoint
from rnnt.training.data import TrainingData, open_splits
from rnnt.training.distributed import Processes
from rnnt.training.events import Events
from rnnt.training.listener import Listener
from rnnt.training.meter import Meter
from rnnt.training.mlperf import MlperfLog
from rnnt.training.position import Position
from rnnt.training.run import LEFT_OUT, RunFolder, lock_run
from rnnt.training.share import check_shares
from rnnt.training.statistics import fit
from rnnt.training.step import Stepper
from rnnt.training.stop import Stop
from rnnt.training.validation import validate


class Trainer:
    """Trains a model with the settings `config` on the splits in `data`, and keeps everything in the folder `out`.

    If the folder holds a run, this run resumes at its newest undamaged checkpoint. On a CPU its weights are then, bit
    for bit, those of a run that was never interrupted. With several processes (see Processes) each makes a Trainer with
    the same arguments, and only the first one writes. mlperf_log: a file for the log of MLPerf.

    Raises ValueError if the run in `out` has other settings or data, or if another program trains in it. The folder
    belongs to this run until run() ends.
    """

    def __init__(self, config: Config, data: Path, out: Path, mlperf_log: Path | None = None):
        require_no_durations(config.model.joint.durations)
        self.config = config
        self.processes = Processes(config.device)
        self.device = self.processes.device
        mlperf = MlperfLog(mlperf_log, config) if mlperf_log and self.processes.main else None  # its clock starts
        self.threads = Threads()
        self.notes = set_precision(config.precision, self.device)
        check_shares(config.train, self.processes)
        train_split = open_splits(data, config.data.train, config)
        self.valid_split = open_splits(data, config.data.valid, config) if config.data.valid else None
        with ExitStack() as held:
            self.processes.from_main(lambda: held.enter_context(lock_run(out)))
            self._set_up(train_split, out, mlperf)
            self._held = held.pop_all()  # until run() ends

    def _set_up(self, train_split: Dataset, out: Path, mlperf: MlperfLog | None) -> None:
        """Open the run in the folder `out`, or begin one."""
        config = self.config
        valid = self.valid_split.fingerprint if self.valid_split else ""
        data = {"train": train_split.fingerprint, "valid": valid}
        if surroundings := open_surroundings(config.augment, config.features.sample_rate, train_split, out):
            data |= surroundings.fingerprints
            self.notes += surroundings.notes
        self.folder = RunFolder(out, config, self.processes, data)
        tokenizer = self.folder.open_tokenizer(train_split.texts())
        alphabet = self.folder.open_alphabet(train_split.inputs())
        self.data = TrainingData(train_split, tokenizer, config, self.device, alphabet, surroundings)
        torch.manual_seed(config.seed)
        self.recognizer = Recognizer(config, tokenizer, alphabet).to(self.device)
        self.model = self.recognizer.model
        if self.processes.main:  # the others tell nothing
            self.notes += self.data.notes(self.recognizer.features, self.model.encoder.stride, out / LEFT_OUT)
        self.stepper = Stepper(self.recognizer.features, self.model, config, self.processes)
        self.position = Position()
        state, problems = self.folder.load_newest(self._check_state)
        self.notes += problems
        if state is not None:
            self._restore(state)
        elif config.input == "audio" and config.features.fitted:
            fit(self.recognizer.features, self.data, config.seed, self.processes)
        self.listeners: list[Listener] = []
        if self.processes.main:
            self.listeners = self._open_listeners(mlperf, resumed=state is not None)
            self.folder.write(tokenizer, alphabet)
            self.folder.clean(self.position.step)
            try:
                self.folder.write_left_out(self.data.omitted)
            except OSError as error:
                self.notes.append(f"warning: cannot write {out / LEFT_OUT}: {error}")

    def _open_listeners(self, mlperf: MlperfLog | None, resumed: bool) -> list[Listener]:
        if mlperf and resumed:
            mlperf.resume(self.position)
        elif mlperf:
            mlperf.begin(self.device, self.processes.count, len(self.data.usable), len(self.valid_split or ()))
        events = Events(self.folder.path, self.position.step if resumed else None)
        return [Meter(), events, mlperf] if mlperf else [Meter(), events]

    def _state(self) -> dict:
        return {
            "recognizer": self.recognizer.state_dict(),
            **self.stepper.state_dict(),
            **self.position.state_dict(),
            "utterances": len(self.data.dataset),
        }

    def _check_state(self, state: dict) -> None:
        """Raise an error if `_restore` cannot take over the state in a checkpoint."""
        if not isinstance(state, dict) or type(state["utterances"]) is not int:
            raise ValueError("utterances is not a number")
        Position.from_state(state)
        checkpoint.check_like(state["recognizer"], self.recognizer.state_dict(), "recognizer")
        self.stepper.check_state(state)

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
            self._note(f"warning: {error}; training goes on with the checkpoints there are")

    def _save_best(self) -> bool:
        try:
            self.folder.save_best(self.recognizer)
        except OSError as error:
            self._note(f"warning: {error}; training goes on")
            return False
        return True

    def run(self) -> float:
        """Train to the end. Return the best error rate on the validation splits, infinity if there are none.

        After SIGINT or SIGTERM to any process, all stop after the step or in the validation that they are in, save a
        checkpoint and raise SystemExit(128 + the signal's number). A second signal ends a process at once.
        """
        with Stop(announce=self.processes.main) as stop:
            try:
                stopped = self._train(stop)
            finally:
                for listener in self.listeners:
                    listener.close()
                self._held.close()
        self.processes.leave()
        if stopped:
            raise SystemExit(128 + (stop.signal or signal.SIGTERM))
        return self.position.best_wer

    def _train(self, stop: Stop) -> bool:
        """Train to the end; return True if a signal stopped the run before."""
        train, total = self.config.train, self.data.total_steps()
        for listener in self.listeners:
            listener.run_start(self.position, total)
        for note in self.notes:
            self._note(note)
        stopped = False
        if self.position.finished(train, total) and self.processes.from_main(self.missing_model):
            self.position = replace(self.position, unscored=True)  # there may be room for the model now
        while not stopped and not self.position.finished(train, total):
            if not self.position.unscored:
                stopped = self._run_epoch(total, stop)
                due = self.position.batch == 0 and self.position.validation_due(train)
                self.position = replace(self.position, unscored=due or self.position.step >= total)
            if self.position.unscored and not stopped:
                stopped = not self._validate(stop)
            self._save_checkpoint()
        if not stopped:
            for listener in self.listeners:
                listener.run_stop(self.position, self.position.target_reached(train))
            if self.processes.main and (problem := self.folder.save_bigram(self.data.texts, self.recognizer.tokenizer)):
                self._note(f"warning: {problem}; no bigram model can be subtracted in decoding")
        if self.position.target_reached(train):
            self._note(f"target of {100 * train.target_wer:.2f} % reached")
        return stopped or not self.processes.from_main(lambda: self._calibrate(stop))

    def _calibrate(self, stop: Stop) -> bool:
        """Calibrate the times and confidences of the model that is kept. Return False if a signal stopped it."""
        best = self.folder.path / "best"
        if self.config.input == "symbols" or not self.folder.has_best or (best / CALIBRATION).exists():
            return True
        if self.valid_split is None:
            self._note("word times are calibrated on training data; confidences are not: there is no validation split")
        data, trained_on = self.valid_split or self.data.dataset, self.valid_split is None
        try:
            calibration = calibrate(load(best, str(self.device)), data, trained_on, stop.until)
            if not stop.signal:
                save_calibration(best, calibration)
        except (ValueError, OSError) as error:
            self._note(f"warning: {error}; the model is not calibrated")
        return not stop.signal

    def _run_epoch(self, total: int, stop: Stop) -> bool:
        """Train to the end of the epoch or to step `total`; return True if a signal stopped the run before."""
        for listener in self.listeners:
            listener.epoch_start(self.position)
        every, length = self.config.train.checkpoint_every, self.data.sampler.steps(self.position.epoch)
        started = time.monotonic()
        stopped = False
        for size, shares in self.data.rest_of_epoch(self.position, total, self.processes):
            self.threads.adapt()
            epoch = self.position.epoch + self.position.batch / length
            outcome = self.stepper.take(shares, size, self.position.step, epoch, stop)
            self.position = self.position.after_step(bool(outcome.problem))
            self._check(outcome.problem)
            now = time.monotonic()
            for listener in self.listeners:
                listener.step(self.position, outcome, epoch, size / (now - started))
            started = now
            stopped = outcome.stop
            if stopped:
                break
            # At the end of an epoch or of the run, _train() saves the checkpoint, because it must record whether a
            # validation is due.
            step = self.position.step
            if every and step % every == 0 and self.position.batch < length and step < total:
                self._save_checkpoint()
        if self.position.batch >= length:
            self.position = self.position.after_epoch()
            for listener in self.listeners:
                listener.epoch_stop(self.position)
        return stopped

    def _check(self, problem: str) -> None:
        """Report a skipped step. Raises ValueError after `train.max_skipped` in a row."""
        if not problem:
            return
        self._note(f"step {self.position.step} skipped ({self.position.skipped} so far): {problem}")
        if self.position.skipped_in_row >= self.config.train.max_skipped:
            raise ValueError(
                f"{self.position.skipped_in_row} steps in a row without a finite loss and gradient: the run has "
                "diverged; start again with a lower optim.lr"
            )

    def _validate(self, stop: Stop) -> bool:
        """Score the averaged weights on the validation splits and keep them if they are the best so far.

        Without validation splits the latest weights are kept. Return False if a signal stopped the validation.
        """
        with self.stepper.ema.swapped():
            if self.valid_split is not None:
                for listener in self.listeners:
                    listener.validation_start(self.position)
                result = validate(self.recognizer, self.valid_split, self.processes, stop, self._validation_progress)
                if result is None:
                    return False
                best_wer, lost_wer = self.processes.from_main(lambda: self._judge(result))
                self.position = replace(self.position, best_wer=best_wer, lost_wer=lost_wer)
            else:
                written = self.processes.from_main(self._save_best)
                self.position = replace(self.position, lost_wer=math.inf if written else 0.0)
        self.position = replace(self.position, unscored=False)
        for listener in self.listeners:
            listener.block_stop(self.position)
        return True

    def _judge(self, result: Evaluation) -> tuple[float, float]:
        """Report a validation and keep the model if it is the best; return `best_wer` and `lost_wer` after it."""
        for name, reason in result.skipped:
            self._note(f"not scored: {name}: {reason}")
        best_wer, lost_wer = self.position.best_wer, self.position.lost_wer
        if not result.pairs:
            self._note("warning: no utterance of the validation data could be scored; training goes on")
            return best_wer, lost_wer
        rate = score_pairs(result.pairs, result.measure.first)
        for listener in self.listeners:
            listener.validation_stop(self.position, rate, result.loss)
        if rate.rate > best_wer:
            return best_wer, lost_wer
        return (rate.rate, lost_wer) if self._save_best() else (best_wer, min(rate.rate, lost_wer))

    def missing_model(self) -> str:
        """Return a line if the run's folder lacks the model that it should hold after run(); "" if it is there."""
        best, position = self.folder.path / "best", self.position
        mend = "make room on the disk and run the same command again"
        if not self.folder.has_best:
            scored = self.valid_split is None or min(position.best_wer, position.lost_wer) < math.inf
            why = (
                f"it could not be written; {mend}" if scored else "no utterance of the validation data could be scored"
            )
            return f"training is done, but there is no model in {best}: {why}"
        if not position.best_is_lost:
            return ""
        if self.valid_split is None:
            return f"training is done, but the model in {best} is not the latest, which could not be written; {mend}"
        label = measure_of(self.config.scoring).first.label
        return (
            f"training is done, but the model in {best} has a validation {label} of {100 * position.best_wer:.2f} %: "
            f"the best one, of {100 * position.lost_wer:.2f} %, could not be written"
        )

    def _validation_progress(self, done: int, total: int) -> None:
        self.threads.adapt()
        for listener in self.listeners:
            listener.validation_progress(done, total)

    def _note(self, text: str) -> None:
        for listener in self.listeners:
            listener.note(text)
