"""The settings of the features. See `rnnt.config`."""

from dataclasses import dataclass

from rnnt.fields import between, check, check_order, count, finite, one_of, positive, setting

_WINDOW = 65_536  # the most samples of a window


@dataclass(frozen=True)
class FeaturesConfig:
    """Waveform -> frames of log-mel powers or cepstra. The defaults are those of the MLPerf model."""

    sample_rate: int = setting(
        16000, "audio samples per second; n_fft, window, hop, high_hz follow it if not given", count(1000, 384_000)
    )
    trim_silence: bool = setting(False, "remove silence at both ends: audio 60 dB below the loudest part")
    dither: float = setting(1e-5, "amplitude of the white noise added to the audio; full scale is 1", finite(0))
    preemphasis: float = setting(0.97, "share of the previous sample to subtract from each sample", between(0, 1))
    n_fft: int = setting(512, "points of the Fourier transform", count(2, _WINDOW))
    window: int = setting(320, "samples in the symmetric window, at most n_fft", count(2, _WINDOW))
    window_type: str = setting(
        "hann", "shape of the window: hann, hamming or povey (Kaldi's)", one_of("hann", "hamming", "povey")
    )
    hop: int = setting(160, "samples from one frame to the next", count(1, _WINDOW))
    padding: str = setting(
        "reflect",
        "what surrounds the audio: reflect (the audio backwards), zeros, or kaldi (as reflect, but as Kaldi does it)",
        one_of("reflect", "zeros", "kaldi"),
    )
    whole_hops: bool = setting(False, "leave out the last frame if the audio ends before its hop does")
    kind: str = setting(
        "mel",
        "values of a frame: mel (log power of each mel bin) or mfcc (HTK's cepstra and log energy, with derivatives)",
        one_of("mel", "mfcc"),
    )
    mels: int = setting(80, "mel bins", count(1, 1024))
    cepstra: int = setting(12, "cepstral coefficients of mfcc, without the zeroth", count(1, 1024))
    low_hz: float = setting(0.0, "lower edge of the lowest mel bin, in Hz", finite(0))
    high_hz: float = setting(8000.0, "upper edge of the highest mel bin, in Hz", positive())
    log_floor: float = setting(1e-20, "power added to each mel bin before the logarithm", finite(0))
    log_guard: str = setting(
        "add",
        "how log_floor guards the logarithm: add (to each power) or max (no power is below it)",
        one_of("add", "max"),
    )
    peak_floor: float = setting(
        0.0, "noise floor added to every mel bin, in dB below the utterance's loudest frame; 0 adds none", finite(0)
    )
    normalization: str = setting(
        "utterance",
        "statistics of a bin: utterance, shape (one deviation), loud (of loud frames), global, running (so far), none",
        one_of("utterance", "shape", "loud", "global", "running", "none"),
    )
    prior_seconds: float = setting(
        2.0, "seconds that the statistics of training count for in those of normalization=running", positive()
    )
    stack: int = setting(3, "neighbouring frames joined into one input of the encoder", count(1, 100))

    def __post_init__(self):
        check("features.", self)
        check_order("features.", self, "window", "n_fft")
        if self.kind == "mfcc":
            check_order("features.", self, "cepstra", "mels")
            if self.normalization in ("shape", "loud"):
                raise ValueError(
                    f"features.normalization is {self.normalization}, which compares powers; if features.kind is mfcc, "
                    "it must be one of utterance, global, running, none"
                )
        if self.padding == "kaldi" and (self.window_type == "hamming" or not self.whole_hops):
            raise ValueError(
                "features.padding=kaldi needs features.whole_hops=true, and features.window_type hann or povey, "
                "which are 0 at the ends"
            )
        for name, least in (("sample_rate / 1000", self.sample_rate / 1000), ("n_fft / 64", self.n_fft / 64)):
            if self.hop < least:  # a second of audio would take gigabytes
                raise ValueError(f"features.hop is {self.hop}; it must be at least features.{name} ({least:g})")
        if self.whole_hops and 2 * self.hop > self.n_fft:  # a stream would have begun with a frame that is left out
            raise ValueError(
                f"features.hop is {self.hop}; if features.whole_hops is true, it must be at most half of "
                f"features.n_fft ({self.n_fft})"
            )
        if not self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise ValueError(
                f"features.high_hz is {self.high_hz}; it must be above features.low_hz ({self.low_hz}) "
                f"and at most half of features.sample_rate ({self.sample_rate / 2:.0f})"
            )

    @property
    def values(self) -> int:
        """Number of values in a frame, before frames are stacked."""
        return self.mels if self.kind == "mel" else 2 * (self.cepstra + 1)

    @property
    def fitted(self) -> bool:
        """True if the features need the mean and the deviation of the training data."""
        return self.normalization in ("global", "running")
