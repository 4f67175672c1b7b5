import numpy as np
import pytest
import soundfile

from rnnt.corpora.librispeech import splits


def chapter(root, part, speaker, number, texts, audio=None):
    folder = root / part / speaker / number
    folder.mkdir(parents=True)
    lines = [f"{speaker}-{number}-{index:04d} {text}\n" for index, text in enumerate(texts)]
    (folder / f"{speaker}-{number}.trans.txt").write_text("".join(lines))
    for index in range(len(texts)) if audio is None else audio:
        samples = np.full(1600, index + 1, np.int16)
        soundfile.write(folder / f"{speaker}-{number}-{index:04d}.flac", samples, 16000)


@pytest.mark.parametrize("above", [".", "LibriSpeech"])
def test_every_part_is_a_split(tmp_path, above):
    chapter(tmp_path / above, "dev-clean", "84", "121123", ["GO", "DO YOU HEAR"])
    chapter(tmp_path / above, "dev-clean", "12", "7", ["IT'S HERE"])
    chapter(tmp_path / above, "train-clean-100", "103", "1240", ["CHAPTER ONE"])
    (tmp_path / above / "SPEAKERS.TXT").write_text("not a part")
    (tmp_path / above / "other").mkdir()
    found = splits(tmp_path)
    assert list(found) == ["dev-clean", "train-clean-100"]
    assert [(u.id, u.text, u.speaker) for u in found["dev-clean"].utterances] == [
        ("12-7-0000", "it's here", "12"),
        ("84-121123-0000", "go", "84"),
        ("84-121123-0001", "do you hear", "84"),
    ]
    np.testing.assert_array_equal(found["dev-clean"].utterances[2].read(16000), np.full(1600, 2, np.int16))
    assert len(found["dev-clean"].utterances[2].read(8000)) == 800
    assert not found["dev-clean"].problems


def test_audio_without_text_and_text_without_audio(tmp_path):
    chapter(tmp_path, "dev-clean", "84", "1", ["A", "B", ""], audio=[1, 2, 3])
    (tmp_path / "dev-clean" / "84" / "2").mkdir()
    soundfile.write(tmp_path / "dev-clean" / "84" / "2" / "84-2-0000.flac", np.zeros(1600, np.int16), 16000)
    found = splits(tmp_path)["dev-clean"]
    assert [(u.id, u.text) for u in found.utterances] == [("84-1-0001", "b"), ("84-1-0002", "")]
    problems = dict(found.problems)
    assert problems.keys() == {"84-1-0000", "84-1-0003", "84-2-0000"}
    assert "84-1-0000.flac: is missing" in problems["84-1-0000"]
    assert "has no line in a .trans.txt" in problems["84-1-0003"]


def test_another_layout_is_explained(tmp_path):
    (tmp_path / "84-1-0000.flac").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected LibriSpeech's layout, <part>/<speaker>/<chapter>/"):
        splits(tmp_path)
    with pytest.raises(ValueError, match="expected LibriSpeech's layout"):
        splits(tmp_path / "missing")


def test_the_real_thing(shared_data):
    utterances = splits(shared_data / "librispeech-sample")["dev-clean"].utterances
    assert [u.id for u in utterances] == ["2412-153948-0000", "2412-153948-0001"]
    assert utterances[0].text.startswith("if the reader will excuse me i will say nothing")
    expected, _ = soundfile.read(
        shared_data / "librispeech-sample/LibriSpeech/dev-clean/2412/153948/2412-153948-0000.flac", dtype="int16"
    )
    np.testing.assert_array_equal(utterances[0].read(16000), expected)
