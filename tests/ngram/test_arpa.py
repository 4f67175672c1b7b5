"""ARPA files are read as they were written, and damaged ones are named with the line."""

import gzip

import numpy as np
import pytest

from rnnt.ngram import arpa
from rnnt.ngram.arpa import read_arpa, write_arpa

GOOD = """An introduction that any tool may write.

\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-2.0\t<unk>
-99\t<s>\t-0.5
-1.0\t</s>
-0.5\tgrün\t-0.25
-0.75\tb

\\2-grams:
-0.25\t<s> grün
-0.125\tgrün b
-0.5\tb </s>

\\end\\
"""


def write(path, text, packed=False):
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("change", [lambda x: x, lambda x: x.replace("\n", "\r\n"), lambda x: x.replace("\t", "   ")])
def test_reading(tmp_path, packed, change):
    found = read_arpa(write(tmp_path / "a.arpa", change(GOOD), packed))
    assert found.words == ["<unk>", "<s>", "</s>", "grün", "b"]
    assert [x.tolist() for x in found.ngrams] == [[[0], [1], [2], [3], [4]], [[1, 3], [3, 4], [4, 2]]]
    assert [x.tolist() for x in found.log10_probs] == [[-2, -99, -1, -0.5, -0.75], [-0.25, -0.125, -0.5]]
    assert [x.tolist() for x in found.log10_backoffs] == [[0, -0.5, 0, -0.25, 0], [0, 0, 0]]
    assert str(found.complain(2, 1, "is odd")) == f"{tmp_path / 'a.arpa'}:16: is odd"


def test_reading_in_blocks(tmp_path, monkeypatch):
    path = write(tmp_path / "a.arpa", GOOD)
    whole = read_arpa(path)
    monkeypatch.setattr(arpa, "_BLOCK", 2)
    blocks = read_arpa(path)
    for a, b in zip((*whole.ngrams, *whole.log10_probs), (*blocks.ngrams, *blocks.log10_probs)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "old,new,line,message",
    [
        ("\\data\\", "\\date\\", 20, "no ARPA file"),
        (GOOD, "", 1, "no ARPA file"),
        ("ngram 2=3", "ngram 3=3", 5, "an order is missing"),
        ("ngram 1=5\nngram 2=3", "", 6, "expected ngram 1=COUNT"),
        ("\\1-grams:", "\\2-grams:", 7, "expected .*1-grams"),
        ("-0.25\t<s> grün\n", "", 17, "the header says 3 2-grams, and here are 2"),
        ("-0.5\tb </s>", "-0.5\tb </s>\n-0.5\tb b", 18, "more than the 3 2-grams"),
        ("-0.125", "-0,125", 16, "is no number"),
        ("-0.125", "nan", 16, "must be finite"),
        ("-0.125", "-inf", 16, "must be finite"),
        ("-0.125", "0.125", 16, "the log-probability 0.125 is positive"),
        ("-0.25\n-0.75", "inf\n-0.75", 11, "the backoff weight is inf"),
        ("grün b", "grün c", 16, "'c' is not among the 1-grams"),
        ("grün b", "grün", 16, "expected a number, 2 words"),
        ("grün b", "grün b b b", 16, "expected a number, 2 words"),
        ("-0.75\tb\n", "-0.75\tgrün\n", 12, "the 1-gram 'grün' is there twice"),
        ("\\end\\\n", "", 19, "truncated"),
        ("-0.5\tb </s>\n\n\\end\\\n", "", 16, "the file ends after 2 of 3 2-grams"),
        ("\\end\\", "\\stop\\", 19, "expected .*end.*, found"),
        ("\x31=5", "1=999999999999999", 13, "here are 5"),
    ],
)
def test_damage_is_named_with_its_line(tmp_path, old, new, line, message):
    assert GOOD.count(old) == 1
    path = write(tmp_path / "a.arpa", GOOD.replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        read_arpa(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert "\n" not in str(error.value)


def test_the_orders_are_limited(tmp_path):
    counts = "".join(f"ngram {n}=1\n" for n in range(1, 12))
    with pytest.raises(ValueError, match=r"a\.arpa:12: n-grams of order 11; at most 10"):
        read_arpa(write(tmp_path / "a.arpa", "\\data\\\n" + counts))


@pytest.mark.parametrize("length", range(1, len(GOOD.encode())))
def test_a_truncated_file_is_an_error(tmp_path, length):
    if GOOD.encode()[:length].rstrip().endswith(b"\\end\\"):
        return
    with pytest.raises(ValueError, match=r"a\.arpa:\d+: "):
        read_arpa(write(tmp_path / "a.arpa", GOOD.encode()[:length]))


def test_a_file_that_is_not_utf8(tmp_path):
    path = write(tmp_path / "a.arpa", GOOD.encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.arpa:11: is not UTF-8 text"):
        read_arpa(path)


@pytest.mark.parametrize("keep", [10, 60, -4])
def test_a_compressed_file_that_is_truncated(tmp_path, keep):
    path = write(tmp_path / "a.arpa.gz", gzip.compress(GOOD.encode())[:keep])
    with pytest.raises(ValueError, match=r"a\.arpa\.gz"):
        read_arpa(path)


def test_a_compressed_file_that_is_damaged(tmp_path):
    data = bytearray(gzip.compress(GOOD.encode()))
    data[40] ^= 255
    with pytest.raises(ValueError, match=r"a\.arpa\.gz"):
        read_arpa(write(tmp_path / "a.arpa.gz", bytes(data)))


@pytest.mark.parametrize("name", ["a.arpa", "a.arpa.gz"])
def test_writing(tmp_path, name):
    path = tmp_path / name
    write_arpa(path, [2, 1], [iter(["-1\t</s>\t0\n", "-2\tb\t-0.5\n"]), iter(["-0.5\tb </s>\n"])])
    assert path.read_bytes()[:2] == (b"\x1f\x8b" if name.endswith("gz") else b"\\d")
    found = read_arpa(path)
    assert found.words == ["</s>", "b"]
    assert [x.tolist() for x in found.log10_probs] == [[-1, -2], [-0.5]]
    assert [x.tolist() for x in found.log10_backoffs] == [[0, -0.5], [0]]


def test_an_error_in_writing_keeps_the_old_file(tmp_path):
    path = write(tmp_path / "a.arpa", GOOD)

    def broken():
        yield "-1\t</s>\n"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left.*a\.arpa"):
        write_arpa(path, [2], [broken()])
    assert path.read_text() == GOOD
    assert [x.name for x in tmp_path.iterdir()] == ["a.arpa"]
