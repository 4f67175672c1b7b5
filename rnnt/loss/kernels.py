"""The operations of `tile` in Triton. Each reads its tile once, because on a GPU they are limited by memory bandwidth.

Sums and exponentials are in float32, or in float64 for tensors in float64. No sum uses atomic operations, so results
repeat bit for bit. No function waits for the device. The number of nodes is not a compile-time constant, so that each
kernel is compiled once for a joint network. With TRITON_INTERPRET=1, set before Triton is imported, the kernels run on
a CPU, slowly.

The letters of the shapes are those of `tile`. In a kernel, DOWN x ACROSS is the shape of the block that a program
handles at a time, and WIDE is the type in which it computes.
"""

import torch
import triton
import triton.language as tl

from rnnt.loss.tile import Dropout

_BLOCK_ELEMENTS = 4096  # elements of a program's block: 32 for each of its 128 threads
_MAX_PROGRAMS = 4096  # programs of a grid that loops over its work: enough to give every multiprocessor several


def hidden(
    rows_XH: torch.Tensor,
    columns_YH: torch.Tensor,
    row_R: torch.Tensor,
    column_R: torch.Tensor,
    activation: str,
    dropout: Dropout | None,
) -> torch.Tensor:
    """Implement `Operations.hidden`."""
    nodes, width = len(row_R), rows_XH.shape[1]
    hidden_RH = rows_XH.new_empty(nodes, width)
    down, across = _block(width)
    _launch(
        _hidden, (triton.cdiv(nodes, down), triton.cdiv(width, across)),
        rows_XH.contiguous(), columns_YH.contiguous(), *_tables(dropout), row_R, column_R, hidden_RH, nodes,
        width, activation, _wide(rows_XH), down, across,
    )  # fmt: skip
    return hidden_RH


def add_hidden_gradient(
    grad_RH: torch.Tensor,
    hidden_RH: torch.Tensor,
    row_R: torch.Tensor,
    column_R: torch.Tensor,
    activation: str,
    dropout: Dropout | None,
    rows_grad_XH: torch.Tensor,
    columns_grad_YH: torch.Tensor,
) -> None:
    """Implement `Operations.add_hidden_gradient`. Each sum is computed by one program."""
    width = grad_RH.shape[1]
    down, across = _block(width, 8)
    sorted_R, order_R = column_R.sort(stable=True)
    for index_R, order, sums in ((row_R, None, rows_grad_XH), (sorted_R, order_R, columns_grad_YH)):
        starts = torch.searchsorted(index_R, torch.arange(len(sums) + 1, device=index_R.device))
        _launch(
            _add_runs, (min(len(index_R), len(sums), _MAX_PROGRAMS), triton.cdiv(width, across)),
            grad_RH, hidden_RH, *_tables(dropout), row_R, column_R, index_R, order, starts, sums, len(index_R),
            width, activation, _wide(sums), down, across,
        )  # fmt: skip


def log_probs(logits_RV: torch.Tensor, label_R: torch.Tensor, blank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Implement `Operations.log_probs`."""
    nodes, vocabulary = logits_RV.shape
    wide = torch.promote_types(logits_RV.dtype, torch.float32)
    blank_logp_R, label_logp_R = logits_RV.new_empty(2, nodes, dtype=wide)
    down, across = _block(vocabulary)
    _launch(
        _log_probs, (triton.cdiv(nodes, down),),
        logits_RV, label_R, blank_logp_R, label_logp_R, nodes, blank, vocabulary, _wide(logits_RV), down, across,
    )  # fmt: skip
    return blank_logp_R, label_logp_R


def logit_gradient(
    logits_RV: torch.Tensor, g_blank_R: torch.Tensor, g_label_R: torch.Tensor, label_R: torch.Tensor, blank: int
) -> torch.Tensor:
    """Implement `Operations.logit_gradient`, in the type of the logits and written over them."""
    nodes, vocabulary = logits_RV.shape
    down, across = _block(vocabulary)
    _launch(
        _logit_gradient, (triton.cdiv(nodes, down),),
        logits_RV, g_blank_R, g_label_R, label_R, nodes, blank, vocabulary, _wide(logits_RV), down, across,
    )  # fmt: skip
    return logits_RV


def forward_backward(
    blank_BTU: torch.Tensor, label_BTU: torch.Tensor, encoder_lengths: torch.Tensor, target_lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Implement `Operations.forward_backward`: one program for alpha and one for beta, with a lane for each column.

    A program takes T + U steps along the diagonals, and each lane adds two probabilities in a step. A scan along the
    labels of each frame would take at least T log2(U) dependent additions.
    """
    batch, size, width = blank_BTU.shape
    scores = blank_BTU.contiguous(), label_BTU.contiguous()
    lengths = encoder_lengths.contiguous(), target_lengths.contiguous()
    sums = blank_BTU.new_empty(2, batch, size, width, dtype=torch.float64)
    lanes = triton.next_power_of_2(width)
    warps = min(max(lanes // 32, 1), 8)
    _launch(_sweep, (batch, 2), *scores, *lengths, sums, size, width, lanes, num_warps=warps)
    g_blank, g_label = (torch.empty_like(x) for x in scores)
    down = max(1, 1024 // lanes)
    _launch(
        _count, (batch, triton.cdiv(size, down)),
        *scores, *lengths, *sums, g_blank, g_label, size, width, down, lanes,
    )  # fmt: skip
    return sums[1, :, 0, 0].to(blank_BTU.dtype), g_blank, g_label


def _block(width: int, min_rows: int = 1) -> tuple[int, int]:
    """The shape (DOWN, ACROSS) of a program's block, for rows of `width` elements."""
    across = min(triton.next_power_of_2(width), _BLOCK_ELEMENTS // min_rows)
    return min(64, _BLOCK_ELEMENTS // across), across


def _wide(x: torch.Tensor) -> tl.dtype:
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def _tables(dropout: Dropout | None) -> tuple[torch.Tensor | None, torch.Tensor | None, int]:
    return (dropout.rows, dropout.columns, dropout.threshold) if dropout else (None, None, 0)


def _launch(kernel, grid: tuple[int, ...], first: torch.Tensor, *arguments, **options) -> None:
    with torch.cuda.device_of(first):  # Triton launches on the current device, not on that of the tensors
        kernel[grid](first, *arguments, **options)


@triton.jit
def _kept(row_bits, column_bits, at_row, at_column, inside, threshold):
    bits = tl.load(row_bits + at_row, mask=inside, other=0).to(tl.int32)
    bits += tl.load(column_bits + at_column, mask=inside, other=0).to(tl.int32)
    return bits.to(tl.int16).to(tl.int32) >= threshold


@triton.jit(do_not_specialize=["threshold", "nodes"])
def _hidden(
    rows, columns, row_bits, column_bits, threshold, row_R, column_R, hidden_RH, nodes,
    H: tl.constexpr, ACTIVATION: tl.constexpr, WIDE: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr,
):  # fmt: skip
    node = tl.program_id(0) * DOWN + tl.arange(0, DOWN)
    h = tl.program_id(1) * ACROSS + tl.arange(0, ACROSS)[None, :]
    inside = (node < nodes)[:, None] & (h < H)
    at_row = tl.load(row_R + node, mask=node < nodes, other=0)[:, None] * H + h
    at_column = tl.load(column_R + node, mask=node < nodes, other=0)[:, None] * H + h
    x = tl.load(rows + at_row, mask=inside, other=0.0).to(WIDE)
    x += tl.load(columns + at_column, mask=inside, other=0.0).to(WIDE)
    if ACTIVATION == "relu":
        x = tl.where(x < 0, 0.0, x)  # keeps NaN; tl.maximum would not
    elif ACTIVATION == "tanh":
        x = 1 - 2 / (tl.exp(2 * x) + 1)
    if row_bits is not None:
        x = tl.where(_kept(row_bits, column_bits, at_row, at_column, inside, threshold), x, 0.0)
    tl.store(hidden_RH + node.to(tl.int64)[:, None] * H + h, x, mask=inside)


@triton.jit(do_not_specialize=["threshold", "nodes"])
def _add_runs(
    grad_RH, hidden_RH, row_bits, column_bits, threshold, row_R, column_R, index_R, order_R, starts, sums, nodes,
    H: tl.constexpr, ACTIVATION: tl.constexpr, WIDE: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr,
):  # fmt: skip
    """For each index x, add the gradients of its nodes, before the activation, to sums[x].

    index_R holds the nodes' indices, sorted; those equal to x are at starts[x] : starts[x + 1]. order_R maps places in
    index_R to nodes; None means that they are the same.
    """
    h = tl.program_id(1) * ACROSS + tl.arange(0, ACROSS)
    last = tl.load(index_R + nodes - 1)
    for x in range(tl.load(index_R) + tl.program_id(0), last + 1, tl.num_programs(0)):
        stop = tl.load(starts + x + 1)
        total = tl.zeros((DOWN, ACROSS), WIDE)
        for start in range(tl.load(starts + x), stop, DOWN):
            node = start + tl.arange(0, DOWN)
            valid = node < stop
            if order_R is not None:
                node = tl.load(order_R + node, mask=valid, other=0)
            inside = valid[:, None] & (h < H)[None, :]
            at_node = node[:, None] * H + h[None, :]
            grad = tl.load(grad_RH + at_node, mask=inside, other=0.0).to(WIDE)
            if ACTIVATION != "identity":
                value = tl.load(hidden_RH + at_node, mask=inside, other=0.0).to(WIDE)
                if ACTIVATION == "relu":  # a dropped unit is zero too, so this applies the dropout as well
                    grad = tl.where(value > 0, grad, 0.0)
                else:
                    grad *= 1 - value * value
                    if row_bits is not None:
                        at_row = tl.load(row_R + node, mask=valid, other=0)[:, None] * H + h[None, :]
                        at_column = tl.load(column_R + node, mask=valid, other=0)[:, None] * H + h[None, :]
                        kept = _kept(row_bits, column_bits, at_row, at_column, inside, threshold)
                        grad = tl.where(kept, grad, 0.0)
            total += grad
        at_sum = sums + x * H + h
        tl.store(at_sum, tl.load(at_sum, mask=h < H, other=0.0) + tl.sum(total, 0), mask=h < H)


@triton.jit
def _normalizer(logits, V: tl.constexpr, WIDE: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr):
    """The largest logit of each row, and the sum of exp(logit - largest), from reading the logits once."""
    largest = tl.full((DOWN,), float("-inf"), WIDE)
    total = tl.zeros((DOWN,), WIDE)
    for start in range(0, V, ACROSS):
        v = start + tl.arange(0, ACROSS)[None, :]
        x = tl.load(logits + v, mask=v < V, other=float("-inf")).to(WIDE)
        larger = tl.maximum(largest, tl.max(x, 1))
        origin = _origin(larger)
        total = total * tl.exp(largest - origin) + tl.sum(tl.exp(x - origin[:, None]), 1)
        largest = larger
    return _origin(largest), total


@triton.jit
def _origin(largest):
    return tl.where(largest == float("-inf"), 0.0, largest)  # -inf - -inf would be NaN


@triton.jit(do_not_specialize=["nodes", "blank"])
def _log_probs(
    logits_RV, label_R, blank_logp_R, label_logp_R, nodes, blank,
    V: tl.constexpr, WIDE: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr,
):  # fmt: skip
    node = tl.program_id(0) * DOWN + tl.arange(0, DOWN)
    node = tl.minimum(node, nodes - 1)  # rows beyond the last node repeat it
    logits = logits_RV + node.to(tl.int64) * V
    largest, total = _normalizer(logits[:, None], V, WIDE, DOWN, ACROSS)
    rest = tl.log(total)
    of_blank = tl.load(logits + blank).to(WIDE)
    of_label = tl.load(logits + tl.load(label_R + node)).to(WIDE)
    tl.store(blank_logp_R + node, of_blank - largest - rest)
    tl.store(label_logp_R + node, of_label - largest - rest)


@triton.jit(do_not_specialize=["nodes", "blank"])
def _logit_gradient(
    logits_RV, g_blank_R, g_label_R, label_R, nodes, blank,
    V: tl.constexpr, WIDE: tl.constexpr, DOWN: tl.constexpr, ACROSS: tl.constexpr,
):  # fmt: skip
    node = (tl.program_id(0) * DOWN + tl.arange(0, DOWN))[:, None]
    valid = node < nodes
    node = tl.minimum(node, nodes - 1)  # rows beyond the last node repeat it, but must not write
    logits = logits_RV + node.to(tl.int64) * V
    largest, total = _normalizer(logits, V, WIDE, DOWN, ACROSS)
    g_blank, g_label, label = tl.load(g_blank_R + node), tl.load(g_label_R + node), tl.load(label_R + node)
    scale = (g_blank + g_label) / total[:, None]
    for start in range(0, V, ACROSS):
        v = start + tl.arange(0, ACROSS)[None, :]
        # If a row fits one block, the compiler reuses the logits that _normalizer loaded.
        x = tl.load(logits + v, mask=v < V, other=float("-inf")).to(WIDE)
        grad = tl.exp(x - largest[:, None]) * scale
        grad -= tl.where(v == blank, g_blank, 0.0) + tl.where(v == label, g_label, 0.0)
        tl.store(logits + v, grad, mask=valid & (v < V))


@triton.jit
def _scores(blank, label, step, frames, labels, is_beta, width, lane):
    """For each lane's node on this diagonal: the scores of its two incoming arcs, its index, and whether it is valid.

    Lanes are columns and `t` is a frame, both counted in the direction of the sweep: from the start of the lattice for
    alpha, from its end for beta.
    """
    t = step - lane
    node = (t >= 0) & (t < frames) & (lane <= labels)
    at = tl.where(is_beta, (frames - 1 - t) * width + labels - lane, t * width + lane)
    # Alpha begins at node (0, 0), which no arc enters. Beta begins after the last blank, an arc into lane 0 at t = 0.
    has_blank = node & ((t > 0) | (is_beta & (lane == 0)))
    of_blank = tl.load(blank + tl.where(is_beta, at, at - width), mask=has_blank, other=0.0)
    of_label = tl.load(label + tl.where(is_beta, at, at - 1), mask=node & (lane > 0), other=float("-inf"))
    return of_blank.to(tl.float64), of_label.to(tl.float64), at, node


@triton.jit(do_not_specialize=["size", "width"])
def _sweep(blank_BTU, label_BTU, frames_B, labels_B, sums, size, width, LANES: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    frames, labels = tl.load(frames_B + b).to(tl.int32), tl.load(labels_B + b).to(tl.int32)
    blank, label = blank_BTU + b * size * width, label_BTU + b * size * width
    sums += (tl.program_id(1) * tl.num_programs(0) + b) * size * width
    lane = tl.arange(0, LANES)
    is_beta = tl.full((LANES,), tl.program_id(1), tl.int32) == 1
    before = tl.maximum(lane - 1, 0)
    total = tl.where(lane == 0, 0.0, float("-inf")).to(tl.float64)
    of_blank, of_label, at, node = _scores(blank, label, 0, frames, labels, is_beta, width, lane)
    for step in range(1, frames + labels + 1):
        stay = total + of_blank
        move = tl.gather(total, before, 0) + of_label
        at_now, node_now = at, node
        # Load the next diagonal's scores while this one's are added.
        of_blank, of_label, at, node = _scores(blank, label, step, frames, labels, is_beta, width, lane)
        # logaddexp. Equal infinities would have a difference of NaN; other NaN must stay.
        difference = tl.where(stay == move, 0.0, -tl.abs(stay - move))
        total = tl.where(stay > move, stay, move) + tl.log(1 + tl.exp(difference))
        tl.store(sums + at_now, total, mask=node_now)


@triton.jit(do_not_specialize=["size", "width"])
def _count(
    blank_BTU, label_BTU, frames_B, labels_B, alpha_BTU, beta_BTU, g_blank_BTU, g_label_BTU, size, width,
    DOWN: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    frames, labels = tl.load(frames_B + b), tl.load(labels_B + b)
    t = tl.program_id(1) * DOWN + tl.arange(0, DOWN)[:, None]
    u = tl.arange(0, LANES)[None, :]
    first = b * size * width
    at = first + t * width + u
    log_p = tl.load(beta_BTU + first)
    frames = tl.where(tl.abs(log_p) < float("inf"), frames, 0)  # if log P is not finite, all counts are zero
    inside = (t < frames) & (u <= labels)
    alpha = tl.load(alpha_BTU + at, mask=inside, other=0.0) - log_p
    goes_on, has_label = inside & (t < frames - 1), inside & (u < labels)
    has_blank = goes_on | (inside & (u == labels))
    of_blank = tl.load(blank_BTU + at, mask=has_blank, other=float("-inf")).to(tl.float64)
    of_label = tl.load(label_BTU + at, mask=has_label, other=float("-inf")).to(tl.float64)
    g_blank = tl.exp(alpha + of_blank + tl.load(beta_BTU + at + width, mask=goes_on, other=0.0))
    g_label = tl.exp(alpha + of_label + tl.load(beta_BTU + at + 1, mask=has_label, other=0.0))
    tl.store(g_blank_BTU + at, tl.where(has_blank, g_blank, 0.0), mask=(t < size) & (u < width))
    tl.store(g_label_BTU + at, tl.where(has_label, g_label, 0.0), mask=(t < size) & (u < width))
