"""Waveform -> log-mel frames -> stacked frames: batched, on whatever device the waveform is on.

Speed perturbation costs nothing extra here. A recording played f times as fast, then cut into frames of w samples
every h samples, is the recording as it is, cut into frames of f w samples every f h samples, with its frequency axis
stretched by f. So the tempo scales the window and the hop, and the warp scales the frequencies at which the mel filters
are evaluated; the waveform is never resampled, every utterance has factors of its own, and tempo and pitch are
independent.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from rnnt.augment import Augmentation
from rnnt.config import FeaturesConfig
from rnnt.device import float32_products
from rnnt.frames import stack_frames, valid_places
from rnnt.mel import mel_corners, mel_filters

_DITHER_SAMPLES = 16000


class Features(nn.Module):
    """Log-mel features of DESIGN section 6; the settings are those of `FeaturesConfig`."""

    def __init__(self, config: FeaturesConfig):
        super().__init__()
        self.config = config
        corners = mel_corners(config.mels, config.low_hz, config.high_hz)
        bins = torch.arange(config.n_fft // 2 + 1, dtype=torch.float64) * config.sample_rate / config.n_fft
        noise = torch.randn(_DITHER_SAMPLES, generator=torch.Generator().manual_seed(0))
        self.register_buffer("corners", corners.float(), persistent=False)
        self.register_buffer("bins_hz", bins.float(), persistent=False)
        self.register_buffer("dither", noise, persistent=False)
        if config.normalization == "global":  # set by the trainer, saved with the model
            self.register_buffer("mean", torch.zeros(config.mels))
            self.register_buffer("std", torch.ones(config.mels))

    @property
    def width(self) -> int:
        """F': values of one stacked frame."""
        return self.config.mels * self.config.stack

    @property
    def frame_seconds(self) -> float:
        """Seconds from one stacked frame to the next."""
        return self.config.hop * self.config.stack / self.config.sample_rate

    def forward(
        self, audio_BN: torch.Tensor, num_samples: torch.Tensor, augmentation: Augmentation | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of a padded batch.

        audio_BN: float in [-1, 1] or int16; num_samples: (B,); what lies behind is not read.
        Returns (B, S, F') float32, zero behind the valid frames, their number (B,). S = ceil(ceil(N / hop) / stack).
        """
        num_samples = num_samples.to(audio_BN.device)
        with torch.autocast(audio_BN.device.type, enabled=False):
            mel_BSF, num_frames = self.log_mel(audio_BN, num_samples, augmentation)
            valid_BS1 = valid_places(num_frames, mel_BSF.shape[1])[:, :, None]
            x_BSF = self._normalize(mel_BSF, num_frames, valid_BS1)
            if augmentation is not None:
                x_BSF = augmentation.mask(x_BSF, num_frames)
            return self._stack(x_BSF.masked_fill(~valid_BS1, 0.0), num_frames)

    def log_mel(
        self, audio_BN: torch.Tensor, num_samples: torch.Tensor, augmentation: Augmentation | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel powers (B, S, F), one a hop and not normalized, and the valid frames (B,)."""
        config = self.config
        audio_BN = self._emphasize(_to_float(audio_BN), num_samples)
        tempo_B = warp_B = None
        if augmentation is not None:
            tempo_B, warp_B = augmentation.tempo, augmentation.warp
            num_samples_out = torch.ceil(num_samples / tempo_B).long()
        else:
            num_samples_out = num_samples
        num_frames = torch.div(num_samples_out + config.hop - 1, config.hop, rounding_mode="floor").clamp(min=1)
        power_BSK = self._power(audio_BN, num_samples, int(num_frames.max()), tempo_B)
        with float32_products("float32", audio_BN.device):  # not even in a run in TF32 are features rounded
            mel_BSF = power_BSK @ self._filters(warp_B)
        if augmentation is not None:
            mel_BSF = mel_BSF * (warp_B / tempo_B**2)[:, None, None]
            mel_BSF = augmentation.add_noise(augmentation.vary_gain(mel_BSF), num_frames)
        if config.peak_floor:  # what is softer looks alike, be the background hiss or digital silence
            mel_BSF = mel_BSF + _peak_power(mel_BSF, num_frames) * 10 ** (-config.peak_floor / 10)
        return torch.log(mel_BSF + config.log_floor), num_frames

    def _emphasize(self, audio_BN: torch.Tensor, num_samples: torch.Tensor) -> torch.Tensor:
        """Dither, pre-emphasis, zero behind the end. The dither is the same for every utterance: nothing is random."""
        config = self.config
        n = audio_BN.shape[1]
        if config.dither:
            repeats = -(-n // _DITHER_SAMPLES)
            audio_BN = audio_BN + config.dither * self.dither.repeat(repeats)[:n]
        if config.preemphasis:
            audio_BN = torch.cat([audio_BN[:, :1], audio_BN[:, 1:] - config.preemphasis * audio_BN[:, :-1]], dim=1)
        return audio_BN.masked_fill(~valid_places(num_samples, n), 0.0)

    def _power(self, audio_BN, num_samples, frames: int, tempo_B) -> torch.Tensor:
        """Power spectra (B, S, K) of centred frames, each utterance reflected at both of its own ends."""
        config = self.config
        half = config.n_fft // 2
        device = audio_BN.device
        padded = F.pad(audio_BN, (half, half))
        offsets = torch.arange(half, device=device)
        last_B1 = num_samples[:, None] - 1
        ahead = (half - offsets)[None].clamp(max=last_B1)  # a short utterance repeats its last sample
        behind = (last_B1 - 1 - offsets).clamp(min=0)
        padded[:, :half] = audio_BN.gather(1, ahead)
        padded.scatter_(1, half + num_samples[:, None] + offsets, audio_BN.gather(1, behind))

        middle = (config.window - 1) / 2  # of the window, which stands where torch.stft puts it
        position = torch.arange(config.n_fft, device=device) - (config.n_fft - config.window) // 2 - middle
        if tempo_B is None:
            starts_BS = (torch.arange(frames, device=device) * config.hop)[None].expand(len(audio_BN), -1)
            place = (position + middle)[None]
        else:
            starts_BS = torch.round(torch.arange(frames, device=device) * config.hop * tempo_B[:, None]).long()
            place = position / tempo_B[:, None] + middle
        window = 0.5 - 0.5 * torch.cos(2 * math.pi * place / (config.window - 1))
        window = torch.where((place >= 0) & (place <= config.window - 1), window, torch.zeros(()).to(window))
        starts_BS = starts_BS.clamp(max=padded.shape[1] - config.n_fft)
        rows_B1 = torch.arange(len(audio_BN), device=device)[:, None]
        frames_BSK = padded.unfold(1, config.n_fft, 1)[rows_B1, starts_BS] * window[:, None, :]
        spectrum = torch.view_as_real(torch.fft.rfft(frames_BSK))
        return spectrum.square_().sum(-1)

    def _filters(self, warp_B: torch.Tensor | None) -> torch.Tensor:
        """Slaney-normalized triangles (K, F), or (B, K, F) with every frequency scaled by the utterance's warp."""
        hz = self.bins_hz[:, None]
        if warp_B is not None:
            hz = hz * warp_B[:, None, None]
        return mel_filters(hz, self.corners)

    def _normalize(self, x_BSF, num_frames, valid_BS1) -> torch.Tensor:
        if self.config.normalization == "none":
            return x_BSF
        if self.config.normalization == "global":
            return (x_BSF - self.mean) / (self.std + 1e-5)
        count = num_frames[:, None, None]
        mean = x_BSF.masked_fill(~valid_BS1, 0.0).sum(1, keepdim=True) / count
        centred = x_BSF - mean
        variance = centred.masked_fill(~valid_BS1, 0.0).square().sum(1, keepdim=True) / (count - 1).clamp(min=1)
        if self.config.normalization == "shape":  # a bin that varies little stays so, and its noise stays small
            variance = variance.mean(2, keepdim=True)
        return centred / (variance.sqrt() + 1e-5)

    def _stack(self, x_BSF, num_frames) -> tuple[torch.Tensor, torch.Tensor]:
        return stack_frames(x_BSF, num_frames, self.config.stack)


def _peak_power(mel_BSF: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Power (B, 1, 1) of the mean bin of each utterance's loudest frame."""
    power_BS = mel_BSF.mean(2).masked_fill(~valid_places(lengths, mel_BSF.shape[1]), 0.0)
    return power_BS.amax(1)[:, None, None]


def _to_float(audio_BN: torch.Tensor) -> torch.Tensor:
    return audio_BN.float() / 32768 if audio_BN.dtype == torch.int16 else audio_BN.float()
