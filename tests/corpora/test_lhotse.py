import json
import math
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment

from rnnt.corpora.lhotse import _split_name, splits
from rnnt.dataset import Dataset
from rnnt.prepare import prepare


@pytest.fixture
def cuts(tmp_path):
    """A recording of 2 s at 8 kHz with two supervisions, one of 1 s in stereo, and one without supervision."""
    ramp = np.arange(16000, dtype=np.int16)
    soundfile.write(tmp_path / "long.wav", ramp, 8000)
    soundfile.write(tmp_path / "stereo.wav", np.stack([np.full(16000, 100), np.full(16000, 300)], 1) / 32768, 16000)
    long, stereo = (Recording.from_file(tmp_path / name) for name in ("long.wav", "stereo.wav"))
    two = [
        SupervisionSegment("long-1", "long", start=0.25, duration=0.5, text="one", speaker="anna"),
        SupervisionSegment("long-2", "long", start=1.0, duration=0.75, text="two", speaker="bob"),
    ]
    one = [SupervisionSegment("stereo-1", "stereo", start=0.0, duration=1.0, channel=[0, 1])]
    return CutSet.from_cuts(
        [
            MonoCut("c0", start=0.0, duration=2.0, channel=0, recording=long, supervisions=two),
            replace(stereo.to_cut(), id="c1", supervisions=one),
            MonoCut("c2", start=0.5, duration=1.0, channel=0, recording=long),
        ]
    )


@pytest.mark.parametrize("suffix", ["jsonl.gz", "jsonl", "json", "yaml"])
def test_supervisions_become_utterances(tmp_path, cuts, suffix):
    path = tmp_path / f"corpus_cuts_dev.{suffix}"
    cuts.to_file(path)
    (split,) = splits(path).values()
    assert [(u.id, u.text, u.speaker) for u in split.utterances] == [
        ("long-1", "one", "anna"),
        ("long-2", "two", "bob"),
        ("stereo-1", "", ""),
    ]
    assert list(split.problems) == [("c2", "the cut has no supervision")]
    audio = [u.read(8000) for u in split.utterances]
    np.testing.assert_array_equal(audio[0], np.arange(2000, 6000))
    np.testing.assert_array_equal(audio[1], np.arange(8000, 14000))
    assert np.abs(audio[2][100:-100] - 200).max() <= 1
    assert [len(u.read(16000)) for u in split.utterances] == [8000, 12000, 16000]


def test_what_reaches_beyond_its_cut_is_left_out_alone(tmp_path, cuts):
    windows = cuts.subset(cut_ids=["c0"]).cut_into_windows(1.2)
    windows.to_file(tmp_path / "cuts.jsonl")
    (split,) = splits(tmp_path / "cuts.jsonl").values()
    assert [u.id for u in split.utterances] == ["long-1"]
    assert {name for name, _ in split.problems} == {"long-2"}
    late = SupervisionSegment("late", "long", start=1.5, duration=2.0, text="three")
    first, *others = cuts
    first.supervisions.append(late)
    CutSet.from_cuts([first, *others]).to_file(tmp_path / "cuts.jsonl")
    (split,) = splits(tmp_path / "cuts.jsonl").values()
    assert [u.id for u in split.utterances] == ["long-1", "long-2", "stereo-1"]
    assert dict(split.problems) == {
        "late": "only a part of it, or nothing, lies within its cut c0",
        "c2": "the cut has no supervision",
    }


def test_goes_through_the_preparation_in_other_processes(tmp_path, cuts):
    cuts.to_file(tmp_path / "cuts_train.jsonl.gz")
    summary = prepare(splits(tmp_path), tmp_path / "out", workers=2)["train"]
    assert (summary.utterances, summary.skipped) == (2, 2)
    assert list(Dataset(tmp_path / "out" / "train").texts()) == ["one", "two"]


def test_a_folder_of_manifests(tmp_path, cuts):
    cuts.to_file(tmp_path / "cuts_train.jsonl.gz")
    cuts.to_file(tmp_path / "cuts_dev.jsonl.gz")
    RecordingSet.from_recordings([]).to_file(tmp_path / "recordings_dev.jsonl.gz")
    assert list(splits(tmp_path)) == ["dev", "train"]
    cuts.to_file(tmp_path / "dev_cuts.jsonl.gz")
    with pytest.raises(ValueError, match="a second manifest for the split 'dev'"):
        splits(tmp_path)


def test_split_names(tmp_path):
    for name, split in {
        "cuts.jsonl.gz": "cuts",
        "cuts_train.jsonl.gz": "train",
        "libri_cuts_dev-clean.jsonl": "libri_dev-clean",
        "train-cuts.json": "train",
        "anything.yaml": "anything",
        "shortcuts.jsonl": "shortcuts",
    }.items():
        assert _split_name(tmp_path / name) == split


def test_audio_that_is_gone_is_one_bad_utterance(tmp_path, cuts):
    cuts.to_file(tmp_path / "cuts_train.jsonl")
    (tmp_path / "stereo.wav").unlink()
    path = tmp_path / "cuts_train.jsonl"
    path.write_text(path.read_text().replace('"id": "stereo-1"', '"text": "x", "id": "stereo-1"'))
    summary = prepare(splits(path), tmp_path / "out", workers=1)["train"]
    assert (summary.utterances, summary.skipped) == (2, 2)
    assert "stereo-1\t" in (tmp_path / "out" / "train" / "skipped.tsv").read_text()


def test_mistakes_are_explained(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        splits(tmp_path / "missing.jsonl")
    with pytest.raises(ValueError, match="expected a lhotse cut manifest"):
        splits(tmp_path)
    RecordingSet.from_recordings([Recording("r", [], 16000, 16000, 1.0)]).to_file(tmp_path / "recordings.jsonl.gz")
    for name, content in (
        ("text.jsonl", b"this is no json"),
        ("cut.jsonl.gz", b"\x1f\x8b\x08broken"),
        ("other.json", b'{"a": 1}'),
        ("empty.jsonl", b""),
        ("odd.txt", b"hello"),
    ):
        (tmp_path / name).write_bytes(content)
    for name in ("text.jsonl", "cut.jsonl.gz", "other.json", "empty.jsonl", "odd.txt", "recordings.jsonl.gz"):
        with pytest.raises(ValueError, match=name):
            splits(tmp_path / name)


def changed(line, **fields):
    """A line of a manifest with other values in its cut or, with `supervision_` before their names, its supervision."""
    cut = json.loads(line)
    for key, value in fields.items():
        if key.startswith("supervision_"):
            cut["supervisions"][0][key.removeprefix("supervision_")] = value
        else:
            cut[key] = value
    return json.dumps(cut)


@pytest.mark.parametrize(
    "fields",
    [
        {"start": 10**400},
        {"start": math.nan},
        {"start": -5},
        {"duration": 1e300},
        {"supervision_start": math.nan},
        {"supervision_start": 10**400},
        {"supervision_duration": 10**400},
        {"supervision_text": 5},
        {"supervision_id": ["a"]},
        {"supervision_speaker": {}},
        "[" * 100_000,
        "9" * 5000,
        "{}",
        "5",
        "{broken",
    ],
)
def test_an_absurd_line_is_left_out_alone(tmp_path, cuts, fields):
    path = tmp_path / "cuts_train.jsonl"
    cuts.to_file(path)
    lines = path.read_text().splitlines()
    bad = changed(lines[1], **fields) if isinstance(fields, dict) else fields
    path.write_text("\n".join([lines[0], bad, lines[2]]))
    (split,) = splits(path).values()
    assert [u.id for u in split.utterances] == ["long-1", "long-2"]
    problems = dict(split.problems)
    assert len(problems) == 2 and problems.pop("c2") == "the cut has no supervision"
    assert all(problems.values())


def test_names_of_speakers_and_ids(tmp_path, cuts):
    """0 is a speaker; the same id in two cuts is two utterances; the same cut twice is one."""
    path = tmp_path / "cuts_train.jsonl"
    cuts.to_file(path)
    line = path.read_text().splitlines()[1]
    others = [changed(line, supervision_speaker=0), changed(line, id="c9"), line, changed(line, supervision_id=0)]
    path.write_text("\n".join(others))
    (split,) = splits(path).values()
    assert [(u.id, u.speaker) for u in split.utterances] == [("c1/stereo-1", "0"), ("c9/stereo-1", ""), ("0", "")]
    assert split.problems == [("stereo-1", "the id c1/stereo-1 occurs twice")]


def test_hidden_manifests_are_passed_over(tmp_path, cuts):
    cuts.to_file(tmp_path / "cuts_train.jsonl.gz")
    (tmp_path / "._cuts_train.jsonl.gz").write_bytes(b"\x00\x05\x16\x07")
    assert list(splits(tmp_path)) == ["train"]
