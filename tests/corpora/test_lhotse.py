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
