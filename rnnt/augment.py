"""Random changes of a training batch, each utterance with its own draw: speed, pitch, gain, noise, SpecAugment."""

import math

import torch

from rnnt.config import AugmentConfig

_GAIN_FRAMES = 40  # between two draws of the gain: about a short word


class Augmentation:
    """What was drawn for one batch. All draws come from the generator alone, so that a seed repeats them.

    tempo: (B,) how much faster the utterance is played; warp: (B,) factor on its frequencies. Speed perturbation (Ko et
    al. 2015) moves both together; `pitch` moves the warp alone, which is vocal tract length perturbation (Jaitly and
    Hinton 2013).
    """

    def __init__(self, config: AugmentConfig, batch: int, generator: torch.Generator):
        self.config = config
        self._generator = generator
        self._device = generator.device
        self.tempo = self._uniform(batch, config.speed_min, config.speed_max)
        self.warp = self.tempo * self._uniform(batch, config.pitch_min, config.pitch_max)

    def _uniform(self, shape, low: float, high: float) -> torch.Tensor:
        return torch.rand(shape, generator=self._generator, device=self._device) * (high - low) + low

    def vary_gain(self, mel_BSF: torch.Tensor) -> torch.Tensor:
        """Scale the mel power by a gain and a tilt that go in straight lines, in dB, from one draw to the next.

        Some speakers keep their level and some do not, which features relative to an utterance's peak or mean do not
        even out. The tilt is `tilt` dB at most on each of two cosines over the bins, of half a period and a whole one:
        microphones, rooms and vocal effort differ so.
        """
        config = self.config
        if not (config.gain or config.tilt):
            return mel_BSF
        batch, frames, mels = mel_BSF.shape
        limits, bins = ([config.gain, config.tilt, config.tilt], mels) if config.tilt else ([config.gain], 1)
        draws_BKL = torch.stack([self._uniform((batch, frames // _GAIN_FRAMES + 3), -x, x) for x in limits], 2)
        place_BS = torch.arange(frames, device=self._device) / _GAIN_FRAMES + self._uniform((batch, 1), 0, 1)
        place_BS1 = place_BS[:, :, None]
        before_BSL = place_BS1.long().expand(-1, -1, len(limits))
        weights_BSL = torch.lerp(
            draws_BKL.gather(1, before_BSL), draws_BKL.gather(1, before_BSL + 1), place_BS1 - before_BSL
        )
        angle_F = (torch.arange(bins, device=self._device) + 0.5) * math.pi / bins
        shapes_LF = torch.stack([torch.cos(k * angle_F) for k in range(len(limits))])
        return mel_BSF * 10 ** (weights_BSL @ shapes_LF / 10)

    def add_noise(self, mel_BSF: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Add the mel power of stationary noise with a random smooth spectrum, at a random signal-to-noise ratio.

        Powers of independent signals add, so the waveform is not needed. Noise power varies from frame to frame as an
        exponential variable, as that of Gaussian noise in a Fourier bin does.
        """
        config = self.config
        if not config.noise_probability:
            return mel_BSF
        batch, frames, mels = mel_BSF.shape
        snr = self._uniform((batch, 1, 1), config.noise_snr_min, config.noise_snr_max)
        on = self._uniform((batch, 1, 1), 0, 1) < config.noise_probability
        slopes = torch.randn(batch, 3, generator=self._generator, device=self._device)
        place = torch.arange(mels, device=self._device) * math.pi / mels
        ripple = torch.stack([torch.cos(k * place) for k in (1, 2, 3)])
        shape = torch.exp(slopes @ ripple)[:, None, :]
        shape = shape / shape.mean(2, keepdim=True)
        valid = torch.arange(frames, device=self._device)[None, :, None] < num_frames[:, None, None]
        level = mel_BSF.masked_fill(~valid, 0.0).mean(2, keepdim=True).sum(1, keepdim=True) / num_frames[:, None, None]
        variate = -torch.log1p(-self._uniform(mel_BSF.shape, 0, 1))
        return mel_BSF + on * level * 10 ** (-snr / 10) * shape * variate

    def mask(self, x_BSF: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """SpecAugment (Park et al. 2019) without time warping: bands of bins and of frames set to zero, the mean."""
        config = self.config
        batch, frames, mels = x_BSF.shape
        if config.frequency_masks:
            width = torch.full((batch,), config.frequency_width, device=self._device)
            total = torch.full((batch,), mels, device=self._device)
            x_BSF = x_BSF.masked_fill(self._bands(config.frequency_masks, width, total, mels)[:, None, :], 0.0)
        if config.time_masks:
            width = torch.floor(num_frames * config.time_width)
            x_BSF = x_BSF.masked_fill(self._bands(config.time_masks, width, num_frames, frames)[:, :, None], 0.0)
        return x_BSF

    def _bands(self, masks: int, width_B: torch.Tensor, total_B: torch.Tensor, size: int) -> torch.Tensor:
        """(B, size) true inside any of `masks` bands of 0 to width_B places, each wholly within the first total_B."""
        batch = len(width_B)
        width = torch.floor(self._uniform((batch, masks), 0, 1) * (width_B[:, None] + 1))
        width = torch.minimum(width, total_B[:, None].to(width))
        start = torch.floor(self._uniform((batch, masks), 0, 1) * (total_B[:, None] - width + 1))
        place = torch.arange(size, device=self._device)
        return ((place >= start[..., None]) & (place < (start + width)[..., None])).any(1)
