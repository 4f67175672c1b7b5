"""LSTM stacks against torch's own with packed sequences."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnt.frames import reverse_frames
from rnnt.model.lstm import LstmStack, init_lstm

LENGTHS = torch.tensor([5, 1, 9, 9, 3])


def packed(stack, inputs, hidden, layers, bidirectional):
    """The same weights in one nn.LSTM over packed sequences."""
    lstm = nn.LSTM(inputs, hidden, layers, batch_first=True, bidirectional=bidirectional).double()
    if bidirectional:
        for layer in range(layers):
            for parts, suffix in ((stack.forward_layers, ""), (stack.backward_layers, "_reverse")):
                for name, value in parts[layer].named_parameters():
                    getattr(lstm, name.replace("l0", f"l{layer}{suffix}")).data.copy_(value)
    else:
        lstm.load_state_dict(stack.lstm.state_dict())

    def run(x, lengths):
        output, _ = lstm(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        return pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])[0]

    return run, lstm


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_equals_torch_over_packed_sequences(layers, bidirectional):
    torch.manual_seed(0)
    stack = LstmStack(4, 3, layers, 0.0, bidirectional).double()
    reference, lstm = packed(stack, 4, 3, layers, bidirectional)
    x = torch.randn(5, 9, 4, dtype=torch.float64)
    output = stack(x, LENGTHS)
    assert output.shape == (5, 9, 6 if bidirectional else 3)
    valid = (torch.arange(9) < LENGTHS[:, None])[:, :, None]
    expected = reference(x, LENGTHS)
    torch.testing.assert_close(output * valid, expected, rtol=1e-12, atol=1e-14)
    weight = torch.randn(expected.shape, dtype=torch.float64) * valid
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    ours = sorted(float(p.grad.norm()) for p in stack.parameters())
    assert ours == pytest.approx(sorted(float(p.grad.norm()) for p in lstm.parameters()), rel=1e-10)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_valid_frames_never_see_padding(bidirectional):
    torch.manual_seed(0)
    stack = LstmStack(4, 3, 2, 0.0, bidirectional)
    x = torch.randn(5, 9, 4)
    plain = stack(x, LENGTHS)
    behind = (torch.arange(9) >= LENGTHS[:, None])[:, :, None]
    poisoned = stack(x.masked_fill(behind, torch.nan), LENGTHS)
    assert torch.equal(plain.masked_fill(behind, 0), poisoned.masked_fill(behind, 0))


def test_flip_reverses_within_the_lengths_and_is_its_own_inverse():
    x = torch.arange(10.0).reshape(2, 5, 1)
    flipped = reverse_frames(x, torch.tensor([3, 5]))
    assert flipped[:, :, 0].tolist() == [[2, 1, 0, 3, 4], [9, 8, 7, 6, 5]]
    assert torch.equal(reverse_frames(flipped, torch.tensor([3, 5])), x)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_follows_every_layer_while_training(bidirectional):
    torch.manual_seed(0)
    stack = LstmStack(4, 3, 2, 0.5, bidirectional)
    x, lengths = torch.randn(2, 200, 4), torch.tensor([200, 200])
    share = (stack.train()(x, lengths) == 0).float().mean()
    assert 0.4 < share < 0.6
    assert not torch.equal(stack(x, lengths), stack(x, lengths))
    assert torch.equal(stack.eval()(x, lengths), stack(x, lengths))


def test_initialization_is_that_of_the_reference():
    hidden = 16
    torch.manual_seed(3)
    plain = nn.LSTM(8, hidden, 2)
    before = {name: value.detach().clone() for name, value in plain.named_parameters()}
    init_lstm(plain, 1.0, 0.5)
    forget = slice(hidden, 2 * hidden)  # torch's order: input, forget, cell, output
    for name, value in plain.named_parameters():
        expected = before[name] * 0.5
        if name.startswith("bias_ih"):
            expected[forget] = 0.5
        elif name.startswith("bias_hh"):
            expected[forget] = 0.0
        assert torch.equal(value, expected), name


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_stack_resets_every_lstm(bidirectional):
    stack = LstmStack(4, 3, 2, 0.0, bidirectional)
    stack.reset(2.0, 0.25)
    biases = [value for name, value in stack.named_parameters() if "bias_ih" in name]
    assert len(biases) == (4 if bidirectional else 2)
    assert all(torch.equal(bias[3:6], torch.full((3,), 0.5)) for bias in biases)
