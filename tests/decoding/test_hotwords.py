"""Hot words as a scorer, and in searches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt.config import DecodingConfig, TokenizerConfig
from rnnt.dataset import Dataset
from rnnt.decoding import beam, greedy
from rnnt.decoding.hotwords import hot_words
from rnnt.decoding.phrase_trie import START, build_trie
from rnnt.decoding.phrases import parse_phrases, spell_phrases
from rnnt.model import Transducer
from rnnt.model_config import EncoderConfig, JointConfig, LstmConfig, ModelConfig, PredictorConfig
from rnnt.recognizer import load
from rnnt.tokenizer import Symbols, train_tokenizer

GOLDEN = Path(__file__).parents[1] / "golden"
LETTERS = Symbols("characters", list("abcdl "))
PIECES = train_tokenizer(["abba cab dab bad add a dad cabbala bacca"] * 5, TokenizerConfig(size=24))
PHRASES = ["cab", "cabbala dad :2", "bad :.5", "a dad bad", "dad"]


def follow(scorer, tokenizer, tokens):
    """The score of each symbol, and the last one."""
    state, scores = scorer.start(1), []
    for token in tokens:
        scores.append(float(scorer.scores(state)[0, token]))
        state = scorer.advance(state, torch.tensor([token]))
    return scores, float(scorer.finish(state))


def step(trie, node, symbol):
    """The node after a symbol, and the symbol's score, found edge by edge."""
    before, award = trie.partial[node], trie.award[node] * trie.opens[symbol]
    row = trie.at_boundary[node]
    while node > START:
        if len(found := np.flatnonzero(trie.keys == node * len(trie.opens) + symbol)):
            return int(trie.targets[found[0]]), trie.gains[found[0]] + award - before
        node = trie.fail[node]
    return int(trie.base_next[row, symbol]), trie.base_gain[row, symbol] + award - before


@pytest.mark.parametrize("tokenizer", [LETTERS, PIECES])
@given(seed=st.integers(0, 1000), length=st.integers(0, 12))
def test_scores_are_those_of_the_trie_whatever_the_batch(tokenizer, seed, length):
    trie = build_trie(spell_phrases(parse_phrases(PHRASES), tokenizer), tokenizer.spellings)
    scorer = hot_words(PHRASES, tokenizer)
    generator = torch.Generator().manual_seed(seed)
    rows = [tokenizer.encode("a dad bad cabbala dad"), tokenizer.encode("cabbala dab dad")]
    length = min(length, *map(len, rows))
    tokens = torch.randint(len(tokenizer), (4, length), generator=generator)
    for row, known in enumerate(rows):
        tokens[row] = torch.tensor(known[:length])
    nodes, state = [START] * 4, scorer.start(4)
    for symbols in tokens.T:
        state = scorer.advance(state, symbols)
        nodes = [step(trie, node, int(symbol))[0] for node, symbol in zip(nodes, symbols)]
        assert state.tolist() == nodes
    expected = [[step(trie, node, symbol)[1] for symbol in range(len(tokenizer))] for node in nodes]
    np.testing.assert_allclose(scorer.scores(state), expected, atol=1e-6)
    np.testing.assert_allclose(scorer.finish(state), [trie.award[n] - trie.partial[n] for n in nodes], atol=1e-6)


@pytest.mark.parametrize("tokenizer", [LETTERS, PIECES])
def test_a_bonus_that_is_not_completed_is_taken_back(tokenizer):
    scorer = hot_words(["dad :2", "cabbala dad"], tokenizer)
    found = {text: follow(scorer, tokenizer, tokenizer.encode(text)) for text in ("dad", "cabbala dab", "da", "dada a")}
    total = {text: sum(scores) + last for text, (scores, last) in found.items()}
    assert total == pytest.approx({"dad": total["dad"], "cabbala dab": 0.0, "da": 0.0, "dada a": 0.0}, abs=1e-6)
    assert total["dad"] == pytest.approx(2 * (0.75 if tokenizer is LETTERS else len(tokenizer.encode("dad"))))
    assert max(found["cabbala dab"][0]) > 0 > min((*found["cabbala dab"][0], found["cabbala dab"][1]))


def test_bytes_of_characters_without_a_piece(tmp_path):
    import io

    import sentencepiece

    from rnnt.tokenizer import SentencePiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cat sat on the mat"] * 20), model_writer=model, vocab_size=300, byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    tokenizer = SentencePiece(model.getvalue())
    scorer = hot_words(["für :3"], tokenizer)
    tokens = tokenizer.encode("für")
    assert len(tokens) > 3
    scores, last = follow(scorer, tokenizer, tokens)
    assert sum(scores) + last > 3 and follow(scorer, tokenizer, tokenizer.encode("fär"))[1] <= 0


def make_model(seed, labels, blank_bias=0.0):
    torch.manual_seed(seed)
    config = ModelConfig(
        EncoderConfig(lstm=LstmConfig(hidden=6, pre_layers=1, post_layers=1)),
        PredictorConfig(embedding=4, hidden=5, layers=1, dropout=0.3),
        JointConfig(8, "tanh", 0.5),
        init_scale=1.0,
    )
    model = Transducer(3, labels + 1, config).double().eval()
    with torch.no_grad():
        for layer in model.joint.children():
            layer.weight.normal_(std=1.0)
        layer.bias[-1] += blank_bias
    return model


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_hypotheses_of_the_beam_have_the_bonus_of_their_phrases(seed):
    """Each hypothesis's total is the model's score plus a whole number of bonuses, and the model's own is unsteered."""
    model = make_model(seed, len(LETTERS))
    frames = torch.randn(2, 12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    scorer = hot_words(["ad :8", "b :4"], LETTERS)
    for hypotheses in beam(model, frames, torch.tensor([12, 7]), DecodingConfig(2, 30, beam=6), [scorer]):
        for hypothesis in hypotheses:
            words = LETTERS.decode(hypothesis.tokens).split(" ")
            bonus = 4.0 * words.count("ad") + 1.0 * words.count("b")
            assert hypothesis.total == pytest.approx(hypothesis.score + bonus, abs=1e-5)


def test_a_phrase_wins_where_it_is_nearly_as_probable():
    """The model hears `b` with log-odds of 1 over `a`, at one frame."""
    model = make_model(0, len(LETTERS))
    with torch.no_grad():
        for layer in model.joint.children():
            layer.weight.zero_()
            layer.bias.zero_()
        model.joint.encoder.weight[0, 0] = 1
        model.joint.output.weight[:2, 0] = torch.tensor([20.0, 20.0])
        model.joint.output.bias[:] = torch.tensor([-1.0, 0.0, -50, -50, -50, -50, 5])
    frames = torch.zeros(1, 5, 6, dtype=torch.float64)
    frames[0, 2, 0] = 5
    config = DecodingConfig(1, 30)
    for phrases, text in ((["ab"], "b"), (["a :3.9"], "b"), (["a :4.1"], "a"), (["a :4.1", "b :1"], "b")):
        scorers = [hot_words(phrases, LETTERS)]
        (one,) = greedy(model, frames, torch.tensor([5]), config, scorers)
        (hypotheses,) = beam(model, frames, torch.tensor([5]), config, scorers)
        best = next(hypothesis for hypothesis in hypotheses if len(hypothesis.tokens) == 1)
        assert LETTERS.decode(one.tokens) == LETTERS.decode(best.tokens) == text
        probability = {"a": 1 / (1 + np.e), "b": np.e / (1 + np.e)}[text]
        assert one.log_probs == best.log_probs == pytest.approx([np.log(probability)], abs=1e-4)


@pytest.mark.parametrize("search", [greedy, beam])
def test_a_thousand_phrases_give_no_word_in_silence(search):
    """The model gives each letter a probability of one in 3,000 at each of many frames, and never says one."""
    model = make_model(1, len(LETTERS))
    with torch.no_grad():
        for layer in model.joint.children():
            layer.weight.mul_(0.1)
        layer.bias[-1] += 8
    rng = np.random.default_rng(0)
    phrases = sorted({"".join(rng.choice(list("abcd"), rng.integers(3, 9))) for _ in range(1200)})[:1000]
    frames = torch.randn(2, 500, 6, dtype=torch.float64)
    for found in search(model, frames, torch.tensor([500, 400]), DecodingConfig(), [hot_words(phrases, LETTERS)]):
        best = found[0] if isinstance(found, list) else found
        assert best.tokens == []


def test_phrases_that_nobody_says_leave_transcripts_alone():
    """Trained on tones named low, mid and high, this model can spell the phrases and must not."""
    dataset = Dataset(GOLDEN / "data" / "valid")
    waveforms = [utterance.input for utterance in dataset]
    letters = "".join(load(GOLDEN / "model").tokenizer.symbols).replace(" ", "")
    rng = np.random.default_rng(0)
    phrases = sorted({"".join(rng.choice(list(letters), rng.integers(3, 9))) for _ in range(1200)} - {"low", "mid"})[
        :1000
    ]
    for decoding in ("greedy", "beam"):
        plain, steered = (load(GOLDEN / "model", decoding=decoding, hotwords=hot) for hot in (None, phrases))
        wanted, found = (model.transcribe(waveforms) for model in (plain, steered))
        assert [(x.text, x.frames) for x in wanted] == [(x.text, x.frames) for x in found]
        for one, other in zip(wanted, found):
            assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)
        assert sum(bool(each.text) for each in found) > 2


def test_no_phrases_change_nothing():
    scorer = hot_words([], LETTERS)
    assert not scorer.scores(scorer.advance(scorer.start(3), torch.tensor([0, 1, 4]))).any()
