"""Requirements on every encoder: number of frames, invariance to padding, batch, order and chunks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt.frames import valid_places
from rnnt.model.conformer import ConformerEncoder
from rnnt.model.encoder import Encoder
from rnnt.model.transducer import make_encoder
from rnnt.model_config import ConformerConfig, EncoderConfig, LstmConfig, ModelConfig

LENGTHS = [7, 1, 12, 2, 11]


def lstm(time_stack=2, bidirectional=False, lookahead=0):
    return EncoderConfig(lstm=LstmConfig(5, 1, time_stack, 2, 0.1, bidirectional, lookahead))


def conformer(subsampling, left=-1, right=-1, causal=False, norm="batch"):
    config = ConformerConfig(
        width=8, layers=3, heads=2, feed_forward=2, kernel=3, subsampling=subsampling, channels=3, causal=causal,
        causal_subsampling=causal and subsampling > 2, attention_left=left, attention_right=right, norm=norm,
    )  # fmt: skip
    return EncoderConfig("conformer", conformer=config)


WHOLE = {
    **{f"lstm, {stack} stacked": lstm(stack) for stack in (1, 2, 3)},
    **{f"both directions, {stack} stacked": lstm(stack, True) for stack in (1, 2, 3)},
    **{f"lstm, {stack} stacked, 2 ahead": lstm(stack, lookahead=2) for stack in (1, 2, 3)},
    "conformer, by 2": conformer(2),
    "conformer, by 4, chunks that convolutions cross": conformer(4, 6, 1),
    "conformer, by 2, single frames": conformer(2, 3, 0, causal=True),
    "conformer, by 2, chunks of 2": conformer(2, 4, 1, causal=True, norm="layer"),
    "conformer, by 4, chunks of 3": conformer(4, 3, 2, causal=True),
    "conformer, by 4, chunks of 2 without left context": conformer(4, 0, 1, causal=True),
}
STREAMING = {name: config for name, config in WHOLE.items() if make_encoder(3, config).lookahead is not None}


def make(config) -> Encoder:
    torch.manual_seed(0)
    encoder = make_encoder(3, config).double().eval()
    encoder.reset(ModelConfig(config, init_scale=2.0))  # a state that matters
    with torch.no_grad():
        for name, value in [*encoder.named_parameters(), *encoder.named_buffers()]:
            if "norm" in name or "pos_bias" in name:
                value.add_(torch.rand_like(value))
    return encoder


def batch(lengths, seed=0):
    """Frames of several utterances, with NaN beyond their lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    x_BSF = torch.randn(len(lengths), max(lengths), 3, generator=generator, dtype=torch.float64)
    return x_BSF.masked_fill(~valid_places(lengths, max(lengths))[:, :, None], torch.nan), lengths


@pytest.fixture(params=WHOLE)
def encoder(request):
    return make(WHOLE[request.param])


def test_padding_batch_and_order_do_not_matter(encoder):
    x_BSF, lengths = batch(LENGTHS)
    output, counts = encoder(x_BSF, lengths)
    assert counts.tolist() == [-(-length // encoder.stride) for length in LENGTHS]
    assert output.shape == (5, max(counts), encoder.width)
    order = [3, 1, 4, 0, 2]
    shuffled, _ = encoder(x_BSF[order], lengths[order])
    for i, (length, count) in enumerate(zip(LENGTHS, counts)):
        alone, _ = encoder(x_BSF[i : i + 1, :length], lengths[i : i + 1])
        torch.testing.assert_close(output[i, :count], alone[0], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(shuffled[order.index(i), :count], alone[0], rtol=1e-12, atol=1e-14)


def test_gradients_do_not_see_padding(encoder):
    x_BSF, lengths = batch(LENGTHS)
    gradients = []
    for frames in (x_BSF, x_BSF.nan_to_num(0.0)):
        encoder.zero_grad()
        output, counts = encoder(frames, lengths)
        sum(output[i, :count].square().sum() for i, count in enumerate(counts)).backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


def test_a_frame_looks_ahead_as_far_as_the_encoder_says(encoder):
    """No frame looks further. At least one does look as far."""
    x_BSF, lengths = batch([12])
    before, _ = encoder(x_BSF, lengths)
    reaches = []
    for place in range(12):
        changed = x_BSF.clone()
        changed[0, place] += 1
        differs = (encoder(changed, lengths)[0] - before)[0].abs().amax(1) > 1e-9
        if differs.any():
            first = differs.tolist().index(True)
            reaches.append(place - (first + 1) * encoder.stride + 1)
        else:  # causal subsampling: frame t sees no place after t * stride
            assert isinstance(encoder, ConformerEncoder) and place > 12 - encoder.stride
    assert max(reaches) == (12 - encoder.stride if encoder.lookahead is None else encoder.lookahead)


def test_streams_need_an_encoder_that_does_not_need_the_whole_utterance(encoder):
    if encoder.lookahead is None:
        with pytest.raises(ValueError, match=r"whole utterances; for streams, train one with .*(=false|=true)$"):
            encoder.start(2)
    else:
        assert all(len(x) == 2 for x in encoder.start(2))


def test_it_describes_itself_in_a_line(encoder):
    assert encoder.describe() and "\n" not in encoder.describe()


def in_chunks(encoder, x_BSF, lengths, sizes):
    """Encode streams in chunks, of `sizes` (chunks, B) frames; return the encoder frames of each stream."""
    batch = len(lengths)
    outputs = [[] for _ in range(batch)]
    places = [0] * batch
    state = encoder.start(batch)
    for row in sizes:
        row = [min(size, int(length) - place) for size, length, place in zip(row, lengths, places)]
        chunk = torch.full((batch, max(row) + len(outputs[0]) % 2, 3), torch.nan, dtype=torch.float64)
        for i, size in enumerate(row):
            chunk[i, :size] = x_BSF[i, places[i] : places[i] + size]
            places[i] += size
        before = [x.clone() for x in state]
        output, counts, after = encoder.step(chunk, torch.tensor(row), state)
        assert all(torch.equal(x, y) for x, y in zip(state, before)), "the old state was changed"
        state = after
        for i, count in enumerate(counts):
            outputs[i].append(output[i, :count])
    output, counts = encoder.finish(state)
    assert places == lengths.tolist()
    return [torch.cat([*parts, output[i, : counts[i]]]) for i, parts in enumerate(outputs)]


@pytest.mark.parametrize("name", STREAMING)
@given(data=st.data())
@settings(max_examples=25)
def test_chunks_do_not_matter(name, data):
    encoder = make(STREAMING[name])
    x_BSF, lengths = batch([*data.draw(st.lists(st.integers(0, 25), max_size=3)), 7], seed=1)
    row = st.lists(st.integers(0, 9), min_size=len(lengths), max_size=len(lengths))
    sizes = [*data.draw(st.lists(row, max_size=6)), [25] * len(lengths)]
    whole, counts = encoder(x_BSF, lengths)
    for i, found in enumerate(in_chunks(encoder, x_BSF, lengths, sizes)):
        torch.testing.assert_close(found, whole[i, : counts[i]], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", STREAMING)
@pytest.mark.parametrize("size", [1, 2, 3, 40])
def test_equal_chunks(name, size):
    """All streams full, as in a batch of live streams; also inputs too long for the frame-by-frame path."""
    encoder = make(STREAMING[name])
    x_BSF, lengths = batch([120] * 5)
    whole, _ = encoder(x_BSF, lengths)
    found = in_chunks(encoder, x_BSF, lengths, [[size] * 5] * (120 // size))
    torch.testing.assert_close(torch.stack(found), whole, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", STREAMING)
def test_states_are_joined_and_split_along_dim_0(name):
    """A second stream joins the first one's batch after 4 frames. After 6 more, each continues alone."""
    encoder = make(STREAMING[name])
    x_BSF, lengths = batch([11, 8])
    whole, counts = encoder(x_BSF, lengths)
    early, early_counts, state = encoder.step(x_BSF[:1, :4], torch.tensor([4]), encoder.start(1))
    state = type(state)(*(torch.cat(x) for x in zip(state, encoder.start(1))))
    both, both_counts, state = encoder.step(torch.stack((x_BSF[0, 4:10], x_BSF[1, :6])), torch.tensor([6, 6]), state)
    for i, (done, before) in enumerate([(10, [early[0, : early_counts[0]]]), (6, [])]):
        row = type(state)(*(x[i : i + 1] for x in state))
        rest, rest_counts, row = encoder.step(x_BSF[i : i + 1, done:], lengths[i : i + 1] - done, row)
        last, last_counts = encoder.finish(row)
        parts = [both[i, : both_counts[i]], rest[0, : rest_counts[0]], last[0, : last_counts[0]]]
        torch.testing.assert_close(torch.cat([*before, *parts]), whole[i, : counts[i]], rtol=1e-11, atol=1e-13)
