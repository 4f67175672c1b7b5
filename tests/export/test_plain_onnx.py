"""The format `onnx`: graphs from the waveform on, whole and in chunks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnt.export.plain_onnx import DECODER, ENCODER, STREAM, describe_model, plain_engines, plain_graphs, write_plain
from rnnt.export.runtime import greedy_symbols, open_session

NORMALIZATIONS = [
    {"normalization": name, **more}
    for name in ("utterance", "shape", "loud", "global", "running", "none")
    for more in ({}, {"padding": "zeros", "whole_hops": True, "window": 400, "window_type": "hamming", "dither": 0.0})
] + [{"kind": "mfcc", "normalization": "utterance"}, {"peak_floor": 50.0, "normalization": "loud"}]


def fitted(recognizer):
    """Give the features a mean and a deviation, as training does."""
    if recognizer.features.config.fitted:
        with torch.no_grad():
            recognizer.features.mean.fill_(-12.0)
            recognizer.features.std.fill_(3.0)
    return recognizer


def encoded(recognizer, audio):
    samples = torch.from_numpy(audio)[None]
    with recognizer.inference():
        frames, lengths = recognizer.model.encoder(*recognizer.features(samples, torch.tensor([len(audio)])))
    return frames[0, : lengths[0]].numpy()


@pytest.mark.parametrize("features", NORMALIZATIONS, ids=lambda x: "-".join(map(str, x.values())))
def test_encoder_is_that_of_torch_for_any_batch_and_length(make, utterances, features):
    recognizer = fitted(make(features=features))
    session = open_session(plain_graphs(recognizer)[ENCODER].SerializeToString())
    chosen = utterances[:5]
    lengths = np.array([len(each) for each in chosen])
    audio = np.random.default_rng(0).standard_normal((5, lengths.max() + 777)).astype(np.float32)  # padding
    for row, each in zip(audio, chosen):
        row[: len(each)] = each.astype(np.float32) / 32768
    frames, counts = session.run(None, {"audio": audio, "num_samples": lengths})
    for each, found, count in zip(chosen, frames, counts):
        expected = encoded(recognizer, each)
        assert len(expected) == count
        np.testing.assert_allclose(found[:count], expected, atol=2e-4)


@pytest.mark.parametrize(
    "features",
    [
        {"normalization": "running"},
        {"normalization": "global", "window": 400, "padding": "zeros"},
        {"normalization": "none", "window": 400, "whole_hops": True},
        {"normalization": "none", "hop": 200, "stack": 1},
    ],
    ids=lambda x: "-".join(map(str, x.values())),
)
@pytest.mark.parametrize("lstm", [{}, {"lookahead": 2}, {"time_stack": 1, "post_layers": 0}, {"pre_layers": 2}])
def test_chunks_give_the_frames_of_the_whole(make, speech, features, lstm):
    layers = {"hidden": 16, "pre_layers": 1, "post_layers": 1} | lstm
    model = {"encoder": {"lstm": layers}, "predictor": {"embedding": 8, "hidden": 8}, "joint": {"hidden": 16}}
    recognizer = fitted(make(features=features, model=model))
    make_stream = plain_engines(recognizer, plain_graphs(recognizer))["onnx, in chunks"]
    engine = make_stream()
    step = engine._sizes[0]
    for samples in (1, 30, 150, 999, step, 4 * step, 4 * step + 41, 12 * step - 7, 25000):
        audio = speech(2.0, samples)[:samples]
        expected, found = encoded(recognizer, audio), engine.encode(audio / 32768)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize(
    "model", [{"predictor": {"embedding": 0, "hidden": 8, "layers": 1}}, {"joint": {"kind": "additive"}}, {}]
)
def test_greedy_search_finds_the_symbols_of_torch(make, utterances, model):
    layers = {"encoder": {"hidden": 16, "pre_layers": 1, "post_layers": 1}, "init_scale": 1.0}
    random = layers | {"predictor": {"hidden": 8, "layers": 1}, "joint": {"hidden": 16}}
    recognizer = make(model=random | model)
    engine = plain_engines(recognizer, plain_graphs(recognizer))["onnx"]()
    total = 0
    for audio in utterances:
        (expected,) = recognizer.transcribe([audio])
        found = greedy_symbols(engine, engine.encode(audio / 32768), 3, 300)
        assert found == expected.tokens
        total += len(found)
    assert total > 5


def test_symbols(speller):
    engine = plain_engines(speller, plain_graphs(speller))["onnx"]()
    for word in ("abc", "a", "ccab?"):
        numbers = speller.alphabet.encode(word)
        found = greedy_symbols(engine, engine.encode(numbers), 3, 300)
        assert speller.tokenizer.decode(found) == " ".join(word.replace("?", "").upper()) or "?" in word
        (expected,) = speller.transduce([word])
        assert "?" in word or speller.tokenizer.decode(found) == expected.text


def test_conformer(make, utterances):
    conformer = {"layers": 2, "width": 16, "heads": 2, "subsampling": 4, "channels": 4}
    encoder = {"kind": "conformer", "conformer": conformer}
    recognizer = make(features={"stack": 1}, model={"encoder": encoder})
    graphs = plain_graphs(recognizer)
    assert STREAM not in graphs
    engine = plain_engines(recognizer, graphs)["onnx"]()
    for audio in utterances:
        np.testing.assert_allclose(engine.encode(audio / 32768), encoded(recognizer, audio), atol=2e-4)


def test_files(make, tmp_path: Path):
    recognizer = make(features={"normalization": "none"})
    graphs = plain_graphs(recognizer)
    write_plain(recognizer, graphs, tmp_path, "float32")
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["blank"] == 3 and about["sample_rate"] == 16000 and about["frame_seconds"] == pytest.approx(0.06)
    assert about["stream"] == {"step": 960, "prefix": 0, "late": 0}
    assert (tmp_path / "tokens.txt").read_text() == "▁a 0\n▁b 1\n▁c 2\n<blk> 3\n"
    meta = {x.key: x.value for x in graphs[DECODER].metadata_props}
    assert meta == {key: str(value) for key, value in describe_model(recognizer).items()}
