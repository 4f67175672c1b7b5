"""The settings of a run: frozen dataclasses whose fields are checked when an object is made.

Each field has a line that explains it, which `rnnt settings` prints. An error message begins with the setting's key.
"""

import math
from dataclasses import dataclass, field

from rnnt.features_config import FeaturesConfig
from rnnt.fields import (
    at_least,
    below_one,
    between,
    check,
    check_order,
    count,
    error_rate,
    explained,
    finite,
    one_of,
    positive,
    setting,
)
from rnnt.model_config import WIDTH, ModelConfig


@dataclass(frozen=True)
class SymbolsConfig:
    """Input of symbols, such as the letters of a word, in place of audio."""

    embedding: int = setting(256, "width of the embedding of an input symbol", count(1, WIDTH))
    dropout: float = setting(0.0, "probability of dropout after the embedding", between(0, 1))
    unknown: float = setting(0.01, "share of input symbols that training replaces by the unknown one", between(0, 1))
    unicode: str = setting(
        "nfd",
        "normal form of input symbols: nfd (letters apart from their accents), nfc (composed) or none (as they are)",
        one_of("nfd", "nfc", "none"),
    )

    def __post_init__(self):
        check("symbols.", self)


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a training batch; each is off at its default."""

    speed_min: float = setting(1.0, "slowest random speed (tempo and pitch together); 1 is unchanged", between(0.5, 2))
    speed_max: float = setting(1.0, "fastest random speed (tempo and pitch together); 1 is unchanged", between(0.5, 2))
    tempo_min: float = setting(1.0, "slowest random tempo, at the same frequencies; 1 is unchanged", between(0.5, 2))
    tempo_max: float = setting(1.0, "fastest random tempo, at the same frequencies; 1 is unchanged", between(0.5, 2))
    pitch_min: float = setting(1.0, "lowest random factor on all frequencies; 1 is unchanged", between(0.5, 2))
    pitch_max: float = setting(1.0, "highest random factor on all frequencies; 1 is unchanged", between(0.5, 2))
    gain: float = setting(0.0, "dB by which the loudness varies up and down within an utterance", finite(0))
    tilt: float = setting(0.0, "dB by which the spectrum's slope and curvature vary within an utterance", finite(0))
    noise: str = setting(
        "", "noise: a folder of recordings, babble, speech-shaped or white; empty: stationary, in the mel bins"
    )
    noise_probability: float = setting(0.0, "share of the utterances that get noise", between(0, 1))
    noise_snr_min: float = setting(5.0, "lowest signal-to-noise ratio of the added noise, in dB", finite())
    noise_snr_max: float = setting(40.0, "highest signal-to-noise ratio of the added noise, in dB", finite())
    rooms: str = setting("", "rooms in which utterances are heard: simulated, or a folder of impulse responses")
    rooms_probability: float = setting(0.5, "share of the utterances that are heard in a room", between(0, 1))
    rooms_rt60_min: float = setting(0.15, "shortest reverberation time of a simulated room, in s", between(0.01, 10))
    rooms_rt60_max: float = setting(0.8, "longest reverberation time of a simulated room, in s", between(0.01, 10))
    frequency_masks: int = setting(0, "SpecAugment masks over mel bins in each utterance", count(0, 1000))
    frequency_width: int = setting(20, "largest width of a SpecAugment mask over mel bins, in bins", count(0, 1024))
    time_masks: int = setting(0, "SpecAugment masks over frames in each utterance", count(0, 1000))
    time_width: float = setting(0.03, "largest width of a mask over frames, as a share of the utterance", between(0, 1))
    time_frames: int = setting(0, "most frames of a mask over frames, however long the utterance; 0: any", count(0))
    splice_epoch: int = setting(0, "first epoch with the changes that follow, counted from 0", count(0))
    ends_probability: float = setting(0.0, "share of batches with silence or background added at ends", between(0, 1))
    ends_seconds: float = setting(3.0, "most seconds added at each end, within data.max_seconds", between(0, 600))
    pauses_probability: float = setting(
        0.0, "share of utterances with silence or background added in pauses between words", between(0, 1)
    )
    join_probability: float = setting(0.0, "share of batches with utterances joined into longer ones", between(0, 1))
    join_utterances: int = setting(4, "most utterances joined into one, within data.max_seconds", count(2, 1000))
    wordless_probability: float = setting(0.0, "share of utterances replaced by silence, noise or hum", between(0, 1))
    trim_probability: float = setting(0.0, "share of utterances whose silence at the ends is removed", between(0, 1))

    def __post_init__(self):
        check("augment.", self)
        for name in ("speed", "tempo", "pitch", "noise_snr", "rooms_rt60"):
            check_order("augment.", self, f"{name}_min", f"{name}_max")


@dataclass(frozen=True)
class TokenizerConfig:
    """Text -> symbols 0 .. V-2."""

    kind: str = setting(
        "sentencepiece",
        "unit of the text: sentencepiece (unigram pieces), characters or words",
        one_of("sentencepiece", "characters", "words"),
    )
    size: int = setting(1023, "pieces of a SentencePiece model", count(1, 10**6))
    path: str = setting("", "file or folder of a trained tokenizer; empty: train one on the training text")

    def __post_init__(self):
        check("tokenizer.", self)


@dataclass(frozen=True)
class DataConfig:
    """Prepared utterances to train and validate on.

    Splits are names, shell patterns (train-*), or either with the path of another folder (/data/more/train-*).
    """

    train: list[str] = field(
        default_factory=lambda: ["train*"], metadata=explained("splits to train on: names, shell patterns or paths")
    )
    valid: list[str] = field(
        default_factory=lambda: ["valid*"], metadata=explained("splits to validate on; [] for none")
    )
    min_seconds: float = setting(0.1, "shortest utterance to train on, in seconds", finite(0))
    max_seconds: float = setting(16.7, "longest utterance to train on, in seconds; .inf for no limit", at_least(0))
    max_symbols: int = setting(200, "longest utterance to train on whose input is symbols, in symbols", count(1))
    buckets: int = setting(
        6, "groups by duration; a batch is taken from one, so it has little padding", count(1, 10_000)
    )

    def __post_init__(self):
        if not self.train:
            raise ValueError("data.train names no split; give at least one, such as [train*]")
        check("data.", self)
        check_order("data.", self, "min_seconds", "max_seconds")


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer."""

    name: str = setting("lamb", "optimizer: lamb, adamw or sgd", one_of("lamb", "adamw", "sgd"))
    lr: float = setting(0.004, "learning rate at the end of the warm-up", positive())
    beta1: float = setting(0.9, "decay of the running mean of the gradient", below_one())
    beta2: float = setting(0.999, "decay of the running mean of the squared gradient", below_one())
    eps: float = setting(1e-9, "added to the root of the mean squared gradient before dividing by it", finite(0))
    weight_decay: float = setting(1e-3, "weight decay of all parameters", finite(0))
    max_grad_norm: float = setting(1.0, "clip the norm of the whole gradient at this value; 0: never", at_least(0))
    momentum: float = setting(0.9, "share of the last change that is made again; only for sgd", below_one())

    def __post_init__(self):
        check("optim.", self)


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over epochs."""

    name: str = setting(
        "hold",
        "hold (warm-up, hold, exponential decay) or cosine (warm-up, half a cosine until the last epoch)",
        one_of("hold", "cosine"),
    )
    warmup: float = setting(6.0, "epochs of linear warm-up; may be a fraction", finite(0))
    hold: float = setting(40.0, "epochs at optim.lr after the warm-up; only for the schedule hold", at_least(0))
    decay: float = setting(0.935, "factor for each epoch after the hold; only for the schedule hold", between(0, 1))
    minimum: float = setting(1e-5, "lowest learning rate", finite(0))

    def __post_init__(self):
        check("schedule.", self)


@dataclass(frozen=True)
class TrainConfig:
    """Length of the run, batches, loss, averaged weights, validation and checkpoints."""

    epochs: int = setting(100, "passes over the training data", count(1, 10**6))
    steps: int = setting(0, "stop after this many optimizer steps; 0 for no limit", count(0))
    batch: int = setting(384, "utterances of one optimizer step, over all processes", count(1, 10**6))
    accumulation: int = setting(1, "shares of a batch that each process works through in turn", count())
    ctc_weight: float = setting(0.0, "weight of a CTC loss on the encoder, only used in training", finite(0))
    fastemit: float = setting(0.0, "weight of FastEmit, which favours early symbols (Yu et al. 2021)", finite(0))
    ctc_consistency: float = setting(
        0.0, "weight within the CTC loss of how two augmented views of an utterance differ; 0: a single view", finite(0)
    )
    ctc_epochs: float = setting(0.0, "epochs over which ctc_weight falls linearly to 0; 0: it stays", finite(0))
    transcripts: str = setting(
        "exact",
        "exact (what was said) or partial (texts may lack words or have wrong ones; the loss skips them at a price)",
        one_of("exact", "partial"),
    )
    star_penalty: float = setting(
        2.0, "partial: price in nats of passing over a frame in which something else was said; .inf: never", at_least(0)
    )
    bypass_penalty: float = setting(
        6.0, "partial: price in nats of passing over a symbol of the text; .inf: never", at_least(0)
    )
    partial_epochs: float = setting(
        0.0, "partial: epochs over which the prices fall from infinite to those above, as 1 / epoch", finite(0)
    )
    curriculum_epochs: float = setting(
        0.0, "epochs over which the longest utterance grows from curriculum_seconds to data.max_seconds", finite(0)
    )
    curriculum_seconds: float = setting(2.0, "longest utterance at the start of the curriculum, in seconds", finite(0))
    weight_noise: float = setting(
        0.0, "deviation of Gaussian noise that the weights have while the gradient of a step is computed", finite(0)
    )
    ema: float = setting(0.999, "decay of the averaged weights, which are validated and saved; 0: none", below_one())
    ema_warmup: bool = setting(False, "smaller decay at first: min(ema, (1 + n) / (10 + n)) at step n")
    validate_every: int = setting(1, "epochs from one validation to the next", count())
    validate_from: int = setting(1, "first epoch to validate; the last epoch always is", count(0))
    checkpoint_every: int = setting(0, "steps between checkpoints; 0: only at the end of each epoch", count(0))
    keep_checkpoints: int = setting(2, "newest checkpoints to keep", count())
    target_wer: float = setting(
        0.0, "stop at this error rate of the validation, such as 0.058; 0 for no target", error_rate()
    )
    max_skipped: int = setting(100, "end the run after so many steps in a row that are not finite", count())

    def __post_init__(self):
        check("train.", self)
        if self.batch % self.accumulation:
            raise ValueError(
                f"train.batch is {self.batch}; it must be a multiple of train.accumulation ({self.accumulation})"
            )
        if self.ctc_consistency and not self.ctc_weight:
            raise ValueError(
                f"train.ctc_consistency is {self.ctc_consistency:g}; train.ctc_weight must be above 0, because the CTC "
                "outputs of two views are compared"
            )


@dataclass(frozen=True)
class DecodingConfig:
    """Search for the symbols, and its limits."""

    max_symbols_per_frame: int = setting(30, "most symbols at one encoder frame", count(1, 10_000))
    max_symbols: int = setting(
        300, "most symbols of 40 s or 100 input symbols; longer inputs have more in proportion", count(1, 10**6)
    )
    batch: int = setting(32, "utterances decoded together", count(1, 10**6))
    method: str = setting("greedy", "search: greedy or beam", one_of("greedy", "beam"))
    beam: int = setting(4, "hypotheses that beam search keeps at each frame", count(1, 256))
    blank_penalty: float = setting(0.0, "nats by which blank is made less probable; cures deletions", between(-20, 20))

    def __post_init__(self):
        check("decoding.", self)


@dataclass(frozen=True)
class ScoringConfig:
    """The error rate by which a model is judged."""

    measure: str = setting(
        "words",
        "words (WER and CER), symbols (of texts that are symbols with spaces between them) or sequences (whole texts)",
        one_of("words", "symbols", "sequences"),
    )
    fold: str = setting(
        "none",
        "phones that count as one in scoring: none, timit-48 or timit-39 (Lee and Hon 1989)",
        one_of("none", "timit-48", "timit-39"),
    )

    def __post_init__(self):
        check("scoring.", self)


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    input: str = setting("audio", "input of the model: audio, or symbols such as letters", one_of("audio", "symbols"))
    seed: int = setting(0, "seed of all random numbers", between(0, 2**63 - 1))
    device: str = setting("auto", "auto (a GPU if there is one), cpu, cuda, or cuda:1 for the second GPU")
    precision: str = setting(
        "float32",
        "number format of matrix products: float32, tf32, bfloat16 or float16",
        one_of("float32", "tf32", "bfloat16", "float16"),
    )
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    symbols: SymbolsConfig = field(default_factory=SymbolsConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)

    def __post_init__(self):
        check("", self)
        longest = self.features.window * self.augment.speed_max
        if longest > self.features.n_fft:
            raise ValueError(
                f"features.window is {self.features.window}; for augment.speed_max ({self.augment.speed_max}) it grows "
                f"to {longest:.0f} samples, which must be at most features.n_fft ({self.features.n_fft})"
            )
        if self.input == "symbols" and (self.augment != AugmentConfig() or self.train.curriculum_epochs):
            raise ValueError("input is symbols; the settings augment and train.curriculum_epochs are for audio alone")
        if self.features.kind == "mfcc" and self.augment.frequency_masks:
            raise ValueError(
                f"augment.frequency_masks is {self.augment.frequency_masks}; it must be 0 if features.kind is mfcc, "
                "whose values are no frequencies"
            )
        if self.train.curriculum_epochs and math.isinf(self.data.max_seconds):
            raise ValueError("data.max_seconds is inf; it must be finite, because train.curriculum_epochs is not 0")
