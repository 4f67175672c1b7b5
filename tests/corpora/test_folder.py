import json
import os

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from rnnt.corpora import Utterance, read_splits
from rnnt.corpora.folder import _held_out, splits
from rnnt.prepare import prepare


def record(path, value=100, rate=16000, seconds=0.2):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(round(rate * seconds), value, np.int16), rate)


def everything(source):
    (split,) = splits(source, split="all").values()
    return {u.id: (u.text.strip(), u.speaker) for u in split.utterances}, dict(split.problems), split


def test_audio_with_a_text_next_to_each(tmp_path):
    record(tmp_path / "a.wav")
    record(tmp_path / "deep" / "er" / "b.flac", rate=96000)
    record(tmp_path / "deep" / "c.WAV", rate=8000)
    for name, text in (("a.txt", "one\n"), ("deep/er/b.txt", "two"), ("deep/c.txt", "\ufeffthree")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    record(tmp_path / "no text.wav")
    (tmp_path / "README.txt").write_text("no audio")
    (tmp_path / "picture.png").write_bytes(b"png")
    record(tmp_path / "latin.wav")
    (tmp_path / "latin.txt").write_bytes(b"gr\xfcn")
    (tmp_path / "phone.m4a").write_bytes(b"something soundfile cannot read")
    (tmp_path / "phone.txt").write_text("hello")
    record(tmp_path / "a.ogg.flac")  # another name, no text of its own
    record(tmp_path / "a.flac")
    texts, problems, split = everything(tmp_path)
    assert texts == {"a": ("one", ""), "deep/c": ("three", ""), "deep/er/b": ("two", ""), "phone": ("hello", "")}
    assert problems.keys() == {"no text", "README", "latin", "a.ogg", "a"}
    for name, reason in {
        "no text": "has no no text.txt beside it",
        "README": "has no audio beside it",
        "latin": "is not UTF-8",
        "a": "another recording has the same name",
        "a.ogg": "has no a.ogg.txt beside it",
    }.items():
        assert reason in problems[name]
    read = {u.id: u.read for u in split.utterances}
    assert [len(read[name](16000)) for name in ("a", "deep/c", "deep/er/b")] == [3200, 3200, 3200]
    with pytest.raises(ValueError, match=r"phone.m4a: is not audio"):
        read["phone"](16000)


@pytest.mark.parametrize("header", ["", "path\ttext\n", "Text missing"])
def test_a_table(tmp_path, header):
    record(tmp_path / "sounds" / "a.wav", 7)
    if header == "Text missing":
        (tmp_path / "list.tsv").write_text("path\nsounds/a.wav\n")
        with pytest.raises(ValueError, match=r"list.tsv: expected audio .* line 2: expected a path and a text"):
            splits(tmp_path / "list.tsv")
        return
    (tmp_path / "list.tsv").write_text(
        header + f"sounds/a.wav\tone two\n\n{tmp_path}/sounds/b.wav\tthree\nonly a path\n" + "sounds/a.wav\tagain\n"
    )
    texts, problems, split = everything(tmp_path / "list.tsv")
    assert texts == {"sounds/a": ("one two", ""), "sounds/b": ("three", "")}
    first = 2 if header else 1
    assert problems == {
        f"line {first + 3}": "expected a path and a text (path<TAB>text, or a JSON object with both)",
        f"line {first + 4}": "the id sounds/a occurs twice",
    }
    assert set(split.utterances[0].read(16000)) == {7}
    with pytest.raises(ValueError, match=r"b.wav: no such file"):
        split.utterances[1].read(16000)


def test_a_table_with_named_columns(tmp_path):
    (tmp_path / "list.tsv").write_text("path\tspeaker\ttext\tid\na.wav\tanna\tone\tfirst\n")
    assert everything(tmp_path / "list.tsv")[0] == {"first": ("one", "anna")}


def test_only_line_ends_end_a_line(tmp_path):
    texts = {name: f"one{mark}two" for name, mark in (("a", "\u2028"), ("b", "\x85"), ("c", "\x0c"))}
    (tmp_path / "list.tsv").write_text("".join(f"{k}.wav\t{v}\r\n" for k, v in texts.items()), "utf-8", newline="")
    lines = (json.dumps({"audio": f"{k}.wav", "text": v}, ensure_ascii=False) for k, v in texts.items())
    (tmp_path / "list.jsonl").write_text("\n".join(lines), "utf-8")
    for name in ("list.tsv", "list.jsonl"):
        found, problems, _ = everything(tmp_path / name)
        assert found == {k: (v, "") for k, v in texts.items()} and not problems


def test_json_lines(tmp_path):
    record(tmp_path / "a.wav", seconds=2.0)
    entries = [
        {"audio": "a.wav", "text": "whole"},
        {"path": "a.wav", "text": "piece", "offset": 0.5, "duration": 0.25, "speaker": 7},
        {"audio_filepath": "a.wav", "text": "named", "id": "x", "duration": 2.0, "speaker": "anna"},
        {"audio": "a.wav"},
        {"audio": "a.wav", "text": None},
        {"audio": "a.wav", "text": "when", "offset": "later"},
    ]
    lines = [json.dumps(entry) for entry in entries] + ["{broken", "[]"]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    texts, problems, split = everything(tmp_path / "list.jsonl")
    assert texts == {"a": ("whole", ""), "a@0.5": ("piece", "7"), "x": ("named", "anna")}
    assert [len(u.read(16000)) for u in split.utterances] == [32000, 4000, 32000]
    assert list(problems) == ["line 4", "line 5", "line 6", "line 7", "line 8"]


def test_some_are_held_out(tmp_path):
    (tmp_path / "list.tsv").write_text("".join(f"{n}.wav\ttext {n}\n" for n in range(100)))
    found = splits(tmp_path / "list.tsv", valid=0.1)
    ids = {name: {u.id for u in split.utterances} for name, split in found.items()}
    assert (len(ids["train"]), len(ids["valid"])) == (90, 10)
    assert not ids["train"] & ids["valid"]
    assert ids == {name: {u.id for u in s.utterances} for name, s in splits(tmp_path / "list.tsv", valid=0.1).items()}
    assert list(splits(tmp_path / "list.tsv", valid=0.0)) == ["train"]
    with pytest.raises(ValueError, match="valid is the share"):
        splits(tmp_path / "list.tsv", valid=1.0)


@given(st.lists(st.sampled_from(["", *(f"s{n}" for n in range(30))]), min_size=1, max_size=200), st.floats(0, 0.5))
def test_holding_out_keeps_speakers_together_and_leaves_a_rest(speakers, share):
    utterances = [Utterance(f"u{n}", "text", speaker, int) for n, speaker in enumerate(speakers)]
    held = _held_out(utterances, share)
    assert len(held) <= max(1.5 * share * len(speakers), 1)
    assert len(held) < len(speakers)
    if share * len(speakers) >= 1 and len(speakers) > 1:
        assert held
    sizes = {speaker: speakers.count(speaker) for speaker in set(speakers) - {""}}
    if min([*sizes.values(), len(speakers) if "" not in speakers else 1]) <= share * len(speakers):
        for speaker in sizes:
            assert len({u.id in held for u in utterances if u.speaker == speaker}) == 1


def test_mistakes_are_explained(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        splits(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"expected audio with a .txt beside each"):
        splits(tmp_path)
    (tmp_path / "list.tsv").write_text("")
    with pytest.raises(ValueError, match=r"expected audio with a .txt beside each, or a list"):
        splits(tmp_path / "list.tsv")


def sound(path, seed=0):
    """Write a recording with its text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).integers(-999, 999, 3200).astype(np.int16), 16000)
    path.with_suffix(".txt").write_text("words")


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    for name in ("a.wav", ".Trash-1000/files/b.wav", "$RECYCLE.BIN/c.wav", "._d.wav", "deep/.e/f.wav"):
        sound(tmp_path / name)
    (tmp_path / "._a.txt").write_bytes(b"\x00\x05\x16\x07\xff")
    texts, problems, _ = everything(tmp_path)
    assert list(texts) == ["a"] and not problems


def test_linked_folders_are_entered_once(tmp_path):
    sound(tmp_path / "source" / "a.wav")
    sound(tmp_path / "far" / "b.wav")
    for link, target in {"far": "far", "again": "far", "up": ".", "self": "source"}.items():
        (tmp_path / "source" / link).symlink_to(tmp_path / target)
    (tmp_path / "far" / "back").symlink_to(tmp_path / "source")
    texts, problems, _ = everything(tmp_path / "source")
    assert list(texts) == ["a", "again/b"]
    assert problems.keys() == {"far", "again/back", "up", "self"}
    assert all("is the same folder" in why or "is a link to a folder" in why for why in problems.values())


def test_what_is_no_file_is_left_out_alone(tmp_path):
    for name in ("a", "b", "c"):
        sound(tmp_path / f"{name}.wav")
    for name in ("b.txt", "c.wav"):
        (tmp_path / name).unlink()
    os.mkfifo(tmp_path / "b.txt")  # opening it would wait forever
    (tmp_path / "c.wav").symlink_to("gone.wav")
    summary = prepare(splits(tmp_path, split="all"), tmp_path / "out", workers=1)["all"]
    assert (summary.utterances, summary.skipped) == (1, 2)
    skipped = (summary.folder / "skipped.tsv").read_text()
    assert "b.txt: is not a file" in skipped and "c.wav: no such file" in skipped


@pytest.mark.parametrize("valid", [0.0, 0.5])
def test_a_name_that_is_not_utf8_leaves_out_one_recording(tmp_path, valid):
    source = os.fsencode(tmp_path) + b"/s\xff"
    for number in range(4):
        sound(tmp_path / "sounds" / f"{number}.wav", number)
    os.rename(tmp_path / "sounds", source)
    for suffix in (b".wav", b".txt"):
        os.rename(source + b"/0" + suffix, source + b"/gr\xfcn" + suffix)
    os.mkdir(source + b"/\xfc")
    found = prepare(splits(tmp_path / os.fsdecode(b"s\xff"), valid=valid), tmp_path / "out", workers=1)
    assert sum(summary.utterances for summary in found.values()) == 3
    assert sum(summary.skipped for summary in found.values()) == 1


def test_a_split_with_a_name_that_is_not_utf8_is_refused(tmp_path):
    sound(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=r"the name of the split 'a\\udcff' is not valid Unicode"):
        read_splits("folder", tmp_path, split="a\udcff")


def test_the_recordings_held_out_can_be_used(tmp_path):
    """Whichever recordings are damaged: if there are two good ones, there are two splits with one of them or more."""
    for number in range(8):
        sound(tmp_path / f"{number}.wav", number)
    assert len(splits(tmp_path, valid=0.1)["valid"].utterances) == 1
    order = [splits(tmp_path, valid=0.1)["valid"].utterances[0].id]
    for damaged in range(1, 8):
        (tmp_path / f"{order[-1]}.wav").write_bytes(b"damaged")
        found = splits(tmp_path, valid=0.1)
        assert {u.id for split in found.values() for u in split.utterances} == {str(n) for n in range(8)}
        summaries = prepare(found, tmp_path.with_name(f"{tmp_path.name}-out") / str(damaged), workers=1)
        if damaged < 7:
            (chosen,) = found["valid"].utterances
            assert chosen.id not in order and summaries["train"].skipped == damaged
            order.append(chosen.id)
        else:
            assert list(found) == ["train"] and summaries["train"].utterances == 1


@pytest.mark.parametrize("damage", ["empty text", "silent", "short", "gone"])
def test_a_single_recording_held_out_that_cannot_be_used(tmp_path, damage):
    for number in range(20):
        sound(tmp_path / f"{number}.wav", number)
    (held,) = splits(tmp_path)["valid"].utterances
    if damage == "empty text":
        (tmp_path / f"{held.id}.txt").write_text(" ")
    elif damage == "gone":
        (tmp_path / f"{held.id}.wav").unlink()
        (tmp_path / f"{held.id}.wav").symlink_to("gone")
    else:
        record(tmp_path / f"{held.id}.wav", seconds=0.05 if damage == "short" else 1.0)
    found = splits(tmp_path)
    assert [len(split.utterances) for split in found.values()] == [19, 1]
    assert held.id in {u.id for u in found["train"].utterances}


def test_speakers_stay_together_when_some_recordings_cannot_be_used(tmp_path):
    for number in range(20):
        sound(tmp_path / f"{number}.wav", number)
    lines = [{"audio": f"{n}.wav", "text": "x", "speaker": n // 5} for n in range(20)]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def held():
        utterances = splits(tmp_path / "list.jsonl", valid=0.25)["valid"].utterances
        (speaker,) = {u.speaker for u in utterances}
        assert len(utterances) == 5
        return speaker

    speaker = held()
    for number in range(5):
        assert held() == speaker  # one of its recordings, or more, can be used
        (tmp_path / f"{5 * int(speaker) + number}.wav").write_bytes(b"damaged")
    assert held() != speaker
