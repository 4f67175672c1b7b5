"""Texts are spelled as the tokenizer can; lines that it cannot spell are counted."""

import gzip

import pytest

from rnnt.config import TokenizerConfig
from rnnt.ngram.counts import FIRST_WORD
from rnnt.ngram.sentences import Sentences
from rnnt.tokenizer import Symbols, train_tokenizer

SMALL = Symbols("characters", [" ", "'", *"abcdefghijklmnopqrstuvwxyz"])
CAPITALS = Symbols("characters", [" ", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"])
WORDS = Symbols("words", ["one", "two", "don't", "THREE"])


def spelled(folder, text, tokenizer):
    (folder / "text.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    sentences = Sentences([folder / "text.txt"], tokenizer)
    found = [tokenizer.decode((tokens - FIRST_WORD).tolist()) for tokens in sentences.symbols()]
    assert found == [" ".join(words) for words in sentences.words()]
    return found, sentences


@pytest.mark.parametrize(
    "tokenizer,line,expected",
    [
        (SMALL, "as it is", "as it is"),
        (SMALL, "  As it\tIS.  ", "as it is"),
        (SMALL, "don’t, they said: ‘so-so’", "don't they said 'so so'"),
        (CAPITALS, "Well-known, isn't it?", "WELL KNOWN ISN T IT"),
        (WORDS, "one, Two; don’t three!", None),
        (WORDS, "One, two: don’t.", "one two don't"),
        (WORDS, "three", "THREE"),
        (SMALL, "room 7", None),
        (SMALL, "straße", None),
    ],
)
def test_spelling(tmp_path, tokenizer, line, expected):
    found, sentences = spelled(tmp_path, line, tokenizer)
    assert found == ([] if expected is None else [expected])
    assert sentences.read == len(found)
    assert sentences.changed == (expected is not None and expected != " ".join(line.split()))
    assert sentences.left_out == (expected is None)
    if expected is None:
        assert sentences.first_left_out.startswith(f"{tmp_path / 'text.txt'}:1: unknown to the tokenizer: ")


def test_case_is_kept_if_the_tokenizer_has_both():
    both = Symbols("characters", [" ", *"abAB"])
    assert both.decode(Sentences([], both)._encode("Ab, bA")) == "Ab bA"


def test_composed_characters(tmp_path):
    tokenizer = Symbols("characters", [" ", "ü", "g", "r", "n"])
    assert spelled(tmp_path, "gru\u0308n", tokenizer)[0] == ["grün"]


def test_pieces(tmp_path):
    tokenizer = train_tokenizer(["the cat sat on the mat", "the hat"], TokenizerConfig("sentencepiece", 40))
    found, sentences = spelled(tmp_path, "The cat\n\nsat, on\nthe dog\n", tokenizer)
    assert found == ["the cat", "sat on"]
    assert (sentences.read, sentences.changed, sentences.left_out) == (2, 2, 1)
    assert "text.txt:4: unknown to the tokenizer: " in sentences.first_left_out


def test_several_files_compressed_ones_and_splits(tmp_path, prepared):
    (tmp_path / "a.txt").write_bytes("\ufefflow\n".encode())
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"mid high\nlow"))
    tokenizer = Symbols("words", ["low", "mid", "high"])
    sentences = Sentences([tmp_path / "a.txt", tmp_path / "b.gz", prepared / "train"], tokenizer)
    found = list(sentences.words())
    assert found[:3] == [["low"], ["mid", "high"], ["low"]]
    assert len(found) > 20
    assert list(sentences.words()) == found and sentences.read == len(found)


def test_empty_lines_and_files(tmp_path):
    assert spelled(tmp_path, "", SMALL)[0] == []
    assert spelled(tmp_path, "\n \n", SMALL)[0] == []


def test_symbols_that_cannot_be_in_a_file(tmp_path):
    tokenizer = Symbols("words", ["<s>", "a"])
    (tmp_path / "t").write_text("a\n<s> a\n")
    sentences = Sentences([tmp_path / "t"], tokenizer)
    assert list(sentences.words()) == [["a"]]
    assert sentences.first_left_out == f"{tmp_path / 't'}:2: cannot be in an n-gram: '<s>'"


@pytest.mark.parametrize(
    "content,message",
    [
        (b"fine\ngr\xfcn\n", r"text\.txt:2: is not UTF-8 text"),
        (b"a " * (1 << 20), r"text\.txt:1: the line is longer than 1 MiB"),
        (
            gzip.compress(b"many words\n" * 1000, mtime=0)[:-20],
            r"text\.txt: the compressed file is truncated or damaged",
        ),
    ],
)
def test_damaged_files(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        spelled(tmp_path, content, SMALL)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(Sentences([tmp_path / "none"], SMALL).symbols())
