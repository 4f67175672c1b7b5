from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from rnnt.corpora import Split, Utterance
from rnnt.known_times import TIMES, read_times
from rnnt.prepare import prepare

SHARD_BYTES = 20_000


def noise(seed, sample_rate):
    return np.random.default_rng(seed).integers(-3000, 3000, sample_rate // 5).astype(np.int16)


def refuse(sample_rate):
    raise OSError("broken")


def interrupt(sample_rate):
    raise KeyboardInterrupt


def utterances(count=12):
    """Utterances with times, except the fourth; the third cannot be read."""
    made = [
        Utterance(f"ü{n}", "a b", "", partial(noise, n), (("a", 0.0, 0.0625 + n / 1000), ("b", 0.1, 0.2)))
        for n in range(count)
    ]
    made[2] = replace(made[2], read=refuse)
    made[3] = replace(made[3], times=())
    return made


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def prepared(out, made, workers=1):
    return prepare({"train": Split(made)}, out, workers=workers, shard_bytes=SHARD_BYTES)["train"]


def test_times_of_the_utterances_that_are_stored_are_kept(tmp_path):
    made = utterances()
    prepared(tmp_path, made)
    assert read_times(tmp_path / "train") == {u.id: u.times for u in made if u.id not in ("ü2", "ü3")}


def test_a_corpus_without_times_has_no_file(tmp_path):
    made = [replace(utterance, times=()) for utterance in utterances()]
    prepared(tmp_path, made)
    assert not (tmp_path / "train" / TIMES).exists()
    with pytest.raises(ValueError, match=f"{tmp_path}/train: holds no times of symbols"):
        read_times(tmp_path / "train")


@pytest.mark.parametrize("stopped", [0, 4, 11])
def test_a_preparation_that_was_stopped_continues_to_the_same_bytes(tmp_path, stopped):
    made = utterances()
    prepared(tmp_path / "whole", made)
    broken = [replace(u, read=interrupt) if n == stopped else u for n, u in enumerate(made)]
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path / "stopped", broken)
    prepared(tmp_path / "stopped", made, workers=2)
    whole = contents(tmp_path / "whole" / "train")
    assert contents(tmp_path / "stopped" / "train") == whole and TIMES in whole


def test_other_times_are_another_split(tmp_path):
    made = utterances()
    prepared(tmp_path, made)
    assert prepared(tmp_path, utterances()).already_prepared
    made[5] = replace(made[5], times=(("a", 0.0, 0.05), ("b", 0.1, 0.2)))
    with pytest.raises(ValueError, match="holds other utterances"):
        prepared(tmp_path, made)


@pytest.mark.parametrize(
    "line",
    [
        "x", "[]", "{}", '{"id": "a"}', '{"id": "a", "times": 3}', '{"id": "a", "times": [["b", 0, NaN]]}',
        '{"id": "a", "times": [["b", 1, 0]]}', '{"id": "a", "times": [["b", 0]]}', '{"id": "a", "times": [[1, 0, 1]]}',
        '{"id": [], "times": []}', '{"id": "a", "times": [["b", -1, 0]]}', '{"id": "a", "times": [["b", 0, 1e999]]}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(tmp_path, line):
    prepared(tmp_path, utterances())
    path = tmp_path / "train" / TIMES
    first = path.read_text().split("\n")[0]
    path.write_text(f"{first}\n{line}\n")
    with pytest.raises(ValueError, match=f"{path}: line 2 cannot be read; remove .* and run `rnnt prepare"):
        read_times(tmp_path / "train")
