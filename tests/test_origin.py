"""The origin of a split: the same for the same utterances and files, and another one after any change."""

import os
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rnnt.corpora import Split, Utterance, digits, synthetic
from rnnt.origin import add_contents, file_sums, find_origin


def read(*_, **__):
    return np.ones(16000, np.int16)


def other(*_, **__):
    return np.ones(16000, np.int16)


@dataclass(frozen=True)
class Place:
    path: Path
    start: float = 0.0

    def read(self, sample_rate):
        return np.ones(16000, np.int16)


BASE = Utterance("u", "text", "s", read)
DIFFERENT = [
    *(replace(BASE, **{name: "x"}) for name in ("id", "text", "speaker")),
    Utterance("ut", "ext", "s", read),  # the same characters, divided in another way
    *(
        replace(BASE, read=function)
        for function in (
            read,
            other,
            partial(read),
            partial(read, 1),
            partial(read, 2),
            partial(read, "1"),
            partial(read, 1, 2),
            partial(read, (1, 2)),
            partial(read, (1,), 2),
            partial(read, None),
            partial(read, start=1.0),
            partial(read, start=1.0, seconds=2.0),
            partial(read, seconds=1.0),
            partial(read, np.arange(3)),
            partial(read, np.arange(4)),
            partial(partial(read, 1), start=2.0),
            partial(read, Place(Path("a"), 1.0)),
            partial(read, Place(Path("a"), 2.0)),
            Place(Path("a"), 1.0).read,
            Place(Path("a"), 2.0).read,
            partial(read, np.arange(4).astype(np.int8)),
            partial(read, b"RIFF"),
            partial(read, b"FORM"),
            partial(read, Place),
            partial(read, len),
            partial(read, np.float32(0.5)),
            partial(read, "\udcff"),
        )
    ),
]


def test_utterances_that_differ_have_different_fingerprints():
    splits = [Split([utterance]) for utterance in DIFFERENT]
    splits += [Split([BASE] * 2), Split([BASE, DIFFERENT[0]]), Split([DIFFERENT[0], BASE]), Split([BASE], [("a", "b")])]
    found = [find_origin(split, 1, 16000).fingerprint for split in splits]
    assert len(set(found)) == len(splits)
    assert found == [find_origin(split, 1, 16000).fingerprint for split in splits]
    assert len({find_origin(splits[0], *settings).fingerprint for settings in ((1, 2), (12,), (1, 3), (2, 1), ())}) == 5


def files_of(folder):
    return Split([Utterance("u", "text", "", partial(read, (folder / "a", folder / "b"), start=1.0))])


def contents(split):
    found = ""
    for utterance in split.utterances:
        found = add_contents(found, file_sums(utterance))
    return found


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a").write_bytes(b"12")
    (folder / "b").write_bytes(b"3")
    return folder


def test_sizes_dates_and_contents_of_files_are_compared(corpus, tmp_path):
    first, inside = find_origin(files_of(corpus)), contents(files_of(corpus))
    assert find_origin(files_of(corpus)) == first

    shutil.copytree(corpus, tmp_path / "copy", copy_function=shutil.copy2)  # with dates
    assert find_origin(files_of(tmp_path / "copy")) == first

    os.utime(tmp_path / "copy" / "b", (1, 1))
    later = find_origin(files_of(tmp_path / "copy"))
    assert later.fingerprint == first.fingerprint and later.dates != first.dates
    assert contents(files_of(tmp_path / "copy")) == inside

    (tmp_path / "copy" / "b").write_bytes(b"4")
    assert find_origin(files_of(tmp_path / "copy")).fingerprint == first.fingerprint
    assert contents(files_of(tmp_path / "copy")) != inside

    swapped = Split([Utterance("u", "text", "", partial(read, (corpus / "b", corpus / "a"), start=1.0))])
    assert find_origin(swapped).fingerprint != first.fingerprint
    for a, b in ((b"1", b"23"), (b"3", b"12"), (b"12", b""), (b"12", None)):
        (corpus / "a").write_bytes(a)
        (corpus / "b").write_bytes(b) if b is not None else (corpus / "b").unlink()
        assert find_origin(files_of(corpus)).fingerprint != first.fingerprint
        assert contents(files_of(corpus)) != inside


def test_files_that_cannot_be_found_are_no_error(tmp_path):
    for path in (tmp_path / "none", tmp_path, Path("a\0b"), Path("\udcff")):
        split = Split([Utterance("u", "text", "", partial(read, path))])
        assert find_origin(split) == find_origin(split)
        assert contents(split) == contents(split) != ""


def test_audio_without_files_has_no_contents():
    split = synthetic.splits(train_utterances=5, valid_utterances=1, test_utterances=1)["train"]
    assert contents(split) == ""
    again = synthetic.splits(train_utterances=5, valid_utterances=2, test_utterances=2)["train"]
    assert find_origin(split) == find_origin(again)
    assert find_origin(split) != find_origin(synthetic.splits(seed=1, train_utterances=5)["train"])


def test_recordings_of_composed_utterances_are_compared(tmp_path):
    for digit in range(10):
        for index in range(6):
            samples = np.random.default_rng(10 * digit + index).integers(-99, 99, 3000).astype(np.int16)
            soundfile.write(tmp_path / f"{digit}_jo_{index}.wav", samples, 8000)

    def scan(**options):
        return digits.splits(tmp_path, train_utterances=20, test_utterances=20, **options)["train"]

    first, inside = find_origin(scan()), contents(scan())
    assert find_origin(scan()) == first and find_origin(scan(seed=1)).fingerprint != first.fingerprint
    soundfile.write(tmp_path / "7_jo_5.wav", np.arange(3000, dtype=np.int16), 8000)
    assert find_origin(scan()).fingerprint == first.fingerprint and find_origin(scan()).dates != first.dates
    assert contents(scan()) != inside


def test_cuts_of_lhotse_are_compared(tmp_path):
    pytest.importorskip("lhotse")
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    from rnnt.corpora import lhotse

    def scan(name, duration=1.0):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / "a.wav", np.arange(32000, dtype=np.int16), 16000)
        os.utime(folder / "a.wav", (5, 5))
        recording = Recording.from_file(folder / "a.wav")
        segments = [SupervisionSegment("s0", "a", 0.5, duration, text="one", speaker="p")]
        CutSet.from_cuts([MonoCut("c0", 0, 2, 0, segments, recording=recording)]).to_file(folder / "cuts.jsonl")
        return lhotse.splits(folder / "cuts.jsonl")["cuts"]

    assert find_origin(scan("first")) == find_origin(scan("first")) == find_origin(scan("moved"))
    assert contents(scan("first")) == contents(scan("moved")) != ""
    assert find_origin(scan("first", 1.25)).fingerprint != find_origin(scan("first")).fingerprint


def test_the_symbols_of_a_split_are_compared():
    def split(*words):
        return Split(
            [Utterance(f"u{i}", "text", "", partial(pair, word)) for i, word in enumerate(words)], (), "symbols"
        )

    def pair(word, sample_rate):
        return list(word)

    different = [(), ("ab",), (["ab"],), ("a", "b"), ("b", "a"), (["a", "b", ""],), ([],)]
    found = [find_origin(split(*words), 1) for words in different]
    assert len({origin.fingerprint for origin in found}) == len(different) - 1  # the last two cannot be used
    assert find_origin(split("ab"), 1) == found[1] != find_origin(split("ab"), 2)
