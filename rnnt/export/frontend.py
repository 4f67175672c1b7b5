"""The features as a graph: waveform -> stacked frames, in operations that every ONNX runtime has.

The Fourier transform is a convolution with the window's sines and cosines: runtimes differ in which transforms they
have. Everything after the power spectra is the code of `rnnt.features`, so all its settings hold.

B utterances or streams, N samples, S frames, F values of a frame, W samples of the window, K Fourier bins.
"""

import torch
from torch import nn
from torch.nn import functional as F

from rnnt.features import Features
from rnnt.frames import valid_places
from rnnt.loudness import peak_power
from rnnt.mel import guarded_log
from rnnt.mfcc import cepstra, frame_energy, with_deltas
from rnnt.running_statistics import RunningSums, normalize_running, start_sums

_TRIM_WINDOW = 2048  # samples, as in `speech_bounds`
_ENDLESS = 1 << 40  # samples of a stream whose end is not known yet


class FrontEnd(nn.Module):
    """Computes what `Features` does, from float samples in [-1, 1]."""

    def __init__(self, features: Features):
        super().__init__()
        config = features.config
        self.features, self.config = features, config
        window = features.window().double()
        first = (config.n_fft - config.window) // 2
        self.left = config.n_fft // 2 - first  # samples of a window before its frame's middle
        self.late = features.late
        self.extra = max(config.window - self.left - config.hop + self.late, 0)  # samples after the last hop it reaches
        place_W = torch.arange(first, first + config.window, dtype=torch.float64)
        angle_KW = 2 * torch.pi * torch.arange(config.n_fft // 2 + 1)[:, None] * place_W / config.n_fft
        waves = torch.cat((angle_KW.cos(), angle_KW.sin())) * window[first : first + config.window]
        self.register_buffer("waves", waves[:, None].float())
        self.register_buffer("filters", features.filters())

    def forward(self, audio_BN: torch.Tensor, num_samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the stacked frames (B, S, stack F) of whole utterances and their lengths (B,)."""
        if self.config.trim_silence:
            audio_BN, num_samples = trim(audio_BN, num_samples)
        hop, size = self.config.hop, audio_BN.shape[1]
        begun = self.late or (0 if self.config.whole_hops else hop - 1)
        frames = torch.div(torch.ones_like(num_samples[:1]) * size + begun, hop, rounding_mode="floor").clamp(min=1)
        emphasized_BN = self._emphasize(F.pad(audio_BN, (1, 0)), torch.zeros_like(num_samples)[:, None])
        place_P = torch.arange((frames.max() - 1) * hop + self.config.window, device=audio_BN.device)
        place_1P = place_P[None] - self.left + self.late
        padded_BP = self._mirror(emphasized_BN, place_1P, num_samples[:, None], 0)
        num_frames = self.features.num_frames(num_samples)
        x_BSF = self._values(padded_BP, num_frames)
        if self.config.normalization == "running":
            x_BSF, _ = self._run(x_BSF, num_frames, start_sums(1, self.features.mean))
        else:
            x_BSF = self.features.normalize(x_BSF, num_frames)
        return self.features.stack(x_BSF, num_frames)

    def _emphasize(self, samples_BN: torch.Tensor, first_B1: torch.Tensor) -> torch.Tensor:
        """Add the dither and pre-emphasis. first_B1: the place in its stream of the second sample that is given."""
        place_BN = (first_B1 - 1 + torch.arange(samples_BN.shape[1], device=samples_BN.device)).clamp(min=-1)
        if self.config.dither:
            noise = self.features.dither
            samples_BN = samples_BN + self.config.dither * noise[(place_BN + len(noise)) % len(noise)]
        if self.config.padding == "kaldi":  # the padding comes first
            return samples_BN[:, 1:]
        before_BN = (samples_BN * (place_BN >= 0))[:, :-1]
        return samples_BN[:, 1:] - self.config.preemphasis * before_BN

    def _mirror(
        self,
        samples_BN: torch.Tensor,
        place_BP: torch.Tensor,
        num_samples_B1: torch.Tensor,
        first_B1: torch.Tensor | int,
    ) -> torch.Tensor:
        """Return the samples (B, P) at these places of padded streams, after pre-emphasis.

        first_B1: the place of the first of samples_BN.
        """
        last_B1, twice = num_samples_B1 - 1, int(self.config.padding == "kaldi")
        inside_BP = (place_BP >= 0) & (place_BP <= last_B1)
        place_BP = torch.where(place_BP < 0, torch.minimum(-place_BP - twice, last_B1), place_BP)
        place_BP = torch.where(place_BP > last_B1, (2 * last_B1 + twice - place_BP).clamp(min=0), place_BP)
        place_BP = (place_BP - first_B1).clamp(min=0)
        place_BP = torch.minimum(place_BP, torch.ones_like(place_BP) * (samples_BN.shape[1] - 1))
        found_BP = samples_BN.gather(1, place_BP)
        if self.config.padding == "zeros":
            return found_BP * inside_BP
        return self.features.emphasize_padded(found_BP)  # the window is 0 at the first, which lacks a sample before it

    def _values(self, padded_BP: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Return the frames (B, S, F) of padded streams, not normalized."""
        config = self.config
        waves_BKS = F.conv1d(padded_BP[:, None], self.waves, stride=config.hop).square()
        bins = config.n_fft // 2 + 1
        power_BSK = (waves_BKS[:, :bins] + waves_BKS[:, bins:]).transpose(1, 2)
        if config.kind == "mel":
            mel_BSF = power_BSK @ self.filters
        else:
            mel_BSF = (power_BSK.sqrt() @ self.filters).square()
        if config.peak_floor:
            mel_BSF = mel_BSF + peak_power(mel_BSF, num_frames) * 10 ** (-config.peak_floor / 10)
        log_BSF = guarded_log(mel_BSF, config.log_floor, config.log_guard)
        if config.kind == "mel":
            return log_BSF
        energy_BS1 = torch.log(frame_energy(power_BSK, config.n_fft) + config.log_floor)
        return with_deltas(torch.cat([cepstra(log_BSF / 2, config.cepstra), energy_BS1], 2), num_frames)

    def _run(
        self, x_BSF: torch.Tensor, num_frames: torch.Tensor, sums: RunningSums
    ) -> tuple[torch.Tensor, RunningSums]:
        prior = self.config.prior_seconds * self.config.sample_rate / self.config.hop
        x_BSF, sums = normalize_running(x_BSF, num_frames, sums, self.features.mean, self.features.std, prior)
        return x_BSF.masked_fill(~valid_places(num_frames, x_BSF.shape[1])[:, :, None], 0.0), sums


class ChunkFrontEnd(FrontEnd):
    """Computes the same for streams, chunk by chunk."""

    def forward(
        self,
        audio_BN: torch.Tensor,
        num_samples: torch.Tensor,
        past_BP: torch.Tensor,
        received: torch.Tensor,
        sums: RunningSums | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, RunningSums | None]:
        """Return the stacked frames (B, S, stack F) of one more chunk of each stream, and how many are valid (B,).

        N is a multiple of the samples of a stacked frame, and the same in each call. num_samples: (B,), all samples of
        a stream that ends within this chunk or has ended before; a negative number if the end is not known yet.
        past_BP: the samples before the chunk, P = left + extra + 1. received: (B,), samples in earlier chunks. The
        first `extra` samples of a stream are not in a chunk, but in the past of the first one. Returns also the new
        past and the new sums of `normalization=running`.
        """
        hop, size = self.config.hop, audio_BN.shape[1]
        samples_BN = torch.cat((past_BP, audio_BN), 1)
        first_B1 = received[:, None] - self.left
        emphasized_BN = self._emphasize(samples_BN, first_B1)
        place_BP = first_B1 + self.late + torch.arange(size - hop + self.config.window, device=audio_BN.device)
        total = torch.where(num_samples < 0, torch.full_like(num_samples, _ENDLESS), num_samples)
        padded_BP = self._mirror(emphasized_BN, place_BP, total[:, None], first_B1)
        most = torch.ones_like(received) * torch.div(size, hop, rounding_mode="floor")
        owed = self.features.num_frames(total) - torch.div(received, hop, rounding_mode="floor")
        num_frames = torch.minimum(owed.clamp(min=0), most)
        x_BSF = self._values(padded_BP, num_frames)
        if self.config.normalization == "running":
            x_BSF, sums = self._run(x_BSF, num_frames, sums)
        else:
            x_BSF = self.features.normalize(x_BSF, num_frames)
        x_BTF, lengths = self.features.stack(x_BSF, num_frames)
        return x_BTF, lengths, samples_BN[:, -past_BP.shape[1] :], sums


def trim(audio_BN: torch.Tensor, num_samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the samples between the `speech_bounds` of each utterance, at the beginning of its row, and their number.

    audio_BN: of 16 bits, in [-1, 1]. The energies are sums of whole numbers, so they are exact in float64.
    """
    valid_BN = valid_places(num_samples, audio_BN.shape[1])
    energy_BN = (audio_BN * 32768).round().masked_fill(~valid_BN, 0.0).double().square()
    sums_BN = F.pad(energy_BN, (1, _TRIM_WINDOW)).cumsum(1)
    windows_BN = sums_BN[:, _TRIM_WINDOW:] - sums_BN[:, :-_TRIM_WINDOW]  # the energy from each sample on
    place_1N = torch.arange(windows_BN.shape[1], device=audio_BN.device)[None]
    inside_BN = place_1N <= num_samples[:, None] - _TRIM_WINDOW
    windows_BN = windows_BN.masked_fill(~inside_BN, 0.0)
    loud_BN = windows_BN > windows_BN.amax(1, keepdim=True) * 1e-6
    whole = (num_samples <= _TRIM_WINDOW) | ~loud_BN.any(1)
    start = torch.where(loud_BN, place_1N, torch.full_like(place_1N, _ENDLESS)).amin(1)
    end = torch.where(loud_BN, place_1N, torch.zeros_like(place_1N)).amax(1) + _TRIM_WINDOW
    start = torch.where(whole, torch.zeros_like(start), start)
    end = torch.where(whole, num_samples, end)
    place_BN = start[:, None] + torch.arange(audio_BN.shape[1], device=audio_BN.device)
    return audio_BN.gather(1, torch.minimum(place_BN, torch.ones_like(place_BN) * (audio_BN.shape[1] - 1))), end - start
