import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_timit import SPEAKERS, made_up_audio, made_up_marks, make_timit, sphere

from rnnt.corpora import read_splits
from rnnt.corpora.timit import DEV_SPEAKERS, TEST_SPEAKERS, UTTERANCES, splits
from rnnt.known_times import read_times
from rnnt.phones import fold_phones
from rnnt.prepare import prepare

SENTENCES = ("si1027", "si648", "sx127", "sx37")
EXPECTED = {
    "train": [f"{speaker}-{name}" for speaker in ("faem0", "fcjf0", "mbcg0", "mdac0") for name in SENTENCES],
    "dev": [f"{speaker}-{name}" for speaker in ("fadg0", "faks0", "mreb0") for name in SENTENCES],
    "test": [f"{speaker}-{name}" for speaker in ("mdab0", "mgrt0") for name in SENTENCES],
}


@pytest.fixture
def tree(tmp_path):
    return make_timit(tmp_path / "timit", sentences=("sa1", "si648", "sx37"))


def problems_of(source, split="train", **options):
    return dict(splits(source, **options)[split].problems)


def test_the_lists_of_speakers():
    test, dev = set(TEST_SPEAKERS.split()), set(DEV_SPEAKERS.split())
    assert (len(test), len(dev), test & dev) == (24, 50, set())
    assert sum(speaker.startswith("m") for speaker in test) == 16  # two men and a woman of each of the eight dialects
    assert all(re.fullmatch("[fm][a-z]{3}[0-9]", speaker) for speaker in test | dev)
    assert {split: count // 8 for split, count in UTTERANCES.items()} == {"train": 462, "dev": 50, "test": 24}


@pytest.mark.parametrize("audio", ["sphere", "riff", "both"])
@pytest.mark.parametrize("capitals", [True, False])
@pytest.mark.parametrize("above", [".", "TIMIT", "timit/data"])
def test_the_layout_of_the_ldc(tmp_path, capitals, audio, above):
    make_timit(tmp_path / above, capitals, audio)
    (tmp_path / above / "README.DOC").write_text("not a sentence")
    found = splits(tmp_path)
    assert {split: [utterance.id for utterance in part.utterances] for split, part in found.items()} == EXPECTED
    assert not any(part.problems for part in found.values())
    first = next(u for u in found["train"].utterances if u.id == "fcjf0-si648")
    marks = made_up_marks(2)
    assert first.speaker == "fcjf0" and first.text == " ".join(name for _, _, name in marks)
    assert first.times == tuple((name, start / 16000, end / 16000) for start, end, name in marks)
    np.testing.assert_array_equal(first.read(16000), made_up_audio(marks, 2))
    assert len(first.read(8000)) == (marks[-1][1] + 78) // 2


@pytest.mark.parametrize("source", [".", "TIMIT", "../here/TIMIT", "link"])
def test_relative_and_linked_sources(tmp_path, monkeypatch, source):
    (tmp_path / "here").mkdir()
    make_timit(tmp_path / "elsewhere" / "a" / "b" / "c" / "d" / "TIMIT", sentences=("si648",))
    (tmp_path / "here" / "TIMIT").symlink_to(tmp_path / "elsewhere" / "a" / "b" / "c" / "d" / "TIMIT")
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "here")
    if source == ".":
        (tmp_path / "here" / "link").unlink()
    found = splits(Path(source))
    assert {split: len(part.utterances) for split, part in found.items()} == {"train": 4, "dev": 3, "test": 2}
    assert not found["train"].problems


def test_the_layout_of_nltk_has_only_the_splits_of_its_speakers(tmp_path):
    make_timit(tmp_path / "nltk_data" / "corpora" / "timit", capitals=False, nltk=True)
    found = splits(tmp_path / "nltk_data")
    assert {split: [u.id for u in part.utterances] for split, part in found.items()} == {"train": EXPECTED["train"]}
    shutil.move(tmp_path / "nltk_data/corpora/timit/dr1-fcjf0", tmp_path / "nltk_data/corpora/timit/dr1-mdab0")
    assert [u.id for u in splits(tmp_path)["test"].utterances] == [f"mdab0-{name}" for name in SENTENCES]


def test_phones_are_folded_and_keep_their_times(tree):
    whole = {u.id: u for u in splits(tree)["train"].utterances}
    for phones in (48, 39):
        for utterance in splits(tree, phones=phones)["train"].utterances:
            one = whole[utterance.id]
            assert utterance.text == fold_phones(one.text, f"timit-{phones}")
            kept = [(start, end) for name, start, end in one.times if name != "q"]
            assert utterance.times == tuple((p, *times) for p, times in zip(utterance.text.split(), kept))
    assert any("q" in utterance.text.split() for utterance in whole.values())


def test_words_and_their_times(tree):
    (tree / "TRAIN/DR1/FCJF0/SI648.WRD").write_text("800 3000 She\n2000 9000 y'all\n")  # words may overlap
    found = {u.id: u for u in splits(tree, text="words")["train"].utterances}
    utterance = found["fcjf0-si648"]
    assert utterance.text == "she y'all"
    assert utterance.times == (("she", 0.05, 0.1875), ("y'all", 0.125, 0.5625))
    assert len(utterance.read(16000)) and {u.text for u in found.values()} == {"she y'all", "she had"}


def test_no_speaker_of_dev_or_test_is_in_train(tree):
    shutil.copytree(tree / "TEST/DR1/FAKS0", tree / "TRAIN/DR1/FAKS0")
    found = splits(tree)
    assert "faks0" not in {u.speaker for u in found["train"].utterances}
    assert len([u for u in found["dev"].utterances if u.speaker == "faks0"]) == 2
    assert "TRAIN/DR1/FAKS0: holds faks0-si648 too, which is taken from " in dict(found["dev"].problems)["faks0-si648"]


def test_a_copy_that_can_be_read_is_preferred_to_compressed_audio(tmp_path):
    tree = make_timit(tmp_path, audio="both", sentences=("si648",))
    compressed = sphere(np.zeros(9000, np.int16), "pcm,embedded-shorten-v2.00")[:5000]
    for path in tree.rglob("*.WAV"):
        path.write_bytes(compressed)
    for utterance in splits(tree)["train"].utterances:
        assert len(utterance.read(16000)) > 5000
    (tree / "TRAIN/DR1/FCJF0/SI648.WAV.wav").unlink()
    (first,) = [u for u in splits(tree)["train"].utterances if u.id == "fcjf0-si648"]
    with pytest.raises(ValueError, match=r"SI648.WAV: is SPHERE compressed by shorten, .*convert it with sph2pipe"):
        first.read(16000)


def test_files_that_are_missing(tree):
    folder = tree / "TRAIN/DR1/FCJF0"
    (folder / "SX37.WAV").unlink()
    for path in (tree / "TRAIN/DR1/MDAC0").glob("*.PHN"):
        path.unlink()
    (folder / "SX37 copy.WAV").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    found = problems_of(tree)
    assert found.keys() == {"fcjf0-sx37", "mdac0-si648", "mdac0-sx37", "fcjf0-SX37 copy.WAV"}
    assert found["fcjf0-sx37"] == f"{folder}/SX37.PHN: has no audio in its folder"
    assert found["mdac0-sx37"] == f"{tree}/TRAIN/DR1/MDAC0/SX37.WAV: has no transcript (.phn) in its folder"
    assert "is not named as TIMIT's sentences are" in found["fcjf0-SX37 copy.WAV"]
    assert [u.id for u in splits(tree)["train"].utterances if u.speaker in ("fcjf0", "mdac0")] == ["fcjf0-si648"]


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"", "is empty"),
        (b" \r\n\n", "is empty"),
        (b"0 3000 h#\n3000 4000 xx\n", "'xx' is not one of TIMIT's 61 phones"),
        (b"0 3000 h#\n2000 4000 aa\n", "'aa' at sample 2000 overlaps with 'h#', which ends at sample 3000"),
        (b"0 3000 h#\n3500 4000 aa\n", "'aa' at sample 3500 does not follow 'h#', which ends at sample 3000"),
        (b"0 3000 h#\n3000 3000 aa\n", "line 2: 'aa' ends before it begins"),
        (b"0 3000 h#\n3000 2000 aa\n", "line 2: 'aa' ends before it begins"),
        (b"0 3000 h#\n3000 aa\n", "line 2 is not the first sample, the end and the name"),
        (b"0 3000 h#\n3000 4000 aa bb\n", "line 2 is not the first sample, the end and the name"),
        (b"0 3000 h#\n3000 4e3 aa\n", "line 2 is not the first sample, the end and the name"),
        (b"0 -3000 h#\n", "line 1 is not the first sample"),
        (b"9000 9900 h#\n", "has no phone before 0.56 s"),
        (b"\xff\xfe0\x00", "is not UTF-8"),
        (b"0 99" + b"9" * 6000 + b" h#\n", "line 1 is not the first sample"),
    ],
)
def test_transcripts_that_cannot_be_right(tree, content, problem):
    path = tree / "TRAIN/DR1/FCJF0/SI648.PHN"
    path.write_bytes(content)
    found = problems_of(tree)
    assert found.keys() == {"fcjf0-si648"}
    assert found["fcjf0-si648"].startswith(f"{path}: ") and problem in found["fcjf0-si648"]
    assert len(splits(tree)["train"].utterances) == 7


def test_what_real_transcripts_hold_is_accepted(tree):
    path = tree / "TRAIN/DR1/FCJF0/SI648.PHN"
    (first,) = [u for u in splits(tree)["train"].utterances if u.id == "fcjf0-si648"]
    end = len(first.read(16000))
    lines = ["200 3000 h#", "3080 5000 aa", f"4990 {end + 400} H#", "", ""]  # small steps; samples after the audio
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    (first,) = [u for u in splits(tree)["train"].utterances if u.id == "fcjf0-si648"]
    assert first.text == "h# aa h#" and len(first.read(16000)) == end
    assert first.times[1:] == (("aa", 0.1925, 0.3125), ("h#", 0.311875, (end + 400) / 16000))


@pytest.mark.parametrize("samples, problem", [(3000, "goes on to"), (60000, "ends at")])
def test_audio_of_another_length_than_its_transcript(tree, tmp_path, samples, problem):
    path = tree / "TRAIN/DR1/FCJF0/SI648.WAV"
    path.write_bytes(sphere(np.arange(samples, dtype=np.int16)))
    summary = prepare(read_splits("timit", tree), tmp_path / "out", workers=1)["train"]
    assert (summary.utterances, summary.skipped) == (7, 1)
    identity, why = (tmp_path / "out/train/skipped.tsv").read_text().split("\n")[1].split("\t")
    assert identity == "fcjf0-si648" and f"{path}: is {samples / 16000:.2f} s long, but its transcript {problem}" in why


def test_a_part_that_is_missing_is_named(tree, tmp_path):
    for missing, present in (("TEST", "TRAIN"), ("TRAIN", "TEST")):
        copy = shutil.copytree(tree / present, tmp_path / missing / "TIMIT" / present)
        for source in (copy, copy.parent):
            with pytest.raises(ValueError, match=f"{source}: lacks TIMIT's part {missing}; name the folder that"):
                splits(source)


def test_other_sources_are_refused(tmp_path):
    (tmp_path / "TRAIN/DR1/FCJF0").mkdir(parents=True)
    for source in (tmp_path, tmp_path / "TRAIN"):
        with pytest.raises(ValueError, match=f"{source}: expected TIMIT's layout"):
            splits(source)
    (tmp_path / "timit.zip").write_bytes(b"x")
    with pytest.raises(ValueError, match="is not a folder; unpack it"):
        splits(tmp_path / "timit.zip")
    with pytest.raises(ValueError, match="no such folder"):
        splits(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"text": "letters"}, "text is 'phones' or 'words', not 'letters'"),
        ({"phones": 60}, "61, 48 or 39, not 60"),
        ({"text": "words", "phones": 39}, "phones=39 has no effect on words"),
        ({"phones": "39"}, "option 'phones' of corpus 'timit' must be int"),
    ],
)
def test_options_that_make_no_sense(tree, options, problem):
    with pytest.raises(ValueError, match=problem):
        read_splits("timit", tree, **options)


def test_fewer_utterances_than_in_timit_are_mentioned(tree, capsys):
    splits(tree)
    line = " ".join(capsys.readouterr().err.split())
    assert "is not all of TIMIT, so results on it cannot be compared with others'" in line
    assert "(utterances: 8 of 3696 in train, 6 of 400 in dev, 4 of 192 in test)" in line


def test_the_command_prepares_it_and_keeps_the_times(call, tree, tmp_path, capsys):
    (tree / "TEST/DR1/MDAB0/SI648.PHN").write_text("0 20 xx\n")
    assert call("prepare", "timit", tree, "phones=39", "--out", tmp_path / "out", "--workers", "2") == 0
    shown = capsys.readouterr().out
    assert "train: 8 utterances" in shown and "test: 3 utterances" in shown and "1 skipped" in shown
    skipped = (tmp_path / "out/test/skipped.tsv").read_text().split("\n")
    assert skipped[1].startswith("mdab0-si648\t") and "'xx' is not one of TIMIT's 61 phones" in skipped[1]
    for split, part in splits(tree, phones=39).items():
        assert read_times(tmp_path / "out" / split) == {u.id: u.times for u in part.utterances}
    assert call("prepare", "timit", tree, "phones=39", "--out", tmp_path / "out") == 0
    assert "already prepared" in capsys.readouterr().out
    assert call("prepare", "timit", tree, "phones=48", "--out", tmp_path / "out") == 2
    assert len(SPEAKERS["test"]) == 6
