"""One training run: data, model, optimizer, schedule, validation and checkpoints, in one process."""

import fnmatch
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rnnt import atomic
from rnnt import tokenizer as tokenizers
from rnnt.augment import Augmentation
from rnnt.config import Config, to_yaml
from rnnt.dataset import Dataset
from rnnt.evaluation import word_error_rate
from rnnt.features import valid_places
from rnnt.loader import Batch, Loader
from rnnt.recognizer import Recognizer, find_device, read_config
from rnnt.sampler import Sampler
from rnnt.training import checkpoint
from rnnt.training.ema import Ema
from rnnt.training.events import Events
from rnnt.training.meter import Meter
from rnnt.training.optimizer import global_norm, make_optimizer
from rnnt.training.schedule import cosine, warmup_hold_decay

_MAY_CHANGE = (  # of a run that is resumed
    "device", "train.epochs", "train.steps", "train.target_wer", "train.validate_every", "train.validate_from",
    "train.checkpoint_every", "train.keep_checkpoints", "train.max_skipped", "decoding.batch",
)  # fmt: skip
_STATISTICS_UTTERANCES = 2000


def split_folders(data: Path, patterns: list[str]) -> list[Path]:
    """The prepared splits in `data` that match the names or shell patterns, in the patterns' order.

    Raises ValueError, listing what is there, for one that matches nothing.
    """
    there = sorted(path.parent.name for path in data.glob("[!.]*/dataset.json"))
    chosen: list[str] = []
    for pattern in patterns:
        found = fnmatch.filter(there, pattern)
        if not found:
            have = f"it holds {', '.join(there)}" if there else "it holds no prepared split; run `rnnt prepare` first"
            raise ValueError(f"no split {pattern} in {data}; {have}")
        chosen += [name for name in found if name not in chosen]
    return [data / name for name in chosen]


class Trainer:
    """Trains by `config` on the splits in `data` and keeps everything in the run's folder `out`.

    A folder that holds a run already is resumed at its newest whole checkpoint; on a CPU the weights are then the same
    bit for bit as if the run had never stopped. Raises ValueError where the run there has other settings or data.
    """

    def __init__(self, config: Config, data: Path, out: Path):
        self.device = find_device(config.device)
        self.out = out
        self.meter: Meter | None = None
        train_data = Dataset(*split_folders(data, config.data.train))
        self.valid_data = Dataset(*split_folders(data, config.data.valid)) if config.data.valid else None
        if train_data.sample_rate != config.features.sample_rate:
            raise ValueError(
                f"{data} is at {train_data.sample_rate} Hz, the model at {config.features.sample_rate} Hz; "
                "prepare it again or set features.sample_rate"
            )
        resuming = (out / "config.yaml").exists()
        if resuming:
            _check_same(read_config(out / "config.yaml"), config, out)
            tokenizer = tokenizers.load(out, config.tokenizer)
        elif config.tokenizer.path:
            tokenizer = tokenizers.load(config.tokenizer.path, config.tokenizer)
        else:
            tokenizer = tokenizers.train(train_data.texts(), config.tokenizer)
        self.config = config
        self.loader = Loader(train_data, tokenizer, self.device, config.features.trim_silence)
        seconds = train_data.num_samples / train_data.sample_rate
        fits = (seconds >= config.data.min_seconds) & (seconds <= config.data.max_seconds)
        usable = self.loader.usable[fits[self.loader.usable]]
        if len(usable) == 0:
            raise ValueError(f"no utterance to train on: {self._left_out(fits)}")
        self.sampler = Sampler(
            train_data.num_samples, usable, train_data.sample_rate, config.data, config.train, config.seed
        )

        torch.manual_seed(config.seed)
        self.recognizer = Recognizer(config, tokenizer).to(self.device)
        self.model = self.recognizer.model
        self.ctc_head = nn.Linear(self.model.encoder.width, self.model.vocabulary).to(self.device)
        self.parameters = [*self.model.parameters(), *(self.ctc_head.parameters() if config.train.ctc_weight else ())]
        optim = config.optim
        self.optimizer = make_optimizer(
            self.parameters, optim.name, optim.lr, (optim.beta1, optim.beta2), optim.eps, optim.weight_decay,
            optim.max_grad_norm or None,
        )  # fmt: skip
        self.ema = Ema(self.model, config.train.ema, config.train.ema_warmup)
        self.step = self.epoch = self.batch = 0  # steps done; the next batch's place
        self.skipped = self.skipped_in_row = 0
        self.grad_norm = math.nan
        self.best_wer = math.inf
        self.notes = [self._left_out(fits)] if len(usable) < len(train_data) else []

        out.mkdir(parents=True, exist_ok=True)
        state, problems = checkpoint.load_newest(out / "checkpoints") if resuming else (None, [])
        self.notes += problems
        if state is None:
            if config.features.normalization == "global":
                self._measure_features(usable)
            tokenizer.save(out)
        else:
            self._restore(state)
        atomic.write(out / "config.yaml", to_yaml(config))
        self.events = Events(out, self.step if state is not None else None)

    def _left_out(self, fits: np.ndarray) -> str:
        data, unusable = self.config.data, self.loader.unusable
        parts = [
            f"{int((~fits).sum())} of {len(fits)} utterances are not within {data.min_seconds}-{data.max_seconds} s"
        ]
        if unusable:
            parts.append(
                f"{len(unusable)} hold text that the tokenizer lacks (first {unusable[0][0]}: {unusable[0][1]})"
            )
        return "left out of training: " + "; ".join(parts)

    def _measure_features(self, usable: np.ndarray) -> None:
        """Mean and standard deviation of each mel bin over a sample of the training data."""
        features = self.recognizer.features
        rng = np.random.default_rng(self.config.seed)
        sample = rng.permutation(usable)[:_STATISTICS_UTTERANCES]
        total, squares, count = 0.0, 0.0, 0
        for batch in self.loader.batches(np.array_split(sample, -(-len(sample) // 32))):
            mel, frames = features.log_mel(batch.audio, batch.num_samples)
            valid = mel[valid_places(frames, mel.shape[1])].double()
            total, squares, count = total + valid.sum(0), squares + valid.square().sum(0), count + len(valid)
        mean = total / count
        features.mean.copy_(mean)
        features.std.copy_((squares / count - mean.square()).clamp(min=0).sqrt())

    # ---- state -----------------------------------------------------------------------------------------------------

    def _state(self) -> dict:
        return {
            "recognizer": self.recognizer.state_dict(),
            "ctc_head": self.ctc_head.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "position": {"step": self.step, "epoch": self.epoch, "batch": self.batch},
            "skipped": [self.skipped, self.skipped_in_row],
            "best_wer": self.best_wer,
            "utterances": len(self.loader.dataset),
        }

    def _restore(self, state: dict) -> None:
        if state["utterances"] != len(self.loader.dataset):
            raise ValueError(
                f"{self.out} was trained on {state['utterances']} utterances, {len(self.loader.dataset)} are given; "
                "give the same data or another --out"
            )
        self.recognizer.load_state_dict(state["recognizer"])
        self.ctc_head.load_state_dict(state["ctc_head"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.epoch, self.batch = (state["position"][name] for name in ("step", "epoch", "batch"))
        self.skipped, self.skipped_in_row = state["skipped"]
        self.best_wer = state["best_wer"]

    def _save_checkpoint(self) -> None:
        try:
            checkpoint.save(self.out / "checkpoints", self.step, self._state(), self.config.train.keep_checkpoints)
        except OSError as error:
            self.meter.say(f"warning: {error}; training goes on with the checkpoints there are")

    # ---- the run ---------------------------------------------------------------------------------------------------

    def run(self) -> float:
        """Train to the end; returns the best WER on the validation splits (inf without one)."""
        config = self.config.train
        ends = np.cumsum([self.sampler.steps(epoch) for epoch in range(config.epochs)])
        total = min(int(ends[-1]), config.steps or int(ends[-1]))
        with Meter(total, self.step) as self.meter:
            for note in self.notes:
                self.meter.say(note)
            while self.epoch < config.epochs and self.step < total and not self._target_reached():
                self._run_epoch(total)
                if self.step >= total or self._epoch_due():
                    self._validate()
                self._save_checkpoint()
            if self._target_reached():
                self.meter.say(f"target of {100 * config.target_wer:.2f} % reached")
        self.events.close()
        return self.best_wer

    def _target_reached(self) -> bool:
        return bool(self.config.train.target_wer) and self.best_wer <= self.config.train.target_wer

    def _epoch_due(self) -> bool:
        config = self.config.train
        if self.epoch >= config.epochs:
            return True
        return self.epoch >= config.validate_from and (self.epoch - config.validate_from) % config.validate_every == 0

    def _run_epoch(self, total: int) -> None:
        """The rest of the present epoch, or up to step `total`."""
        batches = self.sampler.batches(self.epoch)
        todo = batches[self.batch : self.batch + total - self.step]
        parts = [self._parts(batch) for batch in todo]
        loaded = self.loader.batches(part for group in parts for part in group)
        started = time.monotonic()
        for group in parts:
            fraction = self.epoch + self.batch / len(batches)
            loss, problem = self._train_step([next(loaded) for _ in group], fraction)
            self.step += 1
            self.batch += 1
            now = time.monotonic()
            rate = sum(map(len, group)) / (now - started)
            started = now
            self.events.log(
                self.step, epoch=round(fraction, 4), loss=loss, lr=self.optimizer.param_groups[0]["lr"],
                grad_norm=self.grad_norm, utterances_per_second=round(rate, 1),
                time=round(time.time(), 1),
                **({"skipped": problem} if problem else {}),
            )  # fmt: skip
            self.meter.step(f"epoch {self.epoch + 1}, loss {loss:.3f}, {rate:.0f} utt/s")
            every = self.config.train.checkpoint_every
            if every and self.step % every == 0 and self.batch < len(batches):
                self._save_checkpoint()
        if self.batch >= len(batches):
            self.epoch, self.batch = self.epoch + 1, 0

    def _parts(self, batch: np.ndarray) -> list[np.ndarray]:
        """A batch's micro-batches, each of like durations as the batch itself."""
        count = self.config.train.accumulation
        return [part for part in (batch[i::count] for i in range(count)) if len(part)]

    def _learning_rate(self, epoch: float) -> float:
        schedule, lr = self.config.schedule, self.config.optim.lr
        if schedule.name == "cosine":
            return cosine(epoch, lr, schedule.warmup, self.config.train.epochs, schedule.minimum)
        return warmup_hold_decay(epoch, lr, schedule.warmup, schedule.hold, schedule.decay, schedule.minimum)

    def _ctc_weight(self, epoch: float) -> float:
        train = self.config.train
        fade = max(0.0, 1 - epoch / train.ctc_epochs) if train.ctc_epochs else 1.0
        return train.ctc_weight * fade

    def _train_step(self, parts: list[Batch], epoch: float) -> tuple[float, str]:
        """One optimizer step on a batch's parts. Returns the mean loss and, if the step was skipped, why."""
        self.recognizer.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(epoch)
        self.optimizer.zero_grad(set_to_none=True)
        size = sum(map(len, parts))
        losses, bad = [], []
        for number, batch in enumerate(parts):
            # Seeded by position: a resumed run draws what an undisturbed one would have drawn.
            seeds = np.random.SeedSequence([self.config.seed, self.step, number]).generate_state(2)
            torch.manual_seed(int(seeds[0]))
            generator = torch.Generator(self.device).manual_seed(int(seeds[1]))
            augmentation = Augmentation(self.config.augment, len(batch), generator)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
                features, lengths = self.recognizer.features(batch.audio, batch.num_samples, augmentation)
                encoder_BTD, lengths = self.model.encoder(features, lengths)
                loss_B = self.model.loss(encoder_BTD, lengths, batch.targets, batch.target_lengths)
                total = loss_B.sum()
                ctc_weight = self._ctc_weight(epoch)
                if ctc_weight:
                    total = total + ctc_weight * self._ctc_loss(encoder_BTD, lengths, batch)
            (total / size).backward()
            losses.append(loss_B.detach())
            bad.append([batch.ids[i] for i in (~torch.isfinite(losses[-1])).nonzero()[:, 0].tolist()])
        mean = float(torch.cat(losses).mean())
        problem = self._apply(mean, [i for part in bad for i in part], parts)
        return mean, problem

    def _ctc_loss(self, encoder_BTD: torch.Tensor, lengths: torch.Tensor, batch: Batch) -> torch.Tensor:
        log_probs = torch.log_softmax(self.ctc_head(encoder_BTD).float(), -1).transpose(0, 1)
        return nn.functional.ctc_loss(
            log_probs, batch.targets, lengths, batch.target_lengths, self.model.blank, "sum", zero_infinity=True
        )

    def _apply(self, loss: float, bad: list[str], parts: list[Batch]) -> str:
        """Take the optimizer step unless loss or gradient is not finite; then say why not."""
        self.grad_norm = float(global_norm(self.parameters))  # before clipping
        if math.isfinite(loss) and math.isfinite(self.grad_norm):
            self.optimizer.step()
            self.ema.update()
            self.skipped_in_row = 0
            return ""
        self.skipped += 1
        self.skipped_in_row += 1
        what = f"loss of {', '.join(bad)}" if bad else f"gradient of {', '.join(i for part in parts for i in part.ids)}"
        problem = f"the {what} is not finite"
        self.meter.say(f"step {self.step + 1} skipped ({self.skipped} so far): {problem}")
        if self.skipped_in_row >= self.config.train.max_skipped:
            raise ValueError(
                f"{self.skipped_in_row} steps in a row without a finite loss and gradient: the run has diverged; "
                "start again with a lower optim.lr"
            )
        return problem

    def _validate(self) -> None:
        """Score the averaged weights on the validation splits; keep them as RUN/best if they are the best so far."""
        with self.ema.swapped():
            if self.valid_data is None:
                self._save_best()
                return
            result = self.recognizer.evaluate(self.valid_data)
            rate = word_error_rate(result.pairs)
            for name, reason in result.skipped:
                self.meter.say(f"not scored: {name}: {reason}")
            self.events.log(
                self.step, epoch=self.epoch, valid_wer=rate.rate, valid_loss=result.loss, time=round(time.time(), 1)
            )
            self.meter.say(f"epoch {self.epoch}, step {self.step}: validation {rate}")
            if rate.rate <= self.best_wer and self._save_best():
                self.best_wer = rate.rate

    def _save_best(self) -> bool:
        try:
            self.recognizer.save(self.out / "best")
        except OSError as error:
            self.meter.say(f"warning: {error}; training goes on")
            return False
        return True


def _check_same(old: Config, new: Config, out: Path) -> None:
    """Raise ValueError where a run's settings differ in more than how long and how often."""

    def flat(tree: dict, prefix: str = "") -> dict:
        pairs = {}
        for key, value in tree.items():
            pairs |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return pairs

    before, after = flat(asdict(old)), flat(asdict(new))
    changed = [key for key in after if before[key] != after[key] and key not in _MAY_CHANGE]
    if changed:
        key = changed[0]
        raise ValueError(
            f"{out} holds a run with {key}={before[key]}, not {after[key]}; "
            "choose another --out, or remove it to start anew"
        )
