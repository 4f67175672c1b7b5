"""Tokenizers: encoding and decoding, unknown characters, and files that are no tokenizers."""

import io
import json

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_pb2

from rnnt.config import TokenizerConfig
from rnnt.tokenizer import (
    SentencePiece,
    Symbols,
    UnknownSymbolError,
    load_chosen_tokenizer,
    load_tokenizer,
    train_tokenizer,
)

TEXTS = [
    "the cat sat on the mat", "the dog sat on the log", "a cat and a dog", "über größe", "naïve café", "привет мир",
    "你好 世界", "don't stop", "e\u0301 composed", "emoji 🎉 here", "number 42", "<tag> & [x]",
]  # fmt: skip


def trained(kind, size=80, texts=TEXTS):
    return train_tokenizer(texts, TokenizerConfig(kind, size))


@pytest.mark.parametrize("kind", ["characters", "words", "sentencepiece"])
def test_every_training_text_comes_back(kind):
    tokenizer = trained(kind)
    assert tokenizer.kind == kind
    for text in TEXTS:
        tokens = tokenizer.encode(text)
        assert tokens and all(0 <= token < len(tokenizer) for token in tokens)
        assert tokenizer.decode(tokens) == text
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""


@given(st.lists(st.sampled_from(sorted(set("".join(TEXTS)) - {" "})), max_size=30), st.data())
def test_any_order_of_known_characters_comes_back(characters, data):
    text = "".join(c + data.draw(st.sampled_from(["", "", " "])) for c in characters).strip()
    for kind in ("characters", "sentencepiece"):
        tokenizer = CACHE.setdefault(kind, trained(kind))
        assert tokenizer.decode(tokenizer.encode(text)) == text


CACHE = {}


@pytest.mark.parametrize("kind", ["characters", "words", "sentencepiece"])
def test_white_space_is_squeezed(kind):
    tokenizer = trained(kind)
    assert tokenizer.decode(tokenizer.encode("  the \t cat\nsat ")) == "the cat sat"


@pytest.mark.parametrize(
    ("kind", "message"),
    [("characters", "'%' 'ж'"), ("words", "'cat%' 'жcat'"), ("sentencepiece", "")],
)
def test_what_is_unknown_is_named(kind, message):
    tokenizer = trained(kind)
    with pytest.raises(UnknownSymbolError, match=f"unknown to the tokenizer: {message}") as caught:
        tokenizer.encode("the жcat sat cat%")
    assert isinstance(caught.value, ValueError)
    if kind == "sentencepiece":
        assert "ж" in str(caught.value) and "%" in str(caught.value)


def test_symbols_are_sorted_and_each_has_one_number():
    assert trained("words", texts=["b a", "c a"]).symbols == ["a", "b", "c"]
    assert trained("characters", texts=["b a"]).symbols == [" ", "a", "b"]
    assert trained("words", texts=["b a", "c a"]).encode("c b a") == [2, 1, 0]


def sentencepiece_model(texts, **options):
    """A model of SentencePiece's own defaults: it normalises texts (NFKC), so that letters and accents merge."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, hard_vocab_limit=False, minloglevel=2, **options
    )
    return SentencePiece(model.getvalue())


COVERING = {
    "characters": lambda: Symbols("characters", sorted(" abéü好")),
    "characters without a space": lambda: Symbols("characters", sorted("abéü好")),
    "ours": lambda: trained("sentencepiece"),
    "normalising": lambda: sentencepiece_model(["e a \u0301 \u0301 ü \u1100 \u1161 fi 好 \u093e"] * 5, vocab_size=40),
    "bytes": lambda: sentencepiece_model(["ab ba"] * 5, vocab_size=300, byte_fallback=True),
    "pairs": lambda: sentencepiece_model(["ab ba abba"] * 5, vocab_size=12, model_type="bpe"),
}
MARKS = "\N{COMBINING ACUTE ACCENT}\u1161\u11a8\u093e\u3099ﾞ¨"
ALPHABET = sorted(set("".join(TEXTS)) | set(MARKS) | set("abefilﬁＡａüé好가\u1100\u093e\u200b\u00a0\u2028\n▁⁇"))


@pytest.mark.parametrize("name", COVERING)
@given(data=st.data())
def test_texts_of_covered_characters_can_be_encoded(name, data):
    if name not in CACHE:
        CACHE[name] = COVERING[name]()
    tokenizer = CACHE[name]
    covered = [character for character in ALPHABET if tokenizer.covers(character)]
    tokenizer.encode("".join(data.draw(st.lists(st.sampled_from(covered), max_size=12))))


def test_what_is_covered():
    texts = set("".join(TEXTS))
    for tokenizer in (trained("characters"), trained("sentencepiece")):
        assert {character for character in texts if not tokenizer.covers(character)} == (
            {"\N{COMBINING ACUTE ACCENT}"} if tokenizer.kind == "sentencepiece" else set()
        )
        assert tokenizer.covers("\n") and not tokenizer.covers("ж") and not tokenizer.covers("%")
    without_space = Symbols("characters", ["a", "b"])
    assert without_space.covers("a") and not without_space.covers(" ") and not without_space.covers("\t")
    assert not any(trained("words").covers(character) for character in texts)


def test_marks_that_a_model_merges_are_not_covered():
    tokenizer = COVERING["normalising"]()
    for letter, mark in (("e", "\N{COMBINING ACUTE ACCENT}"), ("\u1100", "\u1161")):
        assert tokenizer.encode(letter) and tokenizer.encode(mark)
        with pytest.raises(UnknownSymbolError):
            tokenizer.encode(letter + mark)
        assert tokenizer.covers(letter) and not tokenizer.covers(mark)


def test_a_character_that_only_begins_words_is_not_covered():
    proto = sentencepiece_pb2.ModelProto.FromString(trained("sentencepiece", 12, ["ab ac", "ab ba"])._model)
    proto.pieces[[piece.piece for piece in proto.pieces].index("c")].piece = "▁c"
    tokenizer = SentencePiece(proto.SerializeToString())
    assert tokenizer.encode("c") and tokenizer.covers("a") and not tokenizer.covers("c")
    with pytest.raises(UnknownSymbolError, match="unknown to the tokenizer: 'c'"):
        tokenizer.encode("ac")


def test_training_repeats_bit_for_bit(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        trained("sentencepiece").save(tmp_path / name)
    assert (tmp_path / "a" / "tokenizer.model").read_bytes() == (tmp_path / "b" / "tokenizer.model").read_bytes()


def test_sentencepiece_agrees_with_the_library(tmp_path):
    tokenizer = trained("sentencepiece")
    tokenizer.save(tmp_path)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert len(tokenizer) == 80 and tokenizer.learned == processor.get_piece_size() <= 80
    for text in TEXTS:
        assert tokenizer.encode(text) == processor.encode(text)
    assert processor.bos_id() == processor.eos_id() == processor.pad_id() == -1


def test_a_small_text_gives_fewer_pieces_than_symbols():
    tokenizer = trained("sentencepiece", 1023, ["ab ab", "ba"])
    assert len(tokenizer) == 1023 and tokenizer.learned < 20
    tokens = tokenizer.encode("ab ba")
    surplus = [tokenizer.learned, 1022]
    assert tokenizer.decode([surplus[0], *tokens, surplus[1]]) == "ab ba"
    assert tokenizer.decode([0, *tokens]) == "ab ba"  # 0 is the piece for what is unknown
    assert trained("words").learned == len(trained("words"))


def test_rare_and_long_texts_count_too():
    long = "x" * 9000 + " q"
    tokenizer = trained("sentencepiece", 60, ["ab"] * 1000 + ["ж", long])
    assert tokenizer.decode(tokenizer.encode("ж q x")) == "ж q x"


@pytest.mark.parametrize("kind", ["characters", "words", "sentencepiece"])
def test_saved_and_loaded_it_is_the_same(tmp_path, kind):
    tokenizer = trained(kind, 1000 if kind == "sentencepiece" else 80)
    tokenizer.save(tmp_path)
    (file,) = tmp_path.iterdir()
    for path in (tmp_path, file, str(file)):
        loaded = load_tokenizer(path, TokenizerConfig(kind, 1000))
        assert (loaded.kind, len(loaded), loaded.learned) == (tokenizer.kind, len(tokenizer), tokenizer.learned)
        assert [loaded.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        ([], 10, "the training texts are empty"),
        (["", "  "], 10, "the training texts are empty"),
        (TEXTS, 5, r"tokenizer\.size=5 pieces from texts of \d+ different characters"),
    ],
)
def test_what_cannot_be_learned_is_a_mistake_of_one_line(texts, size, message):
    with pytest.raises(ValueError, match=message) as caught:
        trained("sentencepiece", size, texts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.model", b""),
        ("tokenizer.model", b"not a model at all"),
        ("tokenizer.json", b""),
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b"\xff\xfe"),
        ("tokenizer.json", b"[1, 2]"),
        ("tokenizer.json", b'"text"'),
        ("tokenizer.json", b'{"symbols": ["a"]}'),
        ("tokenizer.json", b'{"kind": "bytes", "symbols": ["a"]}'),
        ("tokenizer.json", b'{"kind": "words", "symbols": ["a", 1]}'),
        ("tokenizer.json", b'{"kind": "words", "symbols": [["a"]]}'),
        ("tokenizer.json", b'{"kind": "words", "symbols": ["a", "a"]}'),
        ("tokenizer.json", b'{"kind": "words", "symbols": []}'),
        ("tokenizer.json", b'{"kind": "words", "symbols": ["' + b"a" * 1001 + b'"]}'),
        ("tokenizer.json", b'{"kind": "words", "symbols": [' + b"9" * 5000 + b"]}"),
        ("tokenizer.json", b"[" * 100_000),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")) as caught:
        load_tokenizer(tmp_path, TokenizerConfig())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_a_huge_file_is_not_read(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(ValueError, match="is too large for a tokenizer: more than 64 MiB"):
        load_tokenizer(tmp_path, TokenizerConfig())


def test_a_model_with_an_endless_piece_is_refused(tmp_path):
    proto = sentencepiece_pb2.ModelProto.FromString(trained("sentencepiece", 12, ["ab ac", "ab ba"])._model)
    proto.pieces[-1].piece = "x" * 1001
    (tmp_path / "tokenizer.model").write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match=r"tokenizer\.model: a tokenizer's symbols must have at most 1000 characters"):
        load_tokenizer(tmp_path, TokenizerConfig())


@pytest.mark.parametrize("other", ["characters", "words"])
def test_of_two_tokenizers_in_a_folder_the_configured_kind_is_taken(tmp_path, other):
    for kind in ("sentencepiece", other):
        trained(kind).save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    for kind in ("sentencepiece", other):
        assert load_tokenizer(tmp_path, TokenizerConfig(kind)).kind == kind
        assert load_chosen_tokenizer(TokenizerConfig(kind, path=str(tmp_path))).kind == kind


@pytest.mark.parametrize("kind", ["sentencepiece", "characters", "words"])
@pytest.mark.parametrize("configured", ["sentencepiece", "characters", "words"])
def test_a_chosen_tokenizer_has_the_configured_kind(tmp_path, kind, configured):
    trained(kind).save(tmp_path)
    (file,) = tmp_path.iterdir()
    for path in (tmp_path, file):
        config = TokenizerConfig(configured, path=str(path))
        assert load_tokenizer(path, config).kind == kind  # of a model of an earlier version
        if kind == configured:
            assert load_chosen_tokenizer(config).kind == kind
        else:
            with pytest.raises(ValueError, match=rf"holds a tokenizer of kind {kind}, .*; set \S+kind={kind} or"):
                load_chosen_tokenizer(config)


def test_a_truncated_model_is_refused(tmp_path):
    trained("sentencepiece").save(tmp_path)
    path = tmp_path / "tokenizer.model"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"tokenizer\.model: not a SentencePiece model"):
        load_tokenizer(path, TokenizerConfig())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no tokenizer\.model and no tokenizer\.json"):
        load_tokenizer(tmp_path, TokenizerConfig())
    with pytest.raises(ValueError, match=r"no tokenizer file .*gone\.model"):
        load_tokenizer(tmp_path / "gone.model", TokenizerConfig())


def test_the_json_is_plain(tmp_path):
    Symbols("words", ["größe", "mir"]).save(tmp_path)
    content = (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    assert "größe" in content and json.loads(content) == {"kind": "words", "symbols": ["größe", "mir"]}
    with pytest.raises(ValueError, match="not a SentencePiece model"):
        SentencePiece(b"\0\1")


def test_a_line_is_said_before_sentencepiece_learns():
    said = []
    train_tokenizer(["a b", "b c"], TokenizerConfig("words"), said.append)
    assert said == []
    train_tokenizer(["a b", "b c"], TokenizerConfig("sentencepiece", 6), said.append)
    assert said == ["learning a tokenizer of 6 pieces from 2 texts"]
