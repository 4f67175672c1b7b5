"""Suspicious texts: their losses against those of single utterances, and what is left out."""

import pytest
import torch

from rnnt.dataset import Dataset, write_split
from rnnt.shard import StoredUtterance
from rnnt.suspicion import find_suspicious, write_suspicious

TEXTS = ["a b", "b", "c b a", "", "a b c c", "a", "unheard of"]


@pytest.fixture(scope="module")
def split(speech, tmp_path_factory):
    """The last utterance has a word that the recognizer does not know, and one has the id of another."""
    folder = tmp_path_factory.mktemp("data") / "test"
    rows = [
        StoredUtterance("twice" if n in (1, 2) else f"u{n}", speech(0.6 + 0.3 * (n % 4), n), text, f"s{n}")
        for n, text in enumerate(TEXTS)
    ]
    write_split(folder, rows)
    return folder


def losses(recognizer, utterance, *texts):
    """-log P of each text, each computed alone."""
    samples = torch.from_numpy(utterance.input.copy())[None]
    with recognizer.inference():
        encoder, lengths = recognizer.model.encoder(*recognizer.features(samples, torch.tensor([samples.shape[1]])))
        found = []
        for text in texts:
            targets = torch.tensor([recognizer.tokenizer.encode(text)], dtype=torch.long)
            found.append(recognizer.model.loss(encoder, lengths, targets, torch.tensor([targets.shape[1]])).item())
    return found


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_the_losses_are_those_of_single_utterances(recognizer, split, batch_size):
    dataset = Dataset(split)
    pairs = recognizer.evaluate(dataset).pairs
    found = find_suspicious(recognizer, dataset, pairs, batch_size)
    expected = []
    for i, pair in enumerate(pairs[:-1]):  # the last cannot be encoded
        utterance = dataset[i]
        assert (pair.id, pair.reference) == (utterance.id, utterance.text)
        given, heard = losses(recognizer, utterance, pair.reference, pair.hypothesis)
        symbols = max(len(pair.reference.split()), len(pair.hypothesis.split()))
        if given > heard + 1e-3:
            expected.append((pair.id, pair.speaker, pytest.approx(given, rel=1e-4), pytest.approx(heard, rel=1e-4)))
            expected[-1] = ((given - heard) / symbols, *expected[-1])
    expected.sort(key=lambda row: -row[0])
    assert len(expected) >= 3
    assert [each.excess for each in found] == pytest.approx([row[0] for row in expected], rel=1e-3)
    assert [(x.pair.id, x.pair.speaker, x.given_loss, x.heard_loss) for x in found] == [row[1:] for row in expected]


def test_texts_that_were_heard_are_not_suspicious(recognizer, split, tmp_path):
    dataset = Dataset(split)
    heard = {pair.speaker: pair.hypothesis for pair in recognizer.evaluate(dataset).pairs}
    write_split(tmp_path / "heard", [StoredUtterance(u.id, u.input, heard[u.speaker], u.speaker) for u in dataset])
    same = Dataset(tmp_path / "heard")
    assert find_suspicious(recognizer, same, recognizer.evaluate(same).pairs) == []
    assert find_suspicious(recognizer, dataset, []) == []


def test_utterances_without_a_pair_are_passed_over(recognizer, split):
    dataset = Dataset(split)
    pairs = recognizer.evaluate(dataset).pairs
    whole = find_suspicious(recognizer, dataset, pairs)
    some = find_suspicious(recognizer, dataset, [pair for pair in pairs if pair.speaker != whole[0].pair.speaker])
    assert [each.pair for each in some] == [each.pair for each in whole[1:]]


def test_the_table(recognizer, split, tmp_path):
    dataset = Dataset(split)
    found = find_suspicious(recognizer, dataset, recognizer.evaluate(dataset).pairs)
    write_suspicious(tmp_path / "suspicious.tsv", found)
    head, *rows = [line.split("\t") for line in (tmp_path / "suspicious.tsv").read_text().splitlines()]
    assert head == ["id", "nats_per_symbol", "given_loss", "heard_loss", "speaker", "given", "heard"]
    assert [row[0] for row in rows] == [each.pair.id for each in found]
    assert [float(row[1]) for row in rows] == pytest.approx([each.excess for each in found], abs=1e-3)
    assert [row[4:] for row in rows] == [[x.pair.speaker, x.pair.reference, x.pair.hypothesis] for x in found]
