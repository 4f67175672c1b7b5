import json
import math

import pytest

from rnnt.corpora import Utterance
from rnnt.corpora.manifest import Entry, distinct, parse_json, to_name, to_seconds


def entries(*rows):
    return [Entry(Utterance(short, "text", "", int), full, f"line {n}") for n, (short, full) in enumerate(rows, 1)]


def test_ids_that_differ_stay_as_they_are():
    problems = []
    assert [u.id for u in distinct(entries(("a", "a.wav"), ("b", "b.wav")), problems)] == ["a", "b"]
    assert problems == []


def test_other_audio_with_the_same_short_id_gets_its_full_id():
    problems = []
    found = distinct(entries(("a", "a.wav"), ("b", "b.wav"), ("a", "a.flac"), ("a", "a.mp3")), problems)
    assert [u.id for u in found] == ["a.wav", "b", "a.flac", "a.mp3"] and problems == []


def test_the_same_audio_stays_once():
    problems = []
    rows = [("a", "a.wav"), ("a", "a.wav"), ("b", "b.wav"), ("b", "b.flac"), ("b", "b.wav"), ("b.flac", "b.flac")]
    found = distinct(entries(*rows), problems)
    assert [u.id for u in found] == ["a", "b.wav", "b.flac"]
    assert problems == [
        ("line 2", "the id a occurs twice"),
        ("line 5", "the id b.wav occurs twice"),
        ("line 6", "the id b.flac occurs twice"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "thousands of digits"),
        ("{", "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_json_that_cannot_be_read(text, why):
    with pytest.raises(ValueError, match=why) as error:
        parse_json(text)
    assert len(str(error.value)) < 200
    assert parse_json('[{"a": 1}]') == [{"a": 1}]


@pytest.mark.parametrize("value", [10**400, -(10**400), math.nan, math.inf, -math.inf, -1, "-1", "nan", "1e400", 1e10])
def test_times_that_no_recording_has(value):
    with pytest.raises(ValueError, match=r"^'offset' must be a number of seconds, at least 0") as error:
        to_seconds(value, "offset")
    assert len(str(error.value)) < 150


@pytest.mark.parametrize("value", [True, False, [1], {"a": 1}, "later", "1,5"])
def test_what_is_no_time(value):
    with pytest.raises(ValueError, match=r"^'duration' must be a number of seconds"):
        to_seconds(value, "duration")


def test_times():
    assert [to_seconds(value, "offset") for value in (None, "", 0, "0", 1, "2.5", 0.25)] == [
        None, None, 0, 0, 1, 2.5, 0.25
    ]  # fmt: skip


def test_names():
    """0 is a speaker; only a missing value is none."""
    given = [0, 0.0, "0", 7, "anna", None, "", "  ", math.nan]
    assert [to_name(value, "speaker") for value in given] == ["0", "0.0", "0", "7", "anna", "", "", "", ""]
    for value in (True, ["anna"], {"name": "anna"}):
        with pytest.raises(ValueError, match=r"^'speaker' must be a text or a number, not "):
            to_name(value, "speaker")
    with pytest.raises(ValueError, match="must be a text or a number") as error:
        to_name(list(range(1000)), "id")
    assert len(json.dumps(str(error.value))) < 120
