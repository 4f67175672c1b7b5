"""The settings of a run: frozen dataclasses, each field checked when one is made."""

import math
from dataclasses import dataclass, field


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    _require(value in choices, f"{name} is {value!r}; choose one of {', '.join(choices)}")


def _within(section: str, settings, low: float, high: float, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        bounds = f"lie between {low} and {high}" if high < math.inf else f"be at least {low}"
        _require(low <= value <= high, f"{section}.{name} is {value}; it must {bounds}")


@dataclass(frozen=True)
class FeaturesConfig:
    """Waveform -> log-mel frames. The defaults are those of the MLPerf model."""

    sample_rate: int = 16000
    trim_silence: bool = False  # at both ends, what is 60 dB below the loudest part
    dither: float = 1e-5  # amplitude of the white noise added, full scale = 1
    preemphasis: float = 0.97
    n_fft: int = 512
    window: int = 320  # samples, symmetric Hann
    hop: int = 160  # samples
    mels: int = 80
    low_hz: float = 0.0
    high_hz: float = 8000.0
    log_floor: float = 1e-20  # added to the mel power before the logarithm
    peak_floor: float = 0.0  # dB below the utterance's loudest frame of a floor under all bins; 0: none
    # per bin: utterance | global (statistics of the training data) | none; shape: mean per bin, one deviation for all
    normalization: str = "utterance"
    stack: int = 3  # frames put together, every stack-th kept

    def __post_init__(self):
        _one_of("features.normalization", self.normalization, ("utterance", "shape", "global", "none"))
        _within("features", self, 1, math.inf, "sample_rate", "hop", "stack", "mels")
        _within("features", self, 2, self.n_fft, "window")
        _within("features", self, 0, math.inf, "dither", "log_floor", "peak_floor")
        _require(
            0 <= self.low_hz < self.high_hz <= self.sample_rate / 2,
            f"features.low_hz < features.high_hz <= {self.sample_rate / 2:.0f} (half the sample rate) does not hold",
        )


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a training batch; each is off at its default."""

    speed_min: float = 1.0  # tempo and pitch together, as a tape played faster
    speed_max: float = 1.0
    pitch_min: float = 1.0  # the spectrum alone, as a shorter vocal tract
    pitch_max: float = 1.0
    gain: float = 0.0  # dB by which the loudness wanders up and down within an utterance
    tilt: float = 0.0  # dB by which the spectrum's slope and curvature wander with it
    noise_probability: float = 0.0  # share of the utterances that get noise
    noise_snr_min: float = 5.0  # dB
    noise_snr_max: float = 40.0
    frequency_masks: int = 0
    frequency_width: int = 20  # bins at most
    time_masks: int = 0
    time_width: float = 0.03  # share of the utterance at most

    def __post_init__(self):
        for name in ("speed", "pitch"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            _require(0.5 <= low <= high <= 2, f"0.5 <= augment.{name}_min <= augment.{name}_max <= 2 does not hold")
        _within("augment", self, 0, 1, "noise_probability", "time_width")
        _within("augment", self, 0, math.inf, "gain", "tilt", "frequency_masks", "frequency_width", "time_masks")
        _require(self.noise_snr_min <= self.noise_snr_max, "augment.noise_snr_min is above augment.noise_snr_max")


@dataclass(frozen=True)
class TokenizerConfig:
    """Text -> symbols 0 .. V-2."""

    kind: str = "sentencepiece"  # sentencepiece | characters | words
    size: int = 1023  # pieces of a SentencePiece model
    path: str = ""  # a trained tokenizer; empty: train one on the training text

    def __post_init__(self):
        _one_of("tokenizer.kind", self.kind, ("sentencepiece", "characters", "words"))
        _within("tokenizer", self, 1, math.inf, "size")


@dataclass(frozen=True)
class LstmConfig:
    """LSTM layers, frames put together in time, LSTM layers."""

    hidden: int = 1024
    pre_layers: int = 2
    time_stack: int = 2
    post_layers: int = 3
    dropout: float = 0.1
    bidirectional: bool = False  # each direction then has `hidden` units

    def __post_init__(self):
        _within("model.encoder.lstm", self, 1, math.inf, "hidden", "pre_layers", "time_stack", "post_layers")
        _within("model.encoder.lstm", self, 0, 1, "dropout")


@dataclass(frozen=True)
class EncoderConfig:
    """The family of the encoder, and a section of settings for each family."""

    kind: str = "lstm"
    lstm: LstmConfig = field(default_factory=LstmConfig)

    def __post_init__(self):
        _one_of("model.encoder.kind", self.kind, ("lstm",))


@dataclass(frozen=True)
class PredictorConfig:
    embedding: int = 512
    hidden: int = 512
    layers: int = 2
    dropout: float = 0.3

    def __post_init__(self):
        _within("model.predictor", self, 1, math.inf, "embedding", "hidden", "layers")
        _within("model.predictor", self, 0, 1, "dropout")


@dataclass(frozen=True)
class JointConfig:
    hidden: int = 512
    activation: str = "relu"  # relu | tanh
    dropout: float = 0.3
    kind: str = "network"  # network: a hidden layer and an output layer | additive: the sum of two scores (Graves 2012)

    def __post_init__(self):
        _one_of("model.joint.kind", self.kind, ("network", "additive"))
        _one_of("model.joint.activation", self.activation, ("relu", "tanh"))
        _within("model.joint", self, 1, math.inf, "hidden")
        _within("model.joint", self, 0, 1, "dropout")


@dataclass(frozen=True)
class ModelConfig:
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    joint: JointConfig = field(default_factory=JointConfig)
    forget_bias: float = 1.0  # of the LSTMs' forget gates, before init_scale
    init_scale: float = 0.5  # multiplies every LSTM weight and bias at the start


@dataclass(frozen=True)
class DataConfig:
    """Which prepared utterances are trained on. Names may be shell patterns, such as train-*, and paths of other
    folders, such as /data/more/train."""

    train: list[str] = field(default_factory=lambda: ["train*"])
    valid: list[str] = field(default_factory=lambda: ["valid*"])
    min_seconds: float = 0.1
    max_seconds: float = 16.7
    buckets: int = 6  # of like duration, so that a batch holds little padding

    def __post_init__(self):
        _require(bool(self.train), "data.train names no split")
        _within("data", self, 1, math.inf, "buckets")
        _require(0 <= self.min_seconds <= self.max_seconds, "0 <= data.min_seconds <= data.max_seconds does not hold")


@dataclass(frozen=True)
class OptimConfig:
    name: str = "lamb"  # lamb | adamw
    lr: float = 0.004
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-9
    weight_decay: float = 1e-3
    max_grad_norm: float = 1.0

    def __post_init__(self):
        _one_of("optim.name", self.name, ("lamb", "adamw"))
        _require(self.lr > 0, "optim.lr must be positive")


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over epochs."""

    name: str = "hold"  # hold: warm-up, hold, x decay an epoch | cosine: warm-up, half a cosine to the last epoch
    warmup: float = 6.0  # epochs
    hold: float = 40.0
    decay: float = 0.935
    minimum: float = 1e-5

    def __post_init__(self):
        _one_of("schedule.name", self.name, ("hold", "cosine"))
        _require(self.warmup >= 0 and self.hold >= 0, "schedule.warmup and schedule.hold must not be negative")


@dataclass(frozen=True)
class TrainConfig:
    epochs: int = 100
    steps: int = 0  # stop after so many; 0: by epochs alone
    batch: int = 384  # utterances of one optimizer step
    accumulation: int = 1  # parts in which each process works through its share of a batch
    ctc_weight: float = 0.0  # of a CTC loss on the encoder; its head is not part of the model
    fastemit: float = 0.0  # weight by which FastEmit (Yu et al. 2021) favours early symbols
    ctc_epochs: float = 0.0  # the CTC weight falls linearly to zero over so many epochs; 0: it stays
    curriculum_epochs: float = 0.0  # the longest utterance grows from curriculum_seconds to max_seconds over these
    curriculum_seconds: float = 2.0
    ema: float = 0.999  # decay of the averaged weights that are evaluated; 0: none
    ema_warmup: bool = False  # a smaller decay at first: min(ema, (1 + n) / (10 + n))
    validate_every: int = 1  # epochs
    validate_from: int = 1  # the first epoch that is validated (the last one always is)
    checkpoint_every: int = 0  # steps; 0: at each epoch's end alone
    keep_checkpoints: int = 2
    target_wer: float = 0.0  # stop when the validation splits reach it; 0: none
    max_skipped: int = 100  # steps in a row without a finite loss and gradient, then the run ends

    def __post_init__(self):
        _within(
            "train", self, 1, math.inf,
            "epochs", "batch", "accumulation", "validate_every", "keep_checkpoints", "max_skipped",
        )  # fmt: skip
        _within(
            "train", self, 0, math.inf,
            "steps", "ctc_weight", "fastemit", "ctc_epochs", "curriculum_epochs", "checkpoint_every", "target_wer",
        )  # fmt: skip
        _require(
            self.batch % self.accumulation == 0,
            f"train.batch ({self.batch}) is not a multiple of train.accumulation ({self.accumulation})",
        )
        _require(0 <= self.ema < 1, "train.ema must lie in [0, 1)")


@dataclass(frozen=True)
class DecodingConfig:
    max_symbols_per_frame: int = 30
    max_symbols: int = 300  # of an utterance of up to 40 s; a longer one may have more in proportion
    batch: int = 32

    def __post_init__(self):
        _within("decoding", self, 1, math.inf, "max_symbols_per_frame", "max_symbols", "batch")


@dataclass(frozen=True)
class Config:
    seed: int = 0
    device: str = "auto"  # auto: the GPU where there is one
    precision: str = "float32"  # float32 | tf32 | bfloat16 | float16 (the last two: autocast; the last: scaled loss)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)

    def __post_init__(self):
        _one_of("precision", self.precision, ("float32", "tf32", "bfloat16", "float16"))
        _require(0 <= self.seed < 1 << 63, f"seed is {self.seed}; it must be at least 0 and less than 2^63")
        _require(
            self.features.window * self.augment.speed_max <= self.features.n_fft,
            f"a window of {self.features.window} samples, {self.augment.speed_max} times as long for "
            f"augment.speed_max, does not fit features.n_fft={self.features.n_fft}",
        )
