"""The settings of the model. See `rnnt.config`."""

from dataclasses import dataclass, field

from rnnt.fields import below_one, between, check, count, finite, one_of, setting

WIDTH = 65_536  # the most units of a layer


@dataclass(frozen=True)
class LstmConfig:
    """LSTM layers, frames joined in time, LSTM layers."""

    hidden: int = setting(1024, "units of each layer; of each direction if bidirectional", count(1, WIDTH))
    pre_layers: int = setting(2, "layers before neighbouring frames are joined", count(1, 100))
    time_stack: int = setting(2, "neighbouring frames joined into one between the layers", count(1, 100))
    post_layers: int = setting(3, "layers after neighbouring frames are joined", count(0, 100))
    dropout: float = setting(0.1, "probability of dropout after each layer", between(0, 1))
    bidirectional: bool = setting(False, "read the utterance in both directions; the model then cannot stream")

    def __post_init__(self):
        check("model.encoder.lstm.", self)
        if not self.post_layers and self.time_stack > 1:
            raise ValueError(
                f"model.encoder.lstm.post_layers is 0; it must be at least 1, or model.encoder.lstm.time_stack "
                f"({self.time_stack}) must be 1"
            )


@dataclass(frozen=True)
class EncoderConfig:
    """The family of the encoder, and a section of settings for each family."""

    kind: str = setting("lstm", "family of the encoder: lstm", one_of("lstm"))
    lstm: LstmConfig = field(default_factory=LstmConfig)

    def __post_init__(self):
        check("model.encoder.", self)


@dataclass(frozen=True)
class PredictorConfig:
    """Embedding of the symbols and LSTM layers."""

    embedding: int = setting(512, "width of the embedding of a symbol; 0: one-hot vectors", count(0, WIDTH))
    hidden: int = setting(512, "units of each LSTM layer", count(1, WIDTH))
    layers: int = setting(2, "LSTM layers", count(1, 100))
    dropout: float = setting(0.3, "probability of dropout after each layer", between(0, 1))

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

    def __post_init__(self):
        check("model.joint.", self)


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
