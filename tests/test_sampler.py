"""Batches: everybody once an epoch, of like length, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnt.sampler import Sampler


def make(seconds, usable=None, batch=4, buckets=3, seed=0, **train):
    num_samples = (np.asarray(seconds) * 16000).astype(np.int32)
    usable = np.arange(len(num_samples)) if usable is None else np.asarray(usable)
    curriculum = (train.get("curriculum_epochs", 0), 16000 * train.get("curriculum_seconds", 2.0), 16000 * 16.7)
    return Sampler(num_samples, usable, batch, buckets, seed, *curriculum)


@given(
    count=st.integers(1, 60), share=st.floats(0.1, 1), batch=st.integers(1, 20), buckets=st.integers(1, 9),
    epoch=st.integers(0, 5), curriculum=st.sampled_from([0, 0.5, 3]),
)  # fmt: skip
@settings(max_examples=80)
def test_an_epoch_has_every_utterance_once(count, share, batch, buckets, epoch, curriculum):
    rng = np.random.default_rng(count)
    seconds = rng.uniform(0.2, 16, count)
    usable = np.sort(rng.choice(count, max(1, int(share * count)), replace=False))
    sampler = make(seconds, usable, batch, buckets, curriculum_epochs=curriculum)
    batches = sampler.batches(epoch)
    assert len(batches) == sampler.steps(epoch)
    assert all(1 <= len(part) <= batch for part in batches)
    assert sum(len(part) < batch for part in batches) <= 1
    seen = np.sort(np.concatenate(batches))
    assert len(seen) == sampler.admitted(epoch)
    if epoch >= curriculum:
        assert np.array_equal(seen, usable)
    else:
        assert np.isin(seen, usable).all() and len(np.unique(seen)) == len(seen)


def test_the_seed_and_the_epoch_decide_everything():
    seconds = np.random.default_rng(0).uniform(1, 16, 100)

    def order(seed, epoch):
        return [part.tolist() for part in make(seconds, seed=seed).batches(epoch)]

    assert order(0, 3) == order(0, 3)
    orders = [order(0, 0), order(0, 1), order(1, 0)]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    sampler = make(seconds)
    sampler.batches(2)
    assert [part.tolist() for part in sampler.batches(1)] == orders[1]  # no memory of other epochs
    assert sorted(map(sorted, orders[0])) != sorted(map(sorted, orders[1]))  # other company, too


def test_a_batch_holds_utterances_of_like_length():
    seconds = np.random.default_rng(0).permutation(np.linspace(1, 16, 240))
    sampler = make(seconds, batch=8, buckets=6)
    spreads = [np.ptp(seconds[part]) for part in sampler.batches(0)]
    assert max(spreads) <= 15 / 6 + 0.1
    mixed = [np.ptp(seconds[part]) for part in make(seconds, batch=8, buckets=1).batches(0)]
    assert np.mean(mixed) > 3 * np.mean(spreads)


def test_batches_of_all_lengths_come_in_any_order():
    seconds = np.linspace(1, 16, 240)
    means = [seconds[part].mean() for part in make(seconds, batch=8, buckets=6).batches(0)]
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.5
    assert np.abs(np.diff(means)).mean() > 2


def test_the_curriculum_grows_from_short_to_all():
    seconds = np.arange(0.5, 20.5, 0.5)
    sampler = make(seconds, batch=2, curriculum_epochs=4, curriculum_seconds=2.0)
    longest = [max(seconds[part].max() for part in sampler.batches(epoch)) for epoch in range(6)]
    limits = [2.0 + (16.7 - 2.0) * epoch / 4 for epoch in range(4)]
    assert longest == [seconds[seconds <= limit].max() for limit in limits] + [20.0, 20.0]


def test_the_curriculum_admits_at_least_a_batch():
    sampler = make(np.linspace(5, 10, 30), batch=8, curriculum_epochs=4, curriculum_seconds=1.0)
    assert sampler.admitted(0) == 8 and sampler.steps(0) == 1
    assert np.array_equal(np.sort(sampler.batches(0)[0]), np.arange(8))
    assert make([5, 6], batch=8, curriculum_epochs=4).admitted(0) == 2


def test_the_batches_are_sliced_like_a_list():
    batches = make(np.linspace(1, 10, 50), batch=4).batches(0)
    whole = [part.tolist() for part in batches]
    for part in (slice(3, 7), slice(5, None), slice(None, -2), slice(9, 3)):
        assert [batch.tolist() for batch in batches[part]] == whole[part] and len(batches[part]) == len(whole[part])
    assert batches[-1].tolist() == whole[-1]
    with pytest.raises(IndexError):
        batches[len(batches)]


def test_utterances_of_one_length_stay_in_order():
    sampler = make([2, 1, 2, 1, 2, 1], batch=3, curriculum_epochs=4, curriculum_seconds=1.0)
    assert sorted(sampler.batches(0)[0].tolist()) == [1, 3, 5]


@pytest.mark.parametrize("buckets", [1, 7])
def test_fewer_utterances_than_buckets_or_batch(buckets):
    batches = make([3, 1, 2], batch=8, buckets=buckets).batches(0)
    assert [sorted(part.tolist()) for part in batches] == [[0, 1, 2]]
