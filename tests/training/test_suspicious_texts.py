"""A model finds the wrong texts of a split: `rnnt evaluate --suspicious`."""

from dataclasses import replace

import pytest

from rnnt.dataset import Dataset, write_split

WRONG = {"more-1": "high", "more-4": "low low low low"}


@pytest.fixture(scope="module")
def model(call, tiny, tones, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    assert call("train", tiny, "--data", tones, "--out", out, "train.epochs=12", "train.validate_from=12") == 0
    return out


def test_wrong_texts_are_listed_first(call, model, tones, tmp_path, capsys):
    rows = [replace(u, text=WRONG.get(u.id, u.text)) for u in Dataset(tones / "more")]
    assert all(WRONG[u.id] != u.text for u in Dataset(tones / "more") if u.id in WRONG)
    write_split(tmp_path / "more", rows, 8000)
    command = ["evaluate", model, "--data", tmp_path / "more", "--out", tmp_path / "report"]
    assert call(*command, "--suspicious") == 0
    table = tmp_path / "report" / "suspicious.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    assert {row[0] for row in rows[:2]} == set(WRONG)
    assert f"suspicious: {len(rows)} texts, those that fit least first: {table}\n" in capsys.readouterr().out
    assert call(*command) == 0  # another report takes the place of this one, with its table
    assert not table.exists() and (tmp_path / "report/report.html").is_file()
