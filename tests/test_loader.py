"""Loading: order, padding, what cannot be used, and a reader thread that neither hides errors nor outlives its user."""

import threading

import numpy as np
import pytest
import torch

from rnnt.audio import trim_silence
from rnnt.config import TokenizerConfig
from rnnt.dataset import Dataset, write_description
from rnnt.loader import Loader, collate, read_ahead
from rnnt.shard import Recording, ShardWriter
from rnnt.tokenizer import Symbols, train

TEXTS = ["a b", "b", "c a", "b z", "a a a b", "z"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "train"
    folder.mkdir()
    rng = np.random.default_rng(0)
    writer = ShardWriter(folder / "shard-00000.arrow")
    for i, text in enumerate(TEXTS):
        samples = rng.integers(-20000, 20000, 500 * (i + 1)).astype(np.int16)
        if i == 4:
            samples = np.concatenate([np.zeros(6000, np.int16), np.tile(samples, 4), np.zeros(9000, np.int16)])
        writer.add(Recording(f"u{i}", samples, text, "s"))
    write_description(folder, [writer.close()], 16000, source="made up")
    return Dataset(folder)


@pytest.fixture
def loader(dataset):
    return Loader(dataset, train(["a b c"], TokenizerConfig("words")), torch.device("cpu"))


def test_texts_that_cannot_be_encoded_are_listed(loader):
    assert loader.usable.tolist() == [0, 1, 2, 4]
    assert loader.unusable == [("u3", "unknown to the tokenizer: 'z'"), ("u5", "unknown to the tokenizer: 'z'")]


def test_batches_follow_the_plan(loader, dataset):
    plan = [[4, 0], [2], [1, 0, 2]]
    batches = list(loader.batches(plan))
    assert [batch.ids for batch in batches] == [["u4", "u0"], ["u2"], ["u1", "u0", "u2"]]
    for batch, part in zip(batches, plan):
        assert len(batch) == len(part)
        assert batch.audio.dtype == torch.int16 and batch.targets.dtype == torch.int64
        assert batch.audio.shape == (len(part), int(batch.num_samples.max()))
        assert batch.targets.shape == (len(part), int(batch.target_lengths.max()))
        for row, i in enumerate(part):
            samples = dataset[i].audio
            assert batch.num_samples[row] == len(samples)
            np.testing.assert_array_equal(batch.audio[row, : len(samples)], samples)
            assert not batch.audio[row, len(samples) :].any()
            words = TEXTS[i].split()
            assert batch.targets[row, : len(words)].tolist() == ["abc".index(word) for word in words]
            assert batch.target_lengths[row] == len(words) and not batch.targets[row, len(words) :].any()


def test_silence_is_trimmed_where_wanted(dataset):
    loader = Loader(dataset, Symbols("words", ["a", "b", "c"]), torch.device("cpu"), trim=True)
    batch = loader.read([4])
    trimmed = trim_silence(dataset[4].audio)
    assert batch.num_samples[0] == len(trimmed) < len(dataset[4].audio) - 10000
    np.testing.assert_array_equal(batch.audio[0], trimmed)


def test_collate_takes_empty_targets():
    batch = collate([np.ones(3, np.int16), np.ones(5, np.int16)], [[], []], ["a", "b"])
    assert batch.targets.shape == (2, 0) and batch.target_lengths.tolist() == [0, 0]
    assert batch.audio.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.audio, batch.audio) and moved.ids == ["a", "b"]


def threads():
    return [thread for thread in threading.enumerate() if thread is not threading.main_thread()]


def test_reading_ahead_is_a_map_in_order():
    assert list(read_ahead(range(50), lambda x: x * x, 4)) == [x * x for x in range(50)]
    assert list(read_ahead([], lambda x: x, 4)) == []
    assert list(read_ahead(range(3), lambda x: None, 1)) == [None, None, None]


def test_it_reads_only_so_far_ahead():
    read, waiting = [], threading.Event()

    def note(x):
        read.append(x)
        if len(read) == 4:
            waiting.set()
        return x

    results = read_ahead(range(100), note, 3)
    assert next(results) == 0
    assert waiting.wait(10)
    results.close()
    assert len(read) <= 6  # one given out, three waiting, one in hand, one put when the first was taken


def test_an_error_of_the_reader_is_raised_where_its_result_was_due():
    def fail(x):
        if x == 3:
            raise KeyError("three")
        return x

    results = read_ahead(range(10), fail, 8)
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)
    assert list(results) == []


def test_an_error_of_the_plan_is_raised():
    def plan():
        yield 1
        raise OSError("the plan is gone")

    results = read_ahead(plan(), lambda x: x, 2)
    assert next(results) == 1
    with pytest.raises(OSError, match="the plan is gone"):
        next(results)


@pytest.mark.parametrize("ahead", [1, 4])
def test_the_thread_ends_when_the_user_leaves(ahead):
    before = threads()
    results = read_ahead(iter(int, 1), lambda x: x, ahead)  # endless
    assert next(results) == 0
    assert len(threads()) == len(before) + 1
    results.close()
    assert threads() == before


def test_the_thread_ends_when_the_loop_over_batches_is_left(loader):
    before = threads()

    def first(plan):
        for batch in loader.batches(plan):
            return batch.ids

    assert first([[0]] * 1000) == ["u0"]
    assert threads() == before


def test_an_index_out_of_range_reaches_the_user(loader):
    with pytest.raises(IndexError):
        list(loader.batches([[0], [99]]))
