"""Tables are a tree of n-grams; foreign, doubled and orphaned n-grams are named."""

import math

import numpy as np
import pytest

from rnnt.ngram.arpa import read_arpa
from rnnt.ngram.kneser_ney import estimate_arpa
from rnnt.ngram.tables import build_tables, foreign_share

SPECIAL = ["<unk>", "<s>", "</s>"]
SMALL = """\\data\\
ngram 1=5
ngram 2=2
ngram 3=1

\\1-grams:
-2\t<unk>
-99\t<s>\t-0.5
-1\t</s>
-0.5\ta\t-0.25
-0.75\tb\t-0.125

\\2-grams:
-0.25\t<s> a\t-1
-0.5\ta b

\\3-grams:
-0.5\t<s> a b

\\end\\
"""


@pytest.fixture()
def write(tmp_path):
    def write(text=SMALL):
        (tmp_path / "a.arpa").write_text(text)
        return read_arpa(tmp_path / "a.arpa")

    return write


def test_the_tree(tmp_path, plain_arpa, sentences):
    text = sentences(100)
    estimate_arpa(([ord(w) - ord("a") + 3 for w in s] for s in text), [*SPECIAL, *"abcdefg"], 4, tmp_path / "a.arpa")
    symbols = ["g", "", "x", *"abcdef"]
    tables = build_tables(read_arpa(tmp_path / "a.arpa"), symbols)
    plain = plain_arpa(tmp_path / "a.arpa").grams
    names = [*symbols, "</s>", "<s>", "<unk>"]
    assert (np.diff(tables.keys) > 0).all()
    assert tables.known.tolist() == [True, False, False, *[True] * 6]
    assert tables.has_end and tables.order == 4
    grams = [()]
    for key, log_prob in zip(tables.keys.tolist(), tables.log_probs.tolist()):
        parent, word = divmod(key, tables.words)
        grams.append((*grams[parent], names[word]))
        assert log_prob == pytest.approx(math.log(10) * plain[grams[-1]][0], rel=1e-6)
    assert set(grams[1:]) == plain.keys()
    for node in range(len(tables.backoffs)):
        assert tables.backoffs[node] == pytest.approx(math.log(10) * plain.get(grams[node], (0, 0))[1], abs=1e-6)
        assert [divmod(key, tables.words)[0] for key in tables.keys[tables.first[node] : tables.first[node + 1]]] == [
            node
        ] * (tables.first[node + 1] - tables.first[node])
    assert grams[tables.start] == ("<s>",)


def test_a_context_that_nothing_follows_is_shortened(write):
    """Equal states are scored alike, so hypotheses can be compared by them."""
    tables = build_tables(write(), ["a", "b"])
    names = ["a", "b", "</s>", "<s>", "<unk>"]
    grams = [()]
    for key in tables.keys.tolist():
        grams.append((*grams[key // 5], names[key % 5]))
    after = {grams[node + 1]: grams[target] for node, target in enumerate(tables.targets.tolist())}
    assert after[("<s>", "a")] == ("<s>", "a")
    assert after[("a", "b")] == after[("<s>", "a", "b")] == after[("b",)] == ("b",)
    assert after[("</s>",)] == ()


def test_words_that_are_no_symbols(write):
    arpa = write()
    assert foreign_share(arpa, ["a", "b", "c"]) == 0
    assert foreign_share(arpa, ["a"]) == 0.5
    with pytest.raises(ValueError, match=r"a\.arpa: 1 of its 2 words are no symbols of the model \('b'\); make one"):
        build_tables(arpa, ["a"])


def test_a_few_foreign_words_are_left_out(tmp_path):
    names = [*SPECIAL, *(f"w{i}" for i in range(40))]
    estimate_arpa([list(range(3, 43)), [3, 4, 5]], names, 3, tmp_path / "a.arpa")
    tables = build_tables(read_arpa(tmp_path / "a.arpa"), names[4:])
    assert tables.symbols == 39 and len(tables.keys) < 3 * 41


def test_damaged_trees(write):
    with pytest.raises(ValueError, match=r"a\.arpa:18: the context of this 3-gram, 'b a', is missing"):
        build_tables(write(SMALL.replace("<s> a b", "b a b")), ["a", "b"])
    with pytest.raises(ValueError, match=r"a\.arpa:15: the 2-gram '<s> a' is there twice"):
        build_tables(write(SMALL.replace("\ta b\n", "\t<s> a\n")), ["a", "b"])


@pytest.mark.parametrize("missing", ["-1\t</s>\n", "-2\t<unk>\n"])
def test_models_without_special_words(write, missing):
    tables = build_tables(write(SMALL.replace(missing, "").replace("1=5", "1=4")), ["a", "b", "c"])
    assert tables.has_end == ("</s>" not in missing)
    assert tables.unigrams[-1] == pytest.approx(math.log(10) * (-100 if "unk" in missing else -2))


def test_no_words_but_special_ones(write):
    text = "\\data\\\nngram 1=1\n\n\\1-grams:\n-1\t</s>\n\n\\end\\\n"
    with pytest.raises(ValueError, match="0 of its 0 words"):
        build_tables(write(text), ["a"])
