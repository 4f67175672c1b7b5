"""Log-probabilities of blank and of the next target symbol at every lattice node, without stored logits.

The (B, T, U+1, V) logits exist only for the nodes of one tile at a time. `node_scores` is the call for other modules;
the fused loss works on `LatticeJoint`, which evaluates the joint network at chosen nodes.

Letters of the shapes: R nodes of a tile, N all valid nodes; the others are those of `tile`.
"""

import functools
import os
import warnings
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from rnnt.device import cpu_gains_by_bfloat16
from rnnt.loss import tile
from rnnt.loss.arguments import Lattices, check_joint
from rnnt.loss.tile import Dropout, Operations
from rnnt.text import reason

# Elements of the hidden layer and the logits of a tile. On a CPU the tile then stays in the cache. On a GPU it takes an
# eighth of the free memory, within these bounds: below the minimum, the dozen kernel launches of a tile would dominate.
_CPU_TILE = 2**20
_GPU_TILE_MAX = 2**28
_GPU_TILE_MIN = 2**24


def node_scores(
    encoder_BTH: torch.Tensor,
    predictor_BUH: torch.Tensor,
    weight_VH: torch.Tensor | None,
    bias_V: torch.Tensor | None,
    targets_BU: torch.Tensor,
    encoder_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    blank: int = -1,
    activation: str = "relu",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probabilities of blank and of the next target symbol at each node, (B, T, U+1) each.

    The arguments are those of `transducer_loss`; there is no dropout. The scores of arcs that do not exist are -inf:
    those of padding, and the label scores after an utterance's last symbol. So no result depends on padding. The
    scores are in float32, or in float64 for inputs in float64. They have no gradient, and can be computed under
    torch.inference_mode.
    Raises ValueError as `transducer_loss` does.

    >>> import torch
    >>> from rnnt.loss import node_scores
    >>> encoder, predictor = torch.zeros(1, 2, 8), torch.zeros(1, 2, 8)  # 2 frames, 1 symbol, joint width 8
    >>> weight, bias = torch.zeros(4, 8), torch.zeros(4)  # 3 symbols and blank, all equally likely
    >>> lengths = torch.tensor([2]), torch.tensor([1])
    >>> blank, label = node_scores(encoder, predictor, weight, bias, torch.tensor([[0]]), *lengths)
    >>> blank.exp()
    tensor([[[0.2500, 0.2500],
             [0.2500, 0.2500]]])
    >>> label.exp()
    tensor([[[0.2500, 0.0000],
             [0.2500, 0.0000]]])
    """
    inputs = encoder_BTH, predictor_BUH, weight_VH, bias_V
    lattices = check_joint(*inputs, targets_BU, encoder_lengths, target_lengths, blank, activation)
    joint = _scoring_joint(inputs, lattices, activation)
    with torch.no_grad(), torch.autocast(encoder_BTH.device.type, enabled=False):
        blank_BTU, label_BTU = joint.scores()
        last_BU = torch.arange(predictor_BUH.shape[1], device=label_BTU.device) == lattices.target_lengths[:, None]
        return blank_BTU, label_BTU.masked_fill_(last_BU[:, None], float("-inf"))


def scores_at_nodes(
    encoder_BTH: torch.Tensor,
    predictor_BUH: torch.Tensor,
    weight_VH: torch.Tensor | None,
    bias_V: torch.Tensor | None,
    targets_BU: torch.Tensor,
    encoder_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    node_N: torch.Tensor,
    activation: str = "relu",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probabilities of blank and of the next target symbol at chosen nodes, (N,) each.

    node_N: numbers of valid nodes; node (t, u) of utterance b has the number (b T + t) (U+1) + u. The other arguments
    are those of `node_scores`; blank is the last symbol. At u = U the label score means nothing.
    Raises ValueError as `transducer_loss` does.
    """
    inputs = encoder_BTH, predictor_BUH, weight_VH, bias_V
    lattices = check_joint(*inputs, targets_BU, encoder_lengths, target_lengths, -1, activation)
    joint = _scoring_joint(inputs, lattices, activation)
    with torch.no_grad(), torch.autocast(encoder_BTH.device.type, enabled=False):
        return joint.scores_at(node_N)


def _scoring_joint(inputs: tuple, lattices: Lattices, activation: str) -> "LatticeJoint":
    encoder_BTH, _, weight_VH, _ = inputs
    settings = JointSettings(
        lattices,
        "identity" if weight_VH is None else activation,
        None,
        product_type(encoder_BTH, weight_VH),
        choose_operations("auto", encoder_BTH.device),
    )
    return LatticeJoint(*inputs, settings)


@dataclass(frozen=True)
class JointSettings:
    """The arguments of `LatticeJoint` other than the joint network's inputs."""

    lattices: Lattices
    activation: str  # "relu", "tanh", or "identity" for the additive joint
    dropout: Dropout | None  # of the hidden layer
    products: torch.dtype  # type of the matrix products
    operations: Operations  # computes everything that is not a matrix product: the module `tile` or `kernels`


class LatticeJoint:
    """The joint network at chosen nodes of the lattices. The caller has disabled autocast.

    Node (t, u) of utterance b has the number (b T + t) (U+1) + u. The additive joint has no weight: its hidden layer is
    its logits.
    """

    def __init__(
        self,
        encoder_BTH: torch.Tensor,
        predictor_BUH: torch.Tensor,
        weight_VH: torch.Tensor | None,
        bias_V: torch.Tensor | None,
        settings: JointSettings,
    ) -> None:
        self.settings = settings
        self.shape = *encoder_BTH.shape[:2], predictor_BUH.shape[1]  # B, T, U+1
        products = settings.products
        self.rows = encoder_BTH.flatten(0, 1).to(products)
        self.columns = predictor_BUH.flatten(0, 1).to(products)
        # Scale the weight instead of every hidden unit that dropout keeps.
        self.scale = 1 / settings.dropout.keep if settings.dropout else 1.0
        if settings.dropout:
            weight_VH = weight_VH * self.scale
        self.weight = None if weight_VH is None else weight_VH.to(products)
        self.bias = None if bias_V is None else bias_V.to(products)
        elements = _CPU_TILE
        if encoder_BTH.is_cuda:
            free = _free_bytes(encoder_BTH.device) // 8 // products.itemsize
            elements = max(_GPU_TILE_MIN, min(_GPU_TILE_MAX, free))
        node_elements = self.rows.shape[1] + (0 if weight_VH is None else len(weight_VH))
        self.tile = max(1, elements // node_elements)  # nodes of a full tile

    def valid_nodes(self) -> torch.Tensor:
        """Return the numbers (N,) of the nodes within their utterance's lattice. Does not wait for the device."""
        lattices = self.settings.lattices
        _, frames, width = self.shape
        device = self.rows.device
        in_time_BT = torch.arange(frames, device=device) < lattices.encoder_lengths[:, None]
        in_labels_BU = torch.arange(width, device=device) <= lattices.target_lengths[:, None]
        inside = (in_time_BT[:, :, None] & in_labels_BU[:, None, :]).view(-1)
        return torch.nonzero_static(inside, size=lattices.nodes)[:, 0]

    def locate(self, node_R: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the nodes' rows of the encoder's output, columns of the predictor's, and next target symbols."""
        _, frames, width = self.shape
        row_R = torch.div(node_R, width, rounding_mode="floor")
        column_R = torch.div(row_R, frames, rounding_mode="floor") * width + node_R % width
        return row_R, column_R, self.settings.lattices.targets.view(-1)[column_R]

    def hidden(self, row_R: torch.Tensor, column_R: torch.Tensor) -> torch.Tensor:
        """Return the hidden layer (R, H) of nodes at these rows and columns."""
        settings = self.settings
        return settings.operations.hidden(
            self.rows, self.columns, row_R, column_R, settings.activation, settings.dropout
        )

    def logits(self, hidden_RH: torch.Tensor) -> torch.Tensor:
        """Return the logits (R, V) of nodes with this hidden layer."""
        return hidden_RH if self.weight is None else torch.addmm(self.bias, hidden_RH, self.weight.t())

    def scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probabilities of blank and label of all nodes, (B, T, U+1) each, -inf at padding.

        At u = U there is no next target symbol; the label scores there mean nothing.
        """
        wide = torch.promote_types(self.settings.products, torch.float32)
        blank_BTU = torch.full(self.shape, float("-inf"), dtype=wide, device=self.rows.device)
        label_BTU = torch.full_like(blank_BTU, float("-inf"))
        for node_R in self.valid_nodes().split(self.tile):
            blank_BTU.view(-1)[node_R], label_BTU.view(-1)[node_R] = self._tile_scores(node_R)
        return blank_BTU, label_BTU

    def scores_at(self, node_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probabilities of blank and label of these valid nodes, (N,) each, as `scores` does."""
        tiles = [self._tile_scores(node_R) for node_R in node_N.split(self.tile)]
        return torch.cat([blank for blank, _ in tiles]), torch.cat([label for _, label in tiles])

    def _tile_scores(self, node_R: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        row_R, column_R, label_R = self.locate(node_R)
        logits_RV = self.logits(self.hidden(row_R, column_R))
        return self.settings.operations.log_probs(logits_RV, label_R, self.settings.lattices.blank)


def product_type(encoder_BTH: torch.Tensor, weight_VH: torch.Tensor | None) -> torch.dtype:
    """Return the type in which to multiply matrices: autocast's if it is enabled, otherwise that of the inputs.

    On a CPU that gains nothing by the narrow type, float32 takes its place: it is faster and more accurate.
    """
    device = encoder_BTH.device.type
    if torch.is_autocast_enabled(device):
        wanted = torch.get_autocast_dtype(device)
    else:
        wanted = encoder_BTH.dtype if weight_VH is None else torch.promote_types(encoder_BTH.dtype, weight_VH.dtype)
    if wanted.itemsize == 2 and device == "cpu" and not (wanted == torch.bfloat16 and cpu_gains_by_bfloat16()):
        return torch.float32
    return wanted


def choose_operations(implementation: str, device: torch.device) -> Operations:
    """Return the module that computes a tile's operations: `kernels` for "triton", `tile` for "fused".

    "auto" chooses `kernels` on a GPU if they run there. Raises ValueError if "triton" is asked for and cannot run.
    """
    if implementation == "auto":
        implementation = "triton" if device.type == "cuda" and _triton_runs(device) else "fused"
    if implementation == "fused":
        return tile
    if not find_spec("triton"):
        raise ValueError("implementation triton needs the package: pip install 'rnnt[triton]'")
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(f"implementation triton runs on a GPU; the encoder's output is on {device}: choose fused")
    from rnnt.loss import kernels

    return kernels


@functools.cache
def _triton_runs(device: torch.device) -> bool:
    """Whether the kernels run on the device. torch installs Triton, but not the C compiler that Triton calls."""
    if not find_spec("triton"):
        return False
    try:
        from rnnt.loss import kernels

        number, index = torch.zeros(1, 1, device=device), torch.zeros(1, dtype=torch.long, device=device)
        kernels.hidden(number, number, index, index, "relu", None)
    except Exception as error:  # a missing compiler or a driver's fault: the types are not documented
        warnings.warn(
            f"Triton does not run on {device} ({reason(error)}): the loss is computed in torch, more slowly. Triton "
            "needs a C compiler and Python's headers, in Debian the packages gcc and python3-dev",
            stacklevel=4,
        )
        return False
    return True


def _free_bytes(device: torch.device) -> int:
    """Memory of a GPU that torch can use: free in the system, or reserved by torch and not in use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
