"""Beam search with durations against an exhaustive search over all paths, and itself in other batches and chunks."""

import math
from collections import defaultdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_model import make_model
from search_checks import Pairs, chunks_of, encoded

from rnnt.config import DecodingConfig
from rnnt.decoding.decoder import configured_decoder
from rnnt.decoding.duration_beam import DurationBeam
from rnnt.decoding.durations import DurationGreedy
from rnnt.stream_states import join_states, split_state


def add(log_probs):
    most = max(log_probs)
    return most + math.log(sum(math.exp(x - most) for x in log_probs))


@torch.no_grad()
def exhaustive(model, encoder_TD, per_frame, most=9, scorer=None, penalty=0.0):
    """All paths, one by one: {tokens: [(log-probability, steered log-probability, frames, log_probs)]}."""
    joint, found = model.joint, defaultdict(list)
    known = {}

    def scores(t, tokens):
        if (t, tokens) not in known:
            history = torch.tensor([tokens], dtype=torch.long)
            output = joint.project_predictor(model.predictor(history)[0, -1])
            logits = joint(joint.project_encoder(encoder_TD[t]), output)
            symbols = logits[: model.vocabulary].log_softmax(-1)
            counted = logits[: model.vocabulary].clone()
            counted[-1] -= penalty
            steered = counted.log_softmax(-1)
            if scorer is not None:
                state = scorer.start(1)
                for token in tokens:
                    state = scorer.advance(state, torch.tensor([token]))
                steered[:-1] += scorer.scores(state)[0]
            known[t, tokens] = [x.tolist() for x in (symbols, steered, logits[model.vocabulary :].log_softmax(-1))]
        return known[t, tokens]

    def walk(t, at_frame, tokens, frames, log_probs, plain, steered):
        if t >= len(encoder_TD):
            found[tokens].append((plain, steered, frames, log_probs))
            return
        symbols, values, durations = scores(t, tokens)
        for duration, log_prob in zip(joint.durations, durations):
            sums = plain + log_prob, steered + log_prob
            blank = sums[0] + symbols[-1], sums[1] + values[-1]
            walk(t + max(duration, 1), 0, tokens, frames, log_probs, *blank)
            for token in range(model.blank if len(tokens) < most else 0):
                if values[token] == -math.inf:
                    continue
                full = at_frame + 1 == per_frame
                after = t + (max(duration, 1) if full else duration)
                longer = (*tokens, token), [*frames, t], [*log_probs, symbols[token]]
                both = sums[0] + symbols[token], sums[1] + values[token]
                walk(after, at_frame + 1 if after == t else 0, *longer, *both)

    walk(0, 0, (), [], [], 0.0, 0.0)
    return found


def decode(model, frames, lengths, config, scorers=()):
    search = DurationBeam(model, config, scorers)
    return search.finish(search.advance(search.start(len(frames)), frames, lengths))


@pytest.mark.parametrize("durations", [[0, 1, 2], [1, 3], [2, 0]])
@pytest.mark.parametrize("per_frame", [1, 2])
@pytest.mark.parametrize("blank_bias", [-1.0, 1.5])
def test_a_wide_beam_finds_all_sequences_with_their_exact_probabilities(durations, per_frame, blank_bias):
    model = make_model(len(durations), 3, 2, blank_bias, durations=durations)
    frames, lengths = encoded([3, 1, 2], 7)
    found = decode(model, frames, lengths, DecodingConfig(per_frame, beam=256))
    for hypotheses, encoder_TD, length in zip(found, frames, lengths):
        paths = exhaustive(model, encoder_TD[:length], per_frame)
        expected = {tokens: add([path[0] for path in each]) for tokens, each in paths.items()}
        assert {tuple(h.tokens): h.score for h in hypotheses} == pytest.approx(expected, abs=1e-9)
        assert add(list(expected.values())) == pytest.approx(0.0, abs=1e-9)
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        for h in hypotheses:
            _, _, where, log_probs = max(paths[tuple(h.tokens)])
            assert h.frames == where and h.log_probs == pytest.approx(log_probs, abs=1e-9)
            assert h.total == h.score and not h.truncated


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_scorers_and_the_blank_penalty(penalty):
    class Weighed(Pairs):
        def finish(self, state):
            return -0.5 * state[0].double()

    model = make_model(5, 4, blank_bias=1.0, durations=[0, 1, 2])
    scorer = Weighed(model.blank, 3, 1.0)
    frames, lengths = encoded([3], 8)
    (hypotheses,) = decode(model, frames, lengths, DecodingConfig(2, beam=256, blank_penalty=penalty), [scorer])
    paths = exhaustive(model, frames[0], 2, scorer=scorer, penalty=penalty)
    last = {tokens: -0.5 * (tokens[-1] if tokens else model.blank) for tokens in paths}
    totals = {tokens: add([path[1] for path in each]) + last[tokens] for tokens, each in paths.items()}
    best = sorted(totals, key=totals.get, reverse=True)[:20]
    assert [tuple(h.tokens) for h in hypotheses[:20]] == best
    assert [h.total for h in hypotheses[:20]] == pytest.approx([totals[tokens] for tokens in best], abs=1e-9)
    assert hypotheses[0].score == pytest.approx(add([path[0] for path in paths[best[0]]]), abs=1e-9)


def test_the_limit_of_symbols():
    model = make_model(6, 3, blank_bias=-3.0, durations=[0, 1])
    frames, lengths = encoded([3, 1], 9)
    found = decode(model, frames, lengths, DecodingConfig(2, 2, beam=256))
    for hypotheses, encoder_TD, length in zip(found, frames, lengths):
        paths = exhaustive(model, encoder_TD[:length], 2, most=2)
        expected = {tokens: add([path[0] for path in each]) for tokens, each in paths.items()}
        assert {tuple(h.tokens): h.score for h in hypotheses} == pytest.approx(expected, abs=1e-9)
    assert any(h.truncated for h in found[0]) and not any(h.truncated for h in found[1])


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(0, 14), min_size=1, max_size=4),
    per_frame=st.integers(1, 3),
    width=st.integers(1, 5),
    blank_bias=st.sampled_from([-3.0, 0.0, 3.0]),
    steered=st.booleans(),
    data=st.data(),
)
@settings(max_examples=30)
def test_neither_chunks_nor_the_batch_matter(seed, lengths, per_frame, width, blank_bias, steered, data):
    model = make_model(seed, layers=2, blank_bias=blank_bias, durations=[0, 1, 2, 4])
    scorers = [Pairs(model.blank, seed, 1.0)] * steered
    search = DurationBeam(model, DecodingConfig(per_frame, 30, beam=width), scorers)
    frames, lengths = encoded([*lengths, 9], seed)
    batch = len(lengths)
    one = st.lists(st.integers(0, 6), min_size=batch, max_size=batch)
    sizes = [*data.draw(st.lists(one, max_size=3)), [30] * batch]
    state = search.start(batch)
    for chunk, chunk_lengths in chunks_of(frames, lengths, sizes):
        hypotheses = search.finish(state)
        after = search.advance(state, chunk, chunk_lengths)
        assert search.finish(state) == hypotheses
        state = join_states(split_state(after, batch))
    together = search.finish(state)
    for i, length in enumerate(lengths.tolist()):
        (alone,) = search.finish(search.advance(search.start(1), frames[i : i + 1, :length], lengths[i : i + 1]))
        assert [(h.tokens, h.frames) for h in alone] == [(h.tokens, h.frames) for h in together[i]]
        assert [h.score for h in alone] == pytest.approx([h.score for h in together[i]], abs=1e-9)
        assert 1 <= len(alone) <= width
    assert [[h.frames[-1] if h.frames else -1 for h in line] for line in together] == search.last_frames(
        state
    ) or steered
    for best, (first, *_) in zip(search.best(state), together):
        assert steered or (best.tokens, best.total) == (first.tokens, first.total)


@pytest.mark.parametrize("alone", [True, False])
def test_settled_symbols_are_forgotten(alone):
    model = make_model(11, blank_bias=0.5, durations=[0, 1, 2])
    search = DurationBeam(model, DecodingConfig(2, beam=6))
    frames, _ = encoded([16], 11)
    state = search.advance(search.start(1), frames[:, :8], torch.tensor([8]))
    ((best, *others),) = search.finish(state)
    count = len(best.tokens) if alone else 2
    kept = [h for h in (best, *others) if h.tokens[: None if alone else count] == best.tokens[:count]]
    assert count and kept
    settled = search.settle(state, best.tokens[:count], alone)
    found = {tuple(h.tokens): (h.frames, h.score) for h in search.finish(settled)[0]}
    for h in kept:
        assert found[tuple(h.tokens[count:])] == (h.frames[count:], h.score)
    after = search.advance(settled, frames[:, 8:], torch.tensor([8]))
    assert all(h.score < best.score for h in search.finish(after)[0])


def test_it_finds_better_paths_than_greedy_search():
    """The best hypothesis of a beam is at least as probable, as a rule."""
    gained = []
    for seed in range(10):
        model = make_model(seed, blank_bias=1.0, durations=[0, 1, 2])
        frames, lengths = encoded([12], seed)
        greedy = DurationGreedy(model, DecodingConfig(3))
        (one,) = greedy.best(greedy.advance(greedy.start(1), frames, lengths))
        ((best, *_),) = decode(model, frames, lengths, DecodingConfig(3, beam=8))
        gained.append(best.score - one.score)
    assert min(gained) > -1e-9 and max(gained) > 0.1


def test_the_decoder_chooses_the_search_by_the_model():
    decoder = configured_decoder(DecodingConfig(method="beam"))
    model = make_model(0, durations=[0, 1])
    assert isinstance(decoder.make_search(model), DurationBeam)
    frames, lengths = encoded([9, 3], 8)
    found = decoder.search(model, frames, lengths, torch.tensor([300, 300]))
    assert found == decode(model, frames, lengths, DecodingConfig(method="beam"))
