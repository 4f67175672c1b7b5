"""The recognizer: what it takes, what it gives back, that a batch does not matter, and a model's folder."""

import dataclasses
import math

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file, save_file

from rnnt import load
from rnnt.config import TokenizerConfig
from rnnt.dataset import Dataset, write_description
from rnnt.device import find_device
from rnnt.recognizer import Recognizer, audio_files, model_folder, read_config
from rnnt.settings import from_tree
from rnnt.shard import Recording, ShardWriter
from rnnt.silence import speech_bounds, trim_silence
from rnnt.tokenizer import train_tokenizer

RATE = 16000
TEXTS = ["a b", "c", "a a c", "b", "b c a", "z a", ""]


def make(**changes):
    """A random model that emits a symbol now and then."""
    config = from_tree(
        {
            "features": {"mels": 20, **changes.pop("features", {})},
            "model": {
                "encoder": {"hidden": 16, "pre_layers": 1, "post_layers": 1},
                "predictor": {"embedding": 8, "hidden": 8, "layers": 1},
                "joint": {"hidden": 16},
                "init_scale": 1.0,
            },
            "tokenizer": {"kind": "words"},
            "decoding": {"max_symbols_per_frame": 3},
            **changes,
        },
        "test",
    )
    torch.manual_seed(0)
    recognizer = Recognizer(config, train_tokenizer(["a b c"], TokenizerConfig("words")))
    with torch.no_grad():
        for layer in (recognizer.model.joint.encoder, recognizer.model.joint.predictor, recognizer.model.joint.output):
            layer.weight.mul_(6)
        recognizer.model.joint.output.bias[-1] += 2
    return recognizer.eval()


def speech(seconds, seed):
    """Noise in bursts, int16."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE)
    loudness = np.repeat(rng.random(n // 2000 + 1) ** 2, 2000)[:n]
    return (8000 * loudness * rng.standard_normal(n)).clip(-32768, 32767).astype(np.int16)


UTTERANCES = [speech(seconds, i) for i, seconds in enumerate((1.3, 0.2, 2.9, 0.05, 1.0, 0.7, 2.0))]


def same(a, b):
    assert (a.text, a.tokens, a.frames, a.times, a.seconds) == (b.text, b.tokens, b.frames, b.times, b.seconds)
    np.testing.assert_allclose(a.log_probs, b.log_probs, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def recognizer():
    return make()


@pytest.fixture(scope="module")
def expected(recognizer):
    """Each utterance decoded alone."""
    transcripts = [recognizer.transcribe([samples])[0] for samples in UTTERANCES]
    assert sum(len(t.tokens) for t in transcripts) > 15 and len({t.text for t in transcripts}) > 4
    return transcripts


def test_a_transcript_says_what_was_emitted_and_when(recognizer, expected):
    for transcript, samples in zip(expected, UTTERANCES):
        assert transcript.text == " ".join("abc"[token] for token in transcript.tokens)
        assert len(transcript.tokens) == len(transcript.frames) == len(transcript.times) == len(transcript.log_probs)
        assert transcript.seconds == len(samples) / RATE
        assert transcript.frames == sorted(transcript.frames)
        assert transcript.times == [pytest.approx(0.06 * frame, abs=1e-3) for frame in transcript.frames]
        assert all(0 <= time <= transcript.seconds for time in transcript.times)
        assert all(-20 < log_prob <= 0 for log_prob in transcript.log_probs)
    assert recognizer.frame_seconds == pytest.approx(0.06)


@pytest.mark.parametrize("batch_size", [1, 3, 7, None])
def test_neither_batch_nor_order_matters(recognizer, expected, batch_size):
    order = [4, 0, 6, 2, 3, 1, 5]
    for i, transcript in zip(order, recognizer.transcribe((UTTERANCES[i] for i in order), batch_size)):
        same(transcript, expected[i])


def test_long_recordings_do_not_share_a_batch(recognizer, expected, monkeypatch):
    """A folder of hour-long files, or one among short ones, takes no more memory than the longest file."""
    monkeypatch.setattr("rnnt.recognizer._BATCH_SECONDS", 3)
    sizes, decode = [], recognizer._decode

    def watched(audio):
        sizes.append(sorted(len(samples) / RATE for samples in audio))
        return decode(audio)

    monkeypatch.setattr(recognizer, "_decode", watched)
    for result, alone in zip(recognizer.transcribe(UTTERANCES, 16), expected):
        same(result, alone)
    assert sizes == [[0.05, 0.2, 0.7], [1.0, 1.3], [2.0], [2.9]]


def test_the_limit_of_symbols_grows_with_a_long_recording():
    """Nothing is lost of a long recording for being long, and what is lost for babbling is not lost in silence."""
    recognizer = make(decoding={"max_symbols_per_frame": 1, "max_symbols": 20})
    with torch.no_grad():
        recognizer.model.joint.output.bias[-1] = -1000  # never blank: a symbol a frame, 16.7 a second
    one, minute, two_minutes = (np.tile(speech(2, 1), n)[: int(s * RATE)] for n, s in ((1, 1.1), (30, 60), (60, 120)))
    results = recognizer.transcribe([minute, one, two_minutes])
    assert [len(x.tokens) for x in results] == [30, 19, 60]  # 20 for each 40 s
    assert [x.cut for x in results] == [True, False, True]


def test_files_and_arrays_of_every_kind_give_the_same(recognizer, expected, tmp_path):
    samples, transcript = UTTERANCES[2], expected[2]
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    soundfile.write(tmp_path / "a.flac", samples, RATE)
    floats = samples.astype(np.float32) / 32768
    kinds = [
        tmp_path / "a.wav", str(tmp_path / "a.flac"), floats, floats.astype(np.float64), floats.tolist(),
        torch.from_numpy(samples), torch.from_numpy(floats).requires_grad_(), samples[::-1].copy()[::-1],
    ]  # fmt: skip
    for result in recognizer.transcribe(kinds):
        assert result == dataclasses.replace(transcript, log_probs=result.log_probs)
        same(result, transcript)


def test_a_file_of_another_rate_is_resampled(recognizer, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([UTTERANCES[2]] * 2, 1), 8000)
    (transcript,) = recognizer.transcribe([tmp_path / "a.wav"])
    assert transcript.seconds == pytest.approx(2 * len(UTTERANCES[2]) / RATE)


def test_nothing_gives_nothing(recognizer):
    assert recognizer.transcribe([]) == []


@pytest.mark.parametrize("length", [1, 100, 159, 161])
def test_the_shortest_waveforms_have_a_transcript(recognizer, length):
    (transcript,) = recognizer.transcribe([UTTERANCES[0][:length]])
    assert transcript.seconds == length / RATE


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.zeros((2, 100), np.float32), r"input 1: a waveform must be \(N,\) with N > 0, not \(2, 100\)"),
        (np.zeros(0, np.float32), r"input 1: a waveform must be \(N,\)"),
        (np.zeros(10, np.int32), "input 1: a waveform must be int16 or float in .*, not int32"),
        (np.array([0.1, np.nan]), "input 1: a waveform holds NaN or infinity"),
        (torch.tensor([0.1, math.inf]), "input 1: a waveform holds NaN"),
        ("gone.wav", r"gone\.wav: no such file"),
    ],
)
def test_an_input_that_cannot_be_read_is_named(recognizer, item, message):
    with pytest.raises(ValueError, match=message):
        recognizer.transcribe([UTTERANCES[0], item])


def test_files_are_transcribed_one_bad_one_or_not(recognizer, expected, tmp_path):
    paths = []
    for i in range(5):
        paths.append(tmp_path / f"{i}.wav")
        soundfile.write(paths[-1], UTTERANCES[i], RATE)
    paths[1].write_bytes(b"no audio")
    paths[3].unlink()
    for size in (1, 2, 16):
        results = list(recognizer.transcribe_files(paths, size))
        assert [path for path, _ in results] == paths
        for i, (path, result) in enumerate(results):
            if i in (1, 3):
                assert isinstance(result, ValueError) and str(path) in str(result)
            else:
                same(result, expected[i])


def test_folders_are_searched_for_audio(tmp_path):
    for name in ("b/2.FLAC", "b/1.wav", "a.mp3", "b/c/notes.txt", "b/c/3.ogg", "b/._2.FLAC", "b/c/4.m4a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = audio_files([tmp_path / "b", tmp_path / "a.mp3"])
    assert [path.name for path in found] == ["1.wav", "2.FLAC", "3.ogg", "4.m4a", "a.mp3"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no audio files"):
        audio_files([tmp_path / "a.mp3", tmp_path / "empty"])


def test_trimmed_silence_does_not_shift_the_times(recognizer):
    silent = np.zeros(RATE, np.int16)
    samples = np.concatenate([silent, UTTERANCES[2], silent])
    start, end = speech_bounds(samples)
    assert RATE - 2048 <= start <= RATE + 4000 and len(samples) - RATE - 4000 <= end <= len(samples) - RATE + 2048
    assert np.array_equal(trim_silence(samples), samples[start:end])
    (expected,) = recognizer.transcribe([samples[start:end]])
    (transcript,) = make(features={"trim_silence": True}).transcribe([samples])
    assert (transcript.tokens, transcript.frames) == (expected.tokens, expected.frames)
    np.testing.assert_allclose(transcript.times, np.array(expected.times) + start / RATE, atol=2e-3)
    assert transcript.seconds == len(samples) / RATE


def test_training_goes_on_where_it_was(recognizer):
    model = make().train()
    (transcript,) = model.transcribe([UTTERANCES[2]])
    same(transcript, recognizer.transcribe([UTTERANCES[2]])[0])
    assert all(module.training for module in model.modules())


# ---- evaluation ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "test"
    folder.mkdir()
    writer = ShardWriter(folder / "shard-00000.arrow")
    for i, (samples, text) in enumerate(zip(UTTERANCES, TEXTS)):
        writer.add(Recording(f"u{i}", samples, text, "s"))
    write_description(folder, [writer.close()], RATE, source="made up")
    return Dataset(folder)


def plain_loss(recognizer, dataset):
    """Nats a symbol over the utterances that can be encoded, one after the other."""
    total, symbols = 0.0, 0
    for recording in dataset:
        if "z" in recording.text:
            continue
        audio = torch.from_numpy(recording.audio.copy())[None]
        tokens = torch.tensor([recognizer.tokenizer.encode(recording.text)], dtype=torch.long)
        features = recognizer.features(audio, torch.tensor([audio.shape[1]]))
        with torch.no_grad():
            total += recognizer.model(*features, tokens, torch.tensor([tokens.shape[1]])).item()
        symbols += tokens.shape[1]
    return total / symbols


@pytest.mark.parametrize("batch_size", [1, 3, None])
@pytest.mark.parametrize("training", [False, True])
def test_evaluation_scores_every_utterance_in_order(recognizer, expected, dataset, batch_size, training):
    model = make().train(training)
    result = model.evaluate(dataset, batch_size)
    assert [pair.id for pair in result.pairs] == [f"u{i}" for i in range(7)]
    assert [pair.reference for pair in result.pairs] == TEXTS
    assert [pair.hypothesis for pair in result.pairs] == [transcript.text for transcript in expected]
    assert [pair.seconds for pair in result.pairs] == [len(samples) / RATE for samples in UTTERANCES]
    assert result.loss == pytest.approx(plain_loss(recognizer, dataset), rel=1e-4)
    assert result.skipped == [] and result.cut == [] and model.training == training


def test_evaluation_names_what_the_limit_of_symbols_cut_short(dataset, expected):
    most = max(len(transcript.tokens) for transcript in expected) - 1
    result = make(decoding={"max_symbols_per_frame": 3, "max_symbols": most}).evaluate(dataset)
    assert result.cut == [f"u{i}" for i, transcript in enumerate(expected) if len(transcript.tokens) > most]
    assert len(result.pairs) == 7


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
def test_a_bad_utterance_is_skipped_and_listed(dataset, expected, monkeypatch, error):
    model = make()
    original = Dataset.__getitem__

    def read(self, index):
        if index in (2, 5):
            raise error
        return original(self, index)

    monkeypatch.setattr(Dataset, "__getitem__", read)
    result = model.evaluate(dataset, 4)
    assert [pair.id for pair in result.pairs] == ["u0", "u1", "u3", "u4", "u6"]
    assert [pair.hypothesis for pair in result.pairs] == [expected[i].text for i in (0, 1, 3, 4, 6)]
    reason = " ".join(str(error).split()) or "RuntimeError"
    assert sorted(result.skipped) == [("u2", reason), ("u5", reason)]


def test_evaluation_in_bfloat16(dataset):
    result = make(precision="bfloat16").evaluate(dataset)
    assert len(result.pairs) == 7 and result.skipped == [] and math.isfinite(result.loss)


def test_data_of_another_rate_is_refused(dataset):
    model = make(features={"sample_rate": 8000, "high_hz": 4000.0})
    with pytest.raises(ValueError, match="the data is at 16000 Hz, the model at 8000 Hz; prepare the data again"):
        model.evaluate(dataset)


# ---- a model's folder ------------------------------------------------------------------------------------------------


def folder_of(tmp_path, recognizer):
    recognizer.save(tmp_path / "run" / "best")
    return tmp_path / "run" / "best"


def test_saved_and_loaded_it_is_the_same(recognizer, expected, tmp_path):
    folder = folder_of(tmp_path, recognizer)
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "model.safetensors", "tokenizer.json"]
    for path in (folder, str(folder), tmp_path / "run"):
        loaded = load(path)
        assert loaded.config == recognizer.config and not loaded.training
        for transcript, other in zip(loaded.transcribe(UTTERANCES), expected):
            same(transcript, other)
    recognizer.save(folder)
    assert len(list(folder.iterdir())) == 3


def test_global_statistics_are_part_of_the_model(tmp_path):
    recognizer = make(features={"normalization": "global"})
    recognizer.features.mean.fill_(3.0)
    loaded = load(folder_of(tmp_path, recognizer))
    assert (loaded.features.mean == 3).all()


def test_an_untouched_folder_is_left_where_saving_fails(recognizer, tmp_path, monkeypatch):
    folder = folder_of(tmp_path, recognizer)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"cannot save .*best: .*No space left on device"):
        recognizer.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


def other_shape(path):
    tensors = load_file(path)
    tensors["model.joint.output.weight"] = tensors["model.joint.output.weight"][:-1].clone()
    save_file(tensors, path)


def missing_tensor(path):
    tensors = load_file(path)
    del tensors["model.joint.output.bias"]
    save_file(tensors, path)


@pytest.mark.parametrize("damage", [cut, other_shape, missing_tensor, lambda path: path.write_bytes(b"")])
def test_damaged_weights_are_named_in_one_line(recognizer, tmp_path, damage):
    folder = folder_of(tmp_path, recognizer)
    damage(folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or of another model: ") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", "a: [", r"config\.yaml is not readable as YAML"),
        ("config.yaml", "3", r"config\.yaml does not hold settings"),
        ("config.yaml", "optim: {lrr: 1}", r"config\.yaml: unknown key optim\.lrr"),
        ("config.yaml", "seed: !!python/object/apply:os.getcwd []", r"config\.yaml is not readable as YAML"),
        ("config.yaml", None, "is no model and no run: it has no config"),
        ("tokenizer.json", "{}", r"tokenizer\.json is no tokenizer file"),
        ("tokenizer.json", None, r"holds no tokenizer\.model and no tokenizer\.json"),
        ("model.safetensors", None, r"holds no model\.safetensors and no best/model\.safetensors; it has no model yet"),
    ],
)
def test_a_damaged_folder_is_named_in_one_line(recognizer, tmp_path, name, content, message):
    folder = folder_of(tmp_path, recognizer)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_path_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match="gone does not exist; give a model's folder or a run's"):
        model_folder(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"holds no model\.safetensors and no best/model\.safetensors$"):
        model_folder(tmp_path)


def test_the_configuration_is_complete(recognizer, tmp_path):
    path = folder_of(tmp_path, recognizer) / "config.yaml"
    assert yaml.safe_load(path.read_text()) == dataclasses.asdict(recognizer.config)
    assert read_config(path) == recognizer.config


def test_devices_are_found_or_named(monkeypatch):
    assert find_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="device is 'gpu'; choose auto, cpu, cuda or cuda:1"):
        find_device("gpu")
    with pytest.raises(ValueError, match="device is 'meta'; choose auto, cpu, cuda or cuda:1"):
        find_device("meta")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto").type == "cpu"
    with pytest.raises(ValueError, match="device is 'cuda', but PyTorch finds no such GPU here"):
        find_device("cuda")
