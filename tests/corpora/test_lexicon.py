"""Tables and dictionaries of words: what is read, how it is divided, and what is left out."""

import json
import random
import subprocess
import sys
import unicodedata
from collections import defaultdict
from functools import partial

import pytest

from rnnt.corpora import Split, Utterance, read_splits
from rnnt.dataset import Dataset
from rnnt.info import describe
from rnnt.prepare import prepare


def read(path, content, **options):
    """The only split of a file with this content: (id, input symbols, text) of each utterance, and the problems."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (split,) = read_splits("lexicon", path, **options).values()
    assert split.input == "symbols"
    return [(u.id, u.read(0), u.text) for u in split.utterances], dict(split.problems)


def words(split):
    return {"".join(utterance.read(0)) for utterance in split.utterances}


def test_a_table(tmp_path):
    found, problems = read(tmp_path / "a.tsv", "cat\tk æ t\nread\tɹ iː d\nread\tɹ ɛ d\nNew York\tn j\n각\tk a k̚\n")
    assert found == [
        ("cat", ["c", "a", "t"], "k æ t"),
        ("read", ["r", "e", "a", "d"], "ɹ iː d"),
        ("read(2)", ["r", "e", "a", "d"], "ɹ ɛ d"),
        ("New York", [*"New York"], "n j"),
        ("각", ["각"], "k a k̚"),
    ]
    assert not problems


CMU = """;;; # CMUdict  --  Major Version: 0.07
;;;
!EXCLAMATION-POINT  EH2 K S K L AH0
"CLOSE-QUOTE  K L OW1 Z
#HASH-MARK  HH AE1 SH
(PAREN  P ER0 EH1 N
A  AH0
A(1)  EY1
AALBORG  AO1 L B AO0 R G # place, danish
'BOUT  B AW1 T
READ(3)  R EH1 D #old
# a comment
#
"""


def test_a_dictionary_of_the_cmu(tmp_path):
    expected = [
        ("!EXCLAMATION-POINT", "EH2 K S K L AH0"),
        ('"CLOSE-QUOTE', "K L OW1 Z"),
        ("#HASH-MARK", "HH AE1 SH"),
        ("(PAREN", "P ER0 EH1 N"),
        ("A", "AH0"),
        ("A(2)", "EY1"),
        ("AALBORG", "AO1 L B AO0 R G"),
        ("'BOUT", "B AW1 T"),
        ("READ", "R EH1 D"),
    ]
    for text in (CMU, CMU.replace("  ", " ").lower(), CMU.replace("\n", "\r\n")):
        found, problems = read(tmp_path / "cmudict", text)
        lower = "!exclamation-point" in text
        assert [(i, t) for i, _, t in found] == [(i.lower(), t.lower()) if lower else (i, t) for i, t in expected]
        assert found[5][1] == ["a" if lower else "A"] and not problems


def test_second_pronunciations_of_a_table(tmp_path):
    """`read(2)` is another `read` if there is one, and otherwise a word like any other."""
    text = "read(2)\tR EH D\nread\tR IY D\nSU(2)\tS UW T UW\nread(3)\tR IY D\nread\tR AA\n"
    found, problems = read(tmp_path / "a.dict", text)
    assert [(i, "".join(w)) for i, w, _ in found] == [
        ("read", "read"), ("read(2)", "read"), ("SU(2)", "SU(2)"), ("read(3)", "read")
    ]  # fmt: skip
    assert problems == {"line 4": "says the same as line 2"}


def test_ids_differ_whatever_the_words_are(tmp_path):
    names = ["a", "a(2)", "a(2)(2)", "a(3)", "a(02)", "a b", "(2)"]
    rng = random.Random(0)
    for _ in range(50):
        lines = [f"{rng.choice(names)}\t{rng.choice('xyz')}" for _ in range(12)]
        found, problems = read(tmp_path / "a.tsv", "\n".join(lines))
        assert len({i for i, _, _ in found}) == len(found) == 12 - len(problems)
        assert len({(tuple(w), t) for _, w, t in found}) == len(found)


BAD = {
    2: ("no tab here", "has no tab between the word and its symbols"),
    3: ("\tk a", "the input is empty"),
    4: ("cat\t", "the output is empty"),
    5: ("cat\t \t\t", "the output is empty"),
    6: ("cat\tk\ta", "has 3 columns, expected input,output; name all of them with columns="),
    7: ("cat\0\tk", "holds NUL characters; if the file is UTF-16, convert it to UTF-8"),
    8: (b"d\xe9j\xe0\td e", "is not UTF-8; `iconv -f latin1 -t utf-8 OLD > NEW` converts an old file"),
    9: ("one \t w  a n\t\t", "says the same as line 1"),
    10: ("x" * 70_000 + "\tx", "is longer than 65536 bytes"),
    11: ("x" * 200_000 + "\tx", "is longer than 65536 bytes"),
    14: ("CAT  K AE1 T", "has no tab between the word and its symbols"),
}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_bad_line_is_left_out_alone(tmp_path, end, mark):
    lines = {1: "one\tw a n", 12: " ", 13: "", 15: "é" * 500 + "\t" + "e " * 500, 16: "last\tl\t\t"}
    lines |= {number: line for number, (line, _) in BAD.items()}
    content = end.join(x if isinstance(x, bytes) else x.encode() for _, x in sorted(lines.items()))
    found, problems = read(tmp_path / "a.tsv", mark + content)
    assert [(i, t) for i, _, t in found] == [("one", "w a n"), ("é" * 500, "e " * 499 + "e"), ("last", "l")]
    assert problems == {f"line {number}": fault for number, (_, fault) in BAD.items()}
    prepare(read_splits("lexicon", tmp_path / "a.tsv"), tmp_path / "out")
    _, *listed = (tmp_path / "out" / "train" / "skipped.tsv").read_text().splitlines()
    assert listed == [f"line {number}\t{fault}" for number, (_, fault) in BAD.items()]


def test_a_table_among_a_dictionary(tmp_path):
    found, problems = read(tmp_path / "a.dict", "CAT  K AE1 T\nREAD  R IY1 D\nDOG\tD AO1 G\nCAT K  AE1 T\nNONE\n")
    assert [i for i, _, _ in found] == ["CAT", "READ"]
    assert problems == {
        "line 3": "has a tab, and most lines of the file have none; write all lines in one format",
        "line 4": "says the same as line 1",
        "line 5": "the output is empty",
    }


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf", b"\r\n"])
def test_an_empty_file(tmp_path, content):
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.tsv: is empty; expected a word, a tab and its symbols in each line"):
        read_splits("lexicon", tmp_path / "a.tsv")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_in_utf_16_says_so(tmp_path, encoding):
    (tmp_path / "a.tsv").write_bytes("가감\tk a\ncat\tk a\n".encode(encoding))
    with pytest.raises(ValueError, match=r"no utterances; line 1: .*convert it to UTF-8"):
        prepare(read_splits("lexicon", tmp_path / "a.tsv"), tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "line", "symbols", "text"),
    [
        ({"output": "characters"}, "Anna Maria\tАнна Мария", [*"Anna Maria"], "А н н а ▁ М а р и я"),
        ({"input": "symbols"}, "k æ  t\tc a t", ["k", "æ", "t"], "c a t"),
        ({"input": "symbols", "output": "characters"}, "k æ t\tcat", ["k", "æ", "t"], "c a t"),
        (
            {"columns": "input,output,tags", "output": "characters"},
            "run\tran\tV;PST",
            ["r", "u", "n", "<V>", "<PST>"],
            "r a n",
        ),
        ({"columns": "input tags output"}, "run\tV PST; \tr æ n", ["r", "u", "n", "<V>", "<PST>"], "r æ n"),
        ({"columns": "input,-,-,output"}, "run\t0.9\t\tr ʌ n", ["r", "u", "n"], "r ʌ n"),
        ({"columns": "output,input"}, "r ʌ n\trun", ["r", "u", "n"], "r ʌ n"),
    ],
)
def test_columns_and_units(tmp_path, options, line, symbols, text):
    ((_, given, written),), problems = read(tmp_path / "a.tsv", line, **options)
    assert (given, written) == (symbols, text) and not problems


def test_ids_with_tags(tmp_path):
    text = "run\tran\tV;PST\nrun\tran\tV;PTCP\nrun\trunned\tV;PST\nV;PST\tx\t\n"
    found, _ = read(tmp_path / "a.tsv", text, columns="input,output,tags", output="characters")
    assert [i for i, _, _ in found] == ["run V;PST", "run V;PTCP", "run V;PST(2)", "V;PST"]


def test_the_mark_of_a_space_among_characters(tmp_path):
    found, problems = read(tmp_path / "a.tsv", "a\tx▁y\nb\tx y\n", output="characters")
    assert [t for _, _, t in found] == ["x ▁ y"]
    assert problems == {"line 1": "the output holds ▁, which stands for a space"}


@pytest.mark.parametrize("options", [{"columns": "input"}, {"columns": "input,output,input"}, {"columns": "a,output"}])
def test_columns_that_make_no_sense(tmp_path, options):
    with pytest.raises(ValueError, match=f"columns={options['columns']}: name input and output, and others tags or -"):
        read(tmp_path / "a.tsv", "a\tb", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": "letters"}, "input and output are characters or symbols, not 'letters' and 'symbols'"),
        ({"dev": 0.6, "test": 0.4}, "at least 0 and together below 1, not 0.6 and 0.4"),
        ({"dev": -0.1}, "together below 1, not -0.1 and 0.0"),
        ({"dev": float("nan")}, "together below 1, not nan and 0.0"),
        ({"dev": 0.5}, "1 words are too few to hold some of them out; leave dev and test out"),
        ({"language": "dut"}, "language=dut chooses among the files of a folder"),
        ({"split": "dev", "dev": 0.5}, r"dev=0.5: .* is the split 'dev' or holds it; leave the option out"),
        ({"language": False}, "option 'language' of corpus 'lexicon' must be .*write \"language='...'\""),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "a.tsv", "a\tb", **options)


@pytest.mark.parametrize(
    ("files", "options", "expected"),
    [
        (["train.tsv", "dev.tsv", "README.md"], {}, {"train": "train.tsv", "dev": "dev.tsv"}),
        (["dut_train.tsv", "dut_valid.tsv"], {}, {"train": "dut_train.tsv", "valid": "dut_valid.tsv"}),
        (["eng_us_train.tsv", "fre_train.tsv"], {"language": "eng_us"}, {"train": "eng_us_train.tsv"}),
        (["train.tsv", "fre_train.tsv", "._train.tsv"], {}, {"train": "train.tsv"}),
        (["ady.train", "ady.dev", "english-test.txt"], {"language": "ady"}, {"train": "ady.train", "dev": "ady.dev"}),
    ],
)  # fmt: skip
def test_the_files_of_a_folder(tmp_path, files, options, expected):
    for name in files:
        (tmp_path / name).write_text(f"{name}\tx\n")
    found = read_splits("lexicon", tmp_path, **options)
    assert {split: "".join(value.utterances[0].read(0)) for split, value in found.items()} == expected


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ([], {}, "expected train.tsv, dev.tsv and test.tsv, or dut_train.tsv and so on; name a file"),
        (["b_train.tsv", "a_dev.tsv"], {}, "holds a, b; choose one, as in language=a"),
        (["b_train.tsv", "a_dev.tsv"], {"language": "c"}, "holds a, b; choose one, as in language=a"),
        (["train.tsv", "train.txt"], {}, "train.txt: a second file for the split 'train'; prepare one of them alone"),
        (["train.tsv"], {"split": "x"}, "split=x names the split of a single file"),
        (["train.tsv", "dev.tsv"], {"dev": 0.1}, "dev=0.1: .* is the split 'dev' or holds it; leave the option out"),
        (["dev.tsv"], {"test": 0.1}, "has no training words of which dev and test could be shares"),
    ],
)
def test_a_folder_that_cannot_be_read(tmp_path, files, options, message):
    for name in files:
        (tmp_path / name).write_text("a\tb\n")
    with pytest.raises(ValueError, match=message):
        read_splits("lexicon", tmp_path, **options)


@pytest.mark.parametrize(
    ("name", "options", "split"),
    [("a.tsv", {}, "train"), ("x_dev.tsv", {}, "dev"), ("x_dev.tsv", {"split": "all"}, "all"), ("test", {}, "test")],
)
def test_the_split_of_a_file(tmp_path, name, options, split):
    (tmp_path / name).write_text("a\tb\n")
    assert list(read_splits("lexicon", tmp_path / name, **options)) == [split]


def made_up(count, seed=0):
    rng = random.Random(seed)
    names = ["".join(rng.choices("abcdeé각", k=rng.randint(1, 9))) for _ in range(count)]
    return [f"{name}\t{' '.join(rng.choices(['aː', 'b', 'tʃ'], k=rng.randint(1, 9)))}" for name in names]


def test_shares_of_the_words(tmp_path):
    lines = made_up(600) + [unicodedata.normalize("NFD", line) for line in made_up(600) if "é" in line]
    path = tmp_path / "a.tsv"
    path.write_text("\n".join(lines))
    whole = read_splits("lexicon", path)["train"]
    found = read_splits("lexicon", path, dev=0.1, test=0.25)
    assert list(found) == ["train", "dev", "test"]
    # Every line is in one split, and in the order of the file.
    texts = {name: [("".join(u.read(0)), u.text) for u in split.utterances] for name, split in found.items()}
    given = [("".join(u.read(0)), u.text) for u in whole.utterances]
    assert sorted(line for split in texts.values() for line in split) == sorted(given)
    assert all(split == [line for line in given if line in set(split)] for split in texts.values())
    # A word is in one split only, however Unicode spells it.
    owners = defaultdict(set)
    for name, split in texts.items():
        for word, _ in split:
            owners[unicodedata.normalize("NFC", word)].add(name)
    assert all(len(names) == 1 for names in owners.values())
    shares = {name: sum(names == {name} for names in owners.values()) / len(owners) for name in found}
    assert shares["dev"] == pytest.approx(0.1, abs=0.01) and shares["test"] == pytest.approx(0.25, abs=0.01)
    # The order of the lines means nothing, and another seed gives other words.
    random.Random(1).shuffle(lines)
    path.write_text("\n".join(lines))
    again = read_splits("lexicon", path, dev=0.1, test=0.25)
    assert {name: words(split) for name, split in again.items()} == {
        name: words(split) for name, split in found.items()
    }
    assert words(read_splits("lexicon", path, dev=0.1, test=0.25, seed=1)["dev"]) != words(found["dev"])


SHARD_BYTES = 30_000


def contents(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "words.tsv"
    path.write_text("\n".join(["no tab", *made_up(500), "also none"]))
    return path


@pytest.fixture(scope="module")
def undisturbed(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    prepare(read_splits("lexicon", table), out, workers=1, shard_bytes=SHARD_BYTES)
    assert len(list(out.glob("*/*.arrow"))) > 3
    return contents(out)


def test_a_prepared_split_holds_the_lines_of_the_file(table, undisturbed, tmp_path):
    summary = prepare(read_splits("lexicon", table), tmp_path, shard_bytes=SHARD_BYTES)["train"]
    dataset = Dataset(tmp_path / "train")
    dataset.verify()
    lines = list(dict.fromkeys(made_up(500)))
    assert [f"{''.join(u.input)}\t{u.text}" for u in dataset] == lines
    inputs = [line.split("\t")[0] for line in lines]
    assert dataset.lengths.tolist() == list(map(len, inputs)) and dataset.sample_rate == 0
    description = json.loads((tmp_path / "train" / "dataset.json").read_text())
    assert (description["words"], description["symbols"]) == (len(set(inputs)), len(set("".join(inputs))))
    assert (summary.words, summary.hours, summary.utterances) == (len(set(inputs)), 0, len(lines))
    assert summary.skipped == 2 + 500 - len(lines)
    assert contents(tmp_path) == undisturbed


@pytest.mark.parametrize(("workers", "sample_rate"), [(2, 16000), (None, 8000)])
def test_workers_and_sample_rate_change_no_byte(table, undisturbed, tmp_path, workers, sample_rate):
    prepare(read_splits("lexicon", table), tmp_path, sample_rate, workers, shard_bytes=SHARD_BYTES)
    assert contents(tmp_path) == undisturbed


KILLED = """
import os, signal, sys
from pathlib import Path
import rnnt.prepare
from rnnt.corpora import read_splits

table, out, shard_bytes, call = sys.argv[1:]
write_json, calls = rnnt.prepare.write_json, 0

def killing(*args):
    global calls
    write_json(*args)
    calls += 1
    if calls == int(call):
        os.kill(os.getpid(), signal.SIGKILL)

rnnt.prepare.write_json = killing
rnnt.prepare.prepare(read_splits("lexicon", Path(table)), Path(out), shard_bytes=int(shard_bytes))
"""


@pytest.mark.parametrize("shards", [1, 3])
def test_a_killed_preparation_continues_to_the_same_bytes(table, undisturbed, tmp_path, shards):
    arguments = [table, tmp_path, SHARD_BYTES, shards]
    run = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], capture_output=True, check=False)
    assert run.returncode == -9, run.stderr
    kept = {file.name: file.stat().st_ino for file in (tmp_path / ".train.partial").glob("*.arrow")}
    assert len(kept) == shards
    prepare(read_splits("lexicon", table), tmp_path, shard_bytes=SHARD_BYTES)
    assert contents(tmp_path) == undisturbed
    assert kept == {name: (tmp_path / "train" / name).stat().st_ino for name in kept}  # not written a second time


def test_a_split_is_prepared_once_and_changes_are_noticed(tmp_path):
    path, out = tmp_path / "a.tsv", tmp_path / "out"
    path.write_text("cat\tk æ t\ndog\td ɒ g\n")
    assert not prepare(read_splits("lexicon", path), out)["train"].already_prepared
    moved = path.rename(tmp_path / "b.tsv")
    moved.write_text("\ncat \tk æ t\r\ndog\td ɒ g\t\n")  # the same words
    again = prepare(read_splits("lexicon", moved), out, sample_rate=8000)["train"]
    assert again.already_prepared and again.words == 2
    for text in ("cat\tk æ t\n", "cat\tk æ t\ndog\td ɒ\n", "cat\tk æ t\ndoG\td ɒ g\n", "cat\tk æ t\ndog\td ɒ g\nx\n"):
        moved.write_text(text)
        with pytest.raises(ValueError, match=r"train holds other utterances"):
            prepare(read_splits("lexicon", moved), out)
    moved.write_text("cat\tk æ t\ndog\td ɒ g\n")
    with pytest.raises(ValueError, match=r"train holds other utterances"):
        prepare(read_splits("lexicon", moved, input="symbols"), out)


def given(symbols, sample_rate):
    return symbols


def test_symbols_that_cannot_be_used_are_left_out(tmp_path):
    inputs = {"good": ["a", "ch"], "none": [], "empty": ["a", ""], "half": ["a", "\ud83d"]}
    found = [Utterance(name, "x", "", partial(given, symbols)) for name, symbols in inputs.items()]
    summary = prepare({"train": Split(found, input="symbols")}, tmp_path)["train"]
    assert [(u.id, u.input) for u in Dataset(summary.folder)] == [("good", ["a", "ch"])]
    assert (summary.folder / "skipped.tsv").read_text().splitlines()[1:] == [
        "none\tit has no symbols, or an empty one",
        "empty\tit has no symbols, or an empty one",
        "half\tone of its symbols is not valid Unicode",
    ]


def test_info_describes_the_words(tmp_path):
    (tmp_path / "a.tsv").write_text("cat\tk æ t\nread\tɹ iː d\nread\tɹ ɛ\n")
    prepare(read_splits("lexicon", tmp_path / "a.tsv"), tmp_path / "out", source="lexicon a.tsv")
    assert describe(tmp_path / "out" / "train") == (
        f"{tmp_path}/out/train: 3 utterances, 2 words (1.50 utterances a word), "
        "3 to 4 symbols (mean 3.7, 6 different) in, 2 to 3 symbols (mean 2.7, 7 different) out, "
        "shards: 1, skipped: 0, from lexicon a.tsv"
    )


def test_the_command(tmp_path, call, capsys):
    (tmp_path / "a.tsv").write_text("\n".join([*made_up(50), "read\tɹ iː d", "read\tɹ ɛ d", "bad"]))
    assert call("prepare", "lexicon", tmp_path / "a.tsv", "--out", tmp_path / "out", "test=0.1") == 0
    train, why, test = capsys.readouterr().out.splitlines()
    count = len(Dataset(tmp_path / "out" / "train"))
    found = len({tuple(u.input) for u in Dataset(tmp_path / "out" / "train")})
    assert train == f"{tmp_path}/out/train: {count} utterances, {found} words, 1 skipped"
    assert why == f"  why: {tmp_path}/out/train/skipped.tsv"
    assert test.startswith(f"{tmp_path}/out/test: ") and test.endswith(" words, 0 skipped")


@pytest.mark.parametrize("language", ["dut", "kor", "hin", "fre", "eng_us"])
def test_real_words(shared_data, tmp_path, language):
    folder = shared_data / "g2p"
    if not folder.is_dir():
        pytest.skip(f"no real words at {folder}")
    splits = prepare(read_splits("lexicon", folder, language=language), tmp_path)
    assert sorted(splits) == ["dev", "test", "train"]
    for name, summary in splits.items():
        lines = (folder / f"{language}_{name}.tsv").read_text("utf-8").splitlines()
        assert summary.skipped == 0
        assert [f"{''.join(u.input)}\t{u.text}" for u in Dataset(summary.folder)] == lines
