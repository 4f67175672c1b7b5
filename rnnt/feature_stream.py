"""The features of streams, in chunks of any lengths: together the frames that `Features` gives for the whole.

    state = start_features(features, batch)
    for each chunk: frames_BTF, lengths, state = step_features(features, audio_BN, lengths, state)
    frames_BTF, lengths = finish_features(features, state)

A frame is computed as soon as half a Fourier window of samples after its middle is there, and a stacked frame as soon
as its last frame is. How many frames a stream has had follows from its number of samples, so the state need not say.

B streams, N samples of a chunk, S frames, T stacked frames, F values of a frame, W samples of a Fourier window (n_fft).
"""

from typing import NamedTuple

import torch

from rnnt.features import Features
from rnnt.frames import frames_from, valid_places
from rnnt.running_statistics import RunningSums, start_sums


class FeatureState(NamedTuple):
    """The part of the past that the features of streams need. Each field has the streams as dim 0."""

    received: torch.Tensor  # (B,), samples so far
    before: torch.Tensor  # (B, 1), the last sample, in [-1, 1]
    samples: torch.Tensor  # (B, W), the last samples after pre-emphasis; the latest is at the end
    sums: RunningSums  # for normalization=running; empty for others
    unstacked: torch.Tensor  # (B, stack - 1, F), the last normalized frames; the latest is at the end


def start_features(features: Features, batch: int) -> FeatureState:
    """Return the state of streams before their first sample.

    Raises ValueError if the features need whole utterances.
    """
    if features.why_not_streaming:
        raise ValueError(f"these features cannot stream, because {features.why_not_streaming}")
    config, device = features.config, features.dither.device
    zeros = torch.zeros(batch, config.n_fft, device=device)
    prior = features.mean if config.normalization == "running" else zeros.new_zeros(0)
    return FeatureState(
        torch.zeros(batch, dtype=torch.int64, device=device),
        zeros[:, :1],
        zeros,
        start_sums(batch, prior),
        zeros.new_zeros(batch, config.stack - 1, config.values),
    )


def step_features(
    features: Features, audio_BN: torch.Tensor, lengths: torch.Tensor, state: FeatureState
) -> tuple[torch.Tensor, torch.Tensor, FeatureState]:
    """Return the stacked frames (B, T, stack F) that one more chunk of each stream completes.

    audio_BN: int16, or float in [-1, 1]; the first `lengths` (B,) samples of a stream are valid. A length may be 0.
    Returns also how many frames each stream has, and the new state. The old state is not changed.
    """
    config = features.config
    with torch.autocast(audio_BN.device.type, enabled=False):
        lengths = lengths.to(audio_BN.device)
        audio_BN = audio_BN.float() / 32768 if audio_BN.dtype == torch.int16 else audio_BN.float()
        samples_BN = features.emphasize(audio_BN, state.before, state.received)
        samples_BN = torch.cat((state.samples, samples_BN), 1)
        received = state.received + lengths
        first, end = (_complete_frames(features, x) for x in (state.received, received))
        x_BSF = _frames(features, samples_BN, state.received, received, first, end - first)
        x_BTF, counts, after = _join(features, x_BSF, first, end - first, state)
    latest = torch.cat((state.before, audio_BN), 1).gather(1, lengths[:, None])
    samples_BW = frames_from(samples_BN[:, :, None], lengths, config.n_fft)[:, :, 0]
    return x_BTF, counts, FeatureState(received, latest, samples_BW, *after)


def finish_features(features: Features, state: FeatureState) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the stacked frames that are still owed at the end of the streams, and how many each stream has.

    The last is padded with zeros, as in `Features`. A stream without samples has none.
    """
    config, received = features.config, state.received
    with torch.autocast(received.device.type, enabled=False):
        first = _complete_frames(features, received)
        count = torch.where(received > 0, features.num_frames(received), 0) - first
        x_BSF = _frames(features, state.samples, received, received, first, count)
        missing = -(first + count) % config.stack
        x_BTF, lengths, _ = _join(features, x_BSF, first, count, state, missing)
    return x_BTF, lengths


def _complete_frames(features: Features, received: torch.Tensor) -> torch.Tensor:
    """Count the frames (B,) whose Fourier windows are complete after this many samples."""
    config, half = features.config, features.config.n_fft // 2
    count = torch.div(received + half - features.late - config.n_fft, config.hop, rounding_mode="floor") + 1
    # The first frames also need the samples that are reflected before the start.
    return torch.where(received > half, count, 0)


def _frames(
    features: Features,
    samples_BN: torch.Tensor,
    received: torch.Tensor,
    total: torch.Tensor,
    first: torch.Tensor,
    count: torch.Tensor,
) -> torch.Tensor:
    """Compute `count` (B,) frames of each stream from the number `first` (B,) on: (B, S, F), not normalized.

    samples_BN: the last W samples of `received` (B,), then new ones, of which there are `total` (B,) with all before.
    """
    config, half = features.config, features.config.n_fft // 2
    size = int(count.max()) if len(count) else 0
    if not size:
        return samples_BN.new_zeros(len(samples_BN), 0, config.values)
    start = first * config.hop - half + features.late
    place_BN = start[:, None] + torch.arange((size - 1) * config.hop + config.n_fft, device=start.device)
    end_B1 = total[:, None] - 1
    # Half a window is reflected at both ends; a shorter stream repeats its first or last sample instead.
    outside_BN = (place_BN < 0) | (place_BN > end_B1)
    twice = int(config.padding == "kaldi")  # the samples at both ends are repeated
    place_BN = torch.where(place_BN < 0, torch.minimum(-place_BN - twice, end_B1), place_BN)
    place_BN = torch.where(place_BN > end_B1, (2 * end_B1 + twice - place_BN).clamp(min=0), place_BN)
    place_BN = place_BN - received[:, None] + config.n_fft
    window_BN = samples_BN.gather(1, place_BN.clamp(0, samples_BN.shape[1] - 1))
    if config.padding == "zeros":
        window_BN = window_BN.masked_fill(outside_BN, 0.0)
    window_BN = features.emphasize_padded(window_BN)
    starts_1S = config.hop * torch.arange(size, device=start.device)[None]
    return features.log(features.mel_power(features.power(window_BN, starts_1S)), count)


def _join(
    features: Features,
    x_BSF: torch.Tensor,
    first: torch.Tensor,
    count: torch.Tensor,
    state: FeatureState,
    missing: torch.Tensor | int = 0,
) -> tuple[torch.Tensor, torch.Tensor, tuple[RunningSums, torch.Tensor]]:
    """Normalize and stack new frames, after which `missing` (B,) frames of zeros follow."""
    stack, keep = features.config.stack, features.config.stack - 1
    x_BSF, sums = features.normalize_more(x_BSF, count, state.sums)
    x_BSF = torch.nn.functional.pad(x_BSF, (0, 0, 0, keep))
    x_BSF = torch.cat((state.unstacked, x_BSF.masked_fill(~valid_places(count, x_BSF.shape[1])[:, :, None], 0.0)), 1)
    waiting = first % stack
    lengths = torch.div(waiting + count + missing, stack, rounding_mode="floor")
    size = int(lengths.max()) if len(lengths) else 0
    x_BTF = frames_from(x_BSF, keep - waiting, size * stack).reshape(len(x_BSF), size, features.width)
    x_BTF = x_BTF.masked_fill(~valid_places(lengths, size)[:, :, None], 0.0)
    return x_BTF, lengths, (sums, frames_from(x_BSF, count, keep))
