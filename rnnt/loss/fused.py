"""The joint network and the loss together, tile by tile: the lattice's logits and hidden layer are never stored.

Forward, `scores` computes the log-probabilities of blank and label at every valid node, and forward-backward turns them
into the expected count of every arc. Backward, the gradient of a node's logits is its occupancy (the probability that
the alignment passes through the node) times a vector whose 1-norm is at most 2. So only nodes whose occupancy exceeds
the tolerance are computed again, and on a trained model these are few. The formulas are in DESIGN section 6, the error
bound and the cost in docs/loss.md.

Letters of the shapes:

    B  utterances             T  encoder frames           U  in a tensor's name, the U+1 predictor states
    H  joint width            V  symbols with blank       R  nodes of a tile
    X  rows: the B T frames of all utterances             Y  columns: the B (U+1) predictor states of all utterances
    N  visited nodes: those whose occupancy exceeds the tolerance
"""

import torch
from torch.autograd.function import once_differentiable

from rnnt.loss.penalties import Penalties, sum_alignments
from rnnt.loss.scores import JointSettings, LatticeJoint


class FusedLoss(torch.autograd.Function):
    """Losses (B,) of encoder (B, T, H), predictor (B, U+1, H), weight (V, H) and bias (V,).

    Weight and bias are both None for the additive joint. fastemit, tolerance and penalties are those of
    `transducer_loss`.
    """

    @staticmethod
    def forward(
        ctx,
        encoder_BTH,
        predictor_BUH,
        weight_VH,
        bias_V,
        settings: JointSettings,
        fastemit: float,
        tolerance: float,
        penalties: Penalties | None,
    ):
        """Return the losses, inf if not finite. Keeps the inputs and the expected counts of the visited nodes."""
        lattices = settings.lattices
        with torch.autocast(encoder_BTH.device.type, enabled=False):
            blank_BTU, label_BTU = LatticeJoint(encoder_BTH, predictor_BUH, weight_VH, bias_V, settings).scores()
            log_p, g_blank, g_label = sum_alignments(
                settings.operations.forward_backward, blank_BTU, label_BTU, lattices, fastemit, penalties
            )
            finite_B = torch.isfinite(log_p)
            if any(ctx.needs_input_grad):
                weight = g_blank + (g_label if penalties is None else g_label.abs())
                visited_N = (weight.view(-1) > tolerance).nonzero()[:, 0]
                ctx.save_for_backward(
                    encoder_BTH, predictor_BUH, weight_VH, bias_V, finite_B, visited_N,
                    g_blank.view(-1)[visited_N], g_label.view(-1)[visited_N],
                )  # fmt: skip
                ctx.settings = settings
            return torch.where(finite_B, -log_p, float("inf"))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_B):
        """Return the gradients of the four inputs, zero for utterances whose loss is not finite."""
        *inputs, finite_B, visited_N, g_blank_N, g_label_N = ctx.saved_tensors
        settings, operations = ctx.settings, ctx.settings.operations
        with torch.autocast(grad_B.device.type, enabled=False):
            joint = LatticeJoint(*inputs, settings)
            _, frames, width = joint.shape
            # Scale the gradients so that the largest of the batch is 1, lest small ones vanish in float16.
            grad_B = torch.where(finite_B, grad_B, 0.0)
            largest = grad_B.abs().max().clamp(min=torch.finfo(grad_B.dtype).tiny)
            grad_N = (grad_B / largest)[torch.div(visited_N, frames * width, rounding_mode="floor")]
            grads = [None if x is None else g_blank_N.new_zeros(x.shape) for x in inputs]
            rows_grad_XH, columns_grad_YH = (x.view(-1, x.shape[2]) for x in grads[:2])
            tiles = (x.split(joint.tile) for x in (visited_N, g_blank_N * grad_N, g_label_N * grad_N))
            for node_R, g_blank_R, g_label_R in zip(*tiles):
                row_R, column_R, label_R = joint.locate(node_R)
                hidden_RH = joint.hidden(row_R, column_R)
                grad = operations.logit_gradient(
                    joint.logits(hidden_RH), g_blank_R, g_label_R, label_R, settings.lattices.blank
                )
                if joint.weight is not None:
                    grads[3] += grad.sum(0, dtype=grads[3].dtype)
                    grad = grad.to(settings.products)
                    _add_product(grads[2], grad.t(), hidden_RH)
                    grad = grad @ joint.weight
                operations.add_hidden_gradient(
                    grad, hidden_RH, row_R, column_R, settings.activation, settings.dropout,
                    rows_grad_XH, columns_grad_YH,
                )  # fmt: skip
            scales = (largest, largest, largest * joint.scale, largest)
            grads = [
                None if x is None else x.mul_(scale).to(like.dtype) for x, scale, like in zip(grads, scales, inputs)
            ]
        return (*grads, None, None, None, None)


def _add_product(sum_VH: torch.Tensor, x_VR: torch.Tensor, y_RH: torch.Tensor) -> None:
    if x_VR.dtype == sum_VH.dtype:
        sum_VH.addmm_(x_VR, y_RH)
    else:
        sum_VH += x_VR @ y_RH
