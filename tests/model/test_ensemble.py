"""Ensembles against node-by-node averages, sums over all alignments, single models, and themselves in other orders."""

import itertools
import math
from functools import cache

import pytest
import random_model
import torch

from rnnt.config import DecodingConfig
from rnnt.decoding import Beam, Greedy, beam, greedy
from rnnt.decoding.alignment import align, whole_band
from rnnt.decoding.internal import InternalLm
from rnnt.decoding.viterbi import best_path
from rnnt.model import Ensemble

VOCABULARY = 4
# The members' encoder width, predictor width, layers of the predictor, joint width, and kind of the joint.
SIZES = [(6, 5, 1, 8, "network"), (4, 3, 2, 5, "network"), (5, 7, 1, 9, "additive")]


def make_model(seed, vocabulary=VOCABULARY, blank_bias=1.0):
    """A random model that emits often. Models of different seeds differ in all their sizes."""
    width, predictor, layers, joint, kind = SIZES[seed % len(SIZES)]
    sizes = {"width": width, "predictor": predictor, "joint": joint}
    return random_model.make_model(seed, vocabulary, layers, blank_bias, kind, **sizes)


def encoded(models, lengths, seed):
    """Each member's random encoder frames; those after the lengths are NaN."""
    generator = torch.Generator().manual_seed(seed)
    frames = []
    for model in models:
        x_BTD = torch.randn(len(lengths), max(lengths), model.encoder.width, generator=generator, dtype=torch.float64)
        for row, length in zip(x_BTD, lengths):
            row[length:] = torch.nan
        frames.append(x_BTD)
    return frames, torch.tensor(lengths)


@torch.no_grad()
def mean_log_probs(models, frames_TD, tokens):
    """Log-probabilities (T, U+1, V) at the nodes of the lattice of `tokens`: means of the members' probabilities."""
    probs = []
    for model, each in zip(models, frames_TD):
        predicted = model.joint.project_predictor(model.predictor(torch.tensor([tokens], dtype=torch.long))[0])
        probs.append(model.joint(model.joint.project_encoder(each)[:, None], predicted).softmax(-1))
    return (sum(probs) / len(models)).log()


def add(log_probs):
    most = max(log_probs)
    return most if most == -math.inf else most + math.log(sum(math.exp(x - most) for x in log_probs))


def log_probability(models, frames_TD, tokens, per_frame=math.inf, combine=add):
    """The sum (or with `max` the best) of all alignments with at most `per_frame` symbols a frame."""
    scores = mean_log_probs(models, frames_TD, tokens).tolist()

    @cache
    def rest(t, u, at_frame):
        if t == len(scores):
            return 0.0 if u == len(tokens) else -math.inf
        ways = [scores[t][u][-1] + rest(t + 1, u, 0)]
        if u < len(tokens) and at_frame < per_frame:
            ways.append(scores[t][u][tokens[u]] + rest(t, u + 1, at_frame + 1))
        return combine(ways)

    return rest(0, 0, 0)


def greedy_oracle(models, frames_TD, per_frame, most, blank_penalty=0.0):
    """The symbol that is best by the mean of the members' softmaxes, node by node."""
    tokens, frames, score, t, at_frame = [], [], 0.0, 0, 0
    while t < len(frames_TD[0]) and len(tokens) < most:
        node = mean_log_probs(models, [each[t : t + 1] for each in frames_TD], tokens)[0, -1]
        counted = node.clone()
        counted[-1] -= blank_penalty
        symbol = int(counted.argmax())
        score += float(node[symbol])
        if symbol != VOCABULARY - 1:
            tokens.append(symbol)
            frames.append(t)
            at_frame += 1
        if symbol == VOCABULARY - 1 or at_frame == per_frame:
            t, at_frame = t + 1, 0
    return tokens, frames, score


def rows(frames, lengths, row):
    return [each[row, : lengths[row]] for each in frames]


@pytest.mark.parametrize("blank_penalty", [0.0, 1.5])
@pytest.mark.parametrize("count", [2, 3])
def test_greedy_search_follows_the_mean_of_the_softmaxes(count, blank_penalty):
    models = [make_model(seed) for seed in range(count)]
    config = DecodingConfig(max_symbols_per_frame=2, max_symbols=9, blank_penalty=blank_penalty)
    lengths = [12, 5, 9, 1, 12, 7]
    frames, lengths = encoded(models, lengths, seed=count)
    found = greedy(Ensemble(models).eval(), torch.cat(frames, -1), lengths, config)
    emitted = 0
    for row, hypothesis in enumerate(found):
        tokens, at, score = greedy_oracle(models, rows(frames, lengths, row), 2, 9, blank_penalty)
        assert (hypothesis.tokens, hypothesis.frames) == (tokens, at)
        assert hypothesis.score == pytest.approx(score, abs=1e-9)
        emitted += len(tokens)
    assert emitted > 15


@pytest.mark.parametrize("seeds", [(0, 1), (2, 0), (3, 1, 2)])
def test_beam_search_finds_the_best_of_all_sequences(seeds):
    models = [make_model(seed, vocabulary=3) for seed in seeds]
    frames, lengths = encoded(models, [3], seed=1)
    config = DecodingConfig(method="beam", max_symbols_per_frame=2, max_symbols=4, beam=60)
    (found,) = beam(Ensemble(models).eval(), torch.cat(frames, -1), lengths, config)
    every = [list(y) for u in range(5) for y in itertools.product(range(2), repeat=u)]
    scores = {tuple(y): log_probability(models, rows(frames, lengths, 0), y) for y in every}
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(scores[tuple(hypothesis.tokens)], abs=1e-9)
    # A sequence can be found if one of its alignments has no more symbols a frame than the search allows.
    allowed = [y for y in scores if log_probability(models, rows(frames, lengths, 0), list(y), 2) > -math.inf]
    assert {tuple(h.tokens) for h in found} == set(allowed)
    assert found[0].tokens == list(max(allowed, key=scores.get))


def test_the_mean_differs_from_every_member_and_from_the_mean_of_log_probabilities():
    models = [make_model(0), make_model(1)]
    frames, lengths = encoded(models, [6], seed=0)
    ensemble = Ensemble(models).eval()
    inputs = (
        ensemble.joint.project_encoder(torch.cat(frames, -1))[0],
        ensemble.joint.project_predictor(ensemble.predictor.start(1)[0]),
    )
    with torch.no_grad():
        found = ensemble.joint(*inputs)
        logs = [mean_log_probs([model], rows([each], lengths, 0), [])[:, 0] for model, each in zip(models, frames)]
    torch.testing.assert_close(found, torch.stack(logs).exp().mean(0).log())
    torch.testing.assert_close(found.logsumexp(-1), torch.zeros(6, dtype=torch.float64))
    for other in (*logs, torch.stack(logs).mean(0)):
        assert (found - other).abs().max() > 0.1


def decoded(model, frames_BTD, lengths):
    """All that the searches find in a model, as numbers that can be compared."""
    texts, numbers = [], []
    for method in ("greedy", "beam"):
        config = DecodingConfig(method=method, max_symbols_per_frame=3, max_symbols=20, beam=3)
        search = (Beam if method == "beam" else Greedy)(model, config)
        for hypotheses in search.finish(search.advance(search.start(len(lengths)), frames_BTD, lengths)):
            for each in hypotheses:
                texts.append((each.tokens, each.frames, each.truncated))
                numbers += [each.score, *each.log_probs]
    return texts, numbers


@pytest.mark.parametrize("copies", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_copies_of_one_model_find_what_it_finds(copies, dtype):
    model = make_model(0).to(dtype)
    frames, lengths = encoded([model], [20, 7, 13], seed=4)
    frames_BTD = frames[0].to(dtype)
    texts, numbers = decoded(model, frames_BTD, lengths)
    same = decoded(Ensemble([model] * copies).eval(), frames_BTD.repeat(1, 1, copies), lengths)
    assert same[0] == texts and sum(len(tokens) for tokens, *_ in texts) > 40
    assert same[1] == pytest.approx(numbers, abs=1e-5)


def test_the_order_of_the_members_does_not_matter():
    models = [make_model(seed) for seed in range(3)]
    frames, lengths = encoded(models, [11, 4], seed=2)
    texts, numbers = decoded(Ensemble(models).eval(), torch.cat(frames, -1), lengths)
    for order in itertools.permutations(range(3)):
        members, parts = [models[i] for i in order], [frames[i] for i in order]
        other = decoded(Ensemble(members).eval(), torch.cat(parts, -1), lengths)
        assert other[0] == texts
        assert other[1] == pytest.approx(numbers, abs=1e-9)


def test_an_utterance_alone_gives_the_same():
    models = [make_model(seed) for seed in range(2)]
    frames, lengths = encoded(models, [11, 4, 16], seed=5)
    ensemble = Ensemble(models).eval()
    config = DecodingConfig(method="beam", max_symbols_per_frame=3, max_symbols=20, beam=3)
    together = beam(ensemble, torch.cat(frames, -1), lengths, config)
    for row, hypotheses in enumerate(together):
        alone = torch.cat(rows(frames, lengths, row), -1)[None]
        (found,) = beam(ensemble, alone, lengths[row : row + 1], config)
        assert [(h.tokens, h.frames) for h in found] == [(h.tokens, h.frames) for h in hypotheses]
        assert [h.score for h in found] == pytest.approx([h.score for h in hypotheses], abs=1e-9)


@torch.no_grad()
def test_the_loss_is_that_of_all_alignments():
    models = [make_model(seed) for seed in range(3)]
    frames, lengths = encoded(models, [5, 1, 3, 4], seed=6)
    targets = torch.tensor([[0, 2, 1], [1, 1, 9], [9, 9, 9], [2, 9, 9]])  # 9 is padding
    target_lengths = torch.tensor([3, 2, 0, 1])
    losses = Ensemble(models).eval().loss(torch.cat(frames, -1), lengths, targets, target_lengths)
    for row, loss in enumerate(losses.tolist()):
        tokens = targets[row, : target_lengths[row]].tolist()
        assert loss == pytest.approx(-log_probability(models, rows(frames, lengths, row), tokens), abs=1e-9)


def test_the_loss_of_a_single_model_is_that_of_the_model():
    model = make_model(1).float()
    (frames_BTD,), lengths = encoded([model], [9, 4], seed=7)
    inputs = frames_BTD.float(), lengths, torch.tensor([[0, 2, 1, 1], [2, 0, 0, 0]]), torch.tensor([4, 1])
    loss = Ensemble([model, model]).eval().loss(inputs[0].repeat(1, 1, 2), *inputs[1:])
    torch.testing.assert_close(loss, model.loss(*inputs).detach(), atol=1e-5, rtol=0)
    assert not loss.requires_grad
    with pytest.raises(ValueError, match="targets"):
        Ensemble([model]).loss(inputs[0], lengths, torch.full((2, 4), VOCABULARY), inputs[3])


@torch.inference_mode()
def test_alignments_are_those_of_the_mean():
    models, tokens = [make_model(seed) for seed in range(2)], [1, 0, 2]
    frames, lengths = encoded(models, [5], seed=8)
    ensemble, frames_BTD, targets = Ensemble(models).eval(), torch.cat(frames, -1), torch.tensor([tokens])
    (alignment,) = align(ensemble, frames_BTD, lengths, targets, torch.tensor([3]))
    member_frames = rows(frames, lengths, 0)
    best = log_probability(models, member_frames, tokens, combine=max)
    assert alignment.log_prob == pytest.approx(log_probability(models, member_frames, tokens), abs=1e-9)
    assert alignment.path_log_prob == pytest.approx(best, abs=1e-9)
    path = best_path(ensemble, frames_BTD, targets, whole_band(lengths, 4))
    assert path.frames == alignment.frames and path.log_prob == pytest.approx(best, abs=1e-9)


@torch.inference_mode()
def test_the_internal_language_model_is_that_of_the_mean():
    models = [make_model(seed) for seed in range(3)]
    scorer = InternalLm(0.5, Ensemble(models).eval())
    state, tokens = scorer.start(1), []
    for symbol in (2, 0, 1):
        silent = [torch.zeros(1, model.encoder.width, dtype=torch.float64) for model in models]
        probs = mean_log_probs(models, silent, tokens)[0, -1].exp()
        torch.testing.assert_close(scorer.scores(state)[0], 0.5 * (probs[:-1] / (1 - probs[-1])).log())
        state, tokens = scorer.advance(state, torch.tensor([symbol])), [*tokens, symbol]


@torch.inference_mode()
def test_probabilities_are_averaged_in_float32_under_autocast():
    """In bfloat16 a probability of 1e-3 more or less would be lost next to 1."""
    models = [make_model(seed).float() for seed in range(2)]
    joint = Ensemble(models).eval().joint
    encoder_H, predictor_H = torch.randn(7, joint.width), torch.randn(7, joint.width)
    with torch.autocast("cpu", torch.bfloat16):
        found = joint(encoder_H, predictor_H)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.logsumexp(-1), torch.zeros(7), atol=1e-6, rtol=0)
    torch.testing.assert_close(found, joint(encoder_H, predictor_H), atol=0.1, rtol=0.1)


def test_parameters_are_counted():
    models = [make_model(seed) for seed in range(2)]
    ensemble = Ensemble(models)
    assert ensemble.num_parameters() == sum(model.num_parameters() for model in models)
    assert ensemble.num_parameters() == sum(p.numel() for p in ensemble.parameters())
    assert (ensemble.vocabulary, ensemble.blank) == (VOCABULARY, VOCABULARY - 1)
