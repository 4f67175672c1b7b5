"""LSTM layers against torch's own with packed sequences, and the encoder made of them."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnt.device import autocast
from rnnt.model.lstm import LstmEncoder, LstmStack, init_lstm, run_lstm, start_lstm
from rnnt.model_config import LstmConfig

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
    padding = (torch.arange(9) >= LENGTHS[:, None])[:, :, None]
    poisoned = stack(x.masked_fill(padding, torch.nan), LENGTHS)
    assert torch.equal(plain.masked_fill(padding, 0), poisoned.masked_fill(padding, 0))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("batch, frames", [(1, 1), (7, 1), (8, 1), (70, 1), (1, 20), (9, 5), (3, 42), (3, 43), (9, 20)])
def test_short_and_long_inputs_run_alike(layers, batch, frames):
    """The sizes lie on both sides of each limit at which another way of computing is chosen."""
    torch.manual_seed(0)
    lstm = nn.LSTM(4, 5, layers, batch_first=True).double()
    x = torch.randn(batch, frames, 4, dtype=torch.float64)
    state = tuple(torch.randn(batch, layers, 5, dtype=torch.float64) for _ in range(2))
    output, after = run_lstm(lstm, x, state)
    expected, wanted = lstm(x, tuple(y.transpose(0, 1).contiguous() for y in state))
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-14)
    for got, want in zip(after, wanted):
        torch.testing.assert_close(got, want.transpose(0, 1), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("frames", [1, 4, 200])
def test_the_state_keeps_its_type_under_autocast(frames):
    torch.manual_seed(0)
    lstm = nn.LSTM(4, 5, 2, batch_first=True)
    x = torch.randn(3, frames, 4)
    with autocast("bfloat16", x.device):  # float32 where the processor has no LSTMs in bfloat16
        _, state = run_lstm(lstm, x, start_lstm(lstm, 3))
    _, expected = lstm(x)
    for got, want in zip(state, expected):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want.transpose(0, 1), rtol=0.05, atol=0.02)


def test_a_stack_steps_to_the_state_after_each_streams_last_frame():
    torch.manual_seed(0)
    stack = LstmStack(4, 3, 2, 0.0).double().eval()
    x, lengths = torch.randn(5, 9, 4, dtype=torch.float64), torch.tensor([5, 0, 9, 9, 3])
    state = tuple(torch.randn(5, 2, 3, dtype=torch.float64) for _ in range(2))
    output, after = stack.step(x, lengths, state)
    for i, length in enumerate(lengths.tolist()):
        row = tuple(y[i : i + 1] for y in state)
        expected, wanted = run_lstm(stack.lstm, x[i : i + 1, :length], row) if length else (output[i : i + 1, :0], row)
        torch.testing.assert_close(output[i, :length], expected[0], rtol=1e-12, atol=1e-14)
        assert not output[i, length:].any()
        for got, want in zip(after, wanted):
            torch.testing.assert_close(got[i], want[0], rtol=1e-12, atol=1e-14)


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


def test_stacking_puts_neighbours_side_by_side():
    torch.manual_seed(0)
    encoder = LstmEncoder(3, LstmConfig(hidden=5, pre_layers=1, time_stack=2, post_layers=2)).eval()
    x, lengths = torch.randn(2, 7, 3), torch.tensor([7, 4])
    seen = []
    encoder.post.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    encoder(x, lengths)
    pre = encoder.pre(x, lengths)
    stacked, counts = seen[0]
    assert counts.tolist() == [4, 2]
    torch.testing.assert_close(stacked[0, 1], torch.cat([pre[0, 2], pre[0, 3]]))
    torch.testing.assert_close(stacked[0, 3], torch.cat([pre[0, 6], torch.zeros(5)]))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_encoder_says_what_it_is(bidirectional):
    encoder = LstmEncoder(3, LstmConfig(16, 1, 2, 3, 0.1, bidirectional))
    assert (encoder.width, encoder.stride, encoder.lookahead) == ((32, 2, None) if bidirectional else (16, 2, 0))
    assert encoder.describe() == "1 + 3 LSTM layers of 16" + (", both directions" if bidirectional else "")


def test_a_look_ahead_is_the_output_after_later_frames():
    """Each encoder frame is the one that the same layers give two frames later, if zeros follow the input."""
    torch.manual_seed(0)
    encoder = LstmEncoder(3, LstmConfig(5, 1, 2, 2, 0.0, lookahead=2)).double().eval()
    plain = LstmEncoder(3, LstmConfig(5, 1, 2, 2, 0.0)).double().eval()
    plain.load_state_dict(encoder.state_dict())
    assert (encoder.lookahead, encoder.describe()) == (4, "1 + 2 LSTM layers of 5, 2 frames ahead")
    for size in (0, 1, 6, 7):
        x, length = torch.randn(1, size, 3, dtype=torch.float64), torch.tensor([size])
        output, count = encoder(x, length)
        later, _ = plain(torch.nn.functional.pad(x, (0, 0, 0, 4)), length + 4)
        assert count.tolist() == [-(-size // 2)] == [output.shape[1]]
        torch.testing.assert_close(output, later[:, 2:], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_encoder_may_have_one_layer(bidirectional):
    torch.manual_seed(0)
    encoder = LstmEncoder(3, LstmConfig(4, 1, 1, 0, 0.0, bidirectional)).double().eval()
    assert encoder.describe() == "1 LSTM layer of 4" + (", both directions" if bidirectional else "")
    assert not list(encoder.post.parameters())
    reference, _ = packed(encoder.pre, 3, 4, 1, bidirectional)
    x = torch.randn(5, 9, 3, dtype=torch.float64)
    output, lengths = encoder(x, LENGTHS)
    valid = (torch.arange(9) < LENGTHS[:, None])[:, :, None]
    torch.testing.assert_close(output * valid, reference(x, LENGTHS), rtol=1e-12, atol=1e-14)
    assert torch.equal(lengths, LENGTHS)


def test_an_encoder_of_one_layer_streams():
    torch.manual_seed(0)
    encoder = LstmEncoder(3, LstmConfig(4, 2, 1, 0)).double().eval()
    x, lengths = torch.randn(2, 7, 3, dtype=torch.float64), torch.tensor([7, 5])
    whole, _ = encoder(x, lengths)
    state, outputs = encoder.start(2), []
    for start in range(0, 7, 3):
        output, counts, state = encoder.step(x[:, start : start + 3], (lengths - start).clamp(0, 3), state)
        outputs.append(output[:, : min(3, 7 - start)])
    _, counts = encoder.finish(state)
    assert not counts.any() and not torch.cat(outputs, 1)[1, 5:].any()
    for i, length in enumerate(lengths):
        torch.testing.assert_close(torch.cat(outputs, 1)[i, :length], whole[i, :length], rtol=1e-12, atol=1e-14)


def test_parameters_keep_their_names():
    """Models that were saved earlier must load."""
    names = {name.rsplit(".", 1)[0] for name, _ in LstmEncoder(3, LstmConfig(4)).named_parameters()}
    assert names == {"pre.lstm", "post.lstm"}
    both = LstmEncoder(3, LstmConfig(4, pre_layers=2, post_layers=1, bidirectional=True))
    assert {name.rsplit(".", 1)[0] for name, _ in both.named_parameters()} == {
        *(f"pre.{way}_layers.{i}" for way in ("forward", "backward") for i in (0, 1)),
        *(f"post.{way}_layers.0" for way in ("forward", "backward")),
    }
