"""The option --live of the verb `evaluate`."""

import json
import re

import numpy as np
import pytest

from rnnt.dataset import write_split
from rnnt.known_times import TIMES
from rnnt.recognizer import load
from rnnt.shard import StoredUtterance


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    recognizer = make(blank=0.0, features={"normalization": "none"})
    folder = tmp_path_factory.mktemp("live") / "model"
    recognizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def split(folder, utterances, tmp_path_factory):
    texts = [transcript.text for transcript in load(folder).transcribe(utterances)]
    split = tmp_path_factory.mktemp("data") / "test"
    write_split(split, [StoredUtterance(f"u{n}", x, text) for n, (x, text) in enumerate(zip(utterances, texts))], 16000)
    times = [{"id": f"u{n}", "times": [[w, 0.0, 0.1] for w in text.split()]} for n, text in enumerate(texts)]
    (split / TIMES).write_text("".join(json.dumps(line) + "\n" for line in times))
    return split


def test_the_figures_of_streams_are_printed_and_written(call, folder, split, tmp_path, capsys):
    assert call("evaluate", folder, "--data", split, "--live", "--chunk-ms", "100", "--out", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("WER 0.00 %") and lines[1].startswith("CER 0.00 %")
    assert lines[2] == "7 of 7 streams (100.0 %) have the symbols of offline decoding"
    assert lines[3] == "algorithmic latency 66 ms, chunk of 100 ms"
    found = re.fullmatch(
        r"a word appears (\d+) ms after its end \(median; 90 %: (\d+) ms; (\d+) right words, known ends\)", lines[4]
    )
    assert re.fullmatch(
        r"computing a chunk of 100 ms takes [\d.]+ ms \(median; 99 %: [\d.]+ ms; up to 32 streams at once\)", lines[5]
    )
    scores = json.loads((tmp_path / "scores.json").read_text())
    live = scores["live"]
    assert scores["word"]["rate"] == 0 and scores["utterances"] == 7
    assert (live["equal"], live["utterances"], live["words"], live["chunk_seconds"]) == (7, 7, int(found[3]), 0.1)
    assert np.round(1000 * np.array([live["delay_median"], live["delay_90"]])).tolist() == [
        int(found[1]),
        int(found[2]),
    ]
    assert 0 < live["compute_median"] <= live["compute_99"]


@pytest.mark.parametrize(("batch", "streams"), [(1, "a single stream"), (2, "up to 2 streams at once")])
def test_the_default_report_is_next_to_the_model(call, folder, split, batch, streams, capsys):
    assert call("evaluate", folder, "--data", split, "--live", "--batch-size", batch) == 0
    assert f"; {streams})" in capsys.readouterr().out
    assert json.loads((folder.parent / "evaluation-model-test" / "scores.json").read_text())["live"]["streams"] == batch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--live", "--times"], "--live and --times do not go together; leave one of them out"),
        (["--live", "--nbest", "2"], "--live and --nbest do not go together; leave one of them out"),
        (["--live", "--decoding", "greedy", "--decoding", "beam"], "--live takes one --decoding; run it once for each"),
        (["--chunk-ms", "60"], "--chunk-ms is for streams; add --live"),
    ],
)
def test_options_that_do_not_fit_are_refused(call, folder, split, options, message, capsys):
    assert call("evaluate", folder, "--data", split, *options) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_models_that_cannot_stream_are_refused(call, run, prepared, tmp_path, capsys):
    assert call("evaluate", run, "--data", prepared / "valid", "--live", "--out", tmp_path / "report") == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: this model cannot stream, because ") and "train one with " in shown
    assert not (tmp_path / "report").exists()
