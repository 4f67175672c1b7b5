"""Implementations of joint network and loss to compare: this package's, plain torch, and other projects'.

Each is a function that takes the inputs of the joint and returns the sum of the losses, with gradients to encoder,
predictor, weight and bias. All include the joint's output layer, so that they do the same work. Those of other projects
can be used if the project is installed.

Letters of the shapes: B utterances, T encoder frames, U target symbols, V symbols with blank. In a tensor's name, U
means the U+1 columns of the lattice.
"""

from importlib.util import find_spec
from types import SimpleNamespace

import torch
from loss_inputs import Inputs
from torch import Tensor
from torch.nn import functional

import rnnt

TOLERANCE = 1e-7  # the default of rnnt.transducer_loss
PRUNED_LABELS = 5  # labels that fast_rnnt keeps in each frame
NEMO_CHUNK = 16  # utterances that NeMo pads to the same length and computes together


def fused(x: Inputs) -> Tensor:
    return _ours(x, "fused")


def triton(x: Inputs) -> Tensor:
    return _ours(x, "triton")


def reference(x: Inputs) -> Tensor:
    return _ours(x, "reference")


def _ours(x: Inputs, implementation: str) -> Tensor:
    lengths = x.encoder_lengths, x.target_lengths
    return rnnt.transducer_loss(
        *x.learned, x.targets, *lengths, tolerance=TOLERANCE, reduction="sum", implementation=implementation
    )


def dense(x: Inputs) -> Tensor:
    """Plain torch and its autograd, with stored logits. The benchmark checks the others against it in float64."""
    log_P, _ = dense_lattice(x)
    return -log_P.sum()


def dense_lattice(x: Inputs) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return log P (B,), and the log-probabilities of blank and label (B, T, U+1) from which it is computed.

    Within a frame, alpha(t, u) = logaddexp(stay(u), alpha(t, u-1) + label(t, u-1)) with stay(u) = alpha(t-1, u) +
    blank(t-1, u). With S(u), the sum of label(t, 0) .. label(t, u-1), this is S + logcumsumexp(stay - S).
    """
    log_probs = functional.log_softmax(_logits(x), -1)
    blank_BTU = log_probs[..., -1].double()
    targets = functional.pad(x.targets, (0, 1))[:, None, :, None].expand(-1, log_probs.shape[1], -1, 1)
    label_BTU = log_probs.gather(3, targets)[..., 0].double()
    sums_BTU = functional.pad(label_BTU[..., :-1].cumsum(2), (1, 0))
    alphas = [sums_BTU[:, 0]]
    for t in range(1, log_probs.shape[1]):
        stay = alphas[-1] + blank_BTU[:, t - 1]
        alphas.append(sums_BTU[:, t] + torch.logcumsumexp(stay - sums_BTU[:, t], 1))
    b = torch.arange(len(alphas[0]), device=blank_BTU.device)
    last, end = x.encoder_lengths.to(b.device) - 1, x.target_lengths.to(b.device)
    return torch.stack(alphas, 1)[b, last, end] + blank_BTU[b, last, end], (blank_BTU, label_BTU)


def stored_products(x: Inputs) -> Tensor:
    """The joint alone, with stored logits and no loss. The logits serve as their own gradient."""
    logits = _logits(x)
    return _GradientIsInput.apply(logits)


class _GradientIsInput(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return ctx.saved_tensors[0]


def torchaudio(x: Inputs) -> Tensor:
    from torchaudio.functional import rnnt_loss

    return rnnt_loss(_logits(x).float(), *_int32(x), reduction="sum")


def warp_transducer(x: Inputs) -> Tensor:
    from warprnnt_pytorch import rnnt_loss

    return rnnt_loss(_logits(x).float(), *_int32(x), blank=len(x.weight) - 1, reduction="sum").sum()


def warp_rnnt(x: Inputs) -> Tensor:
    from warp_rnnt import rnnt_loss

    log_probs = functional.log_softmax(_logits(x), -1, dtype=torch.float32)
    return rnnt_loss(log_probs, *_int32(x), blank=len(x.weight) - 1, gather=True, reduction="sum")


def optimized_transducer(x: Inputs) -> Tensor:
    """The joint is computed for valid nodes only, packed without padding."""
    from optimized_transducer import transducer_loss

    hidden = [
        (x.encoder[b, :frames, None] + x.predictor[b, None, : labels + 1]).flatten(0, 1)
        for b, (frames, labels) in enumerate(zip(x.encoder_lengths.tolist(), x.target_lengths.tolist()))
    ]
    logits = functional.linear(torch.cat(hidden).relu(), x.weight, x.bias).float()
    blank = len(x.weight) - 1
    return transducer_loss(logits, *_int32(x), blank=blank, from_log_softmax=False, reduction="sum").sum()


def k2(x: Inputs) -> Tensor:
    import k2

    return _k2(k2, x)


def fast_rnnt(x: Inputs) -> Tensor:
    import fast_rnnt

    return _k2(fast_rnnt, x)


def _k2(module, x: Inputs) -> Tensor:
    return module.rnnt_loss(_logits(x).float(), x.targets, len(x.weight) - 1, _boundary(x), reduction="sum")


def fast_rnnt_pruned(x: Inputs) -> Tensor:
    """Another objective: an additive joint selects a few labels for each frame, and the full joint sees only those."""
    from fast_rnnt import do_rnnt_pruning, get_rnnt_prune_ranges, rnnt_loss_pruned, rnnt_loss_simple

    blank, boundary = len(x.weight) - 1, _boundary(x)
    am, lm = (functional.linear(y, x.weight).float() for y in (x.encoder, x.predictor))
    simple, (px, py) = rnnt_loss_simple(lm, am, x.targets, blank, boundary, reduction="sum", return_grad=True)
    ranges = get_rnnt_prune_ranges(px, py, boundary, min(PRUNED_LABELS, x.predictor.shape[1]))
    encoder, predictor = do_rnnt_pruning(x.encoder, x.predictor, ranges)
    logits = functional.linear((encoder + predictor).relu(), x.weight, x.bias).float()
    return simple + rnnt_loss_pruned(logits, x.targets, ranges, blank, boundary, reduction="sum")


def nemo_tiled(x: Inputs) -> Tensor:
    """NeMo's exact loss in checkpointed tiles. It gets a stand-in for its joint, with the attributes that it reads."""
    from nemo.collections.asr.losses.flash_rnnt import FlashRNNTLoss

    vocabulary = len(x.weight)
    joint = SimpleNamespace(
        is_adapter_available=lambda: False, masking_prob=0.0, num_extra_outputs=0, num_classes_with_blank=vocabulary,
        joint_net=[SimpleNamespace(weight=x.weight, bias=x.bias, out_features=vocabulary)], log_softmax=None,
        temperature=1.0, project_encoder=lambda y: y, project_prednet=lambda y: y, dropout=0.0, training=True,
        activation="relu",
    )  # fmt: skip
    lengths = (y.to(x.encoder.device) for y in (x.encoder_lengths, x.target_lengths))
    loss = FlashRNNTLoss(vocabulary - 1)
    return loss(joint, x.encoder, x.predictor, x.targets, *lengths, NEMO_CHUNK).sum()


IMPLEMENTATIONS = {
    f.__name__: f
    for f in (
        fused, triton, reference, dense, torchaudio, warp_transducer, warp_rnnt, optimized_transducer, k2, fast_rnnt,
        fast_rnnt_pruned, nemo_tiled, stored_products,
    )
}  # fmt: skip
NO_ERROR = {"fast_rnnt_pruned", "stored_products"}  # they compute another objective or none, so they have no error
ON_GPU_ONLY = {"triton", "warp_rnnt", "nemo_tiled"}
PADDED_LOGITS = set(IMPLEMENTATIONS) - {"fused", "triton", "nemo_tiled", "optimized_transducer", "fast_rnnt_pruned"}
MODULES = {"warp_transducer": "warprnnt_pytorch", "fast_rnnt_pruned": "fast_rnnt", "nemo_tiled": "nemo"}
PEERS = {"torchaudio", "warp_rnnt", "optimized_transducer", "k2", "fast_rnnt", *MODULES}


def installed(device: str) -> list[str]:
    """Return the names of the implementations that are installed and can run on `device`, "cpu" or "cuda"."""
    names = [name for name in IMPLEMENTATIONS if device == "cuda" or name not in ON_GPU_ONLY]
    return [name for name in names if name not in PEERS or find_spec(MODULES.get(name, name))]


def _logits(x: Inputs) -> Tensor:
    """The logits (B, T, U+1, V)."""
    return functional.linear((x.encoder[:, :, None] + x.predictor[:, None]).relu(), x.weight, x.bias)


def _int32(x: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    device = x.encoder.device
    return x.targets.int(), x.encoder_lengths.to(device, torch.int32), x.target_lengths.to(device, torch.int32)


def _boundary(x: Inputs) -> Tensor:
    """k2's description of the lattices, (B, 4): first label, first frame, end of the labels, end of the frames."""
    zero = torch.zeros_like(x.encoder_lengths)
    return torch.stack((zero, zero, x.target_lengths, x.encoder_lengths), 1).to(x.encoder.device)
