"""AN4 in its original layout and as tables, made up in both, and the folder at hand if it is there."""

import numpy as np
import pytest
import soundfile
from made_up_timit import sphere

from rnnt.corpora import read_splits
from rnnt.corpora.an4 import DEV_SPEAKERS, UTTERANCES, splits
from rnnt.known_times import read_times
from rnnt.prepare import prepare

TRAIN = {"an251-fash-b": "YES", "an253-fash-b": "GO", "cen1-mblb-b": "U M N Y H SIX", "an1-fbbh-b": "ENTER FOUR"}
TEST = {"an391-mjwl-b": "RUBOUT", "cen2-fcaw-b": "TWO"}


def tone(seed, samples=8000):
    time = np.arange(samples) / 16000
    return (9000 * np.sin(2 * np.pi * (200 + 50 * seed) * time) + 20 * np.cos(seed * time)).astype(np.int16)


def write_audio(path, samples, suffix):
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".sph":
        path.with_suffix(suffix).write_bytes(sphere(samples))
    elif suffix in (">i2", "<i2"):
        path.with_suffix(".raw").write_bytes(samples.astype(suffix).tobytes())
    else:
        soundfile.write(path.with_suffix(suffix), samples, 16000, subtype="PCM_16")


def make_original(root, suffix=".sph"):
    for part, folder, texts in (("train", "an4_clstk", TRAIN), ("test", "an4test_clstk", TEST)):
        lines = [f"<s> {text} </s> ({name})" if part == "train" else f"{text} ({name})" for name, text in texts.items()]
        (root / "etc").mkdir(parents=True, exist_ok=True)
        (root / f"etc/an4_{part}.transcription").write_text("\n".join([*lines, ""]))
        names = [f"{folder}/{name.split('-')[1]}/{name}" for name in texts]
        (root / f"etc/an4_{part}.fileids").write_text("\n".join(names))
        for number, name in enumerate(names):
            write_audio(root / "wav" / name, tone(number + len(texts)), suffix)
    return root


def make_tables(root):
    rows = ["path\ttext\tspeaker\tsplit"]
    for split, texts in (("train", TRAIN), ("test", TEST)):
        for number, (name, text) in enumerate(texts.items()):
            speaker = name.split("-")[1]
            write_audio(root / "flac" / speaker / name, tone(number), ".flac")
            where = "dev" if speaker in DEV_SPEAKERS.split() else split
            rows.append(f"flac/{speaker}/{name}.flac\t{text.lower()}\t{speaker}\t{where}")
    (root / "transcripts.tsv").write_text("\n".join([*rows, ""]))
    times = ["path\tword\tstart_s\tend_s", "flac/fash/an251-fash-b.flac\tYES\t0.10\t0.40"]
    times += ["flac/fbbh/an1-fbbh-b.flac\tENTER\t0.05\t0.2", "flac/fbbh/an1-fbbh-b.flac\tFOUR\t0.20\t0.45"]
    (root / "word_times.tsv").write_text("\n".join(times))
    return root


@pytest.fixture
def original(tmp_path):
    return make_original(tmp_path / "an4")


@pytest.fixture
def tables(tmp_path):
    return make_tables(tmp_path / "tables")


def ids(found):
    return {split: [utterance.id for utterance in part.utterances] for split, part in found.items()}


EXPECTED = {
    "train": ["cen1-mblb-b"],
    "dev": ["an251-fash-b", "an253-fash-b", "an1-fbbh-b"],
    "test": ["cen2-fcaw-b", "an391-mjwl-b"],
}


@pytest.mark.parametrize("above", [".", "an4"])
@pytest.mark.parametrize("suffix", [".sph", ">i2", "<i2", ".wav"])
def test_the_original_layout(tmp_path, above, suffix, capsys):
    make_original(tmp_path / above, suffix)
    found = splits(tmp_path)
    assert ids(found) == EXPECTED and not any(part.problems for part in found.values())
    assert [u.text for u in found["dev"].utterances] == ["yes", "go", "enter four"]
    assert [u.text for u in found["test"].utterances] == ["two", "rubout"]
    assert [u.speaker for u in found["test"].utterances] == ["fcaw", "mjwl"]
    np.testing.assert_array_equal(found["dev"].utterances[0].read(16000), tone(4))
    assert len(found["train"].utterances[0].read(8000)) == 4000
    assert "is not all of AN4" in capsys.readouterr().err and sum(UTTERANCES.values()) == 1078


def test_the_tables_and_their_times(tables, tmp_path):
    found = splits(tables)
    assert ids(found) == EXPECTED and not any(part.problems for part in found.values())
    dev = found["dev"].utterances
    assert [u.times for u in dev] == [(("yes", 0.1, 0.4),), (), (("enter", 0.05, 0.2), ("four", 0.2, 0.45))]
    np.testing.assert_array_equal(dev[2].read(16000), tone(3))
    prepare(read_splits("an4", tables), tmp_path / "out", workers=1)
    assert read_times(tmp_path / "out/dev")["an1-fbbh-b"] == (("enter", 0.05, 0.2), ("four", 0.2, 0.45))
    (tables / "word_times.tsv").unlink()
    assert not any(u.times for u in splits(tables)["dev"].utterances)


def test_a_header_is_preferred_to_none(original):
    write_audio(original / "wav/an4_clstk/fash/an251-fash-b", tone(1), ">i2")
    found = splits(original)
    np.testing.assert_array_equal(found["dev"].utterances[0].read(16000), tone(4))
    assert not any(part.problems for part in found.values())


def test_files_that_are_missing(original):
    (original / "wav/an4_clstk/fash/an253-fash-b.sph").unlink()
    (original / "wav/an4test_clstk/mjwl/an391-mjwl-b.sph").rename(original / "wav/an4test_clstk/mjwl/an392-mjwl-b.sph")
    with (original / "etc/an4_train.transcription").open("a") as file:
        file.write("YES an254-fash-b\n(an255-fash-b)\nGO (an256)\nNO (an251-fash-b)\n")
    found = splits(original)
    assert ids(found) == {"train": ["cen1-mblb-b"], "dev": ["an251-fash-b", "an1-fbbh-b"], "test": ["cen2-fcaw-b"]}
    transcripts = original / "etc/an4_train.transcription", original / "etc/an4_test.transcription"
    assert found["train"].problems == [
        ("an4_train.transcription line 5", f"{transcripts[0]}: is not a text and a name, such as GO (an251-fash-b)"),
        ("an4_train.transcription line 7", f"{transcripts[0]}: is not a text and a name, such as GO (an251-fash-b)"),
    ]
    assert found["dev"].problems == [
        ("an253-fash-b", f"{original}/wav: has no audio of this name, which {transcripts[0]} names"),
        ("an255-fash-b", f"{original}/wav: has no audio of this name, which {transcripts[0]} names"),
        ("an4_train.transcription line 8", "the id an251-fash-b occurs twice"),
    ]
    assert found["test"].problems == [
        ("an391-mjwl-b", f"{original}/wav: has no audio of this name, which {transcripts[1]} names"),
        ("an392-mjwl-b", f"{original}/wav/an4test_clstk/mjwl/an392-mjwl-b.sph: is in neither of AN4's transcripts"),
    ]


@pytest.mark.parametrize("content", [b"", b"abc"])
def test_raw_audio_that_is_damaged(tmp_path, content):
    make_original(tmp_path, ">i2")
    path = tmp_path / "wav/an4_clstk/mblb/cen1-mblb-b.raw"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path}: has {len(content)} bytes, which are no 16-bit samples"):
        splits(tmp_path)["train"].utterances[0].read(16000)


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ("NO\t0.1\t0.2", "has the words 'no', but the text is 'yes'"),
        ("YES\t0.4\t0.2", "'YES' from 0.4 to 0.2 s is not after the word before it, or ends before it begins"),
        ("YES\t\t0.2", "'YES' from  to 0.2 s is not after"),
        ("YES\t0.1\tsoon", "'end_s' must be a number of seconds"),
    ],
)
def test_times_that_cannot_be_right(tables, times, problem):
    (tables / "word_times.tsv").write_text(
        f"path\tword\tstart_s\tend_s\nflac/fash/an251-fash-b.flac\t{times}\nflac/fbbh/an1-fbbh-b.flac\tENTER\n"
    )
    found = splits(tables)
    assert [u.id for u in found["dev"].utterances] == EXPECTED["dev"][1:]
    ((identity, why),) = found["dev"].problems
    assert identity == "an251-fash-b" and why.startswith(f"{tables}/word_times.tsv: {problem}")
    ((place, why),) = found["train"].problems
    assert place == "word_times.tsv line 3" and "has 2 columns in this line in place of 4" in why


def test_words_after_the_end_of_the_audio(tables):
    path = tables / "flac/fash/an251-fash-b.flac"
    (tables / "word_times.tsv").write_text(f"path\tword\tstart_s\tend_s\nflac/fash/{path.name}\tyes\t0.1\t0.7\n")
    with pytest.raises(ValueError, match=rf"{path}: is 0.50 s long, but its last word ends at 0.70 s"):
        splits(tables)["dev"].utterances[0].read(16000)


def test_rows_that_make_no_sense(tables):
    with (tables / "transcripts.tsv").open("a") as file:
        file.write("a.flac\tyes\tfash\n\na.flac\tyes\tfash\teval\nabsent.flac\tyes\tfash\tdev\n")
    found = splits(tables)
    assert [place for place, _ in found["train"].problems] == ["transcripts.tsv line 8", "transcripts.tsv line 10"]
    assert found["train"].problems[1][1] == "split is 'eval'; it must be one of train, dev, test"
    absent = next(u for u in found["dev"].utterances if u.id == "absent")
    with pytest.raises(ValueError, match=r"absent\.flac"):
        absent.read(16000)


def test_other_sources_are_refused(tmp_path, original, tables):
    with pytest.raises(ValueError, match=f"{tmp_path}/wav: no such folder"):
        splits(tmp_path / "wav")
    (tmp_path / "an4.tar.gz").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"an4\.tar\.gz: is not a folder; unpack it"):
        splits(tmp_path / "an4.tar.gz")
    with pytest.raises(ValueError, match=f"{original}/wav: expected AN4's layout, etc/an4_train.transcription"):
        splits(original / "wav")
    (original / "etc/an4_test.transcription").unlink()
    with pytest.raises(ValueError, match=f"{original}: lacks AN4's transcript etc/an4_test.transcription"):
        splits(tmp_path)
    (original / "wav").rename(original / "audio")
    with pytest.raises(ValueError, match=f"{original}: lacks the folder wav with AN4's audio"):
        splits(original)
    (tables / "transcripts.tsv").write_text("path\ttext\nx\ty\n")
    with pytest.raises(ValueError, match=f"{tables}/transcripts.tsv: lacks the column speaker; its first line must"):
        splits(tables)


def test_the_folder_at_hand(shared_data):
    if not (shared_data / "an4").is_dir():
        pytest.skip("no AN4 in the real data")
    found = splits(shared_data / "an4")
    assert {split: len(part.utterances) for split, part in found.items()} == {"train": 848, "dev": 100}
    assert not any(part.problems for part in found.values())
    training = [u for part in found.values() for u in part.utterances]
    first = sorted(training, key=lambda u: (u.speaker, u.id))[:100]  # ESPnet's rule
    assert first == found["dev"].utterances and {u.speaker for u in first} == set(DEV_SPEAKERS.split())
    assert sum(bool(u.times) for u in training) == 906
    assert len(first[0].read(16000)) > 0.7 * 16000
