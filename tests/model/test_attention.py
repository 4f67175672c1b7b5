"""Attention against its equation, written out for each head, query and key; and its limits."""

import pytest
import torch

from rnnt.model.attention import RelativeAttention, attention_limits, encode_distances


def make(width=8, heads=2, dropout=0.0):
    torch.manual_seed(0)
    attention = RelativeAttention(width, heads, dropout, True).double()
    torch.nn.init.normal_(attention.pos_bias_u)
    torch.nn.init.normal_(attention.pos_bias_v)
    return attention


@pytest.mark.parametrize(("past", "queries"), [(0, 1), (0, 6), (3, 1), (3, 4), (2, 2)])
def test_equals_the_equation(written_out, past, queries):
    attention = make()
    x_BKD = torch.randn(2, past + queries, 8, dtype=torch.float64)
    allowed = torch.rand(2, queries, past + queries) < 0.6
    allowed[:, :, 0] = True
    earlier = attention.linear_k(x_BKD[:, :past]), attention.linear_v(x_BKD[:, :past])
    distances = encode_distances(queries, past + queries, 8, x_BKD)
    output, (keys, values) = attention(x_BKD[:, past:], distances, allowed, earlier if past else None)
    for i in range(2):
        expected = written_out.attend(attention, x_BKD[i], allowed[i])
        torch.testing.assert_close(output[i], expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(keys, attention.linear_k(x_BKD))
    torch.testing.assert_close(values, attention.linear_v(x_BKD))


def test_a_query_without_keys_gives_finite_numbers_and_gradients():
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        attention = make().to(dtype)
        x = torch.randn(1, 3, 8, dtype=dtype)
        allowed = torch.zeros(1, 3, 3, dtype=torch.bool)
        output, _ = attention(x, encode_distances(3, 3, 8, x), allowed)
        output.sum().backward()
        assert output.isfinite().all() and all(p.grad.isfinite().all() for p in attention.parameters())


def test_dropout_changes_training_alone():
    attention = make(dropout=0.5)
    x = torch.randn(1, 9, 8, dtype=torch.float64)
    arguments = x, encode_distances(9, 9, 8, x), torch.ones(1, 9, 9, dtype=torch.bool)
    assert not torch.equal(attention(*arguments)[0], attention(*arguments)[0])
    attention.eval()
    assert torch.equal(attention(*arguments)[0], attention(*arguments)[0])


@pytest.mark.parametrize("left", [-1, 0, 2, 4])
@pytest.mark.parametrize("right", [-1, 0, 1])
@pytest.mark.parametrize("past", [0, 4])
def test_limits(left, right, past):
    found = attention_limits(5, past, left, right, torch.device("cpu"))
    for i in range(5):
        for k in range(-past, 5):
            if right < 0:
                expected = left < 0 or i - k <= left
            else:
                chunk = i // (right + 1) * (right + 1)  # the first frame of the query's chunk
                expected = k < chunk + right + 1 and (left < 0 or k >= chunk - left)
            assert found[i, past + k] == expected, (i, k)
