"""The paper's experiment from the corpus to the scores, on a made-up corpus in TIMIT's layout and file formats."""

import json

import pytest
from made_up_timit import make_timit
from matplotlib.image import imread

from rnnt.dataset import Dataset
from rnnt.phones import PHONES_61, fold_phones


@pytest.fixture(scope="module")
def data(call, tmp_path_factory):
    folder = tmp_path_factory.mktemp("timit")
    source = make_timit(folder / "source", audio="both")
    assert call("prepare", "timit", source, "--out", folder / "data", "--workers", "1") == 0
    return folder / "data"


@pytest.fixture(scope="module")
def paper(call, data):
    out = data.parent / "paper"
    assert call("train", "timit-graves2012", "--data", data, "--out", out, "device=cpu", "train.steps=20") == 0
    return out


def distance(one, other):
    """The least number of insertions, deletions and substitutions between two lists."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return row[-1]


def test_the_papers_settings_train_a_step_for_each_utterance(paper):
    rows = [json.loads(line) for line in (paper / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 21))
    assert all(0 < row["loss"] < 1000 and row["lr"] == 1e-4 for row in rows if "loss" in row)
    epochs = [row["epoch"] for row in rows if "loss" in row]
    assert epochs == [step / 16 for step in range(20)]  # 4 speakers with 4 sentences each


def test_a_model_of_61_phones_is_scored_on_39(call, data, paper, tmp_path, capsys):
    capsys.readouterr()
    assert call("evaluate", paper, "--data", data / "test", "--out", tmp_path / "report", "--times") == 0
    shown = capsys.readouterr().out
    utterances = list(Dataset(data / "test"))
    assert all(set(utterance.text.split()) <= PHONES_61 for utterance in utterances)
    boundaries = sum(len(utterance.text.split()) - 1 for utterance in utterances)
    assert f"times: {boundaries} boundaries in {len(utterances)} utterances: " in shown
    # Scored in the set of 39, although the model knows the 61.
    pairs = [json.loads(line) for line in (tmp_path / "report/pairs.jsonl").read_text().splitlines()]
    assert [(pair["id"], pair["reference"]) for pair in pairs] == [(each.id, each.text) for each in utterances]
    folded = [[fold_phones(pair[key], "timit-39").split() for key in ("reference", "hypothesis")] for pair in pairs]
    scores = json.loads((tmp_path / "report/scores.json").read_text())["symbol"]
    assert scores["reference_length"] == sum(len(reference) for reference, _ in folded)
    assert scores["errors"] == sum(distance(*texts) for texts in folded)
    assert f"{100 * scores['rate']:.2f} %" in shown.split("\n")[0]


def test_the_papers_figure_is_drawn(call, data, paper, tmp_path):
    marks = Dataset(data / "dev")[0]
    (tmp_path / "text").write_text(marks.text)
    audio = next((data.parent / "source").rglob("SI648.WAV"))
    assert call("align", paper, audio, tmp_path / "text", "--picture", tmp_path / "a.png") == 0
    assert imread(tmp_path / "a.png").shape[0] == 1100
