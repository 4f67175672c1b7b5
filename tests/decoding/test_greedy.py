"""Batched greedy decoding against the textbook loop: one utterance, one frame, one symbol at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_model import WIDTH, make_model
from search_checks import Pairs, check_close, chunks_of, copies, encoded

from rnnt.config import DecodingConfig
from rnnt.decoding import Greedy, greedy
from rnnt.decoding.greedy import _CPU_WINDOW


@torch.no_grad()
def textbook(model, encoder_TD, config, scorers=()):
    """Graves 2012, with the two limits. The predictor is run anew over the whole history at every step.

    The scorers decide which symbol is emitted, and not whether one is. Returns tokens, frames, log-probabilities, score
    and whether symbols may be missing.
    """
    tokens, frames, log_probs, score = [], [], [], 0.0
    for t in range(len(encoder_TD)):
        for _ in range(config.max_symbols_per_frame):
            if len(tokens) == config.max_symbols:
                return tokens, frames, log_probs, score, True
            history = torch.tensor([tokens], dtype=torch.long)
            state = model.joint.project_predictor(model.predictor(history)[0, -1])
            scores = model.joint(model.joint.project_encoder(encoder_TD[t]), state).log_softmax(-1)
            counted = scores.clone()
            counted[-1] -= config.blank_penalty
            best = int(counted.argmax())
            if best != model.blank:
                steered = scores[:-1].clone()
                for scorer in scorers:
                    scorer_state = scorer.start(1)
                    for token in tokens:
                        scorer_state = scorer.advance(scorer_state, torch.tensor([token]))
                    steered += scorer.scores(scorer_state)[0]
                best = int(steered.argmax()) if steered.max() > -torch.inf else model.blank
            score += float(scores[best])
            if best == model.vocabulary - 1:
                break
            tokens.append(best)
            frames.append(t)
            log_probs.append(float(scores[best]))
    return tokens, frames, log_probs, score, False


def check(model, frames, lengths, config):
    """Compare a batch with the textbook; returns how many symbols there were in each utterance."""
    hypotheses = greedy(model, frames, lengths, config)
    assert len(hypotheses) == len(lengths)
    for hypothesis, utterance, length in zip(hypotheses, frames, lengths):
        check_close(hypothesis, textbook(model, utterance[:length], config))
    return [len(hypothesis.tokens) for hypothesis in hypotheses]


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    per_frame=st.integers(1, 4),
    most=st.sampled_from([1, 5, 300]),
    blank_bias=st.sampled_from([-6.0, 0.0, 3.0, 6.0]),
    vocabulary=st.sampled_from([2, 5, 9]),
    kind=st.sampled_from(["network", "additive"]),
)
@settings(max_examples=60)
def test_equals_the_textbook_loop(seed, lengths, per_frame, most, blank_bias, vocabulary, kind):
    model = make_model(seed, vocabulary, layers=1 + seed % 2, blank_bias=blank_bias, kind=kind)
    check(model, *encoded(lengths, seed), DecodingConfig(per_frame, most))


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    per_frame=st.integers(1, 4),
    most=st.sampled_from([5, 300]),
    blank_bias=st.sampled_from([-6.0, 0.0, 3.0]),
    vocabulary=st.sampled_from([2, 5, 9]),
    sizes=st.lists(st.sampled_from([0.1, 3.0, 30.0]), min_size=1, max_size=3),
)
@settings(max_examples=60)
def test_equals_the_textbook_loop_with_scorers(seed, lengths, per_frame, most, blank_bias, vocabulary, sizes):
    model = make_model(seed, vocabulary, layers=1 + seed % 2, blank_bias=blank_bias)
    scorers = [Pairs(model.blank, seed + i, size) for i, size in enumerate(sizes)]
    frames, lengths = encoded(lengths, seed)
    config = DecodingConfig(per_frame, most, blank_penalty=float(seed % 3))
    for hypothesis, utterance, length in zip(greedy(model, frames, lengths, config, scorers), frames, lengths):
        check_close(hypothesis, textbook(model, utterance[:length], config, scorers))


def test_scorers_choose_symbols_and_insert_none():
    """A frame at which the model says blank stays blank, and no frame becomes blank."""
    model = make_model(3, blank_bias=2.0)
    frames, lengths = encoded([60, 31], 3)
    config = DecodingConfig(1, 300)
    plain, steered = (greedy(model, frames, lengths, config, scorers) for scorers in ((), [Pairs(4, 0, 100.0)]))
    for before, after in zip(plain, steered):
        assert before.frames[:1] == after.frames[:1] and before.tokens != after.tokens
    silent = make_model(3, blank_bias=100.0)
    assert [h.tokens for h in greedy(silent, frames, lengths, config, [Pairs(4, 0, 1e6)])] == [[], []]


@pytest.mark.parametrize("penalty", [-2.0, 1.0, 4.0])
def test_a_blank_penalty_changes_the_choice_and_no_score(penalty):
    model = make_model(6, blank_bias=2.0)
    frames, lengths = encoded([30, 0, 7], 6)
    plain = sum(check(model, frames, lengths, DecodingConfig(3)))
    counts = check(model, frames, lengths, DecodingConfig(3, blank_penalty=penalty))
    assert sum(counts) > plain if penalty > 0 else sum(counts) < plain


def test_a_model_that_never_says_blank_meets_both_limits():
    model = make_model(1, blank_bias=-1000.0)
    frames, lengths = encoded([7, 3, 20], 1)
    assert check(model, frames, lengths, DecodingConfig(4, 300)) == [28, 12, 80]
    assert check(model, frames, lengths, DecodingConfig(4, 11)) == [11, 11, 11]
    assert check(model, frames, lengths, DecodingConfig(30, 300)) == [210, 90, 300]


def test_each_utterance_has_its_own_limit_and_says_whether_it_met_it():
    model = make_model(1, blank_bias=-1000.0)
    frames, lengths = encoded([7, 3, 20, 5], 1)
    limits = torch.tensor([7, 2, 100, 4])
    hypotheses = greedy(model, frames, lengths, DecodingConfig(1, 6), max_symbols=limits)
    for hypothesis, utterance, length, limit in zip(hypotheses, frames, lengths, limits.tolist()):
        check_close(hypothesis, textbook(model, utterance[:length], DecodingConfig(1, limit)))
    assert [len(hypothesis.tokens) for hypothesis in hypotheses] == [7, 2, 20, 4]
    assert [hypothesis.truncated for hypothesis in hypotheses] == [False, True, False, True]


def test_a_model_that_only_says_blank_emits_nothing():
    model = make_model(1, blank_bias=1000.0)
    assert check(model, *encoded([1, 50, _CPU_WINDOW], 1), DecodingConfig()) == [0, 0, 0]


@pytest.mark.parametrize("length", [1, *(_CPU_WINDOW + i for i in (-1, 0, 1)), *(2 * _CPU_WINDOW + i for i in (0, 1))])
@pytest.mark.parametrize("per_frame", [1, 3])
def test_symbols_at_the_edges_of_the_look_ahead(length, per_frame):
    """If one frame alone emits symbols, it is found at any place, and emits up to the limit."""
    model = make_model(3, vocabulary=3)
    with torch.no_grad():
        for layer in (model.joint.encoder, model.joint.predictor, model.joint.output):
            layer.weight.zero_()
            layer.bias.zero_()
        model.joint.encoder.weight[0, 0] = 1
        model.joint.output.weight[1, 0] = 10
        model.joint.output.bias[2] = 5
    for place in range(length):
        frames = torch.zeros(1, length, WIDTH, dtype=torch.float64)
        frames[0, place, 0] = 5
        (hypothesis,) = greedy(model, frames, torch.tensor([length]), DecodingConfig(per_frame, 300))
        assert hypothesis.frames == [place] * per_frame
        assert hypothesis.tokens == [1] * per_frame


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_batch_does_not_matter(activation):
    model = make_model(5, activation=activation, layers=2, blank_bias=4.0)
    frames, lengths = encoded([33, 1, 17, 48, 16, 5], 5)
    config = DecodingConfig(3, 40)
    together = greedy(model, frames, lengths, config)
    assert sum(len(hypothesis.tokens) for hypothesis in together) > 20
    order = [4, 2, 0, 5, 3, 1]
    shuffled = greedy(model, frames[order], lengths[order], config)
    for i, length in enumerate(lengths.tolist()):
        (alone,) = greedy(model, frames[i : i + 1, :length], lengths[i : i + 1], config)
        for other in (alone, shuffled[order.index(i)]):
            assert (other.tokens, other.frames) == (together[i].tokens, together[i].frames)
            torch.testing.assert_close(torch.tensor(other.log_probs), torch.tensor(together[i].log_probs))


@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    per_frame=st.integers(1, 3),
    most=st.sampled_from([1, 4, 300]),
    blank_bias=st.sampled_from([-6.0, 0.0, 4.0]),
    steered=st.booleans(),
    data=st.data(),
)
@settings(max_examples=60)
def test_chunks_do_not_matter(seed, lengths, per_frame, most, blank_bias, steered, data):
    model = make_model(seed, layers=2, blank_bias=blank_bias)
    scorers = [Pairs(model.blank, seed, 2.0)] * steered
    search = Greedy(model, DecodingConfig(per_frame, most), scorers)
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
    for (hypothesis,), utterance, length, limit in zip(search.finish(state), frames, lengths, limits.tolist()):
        check_close(hypothesis, textbook(model, utterance[:length], DecodingConfig(per_frame, limit), scorers))


def test_a_limit_met_at_the_end_of_a_chunk_truncates_only_if_more_frames_follow():
    search = Greedy(make_model(1, blank_bias=-1000.0), DecodingConfig(1, 4))
    frames, _ = encoded([6], 1)
    state = search.advance(search.start(1), frames[:, :4], torch.tensor([4]))
    assert not search.finish(state)[0][0].truncated
    state = search.advance(state, frames[:, 4:], torch.tensor([0]))
    assert not search.finish(state)[0][0].truncated
    state = search.advance(state, frames[:, 4:], torch.tensor([2]))
    assert search.finish(state)[0][0].truncated and search.finish(state)[0][0].frames == [0, 1, 2, 3]


def test_streams_may_join_and_leave_a_batch():
    """States are joined along dim 0, and split."""
    model = make_model(4, layers=2)
    search = Greedy(model, DecodingConfig(2, 300))
    frames, lengths = encoded([21, 17], 4)

    def join(states):
        first, second = states
        return type(first)(
            *(
                torch.cat((x, y)) if isinstance(x, torch.Tensor)
                else x + y if name == "paths"
                else tuple(torch.cat(each) for each in zip(x, y))
                for name, x, y in zip(first._fields, first, second)
            )
        )  # fmt: skip

    early = search.advance(search.start(1), frames[:1, :9], torch.tensor([9]))
    both = search.advance(join([early, search.start(1)]), frames[[0, 1], 9:14], torch.tensor([5, 0]))
    both = search.advance(both, torch.stack((frames[0, 14:21], frames[1, :7])), torch.tensor([7, 7]))
    both = search.advance(both, frames[:, 7:17], torch.tensor([0, 10]))
    for (hypothesis,), utterance, length in zip(search.finish(both), frames, lengths):
        check_close(hypothesis, textbook(model, utterance[:length], search.config))


def test_a_long_stream_in_many_chunks():
    model = make_model(1, blank_bias=-1000.0)
    search = Greedy(model, DecodingConfig(1, 10**6))
    frames, _ = encoded([3000], 1)
    state = search.start(1)
    for t in range(3000):
        state = search.advance(state, frames[:, t : t + 1], torch.tensor([1]))
    ((hypothesis,),) = search.finish(state)
    (whole,) = greedy(model, frames, torch.tensor([3000]), search.config)
    assert (hypothesis.tokens, hypothesis.frames) == (whole.tokens, list(range(3000)))
    assert hypothesis.score == pytest.approx(sum(hypothesis.log_probs)) == pytest.approx(whole.score)


@pytest.mark.parametrize("batch", [1, 12])
def test_autocast_changes_no_more_than_rounding(batch):
    """In bfloat16 the log-probabilities are those of float32, to a few digits, as long as the symbols are the same."""
    model = make_model(7, layers=2, blank_bias=-3.0).float()
    frames, lengths = encoded([20] * batch, 7)
    exact = greedy(model, frames.float(), lengths, DecodingConfig(1))
    search = Greedy(model, DecodingConfig(1))
    state = search.start(batch)
    with torch.autocast("cpu", torch.bfloat16):
        state = search.advance(state, frames.float(), lengths)
    same = 0
    for a, (b,) in zip(exact, search.finish(state)):
        for x, y, p, q in zip(a.tokens, b.tokens, a.log_probs, b.log_probs):
            if x != y:
                break
            assert p == pytest.approx(q, abs=0.3)
            same += 1
    assert same > 5 * batch


def test_defaults_are_the_reference_limits():
    model = make_model(1, blank_bias=-1000.0)
    counts = [len(h.tokens) for h in greedy(model, *encoded([2, 40], 1))]
    assert counts == [60, 300]


def test_decoding_leaves_the_model_as_it_was():
    model = make_model(1).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    frames, lengths = encoded([9], 2)
    greedy(model, frames, lengths)
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())
