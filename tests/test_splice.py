"""Spliced utterances: each share of a change, the bounds of lengths, texts, and draws that the seed alone decides."""

from dataclasses import replace

import numpy as np
import pytest

from rnnt.config import AugmentConfig
from rnnt.shard import StoredUtterance
from rnnt.splice import splice

RATE = 8000


def utterance(number, seconds, text="a b"):
    rng = np.random.default_rng(number)
    loudness = np.where(np.arange(round(seconds * RATE)) % 4000 < 3000, 3000, 30)  # words, and pauses between them
    samples = np.rint(loudness * rng.standard_normal(len(loudness))).clip(-32768, 32767).astype(np.int16)
    samples.flags.writeable = False  # as those of a dataset are
    return StoredUtterance(f"u{number}", samples, text, f"s{number}")


UTTERANCES = [utterance(i, 1 + 0.05 * i, f"w{i}") for i in range(8)]


def spliced(seed, longest=10, utterances=UTTERANCES, separator=" ", **settings):
    return splice(utterances, (0, seed, 0), AugmentConfig(**settings), RATE, longest * RATE, separator)


def same(a, b):
    return len(a) == len(b) and all(
        (x.id, x.text, x.speaker) == (y.id, y.text, y.speaker) and np.array_equal(x.input, y.input)
        for x, y in zip(a, b)
    )


ALL = {"ends_probability": 0.5, "join_probability": 0.5, "wordless_probability": 0.3}


def test_off_means_nothing_happens():
    assert all(same(spliced(seed), UTTERANCES) for seed in range(20))


def test_the_seed_decides_everything():
    for seed in range(20):
        assert same(spliced(seed, **ALL), spliced(seed, **ALL))
    assert not same(spliced(1, wordless_probability=1), spliced(2, wordless_probability=1))


@pytest.mark.parametrize("name", ["ends_probability", "join_probability"])
def test_a_share_of_the_batches_changes(name):
    changed = sum(not same(spliced(seed, **{name: 0.3}), UTTERANCES) for seed in range(300))
    assert 60 < changed < 120


def test_words_lie_within_the_ends_unchanged():
    seconds, kinds = [], set()
    for seed in range(100):
        for old, new in zip(UTTERANCES, spliced(seed, ends_probability=1, ends_seconds=2), strict=True):
            assert (new.id, new.text, new.speaker) == (old.id, old.text, old.speaker) and new.input.dtype == np.int16
            windows = np.lib.stride_tricks.sliding_window_view(new.input, 200)
            before = np.flatnonzero((windows == old.input[:200]).all(1))[0]
            np.testing.assert_array_equal(new.input[before : before + len(old.input)], old.input)
            seconds += [before / RATE, (len(new.input) - before - len(old.input)) / RATE]
            if before > 400:
                kinds.add(bool(new.input[:before].any()))
                assert new.input[:before].std() < 100  # its background, and none of its words
    assert 0 <= min(seconds) < 0.1 and 1.9 < max(seconds) <= 2 and kinds == {True, False}


def test_neighbours_are_joined_with_their_texts():
    sizes, gaps = set(), []
    for seed in range(100):
        joined = spliced(seed, join_probability=1, join_utterances=3)
        assert [name for u in joined for name in u.id.split("+")] == [u.id for u in UTTERANCES]
        for u in joined:
            parts = [UTTERANCES[int(name[1:])] for name in u.id.split("+")]
            assert u.text == " ".join(part.text for part in parts)
            np.testing.assert_array_equal(u.input[: len(parts[0].input)], parts[0].input)
            np.testing.assert_array_equal(u.input[-len(parts[-1].input) :], parts[-1].input)
            sizes.add(len(parts))
            if len(parts) == 2:
                gaps.append((len(u.input) - sum(len(part.input) for part in parts)) / RATE)
    assert sizes == {2, 3}
    assert min(gaps) == 0 and 0.9 < max(gaps) <= 1
    assert 0.2 < np.mean(np.array(gaps) == 0) < 0.45
    assert spliced(0, join_probability=1, separator="")[0].text.startswith("w0w1")


def test_an_empty_text_adds_no_space():
    texts = [u.text for u in spliced(0, utterances=[utterance(0, 1, ""), utterance(1, 1, "a")], join_probability=1)]
    assert texts == ["a"]


@pytest.mark.parametrize("longest", [0.5, 1.2, 2.5, 4])
def test_no_change_makes_an_utterance_longer_than_the_longest(longest):
    for seed in range(50):
        for u in spliced(seed, longest, ends_probability=1, join_probability=1, wordless_probability=0.2):
            assert len(u.input) <= max(longest * RATE, len(UTTERANCES[int(u.id[1:])].input) if "+" not in u.id else 0)
    assert len(spliced(0, np.inf, ends_probability=1, join_probability=1, join_utterances=8)) < 8


def test_utterances_without_words_are_stationary_and_have_no_text():
    levels, count = [], 0
    for seed in range(200):
        for old, new in zip(UTTERANCES, spliced(seed, wordless_probability=0.5), strict=True):
            if new is old:
                continue
            count += 1
            assert new.text == "" and new.id == old.id and len(new.input) == len(old.input)
            assert new.input.dtype == np.int16
            quarters = np.array([part.astype(float).std() for part in np.array_split(new.input, 4)])
            assert quarters.max() <= 1.6 * quarters.min() + 2
            levels.append(quarters.mean())
    assert 720 < count < 880
    assert 0.05 < np.mean(np.array(levels) == 0) < 0.4 and max(levels) > 3000


def test_the_shortest_utterance_can_be_changed():
    for seed in range(50):
        one = StoredUtterance("one", np.ones(1, np.int16), "a")
        for u in spliced(seed, utterances=[one, one], **ALL):
            assert len(u.input) >= 1


class Ramp:
    """Noise whose samples count upwards, so that it is told from all others."""

    name, fingerprint, note = "ramp", "", ""

    def draw(self, length, rng, id=""):
        return (np.arange(length) % 100 - 50).astype(np.int16)


def is_ramp(samples):
    steps = np.diff(samples.astype(float))
    return len(steps) > 200 and np.median(np.abs(steps - np.median(steps))) <= 1 and np.median(steps) > 0


def with_noise(seed, **settings):
    return splice(UTTERANCES, (0, seed, 0), AugmentConfig(**settings), RATE, 10 * RATE, " ", Ramp())


def test_half_of_the_background_is_noise_that_is_given():
    found, levels = [], []
    for seed in range(60):
        settings = dict(ends_probability=1, ends_seconds=2, noise_snr_min=10, noise_snr_max=20)
        for old, new in zip(UTTERANCES, with_noise(seed, **settings), strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(new.input, 200)
            before = np.flatnonzero((windows == old.input[:200]).all(1))[0]
            if before > 500:
                found.append(is_ramp(new.input[:before]))
                if found[-1]:
                    power = [np.mean(x.astype(float) ** 2) for x in (old.input, new.input[:before])]
                    levels.append(10 * np.log10(power[0] / power[1]))
    assert 0.42 < np.mean(found) < 0.58
    assert 9.9 < min(levels) < 11 and 19 < max(levels) < 20.1


def test_half_of_the_utterances_without_words_are_noise_that_is_given():
    found = [is_ramp(u.input) for seed in range(40) for u in with_noise(seed, wordless_probability=1)]
    assert 0.3 < np.mean(found) < 0.5  # at the lowest levels, rounding hides the ramp


def test_pauses_become_longer():
    """The utterances pause for an eighth of a second; two pauses of one are made a quarter."""
    long = UTTERANCES[7].input.copy()
    pauses = [(3000, 4900), (7000, 8500)]
    for start, end in pauses:
        long[start:end] = np.rint(np.random.default_rng(start).normal(0, 20, end - start))
    given = [StoredUtterance("u", long, "w")]
    added = []
    for seed in range(200):
        (new,) = spliced(seed, utterances=given, pauses_probability=1)
        assert new.text == "w" and new.input.dtype == np.int16
        words = [long[: pauses[0][0]], long[pauses[0][1] : pauses[1][0]], long[pauses[1][1] :]]
        place = 0
        for word in words:
            windows = np.lib.stride_tricks.sliding_window_view(new.input[place:], len(word))
            place += int(np.flatnonzero((windows == word).all(1))[0]) + len(word)
        assert place == len(new.input)
        added.append((len(new.input) - len(long)) / RATE)
    assert 0.15 < np.mean(np.array(added) == 0) < 0.35 and 1.6 < max(added) <= 2
    assert min(x for x in added if x) >= 0.05
    assert all(same(spliced(seed, pauses_probability=1), UTTERANCES) for seed in range(10))  # too short to be pauses
    for seed in range(20):
        (new,) = spliced(seed, len(long) / RATE + 0.3, given, pauses_probability=1)
        assert len(new.input) <= len(long) + 0.3 * RATE


def test_pauses_of_a_share_of_the_utterances():
    long = np.concatenate([UTTERANCES[0].input, np.zeros(3000, np.int16), UTTERANCES[1].input])
    changed = 0
    for seed in range(100):
        given = [StoredUtterance(f"u{i}", long, "w") for i in range(8)]
        changed += sum(len(u.input) > len(long) for u in spliced(seed, utterances=given, pauses_probability=0.4))
    assert 0.15 * 800 < changed < 0.25 * 800  # half of their pauses


def test_silence_at_the_ends_is_removed_and_no_word():
    """Words are 3000 loud and pauses 30: 40 dB below, which some draws take for silence and others do not."""
    loud = utterance(9, 1.0)
    quiet = replace(loud, input=np.concatenate([np.zeros(3000, np.int16), loud.input, np.zeros(5000, np.int16)]))
    starts, ends = set(), set()
    for seed in range(40):
        (new,) = spliced(seed, utterances=[quiet], trim_probability=1)
        assert (new.id, new.text, new.speaker) == (quiet.id, quiet.text, quiet.speaker)
        windows = np.lib.stride_tricks.sliding_window_view(quiet.input, len(new.input))
        (start,) = np.flatnonzero((windows == new.input).all(1))
        starts.add(int(start)), ends.add(int(start) + len(new.input))
    # The last of its words ends after 7000 samples. Noise of 20 ms, the length of a window, is louder or softer.
    assert starts <= set(range(3000 - 160, 3001))
    assert all(abs(end - 10_000) <= 160 or abs(end - 11_000) <= 160 for end in ends) and max(ends) - min(ends) > 500


def test_a_share_of_the_utterances_is_trimmed():
    padded = [replace(u, input=np.pad(u.input, 2000)) for u in UTTERANCES]
    changed = sum(
        len(new.input) < len(old.input)
        for seed in range(50)
        for old, new in zip(padded, spliced(seed, utterances=padded, trim_probability=0.3), strict=True)
    )
    assert 80 < changed < 160
