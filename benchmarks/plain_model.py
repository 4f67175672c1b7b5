"""The model as other projects train it, in plain torch: nn.LSTM, and the logits of the padded lattice stored."""

from importlib.util import find_spec

import torch
from torch import nn

import rnnt
from rnnt.frames import stack_frames, valid_places
from rnnt.model import Transducer


def loss_name() -> str:
    """Name the library whose loss the plain model uses."""
    return "torchaudio" if find_spec("torchaudio") else "rnnt.rnnt_loss"


class PlainTransducer(nn.Module):
    """The network of `model`, with its weights, to train in its place. Raises ValueError if bidirectional."""

    def __init__(self, model: Transducer):
        super().__init__()
        if model.encoder.lookahead is None:
            raise ValueError("the plain model reads in one direction")
        self.inputs, self.vocabulary, self.blank = model.inputs, model.vocabulary, model.blank
        self.encoder = _Encoder(model.encoder)
        self.predictor = _Predictor(model.predictor)
        joint = model.joint
        self.joint = nn.ModuleDict(
            {name: _linear(getattr(joint, name)) for name in ("encoder", "predictor", "output")}
            | {
                "dropout": nn.Dropout(joint.dropout),
                "activation": {"relu": nn.ReLU, "tanh": nn.Tanh}[joint.activation](),
            }
        )

    def loss(
        self, encoder_BTD, encoder_lengths, targets_BU, target_lengths, fastemit: float = 0.0, penalties=None
    ) -> torch.Tensor:
        """(B,), as Transducer.loss. Raises ValueError if `fastemit` is not 0 or there are penalties."""
        if fastemit or penalties is not None:
            raise ValueError(
                "the plain model has neither FastEmit nor penalties; set train.fastemit=0 and train.transcripts=exact"
            )
        joint = self.joint
        x_BTH, y_BUH = joint["encoder"](encoder_BTD), joint["predictor"](self.predictor(targets_BU))
        hidden_BTUH = joint["dropout"](joint["activation"](x_BTH[:, :, None] + y_BUH[:, None]))
        logits_BTUV = joint["output"](hidden_BTUH).float()
        if loss_name() == "torchaudio":
            from torchaudio.functional import rnnt_loss

            lengths = (x.to(logits_BTUV.device, torch.int32) for x in (targets_BU, encoder_lengths, target_lengths))
            return rnnt_loss(logits_BTUV, *lengths, blank=self.blank, reduction="none")
        return rnnt.rnnt_loss(logits_BTUV, targets_BU, encoder_lengths, target_lengths, reduction="none")


class _Encoder(nn.Module):
    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.width, self.stride = encoder.width, encoder.stride
        self.pre, self.post = _lstm(encoder.pre.lstm), _lstm(encoder.post.lstm)
        self.dropout = nn.Dropout(encoder.pre.dropout.p)

    def forward(self, features_BSF: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x_BSD = self.dropout(self.pre(features_BSF)[0])
        x_BSD = x_BSD.masked_fill(~valid_places(lengths, x_BSD.shape[1])[:, :, None], 0.0)
        x_BTD, lengths = stack_frames(x_BSD, lengths, self.stride)
        return self.dropout(self.post(x_BTD)[0]), lengths


class _Predictor(nn.Module):
    def __init__(self, predictor: nn.Module):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(predictor.embedding.weight.detach().clone(), freeze=False)
        self.lstm = _lstm(predictor.lstm)
        self.dropout = nn.Dropout(predictor.dropout.p)

    def forward(self, targets_BU: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.lstm(nn.functional.pad(self.embedding(targets_BU), (0, 0, 1, 0)))[0])


def _lstm(like: nn.LSTM) -> nn.LSTM:
    lstm = nn.LSTM(like.input_size, like.hidden_size, like.num_layers, batch_first=True, dropout=like.dropout)
    lstm.load_state_dict(like.state_dict())
    return lstm


def _linear(like: nn.Linear) -> nn.Linear:
    linear = nn.Linear(like.in_features, like.out_features)
    linear.load_state_dict(like.state_dict())
    return linear
