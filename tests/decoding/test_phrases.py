"""Files of hot words, and how phrases are spelled in a model's symbols."""

import warnings

import pytest

from rnnt.config import TokenizerConfig
from rnnt.decoding.phrases import WEIGHT, Phrase, read_phrases, spell_phrases, word_letters
from rnnt.tokenizer import Symbols, train_tokenizer

LETTERS = Symbols("characters", list("abcdefghijklmnopqrstuvwxyz .,'"))


def test_a_file_is_in_the_format_of_sherpa_onnx(tmp_path):
    path = tmp_path / "hot.txt"
    path.write_bytes("\ufeffnew   york :2.5\r\n\r\n  grün\nat 10:30 today\nten : 3\na:b :.5\n".encode())
    assert read_phrases(path) == [
        Phrase("new york", 2.5), Phrase("grün", WEIGHT), Phrase("at 10:30 today", WEIGHT), Phrase("ten : 3", WEIGHT),
        Phrase("a:b", 0.5),
    ]  # fmt: skip


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf", "1e9", "x", "1,5", "2.5:", "0x10"])
def test_a_weight_is_a_positive_number(tmp_path, weight):
    path = tmp_path / "hot.txt"
    path.write_text(f"fine :2\nnew york :{weight}\n")
    with pytest.raises(ValueError, match=r"hot\.txt: line 2: the weight :.* must be a number above 0 and at most 1000"):
        read_phrases(path)


def test_files_that_hold_no_phrases(tmp_path):
    path = tmp_path / "hot.txt"
    for content, problem in (
        (b"", "holds no hot words; write one phrase a line"),
        (b" \n\n", "holds no hot words"),
        (b"gr\xfcn\n", "is not UTF-8 text"),
        (b"fine\n:2.5\n", "line 2 has a weight but no phrase"),
        (b"fine\n" + b"a" * 501, "line 2 has 501 characters; a phrase has at most 500"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=problem) as error:
            read_phrases(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"no file of hot words .*absent"):
        read_phrases(tmp_path / "absent")


def test_a_phrase_that_cannot_be_spelled_is_named():
    with pytest.raises(ValueError, match=r"cannot spell this phrase: 'grün'; leave out or respell"):
        spell_phrases([Phrase("green"), Phrase("grün")], LETTERS)
    many = [Phrase(f"{i}") for i in range(100, 1300)]
    with pytest.raises(ValueError, match=r"these 1,200 phrases: '100', '101', '102' and 1,197 more; leave"):
        spell_phrases(many, LETTERS)
    with pytest.raises(ValueError, match=r"cannot spell this phrase: '\.,'"):
        spell_phrases([Phrase(".,")], LETTERS)
    with pytest.raises(ValueError, match=r"'a\\x1b\[31m'"):
        spell_phrases([Phrase("a\x1b[31m")], LETTERS)
    with pytest.raises(ValueError, match="'four'"):
        spell_phrases([Phrase("four")], Symbols("words", ["three", "five"]))


def test_another_case_is_tried_with_a_warning():
    with pytest.warns(UserWarning, match="in another case, because the model lacks the letters: 'new york'"):
        assert spell_phrases([Phrase("New York")], LETTERS)[0].text == b" new york "
    capitals = Symbols("characters", list("NEWYORK "))
    with pytest.warns(UserWarning, match="'NEW YORK'"):
        assert spell_phrases([Phrase("New York")], capitals)[0].text == b" NEW YORK "
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spell_phrases([Phrase("new york")], LETTERS)


def test_the_bonus_of_a_phrase_is_that_of_its_symbols():
    pieces = train_tokenizer(["the cat sat on the mat and ran after the other cats"] * 9, TokenizerConfig(size=40))
    tokens = pieces.encode("the cat")
    assert 1 < len(tokens) < 6
    (spelling,) = spell_phrases([Phrase("the cat", 3.0)], pieces)
    symbols = sum(pieces.spellings[token] != b" " for token in tokens)
    assert spelling.text == b" the cat " and 6 * spelling.bonus == pytest.approx(3.0 * symbols)
    (spelling,) = spell_phrases([Phrase("cat", 4.0)], LETTERS)  # four letters count as a symbol
    assert spelling.bonus == pytest.approx(1.0)
    (spelling,) = spell_phrases([Phrase("b c", 4.0)], Symbols("words", ["a", "b", "c"]))
    assert spelling.text == b" b c " and 2 * spelling.bonus == pytest.approx(8.0)


def test_boundaries_of_words():
    assert word_letters("Don't! (well-known) 3.5 «é»—".encode()) == "Don't   well-known  3 5  é  ".encode()
    assert word_letters(b"\xc3") == b"\xc3"
    texts = ["我们", "我 们", "สวัสดี", "abc"]
    chinese = Symbols("characters", sorted(set("".join(texts)) | {" "}))
    spelled = [each.text.decode() for each in spell_phrases(map(Phrase, texts), chinese)]
    assert spelled == ["我们", "我 们", "สวัสดี", " abc "]  # scripts without spaces have no boundaries to wait for
    phones = Symbols("characters", ["a", "b", "c"])  # nor has a model without a space
    assert spell_phrases([Phrase("abc")], phones)[0].text == b"abc"
