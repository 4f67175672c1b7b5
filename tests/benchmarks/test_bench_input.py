"""The made-up splits of bench_input are as described, its rates are those of its clock, and the whole script runs."""

import sys
from itertools import count, islice
from types import SimpleNamespace

import bench_input
import numpy as np
import pytest
from bench_input import LETTERS, make_index, make_split, measure_index, measure_rate, noise_utterances

from rnnt.dataset import Dataset

SECONDS = np.array([0.25, 0.5, 1.0])


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return make_split(tmp_path_factory.mktemp("data") / "split", 400_000, SECONDS)


def test_utterances_have_the_drawn_lengths_and_fifteen_letters_a_second():
    found = list(islice(noise_utterances(SECONDS, np.random.default_rng(0)), 50))
    assert {len(utterance.input) for utterance in found} == {4000, 8000, 16000}
    for utterance in found:
        assert utterance.input.dtype == np.int16 and np.abs(utterance.input.astype(int)).max() > 500
        assert len(utterance.text) == len(utterance.input) * 15 // 16000 and set(utterance.text) <= set(LETTERS)


def test_a_split_has_the_wanted_bytes_of_audio(split):
    sizes = 2 * split.lengths.astype(int)
    assert sizes[:-1].sum() < 400_000 <= sizes.sum()


def test_an_index_repeats_one_shard_without_copying_it(split, tmp_path):
    make_index(tmp_path / "index", split.folders[0], 3 * len(split) - 1)
    index = Dataset(tmp_path / "index")
    assert len(index) == 3 * len(split)
    assert index.lengths.tolist() == 3 * split.lengths.tolist()
    assert len({path.stat().st_ino for path in (tmp_path / "index").glob("*.arrow")}) == 1
    for i in (0, len(split) - 1):
        np.testing.assert_array_equal(index[2 * len(split) + i].input, split[i].input)


@pytest.mark.parametrize("trim", [False, True])
def test_the_rate_is_the_seconds_of_audio_over_the_time_of_a_pass(split, monkeypatch, trim):
    ticks = count(0, 2)  # a clock that advances by two seconds whenever it is read
    monkeypatch.setattr(bench_input, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert measure_rate(split, 4, trim, "cpu", 3) == pytest.approx(3 * [split.lengths.sum() / 16000 / 2])


def test_the_index_is_measured_step_by_step_up_to_the_first_batch(split, tmp_path):
    make_index(tmp_path / "index", split.folders[0], 2 * len(split))
    rows = measure_index(tmp_path / "index", 3)
    assert [row["measured"] for row in rows] == ["opened", "texts checked", "sorted", "epoch planned", "first batch"]
    assert all(row["utterances"] == 2 * len(split) for row in rows)
    seconds = [row["seconds"] for row in rows]
    assert seconds[0] > 0 and seconds == sorted(seconds)


def test_the_script_prints_and_saves_rates_and_steps(shapes_csv, monkeypatch, capsys):
    shapes_csv(*[(seconds, 1) for seconds in SECONDS])
    saved = []
    monkeypatch.setattr(bench_input, "append_rows", lambda name, rows, device: saved.extend(rows))
    arguments = "--megabytes 1 --utterances 100 --batch 7 --repeats 2 --save"
    monkeypatch.setattr(sys, "argv", ["bench_input.py", *arguments.split()])
    bench_input.main()
    out = capsys.readouterr().out
    assert "batches of 7, to cpu" in out and " silence trimmed " in out and " first batch " in out
    assert [row["measured"] for row in saved] == [
        "rate, as recorded", "rate, silence trimmed", "index, opened", "index, texts checked", "index, sorted",
        "index, epoch planned", "index, first batch",
    ]  # fmt: skip
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in saved[:2])
    assert all(row["utterances"] >= 100 for row in saved[2:])


def test_the_script_says_which_file_it_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_input, "SHAPES_CSV", tmp_path / "absent.csv")
    monkeypatch.setattr(sys, "argv", ["bench_input.py"])
    with pytest.raises(SystemExit):
        bench_input.main()
    assert "needs the lengths of LibriSpeech's utterances in" in capsys.readouterr().err
