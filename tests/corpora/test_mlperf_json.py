import json

import numpy as np
import pytest
import soundfile

from rnnt.corpora.mlperf_json import splits


def entry(name, text, *speeds):
    files = [
        {"fname": name if speed == 1 else name.replace(".wav", f"-{speed}.wav"), "speed": speed, "duration": 1.0}
        for speed in speeds
    ]
    return {"transcript": text, "files": files, "original_duration": 1.0, "original_num_samples": 16000}


def write(path, entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))


@pytest.mark.parametrize("below", [".", "manifests"])
def test_reads_the_references_manifests(tmp_path, below):
    name = "dev-clean-wav/84/121123/84-121123-0000.wav"
    (tmp_path / name).parent.mkdir(parents=True)
    soundfile.write(tmp_path / name, np.arange(16000, dtype=np.int16), 16000)
    other = "dev-clean-wav/84/1/other.wav"
    entries = [
        entry(name, "go do you hear", 0.9, 1, 1.1),
        entry(other, "first of all", 0.9, 1.1),
        {"transcript": "no speed given", "files": [{"fname": "missing.wav"}]},
    ]
    write(tmp_path / below / "librispeech-dev-clean-wav.json", entries)
    (split,) = splits(tmp_path / below / "librispeech-dev-clean-wav.json").values()
    assert [(u.id, u.text, u.speaker) for u in split.utterances] == [
        ("84-121123-0000", "go do you hear", "84"),
        ("other-0.9", "first of all", ""),
        ("missing", "no speed given", ""),
    ]
    np.testing.assert_array_equal(split.utterances[0].read(16000), np.arange(16000))
    with pytest.raises(ValueError, match=r"other-0.9.wav: no such file"):  # the first, as none is at speed 1
        split.utterances[1].read(16000)


def test_a_folder_of_manifests(tmp_path):
    write(tmp_path / "librispeech-train-clean-100-wav.json", [entry("a.wav", "a", 1)])
    write(tmp_path / "mine.json", [entry("b.wav", "b", 1)])
    assert list(splits(tmp_path)) == ["train-clean-100", "mine"]
    write(tmp_path / "mine-wav.json", [entry("b.wav", "b", 1)])
    with pytest.raises(ValueError, match="a second manifest for the split 'mine'"):
        splits(tmp_path)


def test_bad_entries_are_reported(tmp_path):
    write(
        tmp_path / "dev.json",
        [
            entry("a.wav", "a", 1),
            {"transcript": "no files"},
            {"transcript": "empty files", "files": []},
            {"files": [{"fname": "a.wav"}]},
            {"transcript": 7, "files": [{"fname": "a.wav"}]},
            {"transcript": "odd speed", "files": [{"fname": "a.wav", "speed": "fast"}]},
            {"transcript": "odd files", "files": ["a.wav"]},
            "no entry",
        ],
    )
    split = splits(tmp_path / "dev.json")["dev"]
    assert [u.id for u in split.utterances] == ["a"]
    assert [identity for identity, _ in split.problems] == [f"dev[{number}]" for number in range(1, 8)]


def test_mistakes_are_explained(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        splits(tmp_path / "missing.json")
    with pytest.raises(ValueError, match="expected a manifest of the MLPerf reference"):
        splits(tmp_path)
    (tmp_path / "broken.json").write_text("[{")
    with pytest.raises(ValueError, match=r"broken.json: is not JSON"):
        splits(tmp_path / "broken.json")
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"other.json: expected a list"):
        splits(tmp_path / "other.json")
