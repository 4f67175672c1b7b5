"""Features: samples -> frames of log-mel powers or cepstra, batched, on the device that the samples are on.

The stages are methods of `Features`, in this order: emphasize, pad, power, mel_power, log, normalize, stack. They keep
no state. So they also work on the chunks of a stream (see `rnnt.feature_stream`), which carries the samples and frames
that are left over. Only `pad` needs whole utterances; a stream reflects its two ends itself. Cepstra are computed from
the output of `log` (see `rnnt.mfcc`).

A change of speed needs no resampling. If a recording is played f times as fast, a window of w samples every h samples
covers a window of f w samples every f h samples of the original, and each frequency is multiplied by f. So
`Augmentation` gives every utterance its own window, hop and frequencies. Shapes:

    B  utterances of a batch, or streams
    N  samples
    S  frames, one per hop
    W  samples in a frame (`n_fft`)
    K  Fourier bins (W // 2 + 1)
    F  mel bins
    D  values of a frame: F, or those of `rnnt.mfcc`
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from rnnt.augment import NO_AUGMENTATION, Augmentation, NoAugmentation
from rnnt.config import FeaturesConfig
from rnnt.device import float32_products
from rnnt.frames import stack_frames, valid_places
from rnnt.loudness import normalize_loud, peak_power
from rnnt.mel import guarded_log, mel_corners, mel_filters
from rnnt.mfcc import cepstra, frame_energy, htk_corners, htk_filters, with_deltas
from rnnt.running_statistics import RunningSums, normalize_running, start_sums

_DITHER_SAMPLES = 16000  # then the noise repeats


class Features(nn.Module):
    """Computes the features of DESIGN section 6, with the settings of `FeaturesConfig`."""

    def __init__(self, config: FeaturesConfig):
        super().__init__()
        self.config = config
        self.late = config.hop // 2 if config.padding == "kaldi" else 0  # samples of a hop before a window's middle
        corners = (mel_corners if config.kind == "mel" else htk_corners)(config.mels, config.low_hz, config.high_hz)
        bins = torch.arange(config.n_fft // 2 + 1, dtype=torch.float64) * config.sample_rate / config.n_fft
        noise = torch.randn(_DITHER_SAMPLES, generator=torch.Generator().manual_seed(0))
        self.register_buffer("corners", corners.float(), persistent=False)
        self.register_buffer("bins_hz", bins.float(), persistent=False)
        self.register_buffer("dither", noise, persistent=False)
        if config.fitted:  # set by the trainer, saved with the model
            self.register_buffer("mean", torch.zeros(config.values))
            self.register_buffer("std", torch.ones(config.values))

    @property
    def width(self) -> int:
        """Number of values in a stacked frame."""
        return self.config.values * self.config.stack

    @property
    def joined(self) -> int:
        """Number of neighbouring frames that are joined into one."""
        return self.config.stack

    @property
    def frame_seconds(self) -> float:
        """Seconds from one stacked frame to the next."""
        return self.config.hop * self.config.stack / self.config.sample_rate

    def describe(self, stride: int) -> str:
        """Describe the input in one line. stride: stacked frames of an encoder frame."""
        config, milliseconds = self.config, 1000 * self.frame_seconds * stride
        values = f"{config.mels} mel bins"
        if config.kind == "mfcc":
            values = f"{config.cepstra} cepstra of {values}, log energy, and their derivatives"
        return f"{config.sample_rate} Hz, {values}, one encoder frame every {milliseconds:.0f} ms"

    @property
    def streams(self) -> bool:
        """Whether the features of a stream can be computed in chunks, before its end is known."""
        return not self.why_not_streaming

    @property
    def why_not_streaming(self) -> str:
        """One line that names each setting that needs later frames; empty if the features stream."""
        config = self.config
        reasons = []
        if config.kind == "mfcc":
            reasons.append("features.kind=mfcc needs two more frames for the derivatives of each")
        if config.normalization not in ("global", "running", "none"):
            reasons.append(f"features.normalization={config.normalization} needs the mean of the whole utterance")
        if config.peak_floor:
            reasons.append(f"features.peak_floor={config.peak_floor:g} needs the loudest frame of the whole utterance")
        if config.trim_silence:
            reasons.append("features.trim_silence=true needs the loudest place of the whole utterance")
        return " and ".join(reasons)

    def forward(
        self, audio_BN: torch.Tensor, num_samples: torch.Tensor, augmentation: Augmentation | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the stacked frames (B, ceil(S / stack), D stack) of a padded batch, and their lengths (B,).

        audio_BN: int16, or float in [-1, 1]. num_samples: (B,), on the device of the audio or on the CPU; samples after
        these are not read. S is ceil(N / hop). The frames are float32, and zero after the lengths.
        """
        changes = NO_AUGMENTATION if augmentation is None else augmentation
        with torch.autocast(audio_BN.device.type, enabled=False):
            x_BSD, num_frames = self.values(audio_BN, num_samples, changes)
            x_BSD = changes.mask(self.normalize(x_BSD, num_frames), num_frames)
            return self.stack(x_BSD, num_frames)

    def values(
        self,
        audio_BN: torch.Tensor,
        num_samples: torch.Tensor,
        augmentation: Augmentation | NoAugmentation = NO_AUGMENTATION,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the frames (B, S, D), neither normalized nor stacked, and the number of valid frames (B,)."""
        power_BSK, num_frames = self._spectra(audio_BN, num_samples, augmentation)
        mel_BSF = self.mel_power(power_BSK, augmentation)
        changed_BSF = augmentation.change_power(mel_BSF, num_frames)
        log_BSF = self.log(changed_BSF, num_frames)
        if self.config.kind == "mel":
            return log_BSF, num_frames
        floor = self.config.log_floor
        # A change of the filters' outputs changes the energy as it does their sum.
        gain_BS1 = (changed_BSF.sum(2, keepdim=True) + floor) / (mel_BSF.sum(2, keepdim=True) + floor)
        energy_BS1 = torch.log(frame_energy(power_BSK, self.config.n_fft) * gain_BS1 + floor)
        x_BSD = torch.cat([cepstra(log_BSF / 2, self.config.cepstra), energy_BS1], 2)  # half: of magnitudes
        return with_deltas(x_BSD, num_frames), num_frames

    def log_mel(
        self,
        audio_BN: torch.Tensor,
        num_samples: torch.Tensor,
        augmentation: Augmentation | NoAugmentation = NO_AUGMENTATION,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the log-mel power (B, S, F), neither normalized nor stacked, and the number of valid frames (B,)."""
        power_BSK, num_frames = self._spectra(audio_BN, num_samples, augmentation)
        mel_BSF = augmentation.change_power(self.mel_power(power_BSK, augmentation), num_frames)
        return self.log(mel_BSF, num_frames), num_frames

    def _spectra(
        self, audio_BN: torch.Tensor, num_samples: torch.Tensor, augmentation: Augmentation | NoAugmentation
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the power spectra (B, S, K) of all frames, and the number of valid frames (B,)."""
        device = audio_BN.device
        # Counted before `num_samples` moves: with lengths on the CPU, nothing waits for a GPU.
        num_frames = self.num_frames(augmentation.num_samples(num_samples))
        frames = int(num_frames.max())
        num_samples, num_frames = _move(num_samples, device), _move(num_frames, device)

        before_B1 = audio_BN.new_zeros(len(audio_BN), 1)
        samples_BN = self.emphasize(audio_BN, before_B1, torch.zeros(1, dtype=torch.int64, device=device))
        padded_BN = self.emphasize_padded(self.pad(samples_BN, num_samples))
        starts_BS = augmentation.starts(torch.arange(frames, device=device) * self.config.hop) + self.late
        starts_BS = starts_BS.clamp(max=padded_BN.shape[1] - self.config.n_fft)  # frames after an utterance's last
        return self.power(padded_BN, starts_BS, augmentation), num_frames

    def num_frames(self, num_samples: torch.Tensor) -> torch.Tensor:
        """Count the frames (B,) of utterances of this many samples (B,): one per hop, at least one.

        A last hop that has only begun counts as well, unless the setting `whole_hops` is true. With padding=kaldi, it
        counts if half of it is there.
        """
        hop = self.config.hop
        begun = self.late or (0 if self.config.whole_hops else hop - 1)
        return torch.div(num_samples + begun, hop, rounding_mode="floor").clamp(min=1)

    def emphasize(self, audio_BN: torch.Tensor, before_B1: torch.Tensor, position_B: torch.Tensor) -> torch.Tensor:
        """Add the dither to a chunk of each stream and, unless padding=kaldi, apply pre-emphasis: float32 (B, N).

        audio_BN: int16, or float in [-1, 1]. before_B1: the sample before the chunk, of the same dtype; ignored at
        position 0. position_B: number of samples of the stream before the chunk, int64; (1,) if it is the same for all
        streams. The dither is a fixed noise, indexed by the position: it does not depend on the batch or the chunks.
        """
        config = self.config
        samples_BN = _to_float(torch.cat([before_B1, audio_BN], dim=1))  # a copy, which may be changed in place
        if config.dither:
            place_BN = position_B[:, None] - 1 + torch.arange(samples_BN.shape[1], device=samples_BN.device)
            samples_BN += config.dither * self.dither[place_BN % _DITHER_SAMPLES]
        emphasized_BN = samples_BN[:, 1:]
        if config.preemphasis and config.padding != "kaldi":
            before_BN = samples_BN[:, :-1]
            before_BN[:, :1].masked_fill_(position_B[:, None] == 0, 0.0)
            emphasized_BN = emphasized_BN - config.preemphasis * before_BN
        return emphasized_BN

    def emphasize_padded(self, padded_BN: torch.Tensor) -> torch.Tensor:
        """Apply pre-emphasis to padded samples with padding=kaldi, where it comes after the padding."""
        if self.config.padding != "kaldi":
            return padded_BN
        return padded_BN - self.config.preemphasis * F.pad(padded_BN[:, :-1], (1, 0))

    def pad(self, samples_BN: torch.Tensor, num_samples: torch.Tensor) -> torch.Tensor:
        """Pad each utterance by half a Fourier window at both ends: (B, N + 2 (n_fft // 2)), zero after that.

        The padding is the reflected utterance or zeros, as the setting `padding` says.
        """
        half = self.config.n_fft // 2
        size = samples_BN.shape[1]
        padded_BN = F.pad(samples_BN, (half, half))
        padded_BN[:, half : half + size].masked_fill_(~valid_places(num_samples, size), 0.0)
        padded_BN[:, :half] = self.reflect_start(samples_BN, num_samples)
        place_BN = half + num_samples[:, None] + torch.arange(half, device=samples_BN.device)
        return padded_BN.scatter_(1, place_BN, self.reflect_end(samples_BN, num_samples))

    def reflect_start(self, samples_BN: torch.Tensor, num_samples: torch.Tensor) -> torch.Tensor:
        """Return the padding before an utterance, (B, n_fft // 2). It depends on the first n_fft // 2 + 1 samples.

        A shorter utterance repeats its last sample.
        """
        half = self.config.n_fft // 2
        if self.config.padding == "zeros":
            return samples_BN.new_zeros(len(samples_BN), half)
        place_B = torch.arange(half, 0, -1, device=samples_BN.device) - int(self.late > 0)
        return samples_BN.gather(1, place_B[None].clamp(max=num_samples[:, None] - 1))

    def reflect_end(self, samples_BN: torch.Tensor, num_samples: torch.Tensor) -> torch.Tensor:
        """Return the padding after an utterance, (B, n_fft // 2). It depends on the last n_fft // 2 + 1 samples.

        A shorter utterance repeats its first sample.
        """
        if self.config.padding == "zeros":
            return samples_BN.new_zeros(len(samples_BN), self.config.n_fft // 2)
        offsets = torch.arange(self.config.n_fft // 2, device=samples_BN.device)
        last_B1 = num_samples[:, None] - 2 + int(self.late > 0)
        return samples_BN.gather(1, (last_B1 - offsets).clamp(min=0))

    def power(
        self,
        padded_BN: torch.Tensor,
        starts_BS: torch.Tensor,
        augmentation: Augmentation | NoAugmentation = NO_AUGMENTATION,
    ) -> torch.Tensor:
        """Compute the power spectra (B, S, K) of the frames that start at these samples of padded audio.

        starts_BS: int64; (1, S) if they are the same for all utterances.
        """
        rows_B1 = torch.arange(len(padded_BN), device=padded_BN.device)[:, None]
        frames_BSW = padded_BN.unfold(1, self.config.n_fft, 1)[rows_B1, starts_BS]
        spectrum = torch.view_as_real(torch.fft.rfft(frames_BSW * self.window(augmentation)[..., None, :]))
        return spectrum.square_().sum(-1)

    def window(self, augmentation: Augmentation | NoAugmentation = NO_AUGMENTATION) -> torch.Tensor:
        """Return the symmetric window: (W,), or (B, W) if every utterance has its own speed."""
        n_fft, last = self.config.n_fft, self.config.window - 1
        middle = last / 2
        start = (n_fft - last - 1) // 2  # as in torch.stft
        offsets = torch.arange(n_fft, device=self.dither.device) - start - middle
        place = augmentation.window_offsets(offsets) + middle
        mean = 0.54 if self.config.window_type == "hamming" else 0.5
        window = mean - (1 - mean) * torch.cos(2 * math.pi * place / last)
        window = window.masked_fill((place < 0) | (place > last), 0.0)
        return window**0.85 if self.config.window_type == "povey" else window

    def mel_power(
        self, power_BSK: torch.Tensor, augmentation: Augmentation | NoAugmentation = NO_AUGMENTATION
    ) -> torch.Tensor:
        """Sum the power spectra in the mel filters: (B, S, F). For cepstra, sum the magnitudes, and square the sums."""
        filters = self.filters(augmentation)
        with float32_products("float32", power_BSK.device):  # features are never rounded, even in a run in TF32
            if self.config.kind == "mel":
                return power_BSK @ filters
            return (power_BSK.sqrt() @ filters).square()

    def filters(self, augmentation: Augmentation | NoAugmentation = NO_AUGMENTATION) -> torch.Tensor:
        """Return the weights of the Fourier bins in each mel filter: (K, F), or (B, K, F) with their augmentation."""
        weights = mel_filters if self.config.kind == "mel" else htk_filters
        return weights(augmentation.frequencies(self.bins_hz[:, None]), self.corners)

    def log(self, mel_BSF: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of mel powers (B, S, F), above the floors that the settings ask for."""
        config = self.config
        if config.peak_floor:  # what is softer looks alike, whether it is background hiss or digital silence
            mel_BSF = mel_BSF + peak_power(mel_BSF, num_frames) * 10 ** (-config.peak_floor / 10)
        return guarded_log(mel_BSF, config.log_floor, config.log_guard)

    def normalize(self, x_BSF: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Subtract the mean and divide by the standard deviation that the setting `normalization` names."""
        if self.config.normalization == "none":
            return x_BSF
        if self.config.normalization == "global":
            return (x_BSF - self.mean) / (self.std + 1e-5)
        if self.config.normalization == "running":
            return self.normalize_more(x_BSF, num_frames, start_sums(1, self.mean))[0]  # a traced graph fixes len()
        if self.config.normalization == "loud":
            return normalize_loud(x_BSF, num_frames)
        padding_BS1 = ~valid_places(num_frames, x_BSF.shape[1])[:, :, None]
        count = num_frames[:, None, None]
        mean = x_BSF.masked_fill(padding_BS1, 0.0).sum(1, keepdim=True) / count
        centred = x_BSF - mean
        variance = centred.masked_fill(padding_BS1, 0.0).square().sum(1, keepdim=True) / (count - 1).clamp(min=1)
        if self.config.normalization == "shape":  # a bin that varies little stays so, and its noise stays small
            variance = variance.mean(2, keepdim=True)
        return centred / (variance.sqrt() + 1e-5)

    def normalize_more(
        self, x_BSF: torch.Tensor, num_frames: torch.Tensor, sums: RunningSums
    ) -> tuple[torch.Tensor, RunningSums]:
        """Normalize more frames of each stream, given the sums of those before. Return the new sums too."""
        if self.config.normalization != "running":
            return self.normalize(x_BSF, num_frames), sums
        prior = self.config.prior_seconds * self.config.sample_rate / self.config.hop
        return normalize_running(x_BSF, num_frames, sums, self.mean, self.std, prior)

    def stack(self, x_BSF: torch.Tensor, num_frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Join every `stack` frames to one, zero after the valid frames; return them and their lengths (B,)."""
        padding_BS1 = ~valid_places(num_frames, x_BSF.shape[1])[:, :, None]
        return stack_frames(x_BSF.masked_fill(padding_BS1, 0.0), num_frames, self.config.stack)


def _to_float(audio_BN: torch.Tensor) -> torch.Tensor:
    return audio_BN.float().div_(32768) if audio_BN.dtype == torch.int16 else audio_BN.float()


def _move(lengths: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The lengths on this device. A copy to a GPU does not wait for the work that is queued there."""
    return lengths.to(device, non_blocking=device.type == "cuda")
