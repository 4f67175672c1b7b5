"""The scores of the symbols of words add up to the words' log-probabilities by the plain recursion."""

import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnt.config import TokenizerConfig
from rnnt.decoding.word_ngram import word_ngram
from rnnt.ngram.arpa import read_arpa
from rnnt.ngram.estimate import estimate_language_model
from rnnt.ngram.sentences import Sentences
from rnnt.tokenizer import Symbols, train_tokenizer

spec = importlib.util.spec_from_file_location("ngram_oracles", Path(__file__).parents[1] / "ngram" / "conftest.py")
oracles = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracles)

WORDS = ["a", "at", "cat", "the", "there", "they", "tea", "eat"]
CHARACTERS = Symbols("characters", [" ", *"abcdefghijklmnopqrstuvwxyz"])
PIECES = train_tokenizer(["the there a cat at they then that eat tea"] * 3, TokenizerConfig("sentencepiece", 30))
TOKENIZERS = pytest.mark.parametrize("tokenizer", [CHARACTERS, PIECES], ids=["characters", "pieces"])


@pytest.fixture()
def make(tmp_path):
    def make(tokenizer, order=3, weight=0.7):
        text = oracles.random_sentences(150, WORDS)
        (tmp_path / "text.txt").write_text("".join(" ".join(sentence) + "\n" for sentence in text))
        estimate_language_model(
            Sentences([tmp_path / "text.txt"], CHARACTERS), tmp_path / "lm.arpa", order, of_words=True
        )
        arpa = read_arpa(tmp_path / "lm.arpa")
        return word_ngram(arpa, tokenizer, weight, "cpu"), oracles.PlainArpa(tmp_path / "lm.arpa")

    return make


def total(scorer, symbols):
    """The sum of all scores of a sequence of symbols, with that of its end."""
    state, score = scorer.start(1), 0.0
    for symbol in symbols:
        score += float(scorer.scores(state)[0, symbol])
        state = scorer.advance(state, torch.tensor([symbol]))
    return score + float(scorer.finish(state))


def plain_total(plain, words):
    return 0.7 * sum(plain.log(words[:i], word) for i, word in enumerate([*words, "</s>"]))


@TOKENIZERS
@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_sentence_scores_as_its_words(make, tokenizer, order):
    scorer, plain = make(tokenizer, order)
    assert scorer.blank_weight == 0.7
    rng = random.Random(order)
    unknown = ["tt", "catt", "heat", "aa", "th"]
    for _ in range(40):
        words = [rng.choice(WORDS + unknown) for _ in range(rng.randrange(6))]
        symbols = tokenizer.encode(" ".join(words))
        assert total(scorer, symbols) == pytest.approx(plain_total(plain, words), abs=1e-3), words


def test_any_spelling_scores_alike(make):
    """Pieces may spell a word in several ways, and spaces may come singly, doubled or at the ends."""
    scorer, plain = make(PIECES)
    pieces = PIECES.symbols
    space, letters = pieces.index("▁"), {x: pieces.index(x) for x in "theca"}
    spelled = [space, *(letters[x] for x in "the"), space, space, *(letters[x] for x in "cat"), space]
    assert total(scorer, spelled) == pytest.approx(plain_total(plain, ["the", "cat"]), abs=1e-3)
    assert total(scorer, spelled[1:-1]) == pytest.approx(plain_total(plain, ["the", "cat"]), abs=1e-3)
    assert total(scorer, [0, *spelled[:2], 0, *spelled[2:]]) == pytest.approx(
        plain_total(plain, ["the", "cat"]), abs=1e-3
    )


@TOKENIZERS
def test_symbols_share_the_score_of_a_word(make, tokenizer):
    """A symbol that begins a likely word scores higher, before the word is complete."""
    scorer, plain = make(tokenizer)
    unigram = {word: 0.7 * np.log(10) * plain.log10((), word) for word in WORDS}
    state = scorer.start(1)
    for symbol in tokenizer.encode("th"):
        state = scorer.advance(state, torch.tensor([symbol]))
    scores = scorer.scores(state)[0]
    best = max(unigram["the"], unigram["there"], unigram["they"])
    e = tokenizer.symbols.index("e")
    assert float(scores[e]) == pytest.approx(0, abs=1e-5)
    x = tokenizer.symbols.index("c")
    unknown = 0.7 * np.log(10) * plain.log10((), "<unk>")
    assert float(scores[x]) == pytest.approx(unknown - best, abs=1e-4)


@TOKENIZERS
def test_rows_do_not_depend_on_each_other(make, tokenizer):
    scorer, _ = make(tokenizer)
    rng = random.Random(1)
    state = scorer.start(30)
    for _ in range(7):
        symbols = torch.tensor([rng.randrange(len(tokenizer)) for _ in range(30)])
        scores, ends, after = scorer.scores(state), scorer.finish(state), scorer.advance(state, symbols)
        assert scores.shape == (30, len(tokenizer)) and scores.isfinite().all()
        for i in range(30):
            one = tuple(x[i : i + 1] for x in state)
            assert torch.equal(scorer.scores(one)[0], scores[i])
            assert torch.equal(scorer.finish(one)[0], ends[i])
            for a, b in zip(scorer.advance(one, symbols[i : i + 1]), after):
                assert torch.equal(a[0], b[i])
        state = after
    assert scorer.scores(tuple(x[:0] for x in state)).shape == (0, len(tokenizer))
