"""The joint and the loss together, tile by tile: logits and hidden layer of the whole lattice never exist.

Forward, the valid nodes pass in tiles, of which only the log-probabilities of blank and label are kept; the lattice
then gives the expected count of every arc. Backward, the gradient of a node's logits is its occupancy (the probability
that the alignment passes through it) times a vector no longer than 2, so only nodes whose occupancy exceeds the
tolerance are computed again, and on a trained model these are few. DESIGN section 6; docs/loss.md has the error bound
and the cost.
"""

from dataclasses import dataclass
from types import ModuleType

import torch
from torch.autograd.function import once_differentiable

from rnnt.loss.arguments import Lattices
from rnnt.loss.tile import Dropout

_CPU_TILE = 2**20  # elements of a tile's hidden layer and logits, which then stay in the cache
_GPU_TILE = 2**28  # at most, and an eighth of the memory that is free,
_GPU_TILE_LEAST = 2**24  # but so many in any case: a tile is a dozen launches


@dataclass(frozen=True)
class Settings:
    """What the loss is told beside the joint's inputs.

    activation: a name of torch's, or "identity"; products: the type of the matrix products; parts: the module that
    computes all that is no matrix product, `tile` or `kernels`.
    """

    lattices: Lattices
    activation: str
    dropout: Dropout | None
    fastemit: float
    tolerance: float
    products: torch.dtype
    parts: ModuleType


class _Joint:
    """The joint network at nodes numbered (b T + t) (U+1) + u. Without a weight the hidden layer is the logits."""

    def __init__(self, encoder_BTH, predictor_BUH, weight_VH, bias_V, settings: Settings):
        self.settings = settings
        self.frames, self.width = encoder_BTH.shape[1], predictor_BUH.shape[1]
        products = settings.products
        self.rows = encoder_BTH.flatten(0, 1).to(products)
        self.columns = predictor_BUH.flatten(0, 1).to(products)
        self.scale = 1 / settings.dropout.keep if settings.dropout else 1.0
        if settings.dropout:
            weight_VH = weight_VH * self.scale
        self.weight = None if weight_VH is None else weight_VH.to(products)
        self.bias = None if bias_V is None else bias_V.to(products)
        elements = _CPU_TILE
        if encoder_BTH.is_cuda:
            elements = max(_GPU_TILE_LEAST, min(_GPU_TILE, _free_bytes(encoder_BTH.device) // 8 // products.itemsize))
        self.tile = max(1, elements // (self.rows.shape[1] + (0 if weight_VH is None else len(weight_VH))))

    def place(self, node_R: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The nodes' rows of the encoder and of the predictor, and their labels."""
        row_R = torch.div(node_R, self.width, rounding_mode="floor")
        column_R = torch.div(row_R, self.frames, rounding_mode="floor") * self.width + node_R % self.width
        return row_R, column_R, self.settings.lattices.targets.view(-1)[column_R]

    def hidden(self, row_R: torch.Tensor, column_R: torch.Tensor) -> torch.Tensor:
        settings = self.settings
        return settings.parts.hidden(self.rows, self.columns, row_R, column_R, settings.activation, settings.dropout)

    def logits(self, hidden_RH: torch.Tensor) -> torch.Tensor:
        return hidden_RH if self.weight is None else torch.addmm(self.bias, hidden_RH, self.weight.t())


def _free_bytes(device: torch.device) -> int:
    """Of a GPU's memory: what torch could still take, and what it has taken and does not use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


class FusedLoss(torch.autograd.Function):
    """Losses (B,) of encoder (B, T, H), predictor (B, U+1, H), weight (V, H) and bias (V,), both None if additive."""

    @staticmethod
    def forward(ctx, encoder_BTH, predictor_BUH, weight_VH, bias_V, settings: Settings):
        with torch.autocast(encoder_BTH.device.type, enabled=False):
            joint, lattices = _Joint(encoder_BTH, predictor_BUH, weight_VH, bias_V, settings), settings.lattices
            shape = (*encoder_BTH.shape[:2], predictor_BUH.shape[1])
            wide = torch.promote_types(settings.products, torch.float32)
            blank_BTU = torch.zeros(shape, dtype=wide, device=encoder_BTH.device)
            label_BTU = torch.zeros_like(blank_BTU)
            for node_R in _valid_nodes(shape, lattices).split(joint.tile):
                row_R, column_R, label_R = joint.place(node_R)
                logits_RV = joint.logits(joint.hidden(row_R, column_R))
                blank_R, label_logp_R = settings.parts.log_probs(logits_RV, label_R, lattices.blank)
                blank_BTU.view(-1)[node_R] = blank_R
                label_BTU.view(-1)[node_R] = label_logp_R
            log_p, g_blank, g_label = settings.parts.forward_backward(
                blank_BTU, label_BTU, lattices.frames, lattices.labels
            )
            finite_B = torch.isfinite(log_p)
            if any(ctx.needs_input_grad):
                g_label *= 1 + settings.fastemit
                visited_N = ((g_blank + g_label).view(-1) > settings.tolerance).nonzero()[:, 0]
                ctx.save_for_backward(
                    encoder_BTH, predictor_BUH, weight_VH, bias_V, finite_B, visited_N,
                    g_blank.view(-1)[visited_N], g_label.view(-1)[visited_N],
                )  # fmt: skip
                ctx.settings = settings
            return torch.where(finite_B, -log_p, float("inf"))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_B):
        *inputs, finite_B, visited_N, blank_N, label_N = ctx.saved_tensors
        settings = ctx.settings
        with torch.autocast(grad_B.device.type, enabled=False):
            joint = _Joint(*inputs, settings)
            # Within the tiles the largest gradient is 1, for the sake of float16.
            grad_B = torch.where(finite_B, grad_B, 0.0)
            largest = grad_B.abs().max().clamp(min=torch.finfo(grad_B.dtype).tiny)
            grad_N = (grad_B / largest)[torch.div(visited_N, joint.frames * joint.width, rounding_mode="floor")]
            grads = [None if x is None else blank_N.new_zeros(x.shape) for x in inputs]
            rows_grad, columns_grad = (x.view(-1, x.shape[2]) for x in grads[:2])
            for node_R, blank_R, labels_R in zip(
                *(x.split(joint.tile) for x in (visited_N, blank_N * grad_N, label_N * grad_N))
            ):
                row_R, column_R, label_R = joint.place(node_R)
                hidden_RH = joint.hidden(row_R, column_R)
                grad = settings.parts.logit_gradient(
                    joint.logits(hidden_RH), blank_R, labels_R, label_R, settings.lattices.blank
                )
                if joint.weight is not None:
                    grads[3] += grad.sum(0, dtype=grads[3].dtype)
                    grad = grad.to(settings.products)
                    _add_product(grads[2], grad.t(), hidden_RH)
                    grad = grad @ joint.weight
                settings.parts.add_hidden_gradient(
                    grad, hidden_RH, row_R, column_R, settings.activation, settings.dropout, rows_grad, columns_grad
                )
            scales = (largest, largest, largest * joint.scale, largest)
            grads = [
                None if x is None else x.mul_(scale).to(like.dtype) for x, scale, like in zip(grads, scales, inputs)
            ]
        return (*grads, None)


def _valid_nodes(shape: tuple[int, int, int], lattices: Lattices) -> torch.Tensor:
    """The numbers (N,) of the nodes within their utterance's lattice, without asking the device how many there are."""
    _, frames, width = shape
    device = lattices.frames.device
    in_time = torch.arange(frames, device=device) < lattices.frames[:, None]
    in_labels = torch.arange(width, device=device) <= lattices.labels[:, None]
    inside = (in_time[:, :, None] & in_labels[:, None, :]).view(-1)
    return torch.nonzero_static(inside, size=lattices.nodes)[:, 0]


def _add_product(sum_VH: torch.Tensor, x_VR: torch.Tensor, y_RH: torch.Tensor) -> None:
    if x_VR.dtype == sum_VH.dtype:
        sum_VH.addmm_(x_VR, y_RH)
    else:
        sum_VH += x_VR @ y_RH
