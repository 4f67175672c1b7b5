"""Self-attention with relative positions, and which frames it may see.

B utterances or streams, T frames, K frames that are attended to (those before the T, and the T), P distances, D width.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class RelativeAttention(nn.Module):
    """Multi-head self-attention with relative positions (Dai et al. 2019, arXiv 1901.02860, section 3.3).

    The score of key j for query i, from their projections q_i and k_j and a projection r of the distance between them:

        ((q_i + u) k_j + (q_i + v) r_(i - j)) / sqrt(D / heads)

    The parameters have the names and shapes of NeMo's.
    """

    def __init__(self, width: int, heads: int, dropout: float, bias: bool):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.linear_q = nn.Linear(width, width, bias)
        self.linear_k = nn.Linear(width, width, bias)
        self.linear_v = nn.Linear(width, width, bias)
        self.linear_out = nn.Linear(width, width, bias)
        self.linear_pos = nn.Linear(width, width, False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, width // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, width // heads))

    def reset_parameters(self) -> None:
        """Start with biases u and v of 0; the linear maps start as torch's do."""
        nn.init.zeros_(self.pos_bias_u)
        nn.init.zeros_(self.pos_bias_v)

    def forward(
        self,
        x_BTD: torch.Tensor,
        distances_PD: torch.Tensor,
        allowed_BTK: torch.Tensor,
        past: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Attend to the frames that are allowed. A frame with none gives an arbitrary, finite result.

        distances_PD: `encode_distances(T, K)`. past: keys and values (B, K - T, D) of earlier frames. Returns the
        output (B, T, D), and the keys and values (B, K, D).
        """
        keys_BKD, values_BKD = self.linear_k(x_BTD), self.linear_v(x_BTD)
        if past is not None:
            keys_BKD, values_BKD = (torch.cat((old.to(x.dtype), x), 1) for old, x in zip(past, (keys_BKD, values_BKD)))
        query, key, value = (self._split(x) for x in (self.linear_q(x_BTD), keys_BKD, values_BKD))
        distance = self._split(self.linear_pos(distances_PD)[None])
        u, v = (bias[:, None].to(query.dtype) for bias in (self.pos_bias_u, self.pos_bias_v))
        bias = _by_key(torch.matmul(query + v, distance.transpose(2, 3)), key.shape[2]) / math.sqrt(query.shape[3])
        # Half of the lowest number keeps the score of a forbidden key finite. Its weight is 0 nevertheless.
        bias = bias.masked_fill(~allowed_BTK[:, None], torch.finfo(bias.dtype).min / 2)
        dropout = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(query + u, key, value, bias, dropout)
        return self.linear_out(x.transpose(1, 2).flatten(2)), (keys_BKD, values_BKD)

    def _split(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)."""
        return x_BTD.reshape(*x_BTD.shape[:2], self.heads, -1).transpose(1, 2)


def _by_key(scores: torch.Tensor, num_keys: int) -> torch.Tensor:
    """Scores (..., T, P) of distances -> scores (..., T, K) of keys: key k of query i is at place k + T - 1 - i."""
    queries, distances = scores.shape[-2:]
    flat = F.pad(scores, (0, 1)).flatten(-2)[..., queries - 1 : queries - 1 + queries * distances]
    return flat.reshape(scores.shape)[..., :num_keys]


def encode_distances(queries: int, keys: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Return sinusoids (P, D) of the distances from the first key to the last query, to the reverse: P = K + T - 1.

    The queries are the last of the keys. like: a tensor with the device and the number format that is wanted.
    """
    exact = torch.promote_types(like.dtype, torch.float32)
    distance_P1 = torch.arange(keys - 1, -queries, -1, dtype=exact, device=like.device)[:, None]
    place = torch.arange(0, width, 2, dtype=exact, device=like.device)
    angle = distance_P1 * torch.exp(place * (-math.log(10_000) / width))
    return torch.stack((angle.sin(), angle.cos()), 2).flatten(1).to(like.dtype)


def attention_limits(queries: int, past: int, left: int, right: int, device: torch.device) -> torch.Tensor:
    """Return (T, K), true if query i may see key k - past. `past` keys lie before the queries, at whole chunks.

    With `right` limited, the frames are in chunks of right + 1. A frame sees its own chunk and the left // (right + 1)
    chunks before it. Otherwise it sees `left` frames before it. -1: no limit.
    """
    query_T1 = torch.arange(queries, device=device)[:, None]
    key_K = torch.arange(-past, queries, device=device)[None]
    if right < 0:
        return query_T1 - key_K <= left if left >= 0 else torch.ones_like(query_T1 - key_K, dtype=torch.bool)
    chunk = right + 1
    ahead_TK = torch.div(query_T1, chunk, rounding_mode="floor") - torch.div(key_K, chunk, rounding_mode="floor")
    return (ahead_TK >= 0) & (ahead_TK <= left // chunk) if left >= 0 else ahead_TK >= 0
