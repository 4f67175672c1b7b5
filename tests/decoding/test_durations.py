"""Decoding with durations against plain loops over one utterance, one frame and one symbol at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_model import make_model
from search_checks import Pairs, check_close, chunks_of, copies, encoded

from rnnt.config import DecodingConfig
from rnnt.decoding import beam, greedy
from rnnt.decoding.decoder import configured_decoder
from rnnt.decoding.durations import DurationGreedy, align_durations

DURATIONS = ([0, 1, 2, 3, 4], [1], [2, 0], [7, 1, 0])


@torch.no_grad()
def scores_at(model, frame_D, tokens):
    """The log-probabilities of symbols (V,) and durations at one node. The predictor runs anew over all symbols."""
    joint = model.joint
    output = joint.project_predictor(model.predictor(torch.tensor([tokens], dtype=torch.long))[0, -1])
    logits = joint(joint.project_encoder(frame_D), output)
    return logits[: model.vocabulary].log_softmax(-1), logits[model.vocabulary :].log_softmax(-1)


def steered_scores(scorers, tokens):
    """The sum of the scorers' scores (V-1,) after these symbols."""
    total = 0.0
    for scorer in scorers:
        state = scorer.start(1)
        for token in tokens:
            state = scorer.advance(state, torch.tensor([token]))
        total = total + scorer.scores(state)[0]
    return total


def plain_loop(model, encoder_TD, config, scorers=()):
    """The rules of NeMo. Returns tokens, frames, log-probabilities, score and whether symbols may be missing."""
    tokens, frames, log_probs, score, t, at_frame = [], [], [], 0.0, 0, 0
    while t < len(encoder_TD):
        if len(tokens) == config.max_symbols:
            return tokens, frames, log_probs, score, True
        symbols, durations = scores_at(model, encoder_TD[t], tokens)
        counted = symbols.clone()
        counted[-1] -= config.blank_penalty
        best, place = int(counted.argmax()), int(durations.argmax())
        if best != model.blank and scorers:
            steered = symbols[:-1] + steered_scores(scorers, tokens)
            best = int(steered.argmax()) if steered.max() > -torch.inf else model.blank
        duration = model.joint.durations[place]
        score += float(symbols[best] + durations[place])
        if best != model.blank:
            tokens.append(best)
            frames.append(t)
            log_probs.append(float(symbols[best]))
            at_frame += 1
        if duration == 0 and (best == model.blank or at_frame == config.max_symbols_per_frame):
            duration = 1
        t += duration
        at_frame = 0 if duration else at_frame
    return tokens, frames, log_probs, score, False


def decode(model, frames, lengths, config, scorers=(), limits=None):
    search = DurationGreedy(model, config, scorers)
    return search.best(search.advance(search.start(len(frames), limits), frames, lengths))


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    per_frame=st.integers(1, 4),
    most=st.sampled_from([1, 5, 300]),
    blank_bias=st.sampled_from([-6.0, 0.0, 2.0, 4.0]),
    vocabulary=st.sampled_from([2, 5, 9]),
    kind=st.sampled_from(["network", "additive"]),
    durations=st.sampled_from(DURATIONS),
    penalty=st.sampled_from([0.0, 1.5]),
)
@settings(max_examples=60)
def test_equals_the_plain_loop(
    seed, lengths, per_frame, most, blank_bias, vocabulary, kind, durations, penalty
):  # fmt: skip
    model = make_model(seed, vocabulary, 1 + seed % 2, blank_bias, kind, durations=durations)
    config = DecodingConfig(per_frame, most, blank_penalty=penalty)
    frames, lengths = encoded(lengths, seed)
    for hypothesis, utterance, length in zip(decode(model, frames, lengths, config), frames, lengths):
        check_close(hypothesis, plain_loop(model, utterance[:length], config))


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    per_frame=st.integers(1, 3),
    blank_bias=st.sampled_from([-6.0, 0.0, 3.0]),
    sizes=st.lists(st.sampled_from([0.5, 2.0]), min_size=1, max_size=2),
)
@settings(max_examples=30)
def test_equals_the_plain_loop_with_scorers(seed, lengths, per_frame, blank_bias, sizes):
    model = make_model(seed, blank_bias=blank_bias, durations=[0, 1, 2])
    scorers = [Pairs(model.blank, seed + i, size) for i, size in enumerate(sizes)]
    frames, lengths = encoded(lengths, seed)
    config = DecodingConfig(per_frame)
    for hypothesis, utterance, length in zip(decode(model, frames, lengths, config, scorers), frames, lengths):
        check_close(hypothesis, plain_loop(model, utterance[:length], config, scorers))


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    per_frame=st.integers(1, 3),
    most=st.sampled_from([1, 4, 300]),
    blank_bias=st.sampled_from([-6.0, 0.0, 4.0]),
    durations=st.sampled_from(DURATIONS),
    data=st.data(),
)
@settings(max_examples=60)
def test_chunks_do_not_matter(seed, lengths, per_frame, most, blank_bias, durations, data):
    model = make_model(seed, layers=2, blank_bias=blank_bias, durations=durations)
    search = DurationGreedy(model, DecodingConfig(per_frame, most))
    frames, lengths = encoded([*lengths, 9], seed)
    batch = len(lengths)
    one = st.lists(st.integers(0, 12), min_size=batch, max_size=batch)
    sizes = [*data.draw(st.lists(one, max_size=5)), [30] * batch]
    limits = torch.tensor(data.draw(st.lists(st.integers(1, most), min_size=batch, max_size=batch)))
    state = search.start(batch, limits)
    for chunk, chunk_lengths in chunks_of(frames, lengths, sizes):
        before, hypotheses = copies(state), search.finish(state)
        after = search.advance(state, chunk, chunk_lengths)
        assert all(torch.equal(x, y) for x, y in zip(copies(state), before)) and search.finish(state) == hypotheses
        state = after
    for hypothesis, utterance, length, limit in zip(search.best(state), frames, lengths, limits.tolist()):
        check_close(hypothesis, plain_loop(model, utterance[:length], DecodingConfig(per_frame, limit)))


def test_a_single_duration_of_one_is_one_symbol_a_frame():
    model = make_model(3, blank_bias=-1000.0, durations=[1])
    frames, lengths = encoded([7, 4], 3)
    assert [each.frames for each in decode(model, frames, lengths, DecodingConfig(5))] == [[*range(7)], [*range(4)]]


def test_a_blank_that_lasts_for_nothing_goes_on_by_a_frame():
    model = make_model(3, blank_bias=1000.0, durations=[0, 1])
    with torch.no_grad():
        model.joint.output.bias[-2] += 1000.0  # the duration 0
    frames, lengths = encoded([7], 3)
    (hypothesis,) = decode(model, frames, lengths, DecodingConfig(5))
    assert hypothesis.tokens == [] and hypothesis.score == pytest.approx(0.0, abs=1e-6) and not hypothesis.truncated


def test_the_functions_for_plain_models_take_no_others():
    frames, lengths = encoded([4], 0)
    for function in (greedy, beam):
        with pytest.raises(ValueError, match="this is a token-and-duration model; decode it with Duration"):
            function(make_model(0, durations=[0, 1]), frames, lengths)


def test_the_decoder_chooses_the_search_by_the_model():
    config = DecodingConfig()
    decoder = configured_decoder(config)
    assert isinstance(decoder.make_search(make_model(0, durations=[0, 1])), DurationGreedy)
    assert not isinstance(decoder.make_search(make_model(0)), DurationGreedy)
    model = make_model(8, durations=[0, 1, 2])
    frames, lengths = encoded([20, 3], 8)
    found = decoder.search(model, frames, lengths, torch.tensor([300, 300]))
    assert [best for (best,) in found] == decode(model, frames, lengths, config)


@pytest.mark.parametrize("seed", range(4))
def test_symbols_last_as_long_as_the_model_says(seed):
    model = make_model(seed, layers=2, blank_bias=1.0, durations=[0, 3, 1])
    frames, lengths = encoded([30, 1, 12], seed)
    frames = frames.nan_to_num()  # beyond the lengths no frame emits anything
    hypotheses = decode(model, frames, lengths, DecodingConfig(3))
    assert sum(len(hypothesis.tokens) for hypothesis in hypotheses) > 3
    with torch.no_grad():
        alignments = align_durations(model, frames, hypotheses)
    for hypothesis, alignment, utterance in zip(hypotheses, alignments, frames):
        ends, posteriors = [], []
        for place, (token, frame) in enumerate(zip(hypothesis.tokens, hypothesis.frames)):
            symbols, durations = scores_at(model, utterance[frame], hypothesis.tokens[:place])
            ends.append(frame + max(model.joint.durations[int(durations.argmax())], 1))
            posteriors.append(float(symbols[token].exp() / (1 - symbols[-1].exp())))
        assert (alignment.frames, alignment.ends) == (hypothesis.frames, ends)
        assert alignment.posteriors == pytest.approx(posteriors, rel=1e-6)
