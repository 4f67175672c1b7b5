"""Loading: order, padding, unusable utterances, and reader threads that hide no error and end with their loader."""

import threading
import unicodedata

import numpy as np
import pytest
import torch

from rnnt.config import TokenizerConfig
from rnnt.dataset import Dataset, write_split
from rnnt.loader import Loader, Recycler, TooMuchTextError, collate, encode_text
from rnnt.shard import StoredUtterance
from rnnt.silence import trim_silence
from rnnt.tokenizer import Symbols, UnknownSymbolError, train_tokenizer

TEXTS = ["a b", "b", "c a", "b z", "a a a b", "z"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "train"
    rng = np.random.default_rng(0)
    utterances = []
    for i, text in enumerate(TEXTS):
        samples = rng.integers(-20000, 20000, 500 * (i + 1)).astype(np.int16)
        if i == 4:
            samples = np.concatenate([np.zeros(6000, np.int16), np.tile(samples, 4), np.zeros(9000, np.int16)])
        utterances.append(StoredUtterance(f"u{i}", samples, text, "s"))
    write_split(folder, utterances)
    return Dataset(folder)


@pytest.fixture
def loader(dataset):
    return Loader(dataset, train_tokenizer(["a b c"], TokenizerConfig("words")), torch.device("cpu"))


def test_texts_that_cannot_be_encoded_are_listed(loader):
    assert loader.usable.tolist() == [0, 1, 2, 4]
    assert loader.unusable == [("u3", "unknown to the tokenizer: 'z'"), ("u5", "unknown to the tokenizer: 'z'")]


def test_the_reason_for_a_text_of_many_unknown_words_is_short(tmp_path):
    text = " ".join(map(str, range(5000)))
    write_split(tmp_path / "a", [StoredUtterance("u", np.ones(9, np.int16), text)])
    ((name, reason),) = Loader(Dataset(tmp_path / "a"), Symbols("words", ["a"]), torch.device("cpu")).unusable
    assert name == "u" and reason.startswith("unknown to the tokenizer: '0' '1' '10'") and len(reason) <= 200


def test_texts_are_read_only_where_a_character_is_unknown(dataset, monkeypatch):
    read = []
    text = Dataset.text
    monkeypatch.setattr(Dataset, "text", lambda self, i: read.append(i) or text(self, i))
    monkeypatch.setattr(Dataset, "texts", None)
    loader = Loader(dataset, Symbols("characters", [" ", "a", "b", "c"]), torch.device("cpu"))
    assert read == [3, 5]
    assert loader.usable.tolist() == [0, 1, 2, 4] and [name for name, _ in loader.unusable] == ["u3", "u5"]
    read.clear()
    assert len(Loader(dataset, Symbols("characters", list(" abcz")), torch.device("cpu")).usable) == 6 and read == []


LETTERS = Symbols("characters", list("ab"))


@pytest.mark.parametrize(("symbols", "seconds"), [(10, 0.001), (10, 0.1), (11, 0.11), (150, 1.5), (80_000, 800.0)])
def test_a_text_may_have_100_symbols_a_second_and_10_in_any_case(symbols, seconds):
    assert encode_text(LETTERS, "a" * symbols, seconds) == [0] * symbols
    with pytest.raises(
        TooMuchTextError, match=rf"^its text has {symbols + 1} symbols for .* s of audio, more than 100 a"
    ):
        encode_text(LETTERS, "a" * (symbols + 1), seconds)


def test_a_text_beyond_all_measure_is_not_encoded():
    class Never:
        def encode(self, text):
            raise AssertionError

    with pytest.raises(TooMuchTextError, match=r"^its text has 1000001 characters for 1\.20 s of audio"):
        encode_text(Never(), "a" * 1_000_001, 1.2)


def test_few_long_words_are_not_too_much_text():
    words = Symbols("words", ["a" * 900, "b"])
    assert encode_text(words, "b " + "a" * 900, 0.2) == [1, 0]
    with pytest.raises(UnknownSymbolError):
        encode_text(words, "c", 0.2)


class Composing:
    """Knows e and the accent, but not the letter into which it merges them, like normalizing SentencePiece models."""

    kind = "sentencepiece"

    def encode(self, text):
        if not set(unicodedata.normalize("NFC", text)) <= {"e", "\N{COMBINING ACUTE ACCENT}"}:
            raise UnknownSymbolError("unknown")
        return [0] * len(text)

    def covers(self, character):
        return character == "e"


def test_an_accent_is_judged_with_its_letter(tmp_path):
    texts = ["e", "e\N{COMBINING ACUTE ACCENT}", "\N{COMBINING ACUTE ACCENT}"]
    write_split(tmp_path / "a", [StoredUtterance(text, np.ones(9, np.int16), text) for text in texts])
    assert Loader(Dataset(tmp_path / "a"), Composing(), torch.device("cpu")).usable.tolist() == [0, 2]


def test_batches_follow_the_plan(loader, dataset):
    plan = [[4, 0], [2], [1, 0, 2]]
    batches = list(loader.batches(plan))
    assert [batch.ids for batch in batches] == [["u4", "u0"], ["u2"], ["u1", "u0", "u2"]]
    for batch, part in zip(batches, plan):
        assert len(batch) == len(part)
        assert batch.inputs.dtype == torch.int16 and batch.targets.dtype == torch.int64
        assert batch.inputs.shape == (len(part), int(batch.input_lengths.max()))
        assert batch.targets.shape == (len(part), int(batch.target_lengths.max()))
        for row, i in enumerate(part):
            samples = dataset[i].input
            assert batch.input_lengths[row] == len(samples)
            np.testing.assert_array_equal(batch.inputs[row, : len(samples)], samples)
            assert not batch.inputs[row, len(samples) :].any()
            words = TEXTS[i].split()
            assert batch.targets[row, : len(words)].tolist() == ["abc".index(word) for word in words]
            assert batch.target_lengths[row] == len(words) and not batch.targets[row, len(words) :].any()


def test_silence_is_trimmed_where_wanted(dataset):
    loader = Loader(dataset, Symbols("words", ["a", "b", "c"]), torch.device("cpu"), trim=True)
    batch = loader.read([4])
    trimmed = trim_silence(dataset[4].input)
    assert batch.input_lengths[0] == len(trimmed) < len(dataset[4].input) - 10000
    np.testing.assert_array_equal(batch.inputs[0], trimmed)


def test_collate_takes_empty_targets():
    batch = collate([np.ones(3, np.int16), np.ones(5, np.int16)], [[], []], ["a", "b"])
    assert batch.targets.shape == (2, 0) and batch.target_lengths.tolist() == [0, 0]
    assert batch.inputs.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.inputs, batch.inputs) and moved.ids == ["a", "b"]


def test_memory_is_used_again_once_nobody_holds_it():
    make = Recycler()
    first = make((3, 4))
    place = first.data_ptr()
    first.fill_(7)
    part = first[1, 1:]
    del first
    other = make((3, 4))
    assert other.data_ptr() != place
    other.zero_()
    assert part.tolist() == [7, 7, 7]
    del part
    assert make((2, 5)).data_ptr() == place
    larger = make((30, 40))
    assert larger.shape == (30, 40) and larger.dtype == torch.int16


def test_batches_that_are_kept_stay_as_they_were(loader):
    plan = [[0, 1], [4], [2, 0]] * 7
    for batch, part in zip(list(loader.batches(plan)), plan):
        assert torch.equal(batch.inputs, loader.read(part).inputs)


def threads():
    return [thread for thread in threading.enumerate() if thread is not threading.main_thread()]


def test_the_threads_end_when_the_loop_over_batches_is_left(loader):
    before = threads()

    def first(plan):
        for batch in loader.batches(plan):
            return batch.ids

    assert first([[0]] * 1000) == ["u0"]
    assert threads() == before


def test_an_index_out_of_range_reaches_the_user(loader):
    with pytest.raises(IndexError):
        list(loader.batches([[0], [99]]))
