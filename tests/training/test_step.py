"""Steps against plain torch, in every precision that a CPU has."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from rnnt import device as devices
from rnnt import transducer_loss
from rnnt.augment import Augmentation
from rnnt.features import Features
from rnnt.loader import collate
from rnnt.loss import Penalties
from rnnt.model import Transducer
from rnnt.training.distributed import Processes
from rnnt.training.share import Share
from rnnt.training.step import Stepper, view_divergence
from rnnt.training.stop import Stop
from rnnt.training.weight_noise import noisy

SYMBOLS = 5


@pytest.fixture
def stepper_of(settings):
    """stepper_of(*overrides): one with a model whose weights are always the same."""

    def make(*overrides):
        config = settings("schedule.warmup=0", *overrides)
        torch.manual_seed(0)
        features = Features(config.features)
        return Stepper(features, Transducer(features.width, SYMBOLS + 1, config.model), config, Processes("cpu"))

    return make


def batch_of(indices, seed=0):
    """The utterances with these numbers: noise of 0.1 to 0.5 s with up to 3 symbols."""
    rngs = [np.random.default_rng([seed, i]) for i in indices]
    audio = [rng.integers(-9000, 9000, rng.integers(1000, 4000)).astype(np.int16) for rng in rngs]
    tokens = [rng.integers(0, SYMBOLS, rng.integers(0, 4)).tolist() for rng in rngs]
    return collate(audio, tokens, [f"u{i}" for i in indices])


def take(stepper, size=8, shares=1, step=0, epoch=0.0):
    """A step on a batch of `size` utterances, each step with others, in so many shares."""
    indices = [np.arange(size)[number::shares] for number in range(shares)]
    loaded = [(Share(number, each, 1.0), batch_of(each, step)) for number, each in enumerate(indices)]
    return stepper.take(loaded, size, step, epoch, Stop(announce=False))


def expected(stepper, fastemit=0.0, ctc_weight=0.0, size=8):
    """Mean transducer loss, gradient norm, and the model after one step of AdamW: all logits stored, one batch."""
    model, head, batch = copy.deepcopy(stepper.model), copy.deepcopy(stepper.ctc_head), batch_of(range(size))
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], 0.01, eps=1e-9, weight_decay=1e-3)
    encoder, lengths = model.encoder(*Features(stepper.config.features)(batch.inputs, batch.input_lengths))
    joint = model.joint
    loss = transducer_loss(
        joint.encoder(encoder), joint.predictor(model.predictor(batch.targets)), joint.output.weight, joint.output.bias,
        batch.targets, lengths, batch.target_lengths, fastemit=fastemit, implementation="reference",
    )  # fmt: skip
    log_probs = head(encoder).log_softmax(-1)
    ctc = [
        nn.functional.ctc_loss(log_probs[i, :length], target[:symbols], length[None], symbols[None], SYMBOLS, "sum")
        for i, (length, target, symbols) in enumerate(zip(lengths, batch.targets, batch.target_lengths))
    ]
    (loss + ctc_weight * torch.stack(ctc).mean()).backward()
    norm = nn.utils.clip_grad_norm_([*model.parameters(), *(head.parameters() if ctc_weight else ())], 5.0)
    optimizer.step()
    return loss.item(), norm.item(), model


CONFORMER = [
    "model.encoder.kind=conformer",
    *(f"model.encoder.conformer.{text}" for text in ("width=8", "layers=1", "heads=2", "channels=2")),
]


@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize(
    "encoder",
    [
        *(pytest.param([f"model.encoder.lstm.time_stack={n}"], id=f"lstm {n}") for n in (1, 2, 3)),
        *(pytest.param([*CONFORMER, f"model.encoder.conformer.subsampling={n}"], id=f"conformer {n}") for n in (2, 8)),
    ],
)
def test_the_losses_get_the_encoders_lengths_without_asking_it(stepper_of, stack, encoder):
    speed = ("augment.speed_min=0.8", "augment.speed_max=1.2")
    stepper = stepper_of(f"features.stack={stack}", *encoder, *speed)
    objective, features = stepper._objective, Features(stepper.config.features)
    for seed in range(20):
        batch = batch_of(range(8), seed)
        augmentation = Augmentation(stepper.config.augment, 8, torch.Generator().manual_seed(seed))
        counted = objective._num_encoder_frames(batch, augmentation)
        _, lengths = stepper.model.encoder(*features(batch.inputs, batch.input_lengths, augmentation))
        assert counted.tolist() == lengths.tolist() and counted.device.type == "cpu"


@pytest.mark.parametrize("fastemit", [0.0, 0.5])
@pytest.mark.parametrize(("ctc_epochs", "epoch", "ctc_weight"), [(0, 1.0, 0.0), (0, 1.0, 0.3), (4, 1.0, 0.225)])
def test_a_step_is_that_of_the_gradient_of_the_mean_loss(stepper_of, fastemit, ctc_epochs, epoch, ctc_weight):
    overrides = [f"train.fastemit={fastemit}", f"train.ctc_weight={0.3 if ctc_weight else 0}"]
    stepper = stepper_of(*overrides, f"train.ctc_epochs={ctc_epochs}")
    loss, norm, model = expected(stepper, fastemit, ctc_weight)
    outcome = take(stepper, epoch=epoch)
    assert outcome.loss == pytest.approx(loss, rel=1e-5) and outcome.grad_norm == pytest.approx(norm, rel=1e-4)
    assert outcome.problem == "" and not outcome.stop and outcome.lr == 0.01
    for (name, ours), theirs in zip(stepper.model.named_parameters(), model.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)  # clipped
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("shares", [1, 2])
def test_weight_noise_moves_clean_weights_by_the_gradient_of_noisy_ones(stepper_of, shares):
    descent = (
        "optim.name=sgd",
        "optim.weight_decay=0",
        "optim.max_grad_norm=0",
        "train.ctc_weight=0.3",
        "optim.lr=0.25",
    )
    clean, stepper = stepper_of(*descent), stepper_of(*descent, "train.weight_noise=0.05")
    before = [p.detach().clone() for p in stepper.parameters]
    with noisy(clean.parameters, 0.05, stepper._noise_seed(3)):
        noisy_weights = [p.detach().clone() for p in clean.parameters]
    for p, value in zip(clean.parameters, noisy_weights):
        p.data.copy_(value)
    expected, outcome = take(clean, step=3), take(stepper, shares=shares, step=3)
    assert outcome.loss == pytest.approx(expected.loss, rel=1e-5)
    assert outcome.grad_norm == pytest.approx(expected.grad_norm, rel=1e-4)
    for p, old, other, start in zip(stepper.parameters, before, clean.parameters, noisy_weights):
        torch.testing.assert_close(p - old, other - start, rtol=1e-3, atol=1e-5)
    assert stepper._noise_seed(3) != stepper._noise_seed(4)


def test_fastemit_changes_the_gradient_and_not_the_loss(stepper_of):
    plain, early = stepper_of(), stepper_of("train.fastemit=0.5")
    assert take(plain).loss == pytest.approx(take(early).loss, rel=1e-6)
    changed = plain.model.joint.output.bias.grad - early.model.joint.output.bias.grad
    assert changed.abs().max() > 0.01


@pytest.mark.parametrize(
    ("overrides", "epoch", "penalties"),
    [
        (("train.star_penalty=1",), 3.0, None),
        (("train.transcripts=partial",), 0.0, Penalties(2.0, 6.0)),
        (("train.transcripts=partial", "train.star_penalty=1.5", "train.bypass_penalty=.inf"), 3.0, (1.5, math.inf)),
        (("train.transcripts=partial", "train.partial_epochs=4"), 0.0, None),
        (("train.transcripts=partial", "train.partial_epochs=4"), 1.0, (8.0, 24.0)),
        (("train.transcripts=partial", "train.partial_epochs=4"), 8.0, (2.0, 6.0)),
    ],
)
def test_a_step_on_partial_transcripts(stepper_of, overrides, epoch, penalties):
    penalties = Penalties(*penalties) if isinstance(penalties, tuple) else penalties
    stepper, batch = stepper_of(*overrides), batch_of(range(8))
    model = stepper.model
    encoder, lengths = model.encoder(*Features(stepper.config.features)(batch.inputs, batch.input_lengths))
    losses = model.loss(encoder, lengths, batch.targets, batch.target_lengths, penalties=penalties)
    assert take(stepper, epoch=epoch).loss == pytest.approx(losses.mean().item(), rel=1e-5)


def test_a_ctc_loss_that_has_faded_out_leaves_no_trace(stepper_of):
    faded, none = stepper_of("train.ctc_weight=0.3", "train.ctc_epochs=2"), stepper_of()
    assert take(faded, epoch=2.0).grad_norm == pytest.approx(take(none, epoch=2.0).grad_norm, rel=1e-6)
    for ours, theirs in zip(faded.model.parameters(), none.model.parameters()):
        torch.testing.assert_close(ours, theirs)
    assert all(not parameter.grad.any() for parameter in faded.ctc_head.parameters())


def test_shares_give_the_steps_of_the_whole_batch(stepper_of):
    whole = stepper_of()
    losses = [take(whole, step=step).loss for step in range(3)]
    for shares in (2, 3, 8):
        stepper = stepper_of()
        assert [take(stepper, shares=shares, step=step).loss for step in range(3)] == pytest.approx(losses, rel=1e-4)
        for name, value in stepper.model.state_dict().items():
            torch.testing.assert_close(value, whole.model.state_dict()[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_share_that_counts_for_nothing_cannot_spoil_a_step(stepper_of):
    stepper = stepper_of()
    objective = stepper._objective

    def infinite_alone(batch, *arguments):
        loss_B, total = objective(batch, *arguments)
        return (loss_B * math.inf if len(batch) == 1 else loss_B), total

    stepper._objective = infinite_alone
    shares = [(Share(0, np.arange(4), 1.0), batch_of(range(4))), (Share(1, np.arange(1), 0.0), batch_of([0]))]
    outcome = stepper.take(shares, 4, 0, 0.0, Stop(announce=False))
    assert outcome.problem == "" and math.isfinite(outcome.loss)


def test_a_stop_that_was_asked_for_is_told_after_the_step(stepper_of):
    stop = Stop(announce=False)
    stop.signal = 15
    batch = batch_of(range(4))
    assert stepper_of().take([(Share(0, np.arange(4), 1.0), batch)], 4, 0, 0.0, stop).stop


FULL = ("train.ctc_weight=0.3", "train.ema=0.9", "augment.noise_probability=0.5", "model.encoder.lstm.dropout=0.2")


def test_a_stepper_goes_on_from_a_saved_state_as_if_it_were_the_same(stepper_of, assert_same):
    whole = stepper_of(*FULL)
    for step in range(3):
        take(whole, step=step)
    file = io.BytesIO()
    torch.save({"model": whole.model.state_dict(), **whole.state_dict()}, file)
    resumed = stepper_of(*FULL)
    take(resumed, step=9)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    resumed.model.load_state_dict(state["model"])
    resumed.load_state_dict(state)
    torch.manual_seed(12345)
    for step in range(3, 6):
        assert take(whole, step=step) == take(resumed, step=step)
    assert_same(whole.model.state_dict(), resumed.model.state_dict())
    assert_same(whole.state_dict(), resumed.state_dict())


@pytest.fixture
def half_floats(monkeypatch):
    """float16 as on a GPU, with PyTorch's own LSTM in place of oneDNN's, which few CPUs have in this type."""
    monkeypatch.setattr(devices, "_cpu_has", lambda dtype: True)
    with torch.backends.mkldnn.flags(enabled=False):
        yield


def scale_by(stepper, scale):
    stepper.scaler.load_state_dict(stepper.scaler.state_dict() | {"scale": scale})


def test_float16_scales_the_loss_and_not_the_gradient(stepper_of, half_floats):
    whole, half = stepper_of(), stepper_of("precision=float16")
    scale_by(half, 256.0)
    for step in range(5):
        ours, theirs = take(half, step=step), take(whole, step=step)
        assert ours.loss == pytest.approx(theirs.loss, rel=0.02)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=0.1)
        assert ours.loss != theirs.loss and ours.problem == ""


def test_a_gradient_beyond_float16_halves_the_scale_that_a_resumed_run_keeps(stepper_of, half_floats):
    stepper = stepper_of("precision=float16")
    scale_by(stepper, 256.0)
    count = iter(range(100))
    stepper.model.joint.output.bias.register_hook(lambda grad: grad * (math.inf if next(count) == 2 else 1))
    problems = [take(stepper, step=step).problem for step in range(4)]
    assert problems == ["", "", "the gradient is beyond float16, the loss being scaled by 256", ""]
    resumed = stepper_of("precision=float16")
    resumed.load_state_dict(stepper.state_dict())
    assert resumed.scaler.get_scale() == 128


def test_a_checkpoint_from_before_float16_has_no_scale(stepper_of):
    state = stepper_of().state_dict()
    del state["scaler"]
    stepper_of().load_state_dict(state)


def test_a_conformer_learns_a_batch_by_heart(stepper_of):
    dropout = (f"model.encoder.conformer.{name}=0" for name in ("dropout", "attention_dropout"))
    stepper = stepper_of("features.stack=1", *CONFORMER, "model.encoder.conformer.subsampling=4", *dropout)
    share = [(Share(0, np.arange(8), 1.0), batch_of(range(8)))]
    losses = [stepper.take(share, 8, step, 0.0, Stop(announce=False)).loss for step in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    assert all(buffer.isfinite().all() for buffer in stepper.model.buffers())


def views_of(stepper, seed=0):
    """The features of two views of a batch, by an augmentation that is the same for both but for its masks."""
    batch = batch_of(range(8))
    augmentation = Augmentation(stepper.config.augment, 8, torch.Generator().manual_seed(seed))
    return batch.twice(), augmentation.twice()


def test_two_views_have_one_speed_and_different_masks(stepper_of):
    stepper = stepper_of(
        "augment.speed_min=0.8", "augment.pitch_min=0.9", "augment.frequency_masks=1", "augment.frequency_width=6"
    )
    batch, augmentation = views_of(stepper)
    assert batch.ids == [f"u{i}" for i in range(8)] * 2
    features, lengths = Features(stepper.config.features)(batch.inputs, batch.input_lengths, augmentation)
    first, second = features.chunk(2)
    assert lengths[:8].tolist() == lengths[8:].tolist() and not torch.equal(first, second)
    free = (first != 0) & (second != 0)
    assert ((first != 0) != (second != 0)).any() and free.any()
    torch.testing.assert_close(first[free], second[free])


@pytest.mark.parametrize("epoch", [0.0, 1.0])
def test_the_loss_of_two_views_is_the_written_out_one(stepper_of, epoch):
    keys = ("train.ctc_weight=0.6", "train.ctc_consistency=0.25", "train.ctc_epochs=2")
    stepper = stepper_of(*keys, "augment.frequency_masks=2", "augment.time_masks=1", "augment.time_width=0.3")
    stepper.model.eval()
    batch = batch_of(range(8))

    def augmentation():
        return Augmentation(stepper.config.augment, 8, torch.Generator().manual_seed(1))

    weight = stepper._ctc_weight(epoch)
    with torch.no_grad():
        loss_B, total = stepper._objective(batch, augmentation(), weight, None)
        both = batch.twice()
        frames = Features(stepper.config.features)(both.inputs, both.input_lengths, augmentation().twice())
        encoder, lengths = stepper.model.encoder(*frames)
        losses = stepper.model.loss(encoder, lengths, both.targets, both.target_lengths)
        probs = stepper.ctc_head(encoder).softmax(-1).double()
    ctc = divergence = 0.0
    for i, (length, target, symbols) in enumerate(zip(lengths.tolist(), both.targets, both.target_lengths)):
        log_probs = probs[i, :length].log()[:, None]
        given = log_probs, target[None, :symbols], torch.tensor([length]), symbols[None]
        ctc += float(nn.functional.ctc_loss(*given, SYMBOLS, "sum", zero_infinity=True))
        for t in range(length):
            p, q = probs[(i + 8) % 16, t], probs[i, t]
            divergence += float(sum(a * (a / b).log() for a, b in zip(p, q)))
    torch.testing.assert_close(loss_B, losses.view(2, 8).mean(0), rtol=1e-5, atol=1e-5)
    assert divergence > 0.01
    assert float(total) == pytest.approx((float(losses.sum()) + weight * (ctc + 0.25 * divergence)) / 2, rel=1e-5)


@pytest.mark.parametrize("encoder", [[], CONFORMER], ids=["lstm", "conformer"])
def test_two_views_of_partial_transcripts(stepper_of, encoder):
    stepper = stepper_of("train.ctc_weight=0.6", "train.ctc_consistency=0.25", "augment.frequency_masks=1", *encoder)
    stepper.model.eval()  # without dropout, and with a batch normalization that does not see the batch
    batch, augmentation = views_of(stepper)
    penalties = Penalties(1.0, 3.0)
    loss_B, total = stepper._objective(
        batch_of(range(8)), Augmentation(stepper.config.augment, 8, torch.Generator().manual_seed(0)), 0.6, penalties
    )
    frames = Features(stepper.config.features)(batch.inputs, batch.input_lengths, augmentation)
    encoder_BTD, lengths = stepper.model.encoder(*frames)
    losses = stepper.model.loss(encoder_BTD, lengths, batch.targets, batch.target_lengths, penalties=penalties)
    torch.testing.assert_close(loss_B, losses.detach().view(2, 8).mean(0), rtol=1e-5, atol=1e-5)
    total.backward()
    assert all(parameter.grad is not None for parameter in stepper.parameters)


def test_a_view_moves_towards_the_other_and_not_the_other_away():
    logits = torch.tensor([[[2.0, 0.0, -1.0]], [[0.0, 1.0, 0.5]]], requires_grad=True)
    view_divergence(logits.log_softmax(-1), torch.tensor([1, 1])).backward()
    p, q = logits.detach().softmax(-1)
    torch.testing.assert_close(logits.grad, torch.stack((p - q, q - p)))  # of cross-entropy with a fixed target


def test_padding_does_not_count_as_a_difference_of_views():
    log_probs = torch.randn(4, 3, 5).log_softmax(-1)
    lengths = torch.tensor([2, 3, 2, 3])
    expected = view_divergence(log_probs, lengths)
    log_probs[0, 2] = float("nan")
    torch.testing.assert_close(view_divergence(log_probs, lengths), expected)


def test_shares_and_the_whole_batch_have_one_loss_of_two_views(stepper_of):
    keys = "train.ctc_weight=0.6", "train.ctc_consistency=0.2", "train.batch=8"
    whole, shared = take(stepper_of(*keys)), take(stepper_of(*keys, "train.accumulation=2"), shares=2)
    assert whole.loss == pytest.approx(shared.loss, rel=1e-5)
    assert whole.grad_norm == pytest.approx(shared.grad_norm, rel=1e-4)
