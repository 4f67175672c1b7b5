"""The evaluation of symbols: several references, and figures without audio."""

import json
import random
import re
from dataclasses import replace

import pytest

import rnnt
from rnnt.config import ScoringConfig
from rnnt.dataset import Dataset, write_split
from rnnt.decoding.decoder import parse_decoders
from rnnt.error_rate import score_pairs
from rnnt.measure import measure_of
from rnnt.settings import load_config
from rnnt.shard import StoredUtterance
from rnnt.training.trainer import Trainer

SMALL = (
    "device=cpu", "model.encoder.lstm.hidden=24", "model.predictor.hidden=16", "model.predictor.embedding=8",
    "model.joint.hidden=24", "symbols.embedding=12", "train.batch=16", "train.epochs=6", "data.buckets=2",
    "optim.lr=0.01", "model.encoder.lstm.dropout=0", "model.predictor.dropout=0", "model.joint.dropout=0",
    "decoding.method=greedy", "decoding.batch=7",
)  # fmt: skip
SOUNDS = {"a": "AE", "b": "B", "c": "K"}


def pronounced(word, rng):
    """One or several pronunciations: the sounds of the letters, with some of them voiceless."""
    plain = [SOUNDS[letter] for letter in word]
    others = {" ".join(rng.choice([sound, "P"]) for sound in plain) for _ in range(rng.randrange(3))}
    return list(dict.fromkeys([*sorted(others), " ".join(plain)]))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a run, and that of its data, where each word has up to three pronunciations."""
    folder = tmp_path_factory.mktemp("words")
    for name, count, seed in (("train", 120, 0), ("dev", 40, 1)):
        rng = random.Random(seed)
        words = sorted({"".join(rng.choices("abc", k=rng.randrange(1, 6))) for _ in range(count)})
        lines = [(word, text) for word in words for text in pronounced(word, rng)]
        rng.shuffle(lines)
        found = [StoredUtterance(f"{i}-{word}", list(word), text) for i, (word, text) in enumerate(lines)]
        write_split(folder / "data" / name, found)
    Trainer(load_config("g2p", SMALL), folder / "data", folder / "run").run()
    return folder


def by_word(dataset):
    texts = {}
    for utterance in dataset:
        texts.setdefault("".join(utterance.input), []).append(utterance.text)
    return texts


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_word_is_right_if_one_of_its_references_is(model):
    dataset, recognizer = Dataset(model / "data" / "dev"), rnnt.load(model / "run")
    texts, result = by_word(dataset), recognizer.evaluate(dataset)
    assert ["".join(pair.input) for pair in result.pairs] == list(texts)
    assert 25 < len(texts) < result.decoded == len(dataset)
    for pair in result.pairs:
        assert list(pair.references or (pair.reference,)) == texts["".join(pair.input)]
    wrong = sum(pair.hypothesis not in texts["".join(pair.input)] for pair in result.pairs)
    rate = score_pairs(result.pairs, result.measure.first)
    assert (rate.errors, rate.reference_length) == (wrong, len(texts)) and 0 < wrong < len(texts)
    assert min(row["valid_wer"] for row in rows_of(model / "run") if "valid_wer" in row) == rate.rate


def test_the_loss_is_a_mean_over_all_utterances(model):
    dataset, recognizer = Dataset(model / "data" / "dev"), rnnt.load(model / "run")
    alone = [recognizer.evaluate(dataset.subset([i])) for i in range(len(dataset))]
    whole = recognizer.evaluate(dataset)
    symbols = sum(len(text.split()) for text in dataset.texts())
    assert whole.symbols == symbols
    assert whole.loss == pytest.approx(sum(each.loss * each.symbols for each in alone) / symbols, rel=1e-4)


def test_the_order_of_the_utterances_changes_no_rate(model):
    dataset, recognizer = Dataset(model / "data" / "dev"), rnnt.load(model / "run")
    order = random.Random(5).sample(range(len(dataset)), len(dataset))
    for name in ("sequences", "symbols"):
        measure = measure_of(ScoringConfig(measure=name))
        results = [recognizer.evaluate(data, measure=measure) for data in (dataset, dataset.subset(order))]
        first, second = (score_pairs(result.pairs, measure.first) for result in results)
        assert first.errors == second.errors
        assert measure.first.name == "symbol" or first.rate == second.rate


def test_lists_and_counts_are_of_words(model):
    dataset, recognizer = Dataset(model / "data" / "dev"), rnnt.load(model / "run")
    decoders = parse_decoders(["greedy", "beam:4"], recognizer.config.decoding)
    result = recognizer.evaluate(dataset, decoders=decoders, nbest=4)
    words = len(by_word(dataset))
    for found in result.decoders:
        assert len(found.pairs) == len(found.nbest) == words and found.lower + found.higher <= words
        assert [entries[0].text for entries in found.nbest] == [pair.hypothesis for pair in found.pairs]


def test_what_is_truncated_is_named_once(model):
    recognizer, dataset = rnnt.load(model / "run"), Dataset(model / "data" / "dev")
    whole = recognizer.evaluate(dataset)
    decoding = replace(recognizer.config.decoding, max_symbols=2)
    recognizer.config = replace(recognizer.config, decoding=decoding)
    result = recognizer.evaluate(dataset)
    longer = [pair.id for pair in whole.pairs if len(pair.hypothesis.split()) > 2]
    reached = [pair.id for pair in result.pairs if len(pair.hypothesis.split()) == 2]
    assert longer and set(longer) <= set(result.truncated)
    assert result.truncated == [name for name in reached if name in result.truncated]


def test_the_command(model, call, tmp_path, capsys):
    options = ["--data", model / "data" / "dev", "--out", tmp_path, "--decoding", "beam:4", "--nbest", "4"]
    assert call("evaluate", model / "run", *options) == 0
    text = capsys.readouterr().out
    dataset = Dataset(model / "data" / "dev")
    texts = by_word(dataset)
    records = [json.loads(line) for line in (tmp_path / "nbest.jsonl").read_text().splitlines()]
    pairs = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    found = ["".join(pair["input"]) for pair in pairs]
    assert found == list(texts)
    missed = sum(not {entry["text"] for entry in row["nbest"]} & set(texts[word]) for word, row in zip(found, records))
    assert re.search(rf"\noracle of the 4 best: WER [\d.]+ % \[[\d., ]+\], {missed} of {len(texts)} have", text)
    assert re.match(r"WER [\d.]+ % \[[\d., ]+\], \d+ of \d+ have a wrong symbol\nPER [\d.]+ % ", text)
    assert "utterances a second" in text and "real time" not in text
    page = (tmp_path / "report.html").read_text()
    assert "utt/s" in page and "real time" not in page and "of audio" not in page
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["utterances"] == len(texts) and scores["decoders"][0]["utterances_per_second"] > 0
