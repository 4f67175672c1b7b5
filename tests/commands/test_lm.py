"""The verb `lm`."""

import pytest

from rnnt.ngram.arpa import read_arpa


@pytest.fixture()
def text(tmp_path):
    (tmp_path / "text.txt").write_text("Low mid.\nlow high\nmid low high\nlow <bad>\n")
    return tmp_path / "text.txt"


def test_symbols(call, run, text, tmp_path, capsys):
    out = tmp_path / "new" / "lm.arpa.gz"
    assert call("lm", text, "--model", run, "--order", "3", "--out", out) == 0
    shown = capsys.readouterr()
    counts = [len(grams) for grams in read_arpa(out).ngrams]
    assert (
        shown.out == f"{out}: " + ", ".join(f"{n} {i}-grams" for i, n in enumerate(counts, 1)) + ", from 3 sentences\n"
    )
    assert len(counts) == 3
    notes = shown.err.splitlines()
    assert "1 of 3 sentences: capitals or punctuation that the model lacks were replaced" in notes
    assert any(note.startswith(f"1 of 4 lines left out (first {text}:4: unknown to the tokenizer: ") for note in notes)


def test_words_of_prepared_splits(call, run, prepared, tmp_path):
    out = tmp_path / "lm.arpa"
    assert call("lm", prepared / "train", "--model", run / "best", "--words", "--order", "2", "--out", out) == 0
    assert {"low", "mid", "high"} <= set(read_arpa(out).words)


@pytest.mark.parametrize(
    "options,message",
    [
        (["--prune", "0 x"], "--prune '0 x' is no list of numbers"),
        (["--prune", "1"], "give ascending numbers that begin with 0"),
        (["--order", "11"], "the order of the n-grams is 11; choose 1 to 10"),
    ],
)
def test_bad_options(call, run, text, tmp_path, capsys, options, message):
    assert call("lm", text, "--model", run, "--out", tmp_path / "lm.arpa", *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "lm.arpa").exists()


def test_files_that_are_missing_or_cannot_be_written(call, run, text, tmp_path, capsys):
    assert call("lm", tmp_path / "none.txt", "--model", run, "--out", tmp_path / "lm.arpa") == 2
    assert "none.txt: No such file" in capsys.readouterr().err
    assert call("lm", text, "--model", run, "--out", text / "lm.arpa") == 2
    assert "text.txt" in capsys.readouterr().err
    assert call("lm", text, "--model", tmp_path / "none", "--out", tmp_path / "lm.arpa") == 2
