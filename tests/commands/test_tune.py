"""The option --tune of the verb evaluate: what it says, what it stores, and which options it refuses."""

import json
import re
import shutil

import pytest


@pytest.fixture(scope="module")
def lm(call, run, prepared, tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    assert call("lm", prepared / "train", "--model", run, "--order", "3", "--out", path) == 0
    return path


@pytest.mark.parametrize("decoding", ["greedy", "beam:4"])
def test_weights_are_chosen_said_and_their_lists_stored(call, run, prepared, lm, decoding, tmp_path, capsys):
    command = "evaluate", run, "--data", prepared / "valid", "--lm", lm
    report = tmp_path / "report"
    assert call(*command, "--decoding", decoding, "--tune", "--out", report) == 0
    out, err = capsys.readouterr()
    number = r"[01](?:\.\d+)?"
    found = re.search(rf"  use: --lm {lm} (--lm-weight {number} --lodr-weight {number} --ilm-weight {number})\n", out)
    options = found[1].split()
    assert f"chosen on valid, 8 utterances: {found[1]}\n" in out
    assert "valid is tuning data now: the error rate with these weights is too low there" in out
    assert "no test data" not in err
    records = [json.loads(line) for line in (report / "nbest.jsonl").read_text().splitlines()]
    assert len(records) == 8 and {record["decoding"] for record in records} == {"beam:16+lm"}
    assert all(set(entry["scores"]) == {"lm", "lodr", "ilm", "blank"} for x in records for entry in x["nbest"])
    rows = {row["decoding"]: row for row in json.loads((report / "scores.json").read_text())["decoders"]}
    assert list(rows) == [decoding, f"{decoding}+lm", "beam:16+lm"]
    # The row with the chosen weights is that of an evaluation with the options that were named.
    assert call(*command, *options, "--decoding", f"{decoding}+lm", "--decoding", "greedy", "--out", report) == 0
    again = {row["decoding"]: row for row in json.loads((report / "scores.json").read_text())["decoders"]}
    assert again[f"{decoding}+lm"]["word"] == rows[f"{decoding}+lm"]["word"]


def test_a_split_that_is_called_test_is_warned_of_and_a_model_without_a_bigram_is_tuned(
    call, run, prepared, lm, tmp_path, capsys
):
    shutil.copytree(prepared / "valid", tmp_path / "my-test")
    shutil.copytree(run / "best", tmp_path / "model")
    (tmp_path / "model" / "bigram.arpa").unlink()
    assert call("evaluate", tmp_path / "model", "--data", tmp_path / "my-test", "--lm", lm, "--tune") == 0
    out, err = capsys.readouterr()
    assert "warning: weights are chosen on my-test, which is no test data from now on" in err
    assert "--ilm-weight" in out and "--lodr-weight" not in out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "--tune chooses the weight of a language model; give one with --lm FILE"),
        (("--lm-weight", "0.3"), "--tune and --lm-weight do not go together; leave --lm-weight out"),
        (("--lodr-weight", "0"), "--tune and --lodr-weight do not go together"),
        (("--nbest", "2"), "--tune and --nbest do not go together"),
        (("--blank-penalty", "1"), "--tune and --blank-penalty do not go together"),
        (("--decoding", "greedy", "--decoding", "beam"), "--tune takes one --decoding"),
        (("--decoding", "beam+lm"), "--tune takes one --decoding without language models"),
    ],
)
def test_options_that_do_not_go_with_tuning(call, run, prepared, lm, options, why, capsys):
    given = ("--lm", lm) if options else ()
    assert call("evaluate", run, "--data", prepared / "valid", "--tune", *given, *options) == 2
    out, err = capsys.readouterr()
    assert out == "" and why in err and len(err.splitlines()) == 1
