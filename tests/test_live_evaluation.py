"""Streams of a dataset: their texts are those of files, and words appear when the latency says."""

import numpy as np
import pytest

from rnnt.dataset import Dataset, write_split
from rnnt.decoding.decoder import parse_decoders
from rnnt.latency import algorithmic_latency
from rnnt.live_evaluation import evaluate_live
from rnnt.shard import StoredUtterance

RATE = 16000


@pytest.fixture(scope="module")
def model(make):
    recognizer = make(blank=-2.0, features={"normalization": "running"})
    recognizer.features.mean.fill_(-7.0)
    recognizer.features.std.fill_(3.0)
    return recognizer


@pytest.fixture(scope="module")
def transcripts(model, utterances):
    return [model.transcribe([samples])[0] for samples in utterances]


@pytest.fixture(scope="module")
def dataset(utterances, transcripts, tmp_path_factory):
    """The utterances with their transcripts as texts."""
    folder = tmp_path_factory.mktemp("data") / "test"
    rows = [StoredUtterance(f"u{n}", x, t.text) for n, (x, t) in enumerate(zip(utterances, transcripts))]
    write_split(folder, rows, RATE)
    return Dataset(folder)


@pytest.mark.parametrize("chunk_ms, batch_size", [(60, None), (37, 1), (1000, 3)])
def test_words_appear_in_the_chunk_with_the_last_sample_that_they_need(
    model, dataset, transcripts, chunk_ms, batch_size
):
    known = {f"u{n}": tuple((word, 0.0, 0.0) for word in t.text.split()) for n, t in enumerate(transcripts)}
    result = evaluate_live(model, dataset, chunk_ms, batch_size, known=known)
    assert [pair.hypothesis for pair in result.pairs] == [pair.reference for pair in result.pairs]
    assert (result.equal, result.skipped, result.without_times) == (7, [], [])
    first = sum(algorithmic_latency(model.features, model.model.encoder))
    expected = []
    for transcript, samples in zip(transcripts, dataset.lengths):
        for frame in transcript.frames:  # a symbol is a word
            chunks = np.ceil((first + frame * model.frame_seconds) * 1000 / chunk_ms - 1e-9)
            expected.append(min(chunks * chunk_ms / 1000, samples / RATE))
    assert len(expected) > 15
    np.testing.assert_allclose(result.delays, expected, atol=1e-9)
    assert result.latency == pytest.approx(first) and result.chunk_seconds == chunk_ms / 1000
    sizes = sorted(-(-int(length) // (RATE * chunk_ms // 1000)) for length in dataset.lengths)
    assert len(result.computing) == {None: sizes[-1], 1: sum(sizes)}.get(batch_size, len(result.computing))


def test_words_without_known_times_are_aligned(model, dataset):
    plain = evaluate_live(model, dataset)
    ends = {u.id: [word.end for word in model.align(u.input.copy(), u.text).words] for u in dataset if u.text}
    known = {u.id: tuple((word, 0.0, end) for word, end in zip(u.text.split(), ends[u.id])) for u in dataset if u.text}
    found = evaluate_live(model, dataset, known=known)
    np.testing.assert_allclose(plain.delays, found.delays)
    shifted = {key: tuple((word, 0.0, end - 1) for word, _, end in times) for key, times in known.items()}
    np.testing.assert_allclose(evaluate_live(model, dataset, known=shifted).delays, found.delays + 1)


def test_beams_revise_what_they_show(model, dataset):
    """With a beam, a word counts from when it stays."""
    (decoder,) = parse_decoders(["beam:4"], model.config.decoding, {})
    result = evaluate_live(model, dataset, decoder=decoder)
    assert result.equal == 7 and len(result.delays) > 15


def test_wrong_words_have_no_delay_and_unknown_texts_are_listed(model, utterances, transcripts, tmp_path):
    first = transcripts[0].text.split()
    swapped = [{"a": "b", "b": "c", "c": "a"}[first[0]], *first[1:]]
    rows = [StoredUtterance("u", utterances[0], " ".join(swapped)), StoredUtterance("z", utterances[2], "z")]
    write_split(tmp_path / "test", rows, RATE)
    known = {"u": tuple((word, 0.0, 0.0) for word in swapped)}
    result = evaluate_live(model, Dataset(tmp_path / "test"), known=known)
    assert len(result.delays) == len(first) - 1 and len(result.pairs) == 2
    assert result.without_times == [("z", "its times are not known, or are those of another text")]
    ((name, why),) = evaluate_live(model, Dataset(tmp_path / "test")).without_times
    assert name == "z" and why.startswith("the text cannot be aligned: ")
    figures = result.to_json()
    assert (figures["equal"], figures["words"]) == (2, len(first) - 1)
    assert figures["delay_median"] == pytest.approx(float(np.median(result.delays)))


def test_bad_utterances_are_skipped(model, dataset, monkeypatch):
    read = Dataset.read

    def failing(self, index, trim=False):
        if index == 2:
            raise OSError("cannot be read")
        return read(self, index, trim)

    monkeypatch.setattr(Dataset, "read", failing)
    result = evaluate_live(model, dataset)
    assert result.skipped == [("u2", "cannot be read")] and len(result.pairs) == 6 and result.equal == 6


def test_data_of_another_rate_is_refused(model, tmp_path, utterances):
    write_split(tmp_path / "test", [StoredUtterance("u", utterances[0], "a")], 8000)
    with pytest.raises(ValueError, match=r"^the data is at 8000 Hz, the model at 16000 Hz; prepare"):
        evaluate_live(model, Dataset(tmp_path / "test"))
