import json

import numpy as np
import pytest
import soundfile

from rnnt.corpora.mlperf_json import splits
from rnnt.prepare import prepare


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


def test_ids_differ(tmp_path):
    """The same name in two folders is two utterances; the same file twice is one."""
    texts = {"a/1.wav": "one", "b/1.wav": "two", "b/2.wav": "three", "./a/1.wav": "again"}
    write(tmp_path / "dev.json", [entry(name, text, 1) for name, text in texts.items()])
    split = splits(tmp_path / "dev.json")["dev"]
    assert [(u.id, u.text) for u in split.utterances] == [("a/1.wav", "one"), ("b/1.wav", "two"), ("2", "three")]
    assert split.problems == [("dev[3]", "the id a/1.wav occurs twice")]
    write(tmp_path / "dev.json", [entry("1.wav", "one", 1), entry("1.wav", "one", 1)])
    split = splits(tmp_path / "dev.json")["dev"]
    assert [u.id for u in split.utterances] == ["1"] and split.problems == [("dev[1]", "the id 1 occurs twice")]


def test_absurd_entries_are_left_out_alone(tmp_path):
    names = ["nul\0.wav", "x" * 5000 + ".wav", "", ".", ".."]
    odd = [entry(name, "text", 1) for name in names]
    odd += [{"transcript": "x", "files": [{"fname": "a.wav", "speed": speed}]} for speed in (10**400, [], {}, "fast")]
    odd += [{"transcript": "x", "files": {}}, {"transcript": "x", "files": "a.wav"}, {"transcript": "x", "files": 5}]
    write(tmp_path / "dev.json", [entry("a.wav", "a", 1), *odd, entry("b.wav", "b", 1)])
    split = splits(tmp_path / "dev.json")["dev"]
    assert {"a", "b"} <= {u.id for u in split.utterances}
    assert len(split.utterances) + len(split.problems) == 2 + len(odd)
    summary = prepare_all(tmp_path, split)
    assert summary == (2, len(odd))


def prepare_all(tmp_path, split):
    for name in ("a", "b"):
        noise = np.random.default_rng(0).integers(-999, 999, 16000).astype(np.int16)
        soundfile.write(tmp_path / f"{name}.wav", noise, 16000)
    summary = prepare({"dev": split}, tmp_path / "out", workers=1)["dev"]
    return summary.utterances, summary.skipped


@pytest.mark.parametrize("text", ["[" * 100_000, '[{"transcript": ' * 50_000, "9" * 5000])
def test_a_manifest_that_cannot_be_read_is_named(tmp_path, text):
    (tmp_path / "dev.json").write_text(text)
    with pytest.raises(ValueError, match=r"dev.json: is not JSON that can be read \("):
        splits(tmp_path)


def test_hidden_manifests_are_passed_over(tmp_path):
    write(tmp_path / "dev.json", [entry("a.wav", "a", 1)])
    (tmp_path / "._dev.json").write_bytes(b"\x00\x05\x16\x07\xff")
    assert list(splits(tmp_path)) == ["dev"]
