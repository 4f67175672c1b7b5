"""Beam search against sums over all alignments, the best-first search of the paper, and itself in other batches."""

import itertools
import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_model import WIDTH, make_model

from rnnt.config import DecodingConfig
from rnnt.decoding import Beam, beam, greedy
from rnnt.decoding.beam import _CPU_WINDOW
from rnnt.decoding.scorer import state_tensors


def encoded(lengths, seed, padding=torch.nan):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(len(lengths), max(lengths), WIDTH, generator=generator, dtype=torch.float64)
    for i, length in enumerate(lengths):
        frames[i, length:] = padding
    return frames, torch.tensor(lengths)


def add(*log_probs):
    most = max(log_probs, default=-math.inf)
    return most if most == -math.inf else most + math.log(sum(math.exp(x - most) for x in log_probs))


@torch.no_grad()
def node_scores(model, encoder_TD, tokens):
    """Log-probabilities (T, U+1, V) at the nodes of the lattice of `tokens`."""
    predicted = model.predictor(torch.tensor([tokens], dtype=torch.long))[0]
    predicted, projected = model.joint.project_predictor(predicted), model.joint.project_encoder(encoder_TD)
    return model.joint(projected[:, None], predicted).log_softmax(-1)


def log_probability(model, encoder_TD, tokens, per_frame=math.inf, blank_weight=0.0, blank_penalty=0.0):
    """The sum over all alignments with at most `per_frame` symbols a frame. The scores of beam search have no limit."""
    scores = node_scores(model, encoder_TD, tokens)
    blank = scores[..., -1:].clone()
    scores[..., -1] -= blank_penalty
    scores = scores.log_softmax(-1)
    scores[..., :-1] += blank_weight * torch.log1p(-blank.exp())
    scores[..., -1:] += blank_weight * blank
    scores = scores.tolist()

    @cache
    def rest(t, u, at_frame):
        if t == len(scores):
            return 0.0 if u == len(tokens) else -math.inf
        ways = [scores[t][u][-1] + rest(t + 1, u, 0)]
        if u < len(tokens) and at_frame < per_frame:
            ways.append(scores[t][u][tokens[u]] + rest(t, u + 1, at_frame + 1))
        return add(*ways)

    return rest(0, 0, 0)


def best_alignment(model, encoder_TD, tokens, per_frame):
    """The frames of the symbols in the most probable alignment."""
    scores = node_scores(model, encoder_TD, tokens).tolist()
    found = []
    for frames in itertools.combinations_with_replacement(range(len(scores)), len(tokens)):
        if any(frames.count(t) > per_frame for t in frames):
            continue
        labels = [scores[t][u][token] for u, (t, token) in enumerate(zip(frames, tokens))]
        blanks = [scores[t][sum(x <= t for x in frames)][-1] for t in range(len(scores))]
        found.append((sum(labels) + sum(blanks), list(frames), labels))
    return max(found)[1:]


@pytest.mark.parametrize("blank_bias", [-2.0, 0.0, 2.0])
@pytest.mark.parametrize("per_frame", [1, 2, 30])
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_finds_all_sequences_with_their_exact_probabilities(seed, per_frame, blank_bias):
    model, most = make_model(seed, 3, 1 + seed % 2, blank_bias), 4
    sequences = [s for n in range(most + 1) for s in itertools.product(range(2), repeat=n)]
    frames, lengths = encoded([4, 1, 3], seed)
    found = beam(model, frames, lengths, DecodingConfig(per_frame, most, beam=len(sequences)))
    for hypotheses, encoder_TD, length in zip(found, frames, lengths):
        possible = [s for s in sequences if len(s) <= per_frame * length]
        expected = {s: log_probability(model, encoder_TD[:length], list(s)) for s in possible}
        assert {tuple(h.tokens): h.score for h in hypotheses} == pytest.approx(expected, abs=1e-9)
        assert tuple(hypotheses[0].tokens) == max(expected, key=expected.get)
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        for h in hypotheses:
            where, log_probs = best_alignment(model, encoder_TD[:length], h.tokens, per_frame)
            assert h.frames == where and h.log_probs == pytest.approx(log_probs, abs=1e-9)
            assert h.total == h.score


def test_the_probabilities_of_all_sequences_add_up_to_one():
    model = make_model(4, 2, blank_bias=2.0)
    ((*hypotheses,),) = beam(model, *encoded([4], 4), DecodingConfig(40, 60, beam=64))
    assert add(*(h.score for h in hypotheses)) == pytest.approx(0.0, abs=1e-6)


@given(
    seed=st.integers(0, 10**6),
    length=st.integers(1, 25),
    per_frame=st.integers(1, 4),
    width=st.integers(1, 6),
    blank_bias=st.sampled_from([-3.0, 0.0, 3.0]),
    kind=st.sampled_from(["network", "additive"]),
)
@settings(max_examples=60)
def test_a_narrow_beam_never_counts_an_alignment_twice(seed, length, per_frame, width, blank_bias, kind):
    """A score is at most the sum over all alignments, and at least the probability of the one that is given."""
    model = make_model(seed, 3, 1, blank_bias, kind)
    frames, lengths = encoded([length], seed)
    (hypotheses,) = beam(model, frames, lengths, DecodingConfig(per_frame, 12, beam=width))
    assert 1 <= len(hypotheses) <= width == len({tuple(h.tokens) for h in hypotheses}) or len(hypotheses) < width
    for h in hypotheses:
        assert h.score <= log_probability(model, frames[0], h.tokens) + 1e-9
        scores = node_scores(model, frames[0], h.tokens)
        u = 0
        path = 0.0
        for t in range(length):
            for _ in range(h.frames.count(t)):
                assert float(scores[t, u, h.tokens[u]]) == pytest.approx(h.log_probs[u])
                path, u = path + h.log_probs[u], u + 1
            path += float(scores[t, u, -1])
        assert h.frames == sorted(h.frames) and max(map(h.frames.count, h.frames), default=0) <= per_frame
        assert h.score >= path - 1e-9


@torch.no_grad()
def best_first(model, encoder_TD, width, max_symbols):
    """The search of Graves 2012, section 2.5 (Algorithm 1): {sequence: log-probability} of the best `width`."""

    @cache
    def scores(t, y):
        return node_scores(model, encoder_TD[t : t + 1], list(y))[0, -1].tolist()

    kept = {(): 0.0}
    for t in range(len(encoder_TD)):
        before = dict(kept)
        for y in sorted(before, key=len, reverse=True):  # add what comes from prefixes of y, in this frame
            for n in range(len(y)):
                if y[:n] in kept:
                    path = kept[y[:n]] + sum(scores(t, y[:m])[y[m]] for m in range(n, len(y)))
                    before[y] = add(before[y], path)
        after = {}
        while True:
            best = max(before, key=before.get)
            if sorted(after.values(), reverse=True)[width - 1 : width] > [before[best]]:
                break
            log_prob, scored = before.pop(best), scores(t, best)
            after[best] = log_prob + scored[-1]
            if len(best) < max_symbols:
                for k, score in enumerate(scored[:-1]):
                    if (*best, k) not in kept:  # its probability has this path already
                        before[(*best, k)] = log_prob + score
            if not before:
                break
        kept = dict(sorted(after.items(), key=lambda item: -item[1])[:width])
    return kept


def test_agrees_with_the_best_first_search_of_the_paper():
    """With wide beams both are exact. With narrow ones they may differ, but neither finds better ones on average."""
    same, ahead, cases = 0, 0.0, 24
    for seed in range(cases):
        model = make_model(seed, 4, blank_bias=2.0)
        frames, lengths = encoded([6], seed)
        (wide,) = beam(model, frames[:, :3], torch.tensor([3]), DecodingConfig(30, 3, beam=40))
        expected = best_first(model, frames[0, :3], 40, 3)
        assert {tuple(h.tokens): h.score for h in wide} == pytest.approx(expected, abs=1e-9)
        (narrow,) = beam(model, frames, lengths, DecodingConfig(30, 8, beam=4))
        expected = best_first(model, frames[0], 4, 8)
        exact = {y: log_probability(model, frames[0], list(y)) for y in expected}
        best = max(exact, key=exact.get)
        same += tuple(narrow[0].tokens) == best
        ahead += log_probability(model, frames[0], narrow[0].tokens) - exact[best]
    assert same >= 0.75 * cases and ahead / cases >= -0.02


def test_a_wider_beam_finds_more_probable_sequences_than_a_narrower_one_and_than_greedy_search():
    model = make_model(3, 6, blank_bias=1.0)
    frames, lengths = encoded(list(range(1, 25)), 3)
    best = {
        width: [h.score for h, *_ in beam(model, frames, lengths, DecodingConfig(4, beam=width))]
        for width in (1, 2, 4, 8)
    }
    means = [sum(scores) / len(scores) for scores in best.values()]
    assert means == sorted(means) and means[0] < means[-1] - 0.1
    found = greedy(model, frames, lengths, DecodingConfig(4))
    exact = [log_probability(model, x[:n], h.tokens) for h, x, n in zip(found, frames, lengths)]
    assert means[2] > sum(exact) / len(exact)


class Favour:
    """Adds a score to one symbol, less with each time that the hypothesis has it already; at the end `last` for each.

    Its states count, so a search that does not move them with their hypotheses gives wrong totals.
    """

    blank_weight = 0.0

    def __init__(self, symbol, score, symbols=4, last=0.0):
        self.symbol, self.score, self.symbols, self.last = symbol, score, symbols, last

    def start(self, batch):
        return torch.zeros(batch, dtype=torch.long), (torch.zeros(batch, 2, dtype=torch.float64),)

    def scores(self, state):
        scores = torch.zeros(len(state[0]), self.symbols, dtype=torch.float64)
        scores[:, self.symbol] = self.score / (1.0 + state[0].double())
        return scores

    def advance(self, state, symbols):
        found = symbols == self.symbol
        return state[0] + found, (state[1][0] + self.last * found[:, None],)

    def finish(self, state):
        return state[1][0][:, 1]

    def of(self, tokens):
        count = tokens.count(self.symbol)
        return sum(self.score / (1 + n) for n in range(count)) + self.last * count


def check_same(hypotheses, expected):
    assert [(h.tokens, h.frames, h.truncated) for h in hypotheses] == [
        (h.tokens, h.frames, h.truncated) for h in expected
    ]
    for h, other in zip(hypotheses, expected):
        assert h.score == pytest.approx(other.score, abs=1e-5) and h.total == pytest.approx(other.total, abs=1e-5)
        assert h.log_probs == pytest.approx(other.log_probs, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("width", [1, 4, 9])
def test_the_batch_and_the_padding_do_not_matter(width, dtype):
    model = make_model(5, layers=2, blank_bias=2.0).to(dtype)
    frames, lengths = encoded([33, 1, 0, 17, 48, _CPU_WINDOW, 5], 5)
    frames, config = frames.to(dtype), DecodingConfig(3, 40, beam=width)
    together = beam(model, frames, lengths, config)
    assert sum(len(best.tokens) for best, *_ in together) > 20
    order = [4, 2, 0, 5, 6, 3, 1]
    shuffled = beam(model, frames[order], lengths[order], config)
    padded = torch.cat((frames, torch.full_like(frames, 1e9)), 1)
    padded = beam(model, padded, lengths, config)
    for i, length in enumerate(lengths.tolist()):
        (alone,) = beam(model, frames[i : i + 1, :length], lengths[i : i + 1], config)
        for other in (alone, shuffled[order.index(i)], padded[i]):
            check_same(other, together[i])


SCORERS = [Favour(1, 0.5, last=0.25), Favour(2, -0.5)]
SCORERS[1].blank_weight = 0.4


def copies(state):
    """All numbers of a state that change in place in a careless search."""
    return [x.clone() for x in state_tensors(tuple(state[:-3]))]


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=3),
    per_frame=st.integers(1, 3),
    most=st.sampled_from([1, 4, 300]),
    blank_bias=st.sampled_from([-4.0, 0.0, 3.0]),
    data=st.data(),
)
@settings(max_examples=40)
def test_chunks_do_not_matter(seed, lengths, per_frame, most, blank_bias, data):
    model = make_model(seed, layers=2, blank_bias=blank_bias)
    search = Beam(model, DecodingConfig(per_frame, most, beam=3), SCORERS)
    frames, lengths = encoded([*lengths, 9], seed)
    batch = len(lengths)
    limits = torch.tensor(data.draw(st.lists(st.integers(1, most), min_size=batch, max_size=batch)))
    one = st.lists(st.integers(0, 9), min_size=batch, max_size=batch)
    state, places = search.start(batch, limits), [0] * batch
    for sizes in [*data.draw(st.lists(one, max_size=4)), [30] * batch]:
        sizes = [min(size, int(length) - place) for size, length, place in zip(sizes, lengths, places)]
        chunk = torch.full((batch, max(sizes), WIDTH), torch.nan, dtype=frames.dtype)
        for i, size in enumerate(sizes):
            chunk[i, :size] = frames[i, places[i] : places[i] + size]
        places = [place + size for place, size in zip(places, sizes)]
        before, hypotheses = copies(state), search.finish(state)
        after = search.advance(state, chunk, torch.tensor(sizes))
        assert all(torch.equal(x, y) for x, y in zip(copies(state), before)) and search.finish(state) == hypotheses
        state = after
    whole = beam(model, frames, lengths, search.config, search.scorers.scorers, limits)
    for hypotheses, expected in zip(search.finish(state), whole):
        check_same(hypotheses, expected)


def test_streams_may_join_and_leave_a_batch():
    """States are joined along dim 0."""
    model = make_model(4, layers=2, blank_bias=1.0)
    search = Beam(model, DecodingConfig(2, 300), SCORERS)
    frames, lengths = encoded([21, 17], 4)

    def join(first, second):
        if isinstance(first, torch.Tensor):
            return torch.cat((first, second))
        return tuple(join(x, y) for x, y in zip(first, second))

    early = search.advance(search.start(1), frames[:1, :9], torch.tensor([9]))
    late = search.start(1)
    both = type(early)(
        *(
            x + y if name in ("paths", "frames", "outputs") else join(x, y)
            for name, x, y in zip(early._fields, early, late)
        ),
    )
    both = search.advance(both, frames[[0, 1], 9:14], torch.tensor([5, 0]))
    both = search.advance(both, torch.stack((frames[0, 14:21], frames[1, :7])), torch.tensor([7, 7]))
    both = search.advance(both, frames[:, 7:17], torch.tensor([0, 10]))
    whole = beam(model, frames, lengths, search.config, search.scorers.scorers)
    for hypotheses, expected in zip(search.finish(both), whole):
        check_same(hypotheses, expected)


class Reward(Favour):
    """Rewards every symbol, so that a search emits as many as it may."""

    def scores(self, state):
        return torch.full((len(state[0]), self.symbols), self.score)


@pytest.mark.parametrize("blank_bias", [-1000.0, 0.0])
def test_a_search_that_would_emit_for_ever_meets_both_limits(blank_bias):
    model = make_model(1, blank_bias=blank_bias)
    frames, lengths = encoded([7, 3, 20], 1)
    for per_frame, most, counts in [(4, 300, [28, 12, 80]), (4, 11, [11, 11, 11]), (30, 300, [210, 90, 300])]:
        found = beam(model, frames, lengths, DecodingConfig(per_frame, most), [Reward(0, 1e5)])
        assert [len(best.tokens) for best, *_ in found] == counts
        assert [best.truncated for best, *_ in found] == [count == most for count in counts]


def test_a_limit_met_at_the_last_frame_truncates_nothing():
    (hypotheses,) = beam(make_model(1), *encoded([4], 1), DecodingConfig(1, 4), [Reward(0, 1e5)])
    assert len(hypotheses[0].tokens) == 4 and not hypotheses[0].truncated


def test_a_model_that_never_says_blank_ends():
    found = beam(make_model(1, blank_bias=-1000.0), *encoded([7, 3, 20], 1), DecodingConfig(4, 300))
    assert all(max(map(best.frames.count, best.frames), default=0) <= 4 for best, *_ in found)


def test_a_model_that_only_says_blank_emits_nothing():
    found = beam(make_model(1, blank_bias=1000.0), *encoded([1, 50, 0], 1))
    assert [best.tokens for best, *_ in found] == [[], [], []]
    assert [best.score for best, *_ in found] == pytest.approx([0.0, 0.0, 0.0])


def test_scores_that_are_not_finite_end():
    model = make_model(1)
    with torch.no_grad():
        model.joint.output.bias[1] = torch.nan
    assert len(beam(model, *encoded([5, 2], 1))) == 2


@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (0.7, 0.0, -0.3), (0.3, -0.8, 0.0)])
@pytest.mark.parametrize(("per_frame", "penalty"), [(1, 0.0), (2, 0.0), (30, 0.0), (2, 1.5), (30, -0.7)])
def test_scorers_steer_the_search_and_leave_the_scores_of_the_model(per_frame, penalty, weights):
    model, most = make_model(2, 3, blank_bias=1.0), 4
    scorers = [Favour(0, 3.0, 2), Favour(1, -2.0, 2), Favour(0, 0.5, 2, last=1.5)]
    for scorer, weight in zip(scorers, weights):
        scorer.blank_weight = weight
    sequences = [s for n in range(most + 1) for s in itertools.product(range(2), repeat=n)]
    frames, lengths = encoded([4, 3], 2)
    config = DecodingConfig(per_frame, most, beam=len(sequences), blank_penalty=penalty)
    found = beam(model, frames, lengths, config, scorers)
    for hypotheses, x, length in zip(found, frames, lengths):
        possible = [s for s in sequences if len(s) <= per_frame * length]
        expected = {s: log_probability(model, x[:length], list(s)) for s in possible}
        totals = {
            s: log_probability(model, x[:length], list(s), math.inf, sum(weights), penalty)
            + sum(scorer.of(s) for scorer in scorers)
            for s in possible
        }
        assert {tuple(h.tokens): h.score for h in hypotheses} == pytest.approx(expected, abs=1e-9)
        assert {tuple(h.tokens): h.total for h in hypotheses} == pytest.approx(totals, abs=1e-9)
        assert tuple(hypotheses[0].tokens) == max(totals, key=totals.get)
        assert per_frame < 30 or penalty or max(totals, key=totals.get) != max(expected, key=expected.get)


def test_a_blank_penalty_finds_more_symbols_without_scorers():
    model = make_model(5, 20, blank_bias=3.0)
    frames, lengths = encoded([30] * 4, 5)
    counts = []
    for penalty in (-8.0, 0.0, 8.0):
        config = DecodingConfig(3, blank_penalty=penalty)
        found = beam(model, frames, lengths, config)
        alone = [beam(model, frames[i : i + 1], lengths[i : i + 1], config)[0] for i in range(4)]
        assert [[h.tokens for h in hypotheses] for hypotheses in found] == [[h.tokens for h in x] for x in alone]
        assert all((h.total == h.score) == (penalty == 0) for hypotheses in found for h in hypotheses)
        counts.append(sum(len(best.tokens) for best, *_ in found))
    assert counts[0] + 4 < counts[1] < counts[2] - 4


@pytest.mark.parametrize("steer", ["nothing", "scorer", "penalty"])
@pytest.mark.parametrize("chunk", [3, 30])
def test_winners_are_the_hypotheses_that_finish_puts_first(steer, chunk):
    sure = 0
    for seed in range(6):
        model = make_model(seed, 4, blank_bias=3.0 * seed)
        with torch.no_grad():
            model.joint.output.weight *= 3.0
        scorers = [Favour(0, 2.0, 3)] if steer == "scorer" else []
        search = Beam(model, DecodingConfig(3, beam=3, blank_penalty=6.0 if steer == "penalty" else 0.0), scorers)
        frames, lengths = encoded([14, 9, 1, 14, 3, 6], seed)
        state = search.start(6)
        for first in range(0, 14, chunk):
            state = search.advance(state, frames[:, first : first + chunk], (lengths - first).clamp(0, chunk))
        winners, finished = search.winners(state), search.finish(state)
        for found, (best, *_) in zip(winners, finished, strict=True):
            assert (found.tokens, found.frames, found.log_probs) == (best.tokens, best.frames, best.log_probs)
            assert found.truncated == best.truncated and found.score <= best.score + 1e-9
            sure += best.score > math.log(0.5) and len(best.tokens) > 0
    assert 0 < sure < 36


def test_a_language_model_that_weighs_blank_loses_fewer_symbols():
    """With equal scores for all symbols it says nothing, but makes each less probable than blank."""
    model = make_model(5, 20, blank_bias=9.0)
    with torch.no_grad():
        model.joint.output.weight *= 3.0  # most of its decisions for or against blank are clear
    frames, lengths = encoded([30] * 8, 5)
    uniform = Reward(0, -math.log(19), 19)
    counts = []
    for scorers, weight in [((), 0.0), ((uniform,), 0.0), ((uniform,), 1.0)]:
        uniform.blank_weight = weight
        counts.append(sum(len(best.tokens) for best, *_ in beam(model, frames, lengths, DecodingConfig(3), scorers)))
    plain, without, weighed = counts
    assert plain > weighed > 1.5 * without > 0


def test_the_end_of_the_utterance_has_a_score_that_a_stream_may_go_past():
    """The last score counts for the hypotheses of `finish` alone."""
    model = make_model(3, 3, blank_bias=1.0)
    frames, lengths = encoded([6, 6], 3)
    scorer = Favour(0, 0.0, 2, last=50.0)
    search = Beam(model, DecodingConfig(2), [scorer])
    state = search.advance(search.start(2), frames[:, :3], torch.tensor([3, 3]))
    for best, *rest in search.finish(state):
        assert best.total == pytest.approx(best.score + scorer.of(best.tokens))
        assert best.tokens.count(0) >= max((h.tokens.count(0) for h in rest), default=0)
    state = search.advance(state, frames[:, 3:], torch.tensor([3, 3]))
    without = beam(model, frames, lengths, DecodingConfig(2))
    for hypotheses, expected in zip(search.finish(state), without):
        assert {tuple(h.tokens): h.score for h in hypotheses} == pytest.approx(
            {tuple(h.tokens): h.score for h in expected}, abs=1e-9
        )


@pytest.mark.parametrize("where", ["scores", "finish"])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_scores_of_a_scorer_that_are_no_numbers_are_refused(where, wrong):
    scorer = Favour(1, 0.5)
    setattr(scorer, where, lambda state: torch.full((len(state[0]), 4)[: 1 + (where == "scores")], wrong))
    with pytest.raises(ValueError, match="a score of Favour is NaN or infinite"):
        beam(make_model(1), *encoded([5, 2], 1), scorers=[scorer])


def test_a_symbol_that_is_forbidden_is_never_found():
    scorers = [Favour(1, -math.inf), Favour(2, -math.inf)]
    found = beam(make_model(1, blank_bias=-3.0), *encoded([9, 2], 1), DecodingConfig(3), scorers)
    assert {token for hypotheses in found for h in hypotheses for token in h.tokens} == {0, 3}
    assert all(math.isfinite(h.total) for hypotheses in found for h in hypotheses)


def test_candidates_are_pruned_after_the_scores_of_the_scorers():
    """The symbol that is favoured is the least probable one of many, and a beam of 1 finds it all the same."""
    model = make_model(2, 40, blank_bias=6.0)
    frames, lengths = encoded([6], 2)
    rare = int(node_scores(model, frames[0, :1], [])[0, 0, :-1].argmin())
    (plain,) = beam(model, frames, lengths, DecodingConfig(beam=1))
    (favoured,) = beam(model, frames, lengths, DecodingConfig(beam=1), [Favour(rare, 100.0, 39)])
    assert rare not in plain[0].tokens and rare in favoured[0].tokens


@pytest.mark.parametrize("batch", [1, 12])
def test_autocast_changes_no_more_than_rounding(batch):
    model = make_model(7, layers=2, blank_bias=1.0).float()
    frames, lengths = encoded([10] * batch, 7)
    exact = beam(model, frames.float(), lengths, DecodingConfig(2))
    search = Beam(model, DecodingConfig(2))
    state = search.start(batch)
    with torch.autocast("cpu", torch.bfloat16):
        state = search.advance(state, frames.float(), lengths)
    for (best, *_), (other, *_) in zip(exact, search.finish(state)):
        assert other.score == pytest.approx(best.score, abs=0.5)


def test_decoding_leaves_the_model_as_it_was():
    model = make_model(1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    beam(model, *encoded([9], 2))
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())
