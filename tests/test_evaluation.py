"""Evaluation: every utterance is scored, in order, whatever the batch; bad ones are skipped and listed."""

import copy
import math

import pytest
import torch

from rnnt.dataset import Dataset, write_split
from rnnt.decoding.decoder import parse_decoders
from rnnt.loss import rnnt_loss
from rnnt.shard import StoredUtterance

RATE = 16000
TEXTS = ["a b", "c", "a a c", "b", "b c a", "z a", ""]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, utterances):
    folder = tmp_path_factory.mktemp("data") / "test"
    write_split(
        folder,
        [
            StoredUtterance(f"u{i}", samples, text, f"s{i % 2}")
            for i, (samples, text) in enumerate(zip(utterances, TEXTS))
        ],
        RATE,
    )
    return Dataset(folder)


def plain_loss(recognizer, dataset):
    """Nats a symbol over the utterances that can be encoded, one after the other."""
    total, symbols = 0.0, 0
    for utterance in dataset:
        if "z" in utterance.text:
            continue
        audio = torch.from_numpy(utterance.input.copy())[None]
        tokens = torch.tensor([recognizer.tokenizer.encode(utterance.text)], dtype=torch.long)
        features = recognizer.features(audio, torch.tensor([audio.shape[1]]))
        with torch.no_grad():
            total += recognizer.model(*features, tokens, torch.tensor([tokens.shape[1]])).item()
        symbols += tokens.shape[1]
    return total / symbols


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_evaluation_scores_every_utterance_in_order(recognizer, expected, utterances, dataset, batch_size):
    result = recognizer.evaluate(dataset, batch_size)
    assert [pair.id for pair in result.pairs] == [f"u{i}" for i in range(7)]
    assert [pair.reference for pair in result.pairs] == TEXTS
    assert [pair.hypothesis for pair in result.pairs] == [transcript.text for transcript in expected]
    assert [pair.seconds for pair in result.pairs] == [len(samples) / RATE for samples in utterances]
    assert result.loss == pytest.approx(plain_loss(recognizer, dataset), rel=1e-4)
    assert [pair.speaker for pair in result.pairs] == [f"s{i % 2}" for i in range(7)]
    assert result.skipped == [] and result.truncated == []
    assert result.without_loss == [("u5", "unknown to the tokenizer: 'z'")]


def test_evaluation_names_what_the_limit_of_symbols_truncated(dataset, expected, make):
    most = max(len(transcript.tokens) for transcript in expected) - 1
    result = make(decoding={"max_symbols_per_frame": 3, "max_symbols": most}).evaluate(dataset)
    assert result.truncated == [f"u{i}" for i, transcript in enumerate(expected) if len(transcript.tokens) > most]
    assert len(result.pairs) == 7


def test_losses_that_are_not_finite_are_left_out_and_listed(dataset, monkeypatch, make):
    model = make()
    original = model.model.loss

    def loss(*arguments):
        losses = original(*arguments)
        losses[1] = math.inf if len(losses) == 7 else losses[1]
        return losses

    monkeypatch.setattr(model.model, "loss", loss)
    result = model.evaluate(dataset, 7)
    assert len(result.pairs) == 7 and math.isfinite(result.loss)
    assert len(result.without_loss) == 2 and ("u5", "unknown to the tokenizer: 'z'") in result.without_loss
    assert "its loss is not finite" in [reason for _, reason in result.without_loss]


def test_evaluation_reports_its_progress(recognizer, dataset):
    seen = []

    def track(items, total, name):
        seen.append((total, name))
        for item in items:
            seen.append(None)
            yield item

    recognizer.evaluate(dataset, 2, track)
    assert seen == [(7, "evaluate")] + [None] * 7


@pytest.mark.parametrize("error", [ValueError("bad\nsamples"), RuntimeError(""), OSError("I/O error")])
def test_a_bad_utterance_is_skipped_and_listed(dataset, expected, monkeypatch, error, make):
    model = make()
    original = Dataset.read

    def read(self, index, trim=False):
        if index in (2, 5):
            raise error
        return original(self, index, trim)

    monkeypatch.setattr(Dataset, "read", read)
    result = model.evaluate(dataset, 4)
    assert [pair.id for pair in result.pairs] == ["u0", "u1", "u3", "u4", "u6"]
    assert [pair.hypothesis for pair in result.pairs] == [expected[i].text for i in (0, 1, 3, 4, 6)]
    reason = " ".join(str(error).split()) or "RuntimeError"
    assert sorted(result.skipped) == [("u2", reason), ("u5", reason)]


def test_evaluation_in_bfloat16(dataset, make):
    result = make(precision="bfloat16").evaluate(dataset)
    assert len(result.pairs) == 7 and result.skipped == [] and math.isfinite(result.loss)


def test_data_of_another_rate_is_refused(dataset, make):
    model = make(features={"sample_rate": 8000, "high_hz": 4000.0})
    with pytest.raises(ValueError, match="the data is at 16000 Hz, the model at 8000 Hz; prepare the data again"):
        model.evaluate(dataset)


def test_an_utterance_whose_loss_alone_fails_is_scored_and_listed(dataset, expected, monkeypatch, make):
    model = make()
    original = model.model.loss

    def loss(encoder, lengths, targets, target_lengths):
        if 2 in target_lengths:
            raise RuntimeError("not enough memory:\nyou tried to allocate 820 GB")
        return original(encoder, lengths, targets, target_lengths)

    monkeypatch.setattr(model.model, "loss", loss)
    result = model.evaluate(dataset, 3)
    assert [pair.hypothesis for pair in result.pairs] == [transcript.text for transcript in expected]
    failed = [f"u{i}" for i, text in enumerate(TEXTS) if len(text.split()) == 2 and "z" not in text]
    assert failed and result.skipped == [] and math.isfinite(result.loss)
    why = {name: reason for name, reason in result.without_loss}
    assert sorted(why) == sorted({*failed, "u5"})
    assert all(why[name] == "not enough memory: you tried to allocate 820 GB" for name in failed)


def test_a_text_that_nobody_speaks_in_the_time_is_scored_without_a_loss(recognizer, utterances, tmp_path):
    texts = ["a b", "a " * 80_000, "c"]
    write_split(tmp_path / "a", [StoredUtterance(str(i), utterances[i], text) for i, text in enumerate(texts)], RATE)
    asked = []

    def loss(encoder, lengths, targets, target_lengths):
        asked.append(targets.shape[1])
        return torch.ones(len(targets))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recognizer.model, "loss", loss)
        result = recognizer.evaluate(Dataset(tmp_path / "a"))
    assert len(result.pairs) == 3 and max(asked) == 2 and result.symbols == 3
    reason = "its text has 160000 characters for 0.20 s of audio, more than 100 a second"
    assert result.without_loss == [("1", reason)]


def decoders_of(recognizer):
    return parse_decoders(["greedy", "beam:2", "beam:5"], recognizer.config.decoding)


def test_several_decoders_share_the_encoder_and_find_what_each_finds_alone(dataset, make, monkeypatch):
    model = make()
    calls = []
    encode = type(model).encode
    monkeypatch.setattr(type(model), "encode", lambda self, batch: calls.append(len(batch)) or encode(self, batch))
    together = model.evaluate(dataset, 3, decoders=decoders_of(model))
    assert sum(calls) == 7 and len(calls) == 3
    assert [result.decoder for result in together.decoders] == ["greedy", "beam:2", "beam:5"]
    assert together.pairs == together.decoders[0].pairs
    assert len({tuple(pair.hypothesis for pair in result.pairs) for result in together.decoders}) == 3
    for decoder, result in zip(decoders_of(model), together.decoders):
        alone = model.evaluate(dataset, 1, decoders=[decoder])
        assert alone.pairs == result.pairs and alone.loss == pytest.approx(together.loss, rel=1e-5)
        assert result.usage.seconds > 0 and result.usage.peak_bytes > 0
        assert alone.encoder.seconds > 0 and alone.encoder.peak_bytes == 0


def exact_log_probability(recognizer, utterance, tokens):
    """By the dense loss in float64, of one utterance alone."""
    model = copy.deepcopy(recognizer).double()
    samples = torch.from_numpy(utterance.input.copy())[None]
    frames, lengths = recognizer.features(samples, torch.tensor([samples.shape[1]]))
    with torch.no_grad():
        encoder_BTD, lengths = model.model.encoder(frames.double(), lengths)
        joint, symbols = model.model.joint, torch.tensor([tokens], dtype=torch.long)
        predicted = joint.project_predictor(model.model.predictor(symbols))
        logits = joint(joint.project_encoder(encoder_BTD)[:, :, None], predicted[:, None])
        return -rnnt_loss(logits, symbols, lengths, torch.tensor([len(tokens)])).item()


@pytest.mark.parametrize("batch_size", [1, 7])
def test_search_errors_are_counted_by_exact_probabilities(dataset, make, batch_size):
    model = make()
    result = model.evaluate(dataset, batch_size, decoders=decoders_of(model), nbest=1)
    exact = [
        [exact_log_probability(model, utterance, best.tokens) for utterance, (best,) in zip(dataset, found.nbest)]
        for found in result.decoders
    ]
    counts = [(sum(b < a for a, b in zip(exact[0], row)), sum(b > a for a, b in zip(exact[0], row))) for row in exact]
    assert [(found.lower, found.higher) for found in result.decoders] == counts
    assert counts[0] == (0, 0) and min(counts[2]) > 0
    backwards = model.evaluate(dataset, batch_size, decoders=decoders_of(model)[::-1]).decoders[-1]
    assert (backwards.higher, backwards.lower) == counts[2]


def test_lists_of_the_best_hypotheses(dataset, make):
    model = make()
    greedy, _, wide = model.evaluate(dataset, decoders=decoders_of(model), nbest=4).decoders
    assert [len(entries) for entries in greedy.nbest] == [1] * 7
    assert max(len(entries) for entries in wide.nbest) == 4
    for pair, entries in zip(wide.pairs, wide.nbest):
        assert entries[0].text == pair.hypothesis
        assert [entry.text for entry in entries] == [model.tokenizer.decode(entry.tokens) for entry in entries]
        assert len({tuple(entry.tokens) for entry in entries}) == len(entries)
        assert [entry.total for entry in entries] == sorted((entry.score for entry in entries), reverse=True)
    assert model.evaluate(dataset).decoders[0].nbest == []
    with pytest.raises(ValueError, match="lists of the 6 best hypotheses need a beam of 6; give --decoding beam:6"):
        model.evaluate(dataset, decoders=decoders_of(model), nbest=6)


def test_an_utterance_that_one_decoder_fails_on_is_skipped_by_all(dataset, make, monkeypatch):
    model = make()
    search = type(model).search
    bad = dataset.read(2)[0].input

    def fail(self, batch, encoder_BTD, lengths, decoder):
        if decoder.name == "beam:5" and len(bad) in batch.input_lengths:
            raise RuntimeError("no memory")
        return search(self, batch, encoder_BTD, lengths, decoder)

    monkeypatch.setattr(type(model), "search", fail)
    result = model.evaluate(dataset, 4, decoders=decoders_of(model))
    assert result.skipped == [("u2", "no memory")]
    assert [[pair.id for pair in found.pairs] for found in result.decoders] == [
        ["u0", "u1", "u3", "u4", "u5", "u6"]
    ] * 3


def test_hypotheses_whose_probabilities_cannot_be_found_are_no_search_errors(dataset, make, monkeypatch):
    model = make()

    def fail(*_):
        raise RuntimeError("no memory")

    monkeypatch.setattr("rnnt.evaluation._log_probs", fail)
    result = model.evaluate(dataset, decoders=decoders_of(model))
    assert len(result.pairs) == 7 and [(found.lower, found.higher) for found in result.decoders] == [(0, 0)] * 3
