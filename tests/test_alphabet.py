import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnt.alphabet import Alphabet, learn_alphabet, load_alphabet, normalized

FORMS = ["nfd", "nfc", "none"]
E_ACUTE, E_ACCENT, HANGUL = "\u00e9", "e\u0301", "\ud55c"


@pytest.mark.parametrize("given, nfd, nfc", [
    (list(f"caf{E_ACUTE}"), list(f"caf{E_ACCENT}"), list(f"caf{E_ACUTE}")),
    (list(f"caf{E_ACCENT}"), list(f"caf{E_ACCENT}"), list(f"caf{E_ACUTE}")),
    ([HANGUL], ["\u1112", "\u1161", "\u11ab"], [HANGUL]),
    ([f"t{E_ACUTE}", "e", "\u0301"], [f"t{E_ACCENT}", "e", "\u0301"], [f"t{E_ACUTE}", E_ACUTE]),
    (["V;PST", "a"], ["V;PST", "a"], ["V;PST", "a"]),
    ([], [], []),
])  # fmt: skip
def test_neighbouring_letters_are_normalised_together_and_longer_symbols_alone(given, nfd, nfc):
    assert normalized(given, "nfd") == nfd
    assert normalized(given, "nfc") == nfc
    assert normalized(given, "none") == given


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_letters_are_those_of_the_normalised_word(word):
    """One word in two spellings of Unicode is one input."""
    for form in ("NFD", "NFC"):
        expected = list(unicodedata.normalize(form, word))
        assert normalized(list(word), form.lower()) == expected
        assert normalized(list(unicodedata.normalize("NFD", word)), form.lower()) == expected


@pytest.mark.parametrize("form", FORMS)
def test_known_symbols_have_numbers_and_all_others_share_the_last(form):
    alphabet = learn_alphabet([["c", "a", "t"], list(f"caf{E_ACUTE}"), ["ts"]], form)
    assert alphabet.symbols == sorted(alphabet.symbols) and len(alphabet) == len(alphabet.symbols) + 1
    for number, symbol in enumerate(alphabet.symbols):
        if len(symbol) > 1 or not unicodedata.combining(symbol):
            assert alphabet.encode([symbol]).tolist() == [number]
    assert alphabet.encode(["x", "ts", "yz"]).tolist() == [
        alphabet.unknown,
        alphabet.symbols.index("ts"),
        alphabet.unknown,
    ]
    assert alphabet.unknown == len(alphabet) - 1
    assert alphabet.lacking(["x", "a", "yz", "x"]) == ["x", "yz"]


def test_it_survives_saving(tmp_path):
    alphabet = learn_alphabet([["\u0301", "\u00fc", "ts", " "]], "nfd")
    alphabet.save(tmp_path)
    again = load_alphabet(tmp_path)
    assert (again.symbols, again.unicode) == (alphabet.symbols, "nfd")
    assert again.fingerprint == alphabet.fingerprint
    assert Alphabet(alphabet.symbols, "nfc").fingerprint != alphabet.fingerprint
    assert Alphabet(alphabet.symbols[1:], "nfd").fingerprint != alphabet.fingerprint


@pytest.mark.parametrize("symbols, complaint", [
    ([], "at least one"),
    (["a", ""], "empty"),
    (["a", "a"], "distinct"),
    (["a" * 1001], "at most 1000"),
    (["a", 3], "at least one"),
])  # fmt: skip
def test_bad_symbols_are_refused(symbols, complaint):
    with pytest.raises(ValueError, match=complaint):
        Alphabet(symbols, "none")


def test_an_alphabet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="training inputs are empty"):
        learn_alphabet([[], []], "nfd")


@pytest.mark.parametrize("content", [
    b"", b"[]", b"{", b'{"symbols": ["a"]}', b'{"unicode": "nfd", "symbols": "abc", "x": 1',
    b'{"unicode": "utf", "symbols": ["a"]}', b'{"unicode": "nfd", "symbols": [["a"]]}', b"\xff\xfe", b"[" * 100_000,
    json.dumps({"unicode": "nfd", "symbols": ["a", "a"]}).encode(),
])  # fmt: skip
def test_a_damaged_file_gets_one_line(content, tmp_path):
    (tmp_path / "alphabet.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"alphabet\.json is damaged or no alphabet; copy") as error:
        load_alphabet(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no alphabet\.json"):
        load_alphabet(tmp_path)
