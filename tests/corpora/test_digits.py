import os
import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile

from rnnt.corpora.digits import WORDS, splits
from rnnt.prepare import prepare

SPEAKERS = ("anna", "bo_b", "cleo")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Recordings of 0.2 s at 8 kHz: low noise, and a constant that tells which recording it is."""
    folder = tmp_path_factory.mktemp("digits")
    rng = np.random.default_rng(0)
    for number, speaker in enumerate(SPEAKERS):
        for digit in range(10):
            for index in range(8):
                samples = rng.normal(0, 20, 1600)
                samples[400:1200] += level(number, digit, index)
                soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", samples.astype(np.int16), 8000)
    return folder


def level(speaker, digit, index):
    return 2000 + 100 * (speaker * 80 + digit * 8 + index)


def heard(utterance):
    """Speaker, digit and index of each recording in the audio, found by their levels."""
    samples = utterance.read(8000).astype(np.float64)
    loud = samples > 1000
    edges = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]])))
    found = []
    for start, end in zip(edges[::2], edges[1::2]):
        number = round((np.median(samples[start:end]) - 2000) / 100)
        found.append((SPEAKERS[number // 80], number // 8 % 10, number % 8))
    return found


def test_text_audio_and_parts_agree(source):
    found = splits(source, train_utterances=120, test_utterances=60)
    assert {name: len(split.utterances) for name, split in found.items()} == {"test": 60, "train": 120}
    for name, indices in (("test", set(range(5))), ("train", {5, 6, 7})):
        used = Counter()
        for utterance in found[name].utterances:
            recordings = heard(utterance)
            assert " ".join(WORDS[digit] for _, digit, _ in recordings) == utterance.text
            assert {speaker for speaker, _, _ in recordings} == {utterance.speaker}
            assert {index for _, _, index in recordings} <= indices
            used.update(recordings)
        assert len(used) == 3 * 10 * len(indices)  # every recording is used
        assert max(used.values()) - min(used.values()) <= 3
    lengths = Counter(len(utterance.text.split()) for utterance in found["train"].utterances)
    assert set(lengths) == set(range(1, 8))
    assert len({utterance.id for split in found.values() for utterance in split.utterances}) == 180


def test_pauses_are_as_long_and_as_quiet_as_promised(source):
    for utterance in splits(source, train_utterances=40, test_utterances=1)["train"].utterances:
        samples = utterance.read(16000)
        loud = np.flatnonzero(samples > 1000)
        count = len(utterance.text.split())
        assert 0.05 + 0.05 <= loud[0] / 16000 <= 0.05 + 0.3 + 0.01  # a recording begins and ends with 0.05 s of noise
        assert 0.05 + 0.05 <= (len(samples) - loud[-1]) / 16000 <= 0.05 + 0.3 + 0.01
        assert count * 0.2 + 0.1 <= len(samples) / 16000 <= count * 0.2 + (count - 1) * 0.25 + 0.6 + 0.01
        ends = samples[: loud[0] - 800]  # made noise: as loud as the recordings' own, never digital silence
        assert 8 < ends.std() < 30
        assert not np.any(np.convolve(ends == 0, np.ones(40), "valid") == 40)


def test_the_seed_decides(source):
    def one(seed):
        utterances = splits(source, seed=seed, train_utterances=20, test_utterances=5)["train"].utterances
        return [(u.id, u.text, u.read(16000).tobytes()) for u in utterances]

    assert one(3) == one(3)
    assert [text for _, text, _ in one(3)] != [text for _, text, _ in one(4)]
    assert not {identity for identity, *_ in one(3)} & {identity for identity, *_ in one(4)}


def test_leaving_a_speaker_out(source):
    found = splits(source, leave_out="bo_b", train_utterances=60, test_utterances=60)
    assert set(found) == {"test", "train", "leave-out-bo_b"}
    assert {u.speaker for u in found["leave-out-bo_b"].utterances} == {"bo_b"}
    assert {u.speaker for name in ("test", "train") for u in found[name].utterances} == {"anna", "cleo"}
    used = {recording for u in found["leave-out-bo_b"].utterances for recording in heard(u)}
    assert used == {("bo_b", digit, index) for digit in range(10) for index in range(8)}
    with pytest.raises(ValueError, match="no speaker 'bob' to leave out; there are anna, bo_b, cleo"):
        splits(source, leave_out="bob")


def test_recordings_may_lie_one_folder_below(source, tmp_path):
    (tmp_path / "recordings").symlink_to(source)
    found = splits(tmp_path, train_utterances=5, test_utterances=5)
    assert [u.text for u in found["test"].utterances] == [
        u.text for u in splits(source, train_utterances=5, test_utterances=5)["test"].utterances
    ]


def test_unusable_recordings_are_left_out_and_reported(source, tmp_path):
    for path in sorted(source.glob("*_anna_*.wav")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "3_anna_6.wav").write_bytes(b"")
    (tmp_path / "noise.wav").write_bytes((source / "0_anna_0.wav").read_bytes())
    found = splits(tmp_path, train_utterances=30, test_utterances=30)
    problems = dict(problem for split in found.values() for problem in split.problems)
    assert problems.keys() == {"3_anna_6", "noise"}
    assert "empty" in problems["3_anna_6"] and "is not named" in problems["noise"]
    assert prepare(found, tmp_path / "out", workers=1)["train"].utterances == 30


def test_mistakes_are_explained(tmp_path):
    with pytest.raises(ValueError, match=r"expected recordings named {digit}_{speaker}_{index}.wav"):
        splits(tmp_path)
    with pytest.raises(ValueError, match="at least 1"):
        splits(tmp_path, train_utterances=0)


def test_the_real_thing(shared_data):
    found = splits(shared_data / "fsdd", leave_out="theo", train_utterances=30, test_utterances=10)
    assert set(found) == {"test", "train", "leave-out-theo"}
    assert not any(split.problems for split in found.values())
    for split in found.values():
        for utterance in split.utterances:
            seconds = len(utterance.read(16000)) / 16000
            assert 0.2 <= seconds <= 7 * 2.5


def test_odd_names_leave_out_one_recording(source, tmp_path):
    shutil.copytree(source, tmp_path / "r")
    expected = [u.id for u in splits(source)["train"].utterances]
    (tmp_path / "r" / "._0_anna_5.wav").write_bytes(b"\x00\x05\x16\x07")
    shutil.copy(source / "0_anna_5.wav", os.fsencode(tmp_path / "r") + b"/0_\xff_5.wav")
    (tmp_path / "r" / "0_dan_5.wav").symlink_to("gone")
    (tmp_path / "r" / "0_eve_5.wav").mkdir()
    found = splits(tmp_path / "r")
    assert [u.id for u in found["train"].utterances] == expected
    problems = dict(found["train"].problems)
    assert problems.keys() == {"0_\udcff_5", "0_dan_5", "0_eve_5"}
    assert "its name is not valid Unicode" in problems["0_\udcff_5"]
