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


def test_files_of_a_mac_are_passed_over(tmp_path):
    chapter(tmp_path, "dev-clean", "84", "1", ["A", "B"])
    expected = [u.id for u in splits(tmp_path)["dev-clean"].utterances]
    for name in ("84/1/._84-1.trans.txt", "84/1/._84-1-0000.flac", "84/._1", "._84", "84/.Trash-0/84-1.trans.txt"):
        (tmp_path / "dev-clean" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "dev-clean" / name).write_bytes(b"\x00\x05\x16\x07\xff\xfe")
    (tmp_path / "._dev-clean").write_bytes(b"\x00\x05\x16\x07\xff\xfe")
    (tmp_path / ".Trash-1000").mkdir()
    chapter(tmp_path, ".Trash-1000", "84", "1", ["A"])
    found = splits(tmp_path)
    assert list(found) == ["dev-clean"] and not found["dev-clean"].problems
    assert [u.id for u in found["dev-clean"].utterances] == expected


def test_a_bad_transcript_leaves_out_its_chapter_alone(tmp_path):
    chapter(tmp_path, "dev-clean", "84", "1", ["A"])
    chapter(tmp_path, "dev-clean", "84", "2", ["B"])
    chapter(tmp_path, "dev-clean", "84", "3", ["C"])
    (tmp_path / "dev-clean/84/1/84-1.trans.txt").write_bytes(b"84-1-0000 \xff\n")
    (tmp_path / "dev-clean/84/2/84-2.trans.txt").unlink()
    (tmp_path / "dev-clean/84/2/84-2.trans.txt").symlink_to("gone")
    split = splits(tmp_path)["dev-clean"]
    assert [u.id for u in split.utterances] == ["84-3-0000"]
    problems = dict(split.problems)
    assert "is not UTF-8 text" in problems["84-1.trans.txt"] and "link to nothing" in problems["84-2.trans.txt"]
    assert "has no line in a .trans.txt" in problems["84-1-0000"]


def test_an_utterance_with_two_texts_is_left_out(tmp_path):
    chapter(tmp_path, "dev-clean", "84", "1", ["A", "B"])
    lines = "84-1-0000 A\n84-1-0001 OTHER\n84-1-0001 B\n\n"
    (tmp_path / "dev-clean/84/1/more.trans.txt").write_text(lines)
    split = splits(tmp_path)["dev-clean"]
    assert [u.id for u in split.utterances] == ["84-1-0000"]
    assert dict(split.problems).keys() == {"84-1-0001"} and "two different texts" in split.problems[0][1]


def test_linked_chapters_are_read_once_and_ids_differ(tmp_path):
    part = tmp_path / "all" / "dev-clean"
    chapter(tmp_path / "all", "dev-clean", "84", "1", ["A"])
    chapter(tmp_path, "far", "12", "7", ["B"])
    (part / "12").symlink_to(tmp_path / "far" / "12")
    (part / "84" / "again").symlink_to(part / "84" / "1")
    (part / "84" / "up").symlink_to(part)
    (part / "99" / "1").mkdir(parents=True)
    for file in (part / "84" / "1").iterdir():
        (part / "99" / "1" / file.name).write_bytes(file.read_bytes())
    split = splits(tmp_path / "all")["dev-clean"]
    assert [u.id for u in split.utterances] == ["12-7-0000", "84/1/84-1-0000", "99/1/84-1-0000"]
    assert {name for name, _ in split.problems} == {"84/again", "84/up"}
