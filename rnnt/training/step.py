"""One optimizer step: the losses of a batch's parts, their gradients added up over parts and processes, the update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rnnt.augment import Augmentation
from rnnt.config import Config
from rnnt.device import autocast
from rnnt.loader import Batch
from rnnt.recognizer import Recognizer
from rnnt.training.distributed import Processes
from rnnt.training.ema import Ema
from rnnt.training.optimizer import global_norm, make_optimizer
from rnnt.training.schedule import cosine, warmup_hold_decay
from rnnt.training.stop import Stop


@dataclass(frozen=True)
class Part:
    """A share of a batch: its number among all of them, utterance indices, and how much their losses count.

    The number seeds the augmentation and dropout, so that these depend on the part and not on who works it through.
    """

    number: int
    indices: np.ndarray
    weight: float


def own_parts(batch: np.ndarray, accumulation: int, processes: Processes) -> list[Part]:
    """This process's parts of a batch of utterance indices, each of like durations as the batch itself.

    The batch has accumulation x processes parts, whoever they belong to. Where a small batch leaves a process without
    any, it takes one utterance that counts for nothing: all processes take part in the sum of the gradients.
    """
    count = accumulation * processes.count
    numbers = range(processes.rank, min(count, len(batch)), processes.count)
    return [Part(i, batch[i::count], 1.0) for i in numbers] or [Part(processes.rank, batch[:1], 0.0)]


@dataclass(frozen=True)
class Outcome:
    """Of a step: mean loss of the global batch, gradient norm before clipping, why it was skipped if it was, and
    whether some process was asked to stop."""

    loss: float
    grad_norm: float
    problem: str
    stop: bool


class Objective(nn.Module):
    """From a batch to its losses (B,) and to the sum that is minimised: the losses, and weight x the CTC losses."""

    def __init__(self, recognizer: Recognizer, ctc_head: nn.Module | None):
        super().__init__()
        self.model, self.ctc_head = recognizer.model, ctc_head
        self._features = recognizer.features.forward  # not as a module: they have nothing to learn and to share
        self._precision = recognizer.config.precision

    def forward(self, batch: Batch, augmentation: Augmentation, ctc_weight: float) -> tuple[Tensor, Tensor]:
        with autocast(self._precision, batch.inputs.device):
            features, lengths = self._features(batch.inputs, batch.input_lengths, augmentation)
            encoder_BTD, lengths = self.model.encoder(features, lengths)
            loss_B = self.model.loss(encoder_BTD, lengths, batch.targets, batch.target_lengths)
            total = loss_B.sum()
            if ctc_weight:
                total = total + ctc_weight * self._ctc_loss(encoder_BTD, lengths, batch)
            elif self.ctc_head is not None:  # faded out; the sum over processes waits for every weight's gradient
                total = total + 0.0 * sum(p.sum() for p in self.ctc_head.parameters())
        return loss_B.detach(), total

    def _ctc_loss(self, encoder_BTD: Tensor, lengths: Tensor, batch: Batch) -> Tensor:
        log_probs = torch.log_softmax(self.ctc_head(encoder_BTD).float(), -1).transpose(0, 1)
        targets = batch.targets.to(log_probs.device)
        return nn.functional.ctc_loss(
            log_probs,
            targets,
            lengths,
            batch.target_lengths,
            self.model.blank,
            "sum",
            zero_infinity=True,
        )


class Stepper:
    """Takes the steps of a run: optimizer, averaged weights and, for float16, the scale of the loss."""

    def __init__(self, config: Config, recognizer: Recognizer, ctc_head: nn.Module, processes: Processes):
        self.config, self.recognizer, self.processes = config, recognizer, processes
        head = ctc_head if config.train.ctc_weight else None
        self.parameters = [*recognizer.model.parameters(), *(head.parameters() if head else ())]
        optim = config.optim
        self.optimizer = make_optimizer(
            self.parameters, optim.name, optim.lr, (optim.beta1, optim.beta2), optim.eps, optim.weight_decay,
            optim.max_grad_norm or None,
        )  # fmt: skip
        self.ema = Ema(recognizer.model, config.train.ema, config.train.ema_warmup)
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=config.precision == "float16")
        self._objective = processes.share_gradients(Objective(recognizer, head))

    def take(self, parts: Sequence[tuple[Part, Batch]], size: int, step: int, epoch: float, stop: Stop) -> Outcome:
        """Step number `step`, counted from 0, on this process's parts of a batch of `size` utterances.

        epoch: epochs done, with fraction; stop: asked late in the step. All processes get the same Outcome, and none
        takes the optimizer step unless the batch's loss and gradient are finite.
        """
        self.recognizer.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(epoch)
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for part, batch in parts:
            last = part is parts[-1][0]
            with nullcontext() if last else self.processes.unshared(self._objective):
                loss_B, total = self._objective(batch, self._seed(part, batch, step), self._ctc_weight(epoch))
                # The sum over processes is divided by their number, this one by the size of the whole batch.
                total = total * (part.weight * self.processes.count / size)
                self.scaler.scale(total).backward()
            losses.append(loss_B)
        self.scaler.unscale_(self.optimizer)
        norm = global_norm(self.parameters)  # before clipping
        counted = [part.weight * loss_B.sum() for (part, _), loss_B in zip(parts, losses) if part.weight]
        loss = sum(counted, losses[0].new_zeros(())) / size
        sums = self.processes.add(torch.stack([loss, torch.full_like(loss, bool(stop.signal))]))
        mean, stops, grad_norm = torch.cat([sums, norm[None]]).tolist()  # here the step waits for a GPU
        problem = ""
        if math.isfinite(mean) and math.isfinite(grad_norm):
            self.scaler.step(self.optimizer, grad_norm=norm)
            self.ema.update()
        else:
            problem = self._problem(parts, losses)
        self.scaler.update()
        return Outcome(mean, grad_norm, problem, stops > 0)

    def _seed(self, part: Part, batch: Batch, step: int) -> Augmentation:
        # Seeded by position: a resumed run draws what an undisturbed one would have drawn.
        seeds = np.random.SeedSequence([self.config.seed, step, part.number]).generate_state(2)
        torch.manual_seed(int(seeds[0]))
        generator = torch.Generator(self.processes.device).manual_seed(int(seeds[1]))
        return Augmentation(self.config.augment, len(batch), generator)

    def _problem(self, parts: Sequence[tuple[Part, Batch]], losses: list[Tensor]) -> str:
        """Why the step is skipped, with the ids of the utterances to blame in all processes."""
        own = [
            (part.number, name, finite)
            for (part, batch), loss_B in zip(parts, losses)
            if part.weight
            for name, finite in zip(batch.ids, torch.isfinite(loss_B).tolist())
        ]
        by_number = sorted((item for share in self.processes.gather(own) for item in share), key=lambda item: item[0])
        bad = [name for _, name, finite in by_number if not finite]
        if bad:
            return f"the loss of {', '.join(bad)} is not finite"
        if self.scaler.is_enabled() and self.scaler.get_scale() > 1:
            return f"the gradient is beyond float16, the loss being scaled by {self.scaler.get_scale():.0f}"
        return f"the gradient of {', '.join(name for _, name, _ in by_number)} is not finite"

    def _learning_rate(self, epoch: float) -> float:
        schedule, lr = self.config.schedule, self.config.optim.lr
        if schedule.name == "cosine":
            return cosine(epoch, lr, schedule.warmup, self.config.train.epochs, schedule.minimum)
        return warmup_hold_decay(epoch, lr, schedule.warmup, schedule.hold, schedule.decay, schedule.minimum)

    def _ctc_weight(self, epoch: float) -> float:
        train = self.config.train
        fade = max(0.0, 1 - epoch / train.ctc_epochs) if train.ctc_epochs else 1.0
        return train.ctc_weight * fade
