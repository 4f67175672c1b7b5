"""The rates of bench_transduction are those of the words that were decoded."""

import bench_transduction
import pytest


class Clock:
    """A clock that only transducing moves on: a second for 10 words, half of that without probabilities."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def perf_counter(self):
        return self.now

    def transduce(self, words, batch_size, probabilities):
        self.calls.append((len(words), batch_size, probabilities))
        self.now += len(words) / (10 if probabilities else 20) * batch_size


def test_rates_are_words_by_the_time_of_each_repetition(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(bench_transduction, "time", clock)
    rates = bench_transduction.measure({"greedy": clock}, [("a",)] * 6, [1, 2], 3)
    assert rates == {("greedy", 1): pytest.approx([20.0] * 3), ("greedy", 2): pytest.approx([10.0] * 3)}
    assert len(clock.calls) == 8 and clock.calls[0] == (6, 1, False)  # the first repetition warms up
