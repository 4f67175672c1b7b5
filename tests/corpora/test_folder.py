import json

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from rnnt.corpora import Utterance
from rnnt.corpora.folder import _held_out, splits


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
