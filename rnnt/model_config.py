"""The settings of the model. See `rnnt.config`."""

from dataclasses import dataclass, field

from rnnt.fields import Allowed, below_one, between, check, count, explained, finite, one_of, setting

WIDTH = 65_536  # the most units of a layer
_LONGEST = 100  # duration, in encoder frames


@dataclass(frozen=True)
class LstmConfig:
    """LSTM layers, frames joined in time, LSTM layers."""

    hidden: int = setting(1024, "units of each layer; of each direction if bidirectional", count(1, WIDTH))
    pre_layers: int = setting(2, "layers before neighbouring frames are joined", count(1, 100))
    time_stack: int = setting(2, "neighbouring frames joined into one between the layers", count(1, 100))
    post_layers: int = setting(3, "layers after neighbouring frames are joined", count(0, 100))
    dropout: float = setting(0.1, "probability of dropout after each layer", between(0, 1))
    bidirectional: bool = setting(False, "read the utterance in both directions; the model then cannot stream")
    lookahead: int = setting(0, "encoder frames after its own that a frame sees; they delay a stream", count(0, 100))

    def __post_init__(self):
        check("model.encoder.lstm.", self)
        if not self.post_layers and self.time_stack > 1:
            raise ValueError(
                f"model.encoder.lstm.post_layers is 0; it must be at least 1, or model.encoder.lstm.time_stack "
                f"({self.time_stack}) must be 1"
            )
        if self.lookahead and self.bidirectional:
            raise ValueError(
                f"model.encoder.lstm.lookahead is {self.lookahead}; it must be 0 if "
                "model.encoder.lstm.bidirectional is true, because each frame then sees all others"
            )


@dataclass(frozen=True)
class ConformerConfig:
    """FastConformer (Rekesh et al. 2023, arXiv 2305.05084). The defaults are those of its large model."""

    width: int = setting(512, "values of an encoder frame", count(2, WIDTH))
    layers: int = setting(17, "number of layers", count(1, 1000))
    heads: int = setting(8, "attention heads, which share the width evenly", count(1, 1024))
    feed_forward: int = setting(4, "hidden units of a feed-forward module, as a multiple of the width", count(1, 64))
    kernel: int = setting(
        9, "frames of a convolution, an odd number", Allowed(lambda n: n in range(1, 1024, 2), "odd, up to 1023")
    )
    subsampling: int = setting(
        8, "input frames for one encoder frame: 2, 4, 8 or 16", Allowed(lambda n: n in (2, 4, 8, 16), "2, 4, 8 or 16")
    )
    channels: int = setting(256, "channels of the convolutions that subsample", count(1, WIDTH))
    depthwise: bool = setting(True, "subsample by depthwise convolutions, as FastConformer does; false: as Conformer")
    causal: bool = setting(False, "let the layers' convolutions see past frames only, which streams need")
    causal_subsampling: bool = setting(
        False, "let the convolutions that subsample see past frames only; they may miss an utterance's last few"
    )
    attention_left: int = setting(-1, "past frames that attention sees, a multiple of the chunk; -1: all", count(-1))
    attention_right: int = setting(
        -1, "most future frames that attention sees, in chunks of this number and 1; -1: all", count(-1)
    )
    unlimited_probability: float = setting(
        0.0, "share of training batches whose attention has no limits, for use with and without them",
        between(0, 1),
    )  # fmt: skip
    scale_input: bool = setting(True, "multiply the input of the first layer by the square root of the width")
    bias: bool = setting(True, "add biases in the linear maps and convolutions of the layers")
    norm: str = setting("batch", "normalization in the convolution module: batch or layer", one_of("batch", "layer"))
    dropout: float = setting(0.1, "probability of dropout before the layers and in every module", between(0, 1))
    attention_dropout: float = setting(0.1, "probability of dropout of attention weights", between(0, 1))
    layer_dropout: float = setting(
        0.0, "probability of leaving out the last layer; it falls evenly to 0 at the first", below_one()
    )

    def __post_init__(self):
        prefix = "model.encoder.conformer."
        check(prefix, self)
        if self.width % (2 * self.heads):
            raise ValueError(
                f"{prefix}width is {self.width}; it must be an even multiple of {prefix}heads ({self.heads})"
            )
        chunk = self.attention_right + 1
        if chunk and self.attention_left > 0 and self.attention_left % chunk:
            raise ValueError(
                f"{prefix}attention_left is {self.attention_left}; it must be a multiple of the chunk, "
                f"attention_right + 1 ({chunk})"
            )


@dataclass(frozen=True)
class EncoderConfig:
    """The family of the encoder, and a section of settings for each family."""

    kind: str = setting("lstm", "family of the encoder: lstm or conformer", one_of("lstm", "conformer"))
    lstm: LstmConfig = field(default_factory=LstmConfig)
    conformer: ConformerConfig = field(default_factory=ConformerConfig)

    def __post_init__(self):
        check("model.encoder.", self)


@dataclass(frozen=True)
class PredictorConfig:
    """Embedding of the symbols and LSTM layers."""

    embedding: int = setting(512, "width of the embedding of a symbol; 0: one-hot vectors", count(0, WIDTH))
    hidden: int = setting(512, "units of each LSTM layer", count(1, WIDTH))
    layers: int = setting(2, "LSTM layers", count(1, 100))
    dropout: float = setting(0.3, "probability of dropout after each layer", between(0, 1))
    masking: float = setting(0.0, "share of the utterances of training whose outputs are zeros", between(0, 1))

    def __post_init__(self):
        check("model.predictor.", self)


@dataclass(frozen=True)
class JointConfig:
    """Encoder frame and predictor state -> scores of all symbols."""

    hidden: int = setting(512, "units of the hidden layer", count(1, WIDTH))
    activation: str = setting("relu", "activation of the hidden layer: relu or tanh", one_of("relu", "tanh"))
    dropout: float = setting(0.3, "probability of dropout after the hidden layer", below_one())
    kind: str = setting(
        "network",
        "network (a hidden layer and an output layer) or additive (the sum of two scores, Graves 2012)",
        one_of("network", "additive"),
    )
    durations: list[int] = field(
        default_factory=list,
        metadata=explained(
            "encoder frames that a symbol may last in a token-and-duration model, such as [0,1,2,3,4]; [] for none"
        ),
    )

    def __post_init__(self):
        check("model.joint.", self)
        known = all(0 <= duration <= _LONGEST for duration in self.durations)
        if not known or len(set(self.durations)) < len(self.durations) or self.durations == [0]:
            raise ValueError(
                f"model.joint.durations is {self.durations}; it must be different numbers of frames from 0 to "
                f"{_LONGEST}, not 0 alone"
            )


@dataclass(frozen=True)
class ModelConfig:
    """Encoder, predictor and joint, and how their weights start."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    joint: JointConfig = field(default_factory=JointConfig)
    forget_bias: float = setting(1.0, "initial bias of the LSTMs' forget gates, before init_scale", finite())
    init_scale: float = setting(0.5, "factor on every initial LSTM weight and bias", finite(0))

    def __post_init__(self):
        check("model.", self)
