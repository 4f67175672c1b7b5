"""One optimizer step: losses of a batch's shares, gradients summed over shares and processes, update of the weights."""

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
from rnnt.frames import stacked_lengths, valid_places
from rnnt.loader import Batch
from rnnt.loss import Penalties
from rnnt.model import Transducer
from rnnt.symbol_input import Input
from rnnt.training.checkpoint import check_keys, check_like
from rnnt.training.distributed import Processes
from rnnt.training.ema import Ema
from rnnt.training.optimizer import global_norm, make_optimizer
from rnnt.training.schedule import cosine, warmup_hold_decay
from rnnt.training.share import Share
from rnnt.training.stop import Stop
from rnnt.training.weight_noise import noisy


@dataclass(frozen=True)
class Outcome:
    """The result of a step, the same in all processes."""

    loss: float  # mean over the batch
    grad_norm: float  # before clipping
    lr: float
    problem: str  # why the step was skipped; "" if it was not
    stop: bool  # a process has been asked to stop


class Objective(nn.Module):
    """The function that training minimises: the transducer losses, and a weight times the CTC losses.

    With `consistency`, each utterance is seen in two views: masks, noise and dropout are drawn for each. The losses are
    means over both, and the CTC losses also say how far the CTC outputs of the views differ, times `consistency`: the
    symmetric divergence of each frame, in which the other view is the target (CR-CTC, Yao et al. 2024, arXiv
    2410.05101).

    As one module, so that the processes can share its gradients. The features have no weights and stay outside of it.
    """

    def __init__(
        self,
        features: Input,
        model: Transducer,
        ctc_head: nn.Module | None,
        precision: str,
        fastemit: float,
        consistency: float = 0.0,
    ):
        super().__init__()
        self.model, self.ctc_head, self._consistency = model, ctc_head, consistency
        self._features, self._num_frames, self._stack = features.forward, features.num_frames, features.joined
        self._precision, self._fastemit = precision, fastemit

    def forward(
        self, batch: Batch, augmentation: Augmentation, ctc_weight: float, penalties: Penalties | None
    ) -> tuple[Tensor, Tensor]:
        """Return the transducer losses (B,), without gradient, and the sum over the batch to be minimised.

        penalties: those of `transducer_loss`.
        """
        views = 2 if self._consistency and ctc_weight else 1
        if views == 2:
            batch, augmentation = batch.twice(), augmentation.twice()
        with autocast(self._precision, batch.inputs.device):
            features, lengths = self._features(batch.heard(), batch.input_lengths, augmentation)
            encoder_BTD, _ = self.model.encoder(features, lengths)
            lengths = self._num_encoder_frames(batch, augmentation)  # as the encoder has returned them, on the CPU
            loss_B = self.model.loss(
                encoder_BTD, lengths, batch.targets, batch.target_lengths, fastemit=self._fastemit, penalties=penalties
            )
            total = loss_B.sum()
            if ctc_weight:
                total = total + ctc_weight * self._ctc_loss(encoder_BTD, lengths, batch)
            elif self.ctc_head is not None:  # the processes wait for a gradient of every weight: here it is zero
                total = total + 0.0 * sum(p.sum() for p in self.ctc_head.parameters())
        return loss_B.detach().view(views, -1).mean(0), total / views

    def _num_encoder_frames(self, batch: Batch, augmentation: Augmentation) -> Tensor:
        """Count the encoder's frames (B,) on the CPU. The losses need them there, and must not wait for a GPU."""
        num_frames = self._num_frames(augmentation.num_samples(batch.input_lengths))
        return stacked_lengths(num_frames, self._stack, self.model.encoder.stride)

    def _ctc_loss(self, encoder_BTD: Tensor, lengths: Tensor, batch: Batch) -> Tensor:
        log_probs_BTV = torch.log_softmax(self.ctc_head(encoder_BTD).float(), -1)
        targets = batch.targets.to(log_probs_BTV.device)
        loss = nn.functional.ctc_loss(
            log_probs_BTV.transpose(0, 1),
            targets,
            lengths,
            batch.target_lengths,
            self.model.blank,
            "sum",
            zero_infinity=True,
        )
        if not self._consistency:
            return loss
        return loss + self._consistency * view_divergence(log_probs_BTV, lengths)


def view_divergence(log_probs_BTV: Tensor, lengths: Tensor) -> Tensor:
    """Return the sum over the frames of D(other view || view), for both views: a number.

    log_probs_BTV: the first half of the batch is one view of the utterances, the second half the other. lengths: (B,).
    The gradient flows into the view and not into the other view, its target.
    """
    first, second = log_probs_BTV.chunk(2)
    other_BTV = torch.cat((second, first)).detach()
    divergence_BT = (other_BTV.exp() * (other_BTV - log_probs_BTV)).sum(-1)
    valid_BT = valid_places(lengths.to(divergence_BT.device), divergence_BT.shape[1])
    return divergence_BT.masked_fill(~valid_BT, 0.0).sum()


class Stepper:
    """Takes the steps of a run. It holds the CTC head, the optimizer, the averaged weights and the scale of the loss.

    features, model: on the device of the processes. The scale is for float16, see torch.amp.GradScaler.
    """

    def __init__(self, features: Input, model: Transducer, config: Config, processes: Processes):
        self.model, self.config, self.processes = model, config, processes
        self.ctc_head = nn.Linear(model.encoder.width, model.vocabulary).to(processes.device)
        head = self.ctc_head if config.train.ctc_weight else None
        self.parameters = [*model.parameters(), *(head.parameters() if head else ())]
        optim = config.optim
        self.optimizer = make_optimizer(
            self.parameters, optim.name, optim.lr, (optim.beta1, optim.beta2), optim.eps, optim.weight_decay,
            optim.max_grad_norm or None, optim.momentum,
        )  # fmt: skip
        self.ema = Ema(model, config.train.ema, config.train.ema_warmup)
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=config.precision == "float16")
        train = config.train
        objective = Objective(features, model, head, config.precision, train.fastemit, train.ctc_consistency)
        self._objective = processes.share_gradients(objective)

    def take(self, shares: Sequence[tuple[Share, Batch]], size: int, step: int, epoch: float, stop: Stop) -> Outcome:
        """Take a step on this process's shares of a batch of `size` utterances.

        The weights change only if the loss and the gradient of the whole batch are finite.

        step: its number, counted from 0; epoch: epochs done before it, with a fraction; stop: looked at late in the
        step, so that all processes learn in the same step that one of them has been asked to stop.
        """
        self.model.train()
        lr = self._learning_rate(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        with noisy(self.parameters, self.config.train.weight_noise, self._noise_seed(step)):
            for share, batch in shares:
                last = share is shares[-1][0]
                with nullcontext() if last else self.processes.unshared(self._objective):
                    augmentation = self._seed(share, batch, step)
                    loss_B, total = self._objective(
                        batch, augmentation, self._ctc_weight(epoch), self._penalties(epoch)
                    )
                    # share_gradients() takes the mean over the processes; the step needs the mean over the batch.
                    total = total * (share.weight * self.processes.count / size)
                    self.scaler.scale(total).backward()
                losses.append(loss_B)
        self.scaler.unscale_(self.optimizer)
        norm = global_norm(self.parameters)
        counted = [share.weight * loss_B.sum() for (share, _), loss_B in zip(shares, losses) if share.weight]
        loss = sum(counted, losses[0].new_zeros(())) / size
        sums = self.processes.add(torch.stack([loss, torch.full_like(loss, bool(stop.signal))]))
        mean, stops, grad_norm = torch.cat([sums, norm[None]]).tolist()  # the only wait for a GPU in a step
        problem = ""
        if math.isfinite(mean) and math.isfinite(grad_norm):
            self.scaler.step(self.optimizer, grad_norm=norm)
            self.ema.update()
        else:
            problem = self._problem(shares, losses)
        self.scaler.update()
        return Outcome(mean, grad_norm, lr, problem, stops > 0)

    def state_dict(self) -> dict:
        """Return the entries of a checkpoint that `load_state_dict` reads. Tensors are not copied."""
        return {
            "ctc_head": self.ctc_head.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def check_state(self, state: dict) -> None:
        """Raise an error if `load_state_dict` cannot take over the state in a checkpoint."""
        own = self.state_dict()
        for name in ("ctc_head", "ema"):
            check_like(state[name], own[name], name)
        given, expected = state["optimizer"], own["optimizer"]
        check_keys(given, expected, "optimizer")
        for i, (group, like) in enumerate(zip(given["param_groups"], expected["param_groups"], strict=True)):
            common = {name: value for name, value in like.items() if name in group}  # others are another torch's
            check_like({name: group[name] for name in common}, common, f"optimizer.param_groups[{i}]")
            for name in ("params", "betas", "eps", "momentum", "weight_decay"):  # lr is set before each step
                if name in like and group.get(name) != like[name]:
                    raise ValueError(f"optimizer.param_groups[{i}].{name} is not that of the settings")
        if given["state"] or state["position"]["step"] > state["skipped"][0]:  # else no step has changed the weights
            check_keys(given["state"], range(len(self.parameters)), "optimizer.state")
        for i, entry in given["state"].items():
            check_keys(entry, ("step", *self.optimizer.moments), f"optimizer.state.{i}")
            for name in self.optimizer.moments:
                check_like(entry[name], self.parameters[i], f"optimizer.state.{i}.{name}")
            if not float(entry["step"]) >= 1:
                raise ValueError(f"optimizer.state.{i}.step is not a number of steps")
        if self.scaler.is_enabled():
            check_like(state["scaler"], own["scaler"], "scaler")

    def load_state_dict(self, state: dict) -> None:
        """Take over the state in a checkpoint."""
        self.ctc_head.load_state_dict(state["ctc_head"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state.get("scaler", {}))  # earlier versions had neither this entry nor float16

    def _seed(self, share: Share, batch: Batch, step: int) -> Augmentation:
        # Seeded by position: a resumed run draws the numbers that an undisturbed one would have drawn.
        seeds = np.random.SeedSequence([self.config.seed, step, share.number]).generate_state(2)
        torch.manual_seed(int(seeds[0]))
        generator = torch.Generator(self.processes.device).manual_seed(int(seeds[1]))
        return Augmentation(self.config.augment, len(batch), generator)

    def _noise_seed(self, step: int) -> int:
        """The same in all processes, and that of no share."""
        return int(np.random.SeedSequence([self.config.seed, step], spawn_key=(1,)).generate_state(1)[0])

    def _problem(self, shares: Sequence[tuple[Share, Batch]], losses: list[Tensor]) -> str:
        """Say why the step is skipped, and because of which utterances of all processes."""
        own = [
            (share.number, name, finite)
            for (share, batch), loss_B in zip(shares, losses)
            if share.weight
            for name, finite in zip(batch.ids, torch.isfinite(loss_B).tolist())
        ]
        by_number = sorted((item for items in self.processes.gather(own) for item in items), key=lambda item: item[0])
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

    def _penalties(self, epoch: float) -> Penalties | None:
        """The prices of skipping frames and symbols; none if the transcripts are exact, or still taken to be."""
        train = self.config.train
        if train.transcripts == "exact" or (train.partial_epochs and not epoch):
            return None
        factor = max(1.0, train.partial_epochs / epoch) if train.partial_epochs else 1.0
        return Penalties(train.star_penalty * factor, train.bypass_penalty * factor)

    def _ctc_weight(self, epoch: float) -> float:
        train = self.config.train
        fade = max(0.0, 1 - epoch / train.ctc_epochs) if train.ctc_epochs else 1.0
        return train.ctc_weight * fade
