"""The paper's experiment from the corpus to the scores, on a made-up corpus in TIMIT's layout and file formats."""

import json

import pytest
from made_up_timit import make_timit

from rnnt.dataset import Dataset
from rnnt.phones import PHONES_61, fold_phones


@pytest.fixture(scope="module")
def data(call, tmp_path_factory):
    source = make_timit(tmp_path_factory.mktemp("timit"), audio="both")
    out = tmp_path_factory.mktemp("data")
    assert call("prepare", "timit", source, "--out", out, "--workers", "1") == 0
    return out


def distance(one, other):
    """The least number of insertions, deletions and substitutions between two lists."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        above, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (left != right))
    return row[-1]


def test_the_papers_network_is_trained_and_scored(call, data, tmp_path, capsys):
    arguments = ["train.steps=20", "decoding.beam=4", "--data", data, "--out", tmp_path / "run"]
    assert call("train", "timit-graves2012", *arguments) == 0
    capsys.readouterr()
    assert call("evaluate", tmp_path / "run", "--data", data / "test", "--out", tmp_path / "report", "--times") == 0
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
