import json

import numpy as np
import pytest

from rnnt.dataset import Dataset, write_split
from rnnt.known_times import TIMES
from rnnt.shard import StoredUtterance
from rnnt.time_errors import TimeErrors, read_all_times, time_errors

TEXTS = ["a b", "b", "c a b a", "a", "c c"]


@pytest.fixture(scope="module")
def split(speech, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "test"
    rows = [StoredUtterance(f"u{n}", speech(1 + 0.3 * n, n), text) for n, text in enumerate(TEXTS)]
    write_split(folder, rows)
    return folder


def starts(recognizer, split):
    """The start of each word, by its id, from alignments of single utterances."""
    return {u.id: [w.start for w in recognizer.align(u.input, u.text).words] for u in Dataset(split)}


def write(split, known):
    """Write times for the starts of words by id; ends follow after 10 ms."""
    texts = {u.id: u.text.split() for u in Dataset(split)}
    lines = [
        json.dumps({"id": key, "times": [[w, t, t + 0.01] for w, t in zip(texts[key], times)]})
        for key, times in known.items()
    ]
    (split / TIMES).write_text("\n".join(lines) + "\n")
    return read_all_times([split])


def test_its_own_times_are_without_error(recognizer, split):
    found = time_errors(recognizer, Dataset(split), write(split, starts(recognizer, split)))
    assert (len(found.errors), found.utterances, found.skipped) == (5, 5, [])
    assert found.mean == 0 and found.share_within(0) == 1


@pytest.mark.parametrize("shift, shares", [(0.01, (1, 1, 1)), (0.011, (0, 1, 1)), (0.03, (0, 0, 1)), (0.1, (0, 0, 0))])
def test_a_shift_is_the_error(recognizer, split, shift, shares):
    known = {key: [time + shift for time in times] for key, times in starts(recognizer, split).items()}
    found = time_errors(recognizer, Dataset(split), write(split, known))
    assert found.mean == pytest.approx(shift) and np.median(found.errors) == pytest.approx(-shift)
    assert tuple(found.share_within(ms / 1000) for ms in (10, 20, 50)) == shares


def test_the_first_start_is_no_boundary(recognizer, split):
    known = {key: [0.0, *times[1:]] for key, times in starts(recognizer, split).items()}
    assert time_errors(recognizer, Dataset(split), write(split, known)).mean == 0


def test_the_measures():
    found = TimeErrors(np.array([0.005, -0.015, 0.03, -0.09]), 2, [])
    assert str(found) == (
        "4 boundaries in 2 utterances: 25.0 % within 10 ms, 50.0 % within 20 ms, 75.0 % within 50 ms, "
        "mean error 35.0 ms, median -5.0 ms"
    )
    shares = {"within_10_ms": 0.25, "within_20_ms": 0.5, "within_50_ms": 0.75}
    errors = {"mean": pytest.approx(0.035), "median": pytest.approx(-0.005)}
    assert found.to_json() == {"boundaries": 4, "utterances": 2, **shares, **errors}
    nothing = TimeErrors(np.zeros(0), 0, [])
    assert str(nothing) == "no boundaries"
    assert nothing.to_json() == {"boundaries": 0, "utterances": 0, **dict.fromkeys([*shares, *errors])}


def test_utterances_that_cannot_be_judged_are_skipped(recognizer, split, tmp_path, speech):
    known = starts(recognizer, split)
    del known["u1"]
    times = write(split, known) | {"u2": (("a", 0.0, 0.1),)}
    found = time_errors(recognizer, Dataset(split), times)
    assert found.utterances == 3
    assert found.skipped == [("u1", "its times are not known"), ("u2", "its times are those of another text")]
    write_split(tmp_path / "other", [StoredUtterance("u", speech(1, 0), "x a")])
    found = time_errors(recognizer, Dataset(tmp_path / "other"), {"u": (("x", 0.0, 0.1), ("a", 0.1, 0.2))})
    assert found.utterances == 0 and "the text cannot be aligned" in found.skipped[0][1]


def test_the_same_id_in_two_splits(recognizer, split, tmp_path, speech):
    write(split, starts(recognizer, split))
    other = tmp_path / "other"
    write_split(other, [StoredUtterance("u0", speech(1, 0), "a b")])
    write(other, {"u0": [0.0, 0.5]})
    assert read_all_times([split, split]) == read_all_times([split])
    with pytest.raises(ValueError, match=f"{other}: another split has an utterance 'u0' too"):
        read_all_times([split, other])


def test_another_sample_rate(recognizer, tmp_path, speech):
    write_split(tmp_path / "slow", [StoredUtterance("u", speech(1, 0), "a")], sample_rate=8000)
    with pytest.raises(ValueError, match="the data is at 8000 Hz, the model at 16000 Hz"):
        time_errors(recognizer, Dataset(tmp_path / "slow"), {})
