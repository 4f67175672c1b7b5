"""Tables and dictionaries of words: what is read, how it is divided, and what is left out."""

import random

from rnnt.corpora import read_splits


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
