"""Counts equal those of a dictionary, whatever the size of the chunks and of the vocabulary."""

import random
from collections import Counter

import numpy as np
import pytest

from rnnt.ngram import counts
from rnnt.ngram.counts import END, START, count_ngrams


@pytest.mark.parametrize("order", [1, 2, 3, 6, 10])
@pytest.mark.parametrize("words", [6, 1026, 3_000_000])
@pytest.mark.parametrize("chunk,merged", [(1 << 20, 1 << 20), (20, 1 << 20), (20, 3), (100, 40)])
def test_counts(tmp_path, monkeypatch, order, words, chunk, merged):
    monkeypatch.setattr(counts, "_CHUNK", chunk)
    monkeypatch.setattr(counts, "_MERGED", merged)
    rng = random.Random(order)
    used = [3, 4, 5, words - 1]
    sentences = [[rng.choice(used) for _ in range(rng.randrange(12))] for _ in range(40)]
    expected = Counter()
    for sentence in sentences:
        text = [START] * (order - 1) + sentence + [END]
        expected.update(tuple(text[i : i + order]) for i in range(len(text) - order + 1))
    arrays = (np.array(sentence, np.uint32) for sentence in sentences)
    found = []
    for columns, numbers in count_ngrams(arrays, order, words, tmp_path):
        found += zip(zip(*(column.tolist() for column in columns)), numbers.tolist())
    assert [gram for gram, _ in found] == sorted(gram[::-1] for gram in expected)
    assert {gram[::-1]: number for gram, number in found} == expected
    assert not list(tmp_path.iterdir())


def test_no_sentence(tmp_path):
    assert list(count_ngrams([], 3, 10, tmp_path)) == []


def test_empty_sentences_end_at_once(tmp_path):
    ((columns, numbers),) = count_ngrams([[], []], 2, 10, tmp_path)
    assert [column.tolist() for column in columns] == [[END], [START]]
    assert numbers.tolist() == [2]
