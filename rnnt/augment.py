"""Random changes of a training batch: speed, tempo, pitch, gain, noise, SpecAugment.

Each utterance has its own draws. Shapes:

    B  utterances of a batch
    S  frames, one per hop
    W  samples in a frame
    K  Fourier bins
    F  mel bins
    L  curves over the bins that add up to the gain: a constant and the tilt's cosines
"""

import copy
import math

import torch

from rnnt.config import AugmentConfig
from rnnt.frames import valid_places

_GAIN_FRAMES = 40  # from one draw of the gain to the next: about a short word


class NoAugmentation:
    """Stands in for an `Augmentation` that changes nothing. It has the methods that `Features` calls."""

    def num_samples(self, num_samples: torch.Tensor) -> torch.Tensor:
        """Return the number of samples (B,) as it is."""
        return num_samples

    def starts(self, starts_S: torch.Tensor) -> torch.Tensor:
        """Return the first samples of the frames, (1, S): the same for all utterances."""
        return starts_S[None]

    def window_offsets(self, offsets_W: torch.Tensor) -> torch.Tensor:
        """Return the offsets from the middle of the window as they are."""
        return offsets_W

    def frequencies(self, hz_K1: torch.Tensor) -> torch.Tensor:
        """Return the frequencies of the Fourier bins as they are."""
        return hz_K1

    def change_power(self, mel_BSF: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Return the mel power as it is."""
        return mel_BSF

    def mask(self, x_BSF: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Return the features as they are."""
        return x_BSF


NO_AUGMENTATION = NoAugmentation()


class Augmentation:
    """The random changes of one batch. All draws come from the generator alone, so that a seed repeats them.

    tempo: (B,), on the CPU, how much faster each utterance is spoken. speed: (B,), on the CPU, the part of the tempo
    that comes from playing it faster. warp: (B,), the factor on its frequencies. Speed perturbation (Ko et al. 2015)
    changes tempo and warp together. `pitch` changes the warp alone, which is vocal tract length perturbation (Jaitly
    and Hinton 2013), and `tempo` the tempo alone: frames are farther apart, and each is what it would have been.
    """

    def __init__(self, config: AugmentConfig, batch: int, generator: torch.Generator):
        self.config = config
        self._generator = generator
        self._device = generator.device
        self.speed, self.tempo = self._draw_tempo(batch)
        self.warp = self._moved(self.speed) * self._uniform(batch, config.pitch_min, config.pitch_max)

    def twice(self) -> "Augmentation":
        """Return the changes of `Batch.twice`: both views of an utterance have its speed and its frequencies.

        Their frames then belong to the same sounds. The other changes are drawn for each view.
        """
        both = copy.copy(self)
        both.speed, both.tempo, both.warp = self.speed.repeat(2), self.tempo.repeat(2), self.warp.repeat(2)
        return both

    def _uniform(self, shape, low: float, high: float) -> torch.Tensor:
        return torch.rand(shape, generator=self._generator, device=self._device) * (high - low) + low

    def _draw_tempo(self, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw speed and tempo on the CPU: the lengths follow from them, and to ask a GPU would be to wait for it."""
        generator, config = self._generator, self.config
        if self._device.type != "cpu":
            generator = torch.Generator().manual_seed(self._generator.initial_seed())
        speed = torch.rand(batch, generator=generator) * (config.speed_max - config.speed_min) + config.speed_min
        if config.tempo_min == config.tempo_max == 1:
            return speed, speed
        return speed, speed * (
            torch.rand(batch, generator=generator) * (config.tempo_max - config.tempo_min) + config.tempo_min
        )

    def _moved(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self._device, non_blocking=True)

    def num_samples(self, num_samples: torch.Tensor) -> torch.Tensor:
        """Count the samples (B,) that utterances of this many samples (B,) have when played at their tempo.

        The result is on the CPU. If the counts are there too, nothing waits for a GPU.
        """
        return torch.ceil(num_samples.cpu() / self.tempo).long()

    def starts(self, starts_S: torch.Tensor) -> torch.Tensor:
        """Return the samples (B, S) of the recording that are played when its frames start."""
        return torch.round(starts_S * self._moved(self.tempo)[:, None]).long()

    def window_offsets(self, offsets_W: torch.Tensor) -> torch.Tensor:
        """Scale offsets from the middle of the window, in samples of the recording, to samples as played: (B, W)."""
        return offsets_W / self._moved(self.speed)[:, None]

    def frequencies(self, hz_K1: torch.Tensor) -> torch.Tensor:
        """Scale the frequencies of the Fourier bins of each utterance: (B, K, 1)."""
        return hz_K1 * self.warp[:, None, None]

    def change_power(self, mel_BSF: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Change the level as the speed does, then the gain, then add noise."""
        mel_BSF = mel_BSF * (self.warp / self._moved(self.speed) ** 2)[:, None, None]
        return self.add_noise(self.vary_gain(mel_BSF), num_frames)

    def vary_gain(self, mel_BSF: torch.Tensor) -> torch.Tensor:
        """Scale the mel power by a gain and a tilt that change along straight lines, in dB, from one draw to the next.

        The gain varies because some speakers keep their level and some do not; features relative to an utterance's peak
        or mean do not even that out. The tilt is up to `tilt` dB of each of two cosines over the bins, of half a period
        and of a whole one. Microphones, rooms and vocal effort differ in this way.
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

        Powers of independent signals add up, so the samples are not needed. The noise power of a frame and bin is drawn
        from an exponential distribution, which is that of Gaussian noise in a Fourier bin.
        """
        config = self.config
        if not config.noise_probability or config.noise:  # noise with samples is part of the `Scene`
            return mel_BSF
        batch, frames, mels = mel_BSF.shape
        snr = self._uniform((batch, 1, 1), config.noise_snr_min, config.noise_snr_max)
        on = self._uniform((batch, 1, 1), 0, 1) < config.noise_probability
        slopes = torch.randn(batch, 3, generator=self._generator, device=self._device)
        place = torch.arange(mels, device=self._device) * math.pi / mels
        ripple = torch.stack([torch.cos(k * place) for k in (1, 2, 3)])
        shape = torch.exp(slopes @ ripple)[:, None, :]
        shape = shape / shape.mean(2, keepdim=True)
        padding_BS1 = ~valid_places(num_frames, frames)[:, :, None]
        total = mel_BSF.masked_fill(padding_BS1, 0.0).mean(2, keepdim=True).sum(1, keepdim=True)
        level = total / num_frames[:, None, None]
        variate = -torch.log1p(-self._uniform(mel_BSF.shape, 0, 1))
        return mel_BSF + on * level * 10 ** (-snr / 10) * shape * variate

    def mask(self, x_BSF: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Set bands of bins and bands of frames to zero, the mean of normalized features.

        This is SpecAugment (Park et al. 2019) without time warping. Bands of frames lie within the valid frames.
        """
        config = self.config
        batch, frames, mels = x_BSF.shape
        if config.frequency_masks:
            width = torch.full((batch,), config.frequency_width, device=self._device)
            total = torch.full((batch,), mels, device=self._device)
            x_BSF = x_BSF.masked_fill(self._bands(config.frequency_masks, width, total, mels)[:, None, :], 0.0)
        if config.time_masks:
            width = torch.floor(num_frames * config.time_width)
            width = width.clamp(max=config.time_frames or frames)
            x_BSF = x_BSF.masked_fill(self._bands(config.time_masks, width, num_frames, frames)[:, :, None], 0.0)
        return x_BSF

    def _bands(self, masks: int, width_B: torch.Tensor, total_B: torch.Tensor, size: int) -> torch.Tensor:
        """Draw `masks` bands of 0 to width_B places within the first total_B: (B, size), true inside any band."""
        batch = len(width_B)
        width = torch.floor(self._uniform((batch, masks), 0, 1) * (width_B[:, None] + 1))
        width = torch.minimum(width, total_B[:, None].to(width))
        start = torch.floor(self._uniform((batch, masks), 0, 1) * (total_B[:, None] - width + 1))
        place = torch.arange(size, device=self._device)
        return ((place >= start[..., None]) & (place < (start + width)[..., None])).any(1)
