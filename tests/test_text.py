"""Text files and messages."""

import doctest
import unicodedata

import pytest

import rnnt.text
from rnnt.text import clock, duration, one_line, read_lines, read_text, reason, tsv_line, visible


def test_examples_of_the_docstrings():
    failed, tried = doctest.testmod(rnnt.text)
    assert not failed and tried >= 6


def test_a_mark_at_the_start_is_no_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffgrün\n".encode())
    assert read_text(path) == "grün\n" and read_lines(path) == ["grün", ""]


def test_a_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("grün".encode("latin-1"))
    for read in (read_text, read_lines):
        with pytest.raises(ValueError, match=r"a\.txt: is not UTF-8 text \(byte 2\); convert it to UTF-8"):
            read(path)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "missing")


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_a_line_feed_ends_a_line(tmp_path, mark):
    path = tmp_path / "a.txt"
    path.write_bytes(f"one{mark}two\r\nthree".encode())
    assert read_lines(path) == [f"one{mark}two", "three"]
    assert one_line(f" one{mark}two\n") == "one two"


def test_reasons_are_short_lines():
    assert reason(ValueError("a\nb")) == "a b"
    assert reason(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert reason(OSError(" \n")) == "OSError"
    assert reason(ValueError("x" * 300)) == "x" * 200
    assert reason(ValueError("x" * 300), limit=7) == "x" * 7
    assert reason(ValueError("x" * 300), limit=None) == "x" * 300


OBEYED = [
    *map(chr, [*range(0x20), *range(0x7F, 0xA0)]), "\u2028", "\u2029", "\u202a", "\u202e", "\u2066", "\u2069", "\ud800",
    "\udfff",
]  # fmt: skip


@pytest.mark.parametrize("character", OBEYED, ids=ascii)
def test_a_character_that_a_terminal_obeys_is_shown_as_an_escape(character):
    shown = visible(f"größe 好{character}\u200d🎉")
    assert shown.startswith("größe 好\\") and shown.endswith("\u200d🎉") and character not in shown
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert visible(shown) == shown  # showing it again changes nothing
    shown.encode()


@pytest.mark.parametrize("character", ["=", "+", "-", "@", '"', "＝", "＋", "－", "＠"])
def test_a_cell_that_a_spreadsheet_would_compute_begins_with_an_apostrophe(character):
    formula = f"{character}HYPERLINK(1)"
    for text in (formula, f" {formula}", f"\t{formula}", f"\r\n{formula}", f"\x0b{formula}"):
        assert tsv_line("id", text, text) == f"id\t'{formula}\t'{formula}\n"
    assert tsv_line(f"a{formula}", "a\tb\nc", "\x1b[0m") == f"a{formula}\ta b c\t\\x1b[0m\n"


def test_amounts_of_audio():
    assert [duration(hours) for hours in (0, 0.5 / 60, 0.99, 1, 1234.5)] == [
        "0.0 minutes", "0.5 minutes", "59.4 minutes", "1.00 hours", "1,234.50 hours",
    ]  # fmt: skip


def test_times():
    assert [clock(seconds) for seconds in (0, 0.4, 59.6, 3599, 3600, 360000)] == [
        "0:00:00", "0:00:00", "0:01:00", "0:59:59", "1:00:00", "100:00:00",
    ]  # fmt: skip
