"""Checkpoints of the MLPerf reference are compared with its architecture in plain torch; other files are refused."""

import argparse
import os
import re
from dataclasses import dataclass

import numpy as np
import pytest
import soundfile
import torch
import yaml
from torch import nn

import rnnt
from rnnt import cli
from rnnt import config as configs
from rnnt import tokenizer as tokenizers
from rnnt.audio import read_audio
from rnnt.config import TokenizerConfig
from rnnt.convert import convert, fill, reference_config, reference_name
from rnnt.recognizer import Recognizer
from rnnt.settings import load_config
from rnnt.tokenizer import Symbols

TEXTS = [
    "the cat sat on the mat", "a dog ran over the hill", "the cat was there", "it is what it was", "the hat",
    "over the mat ran a cat", "the dog sat there", "what a dog",
]  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    mels: int = 8
    splice: int = 3
    encoder: int = 24
    pre: int = 2
    post: int = 3
    stack: int = 2
    predictor: int = 16
    layers: int = 2
    joint: int = 20
    symbols: int = 29  # without blank


SMALL = Sizes()
ODD = Sizes(mels=5, splice=2, encoder=7, pre=1, post=1, stack=3, predictor=9, layers=1, joint=4)
DEEP = Sizes(mels=4, splice=1, encoder=10, pre=3, post=2, stack=1, predictor=6, layers=3, joint=12)
FULL = Sizes(80, 3, 1024, 2, 3, 2, 512, 2, 512, 1023)


class Layers(nn.Module):
    """LSTM layers over (time, 1, values) under the names of the MLCommons code, or of NVIDIA's with an LSTM each."""

    def __init__(self, inputs: int, hidden: int, layers: int, apart: bool):
        super().__init__()
        if apart:
            widths = [inputs] + [hidden] * (layers - 1)
            self.rnn = nn.ModuleList(m for w in widths for m in (nn.LSTM(w, hidden), nn.Dropout(0.3)))
        else:
            self.lstm = nn.LSTM(inputs, hidden, layers, dropout=0.3 if layers > 1 else 0.0)

    def forward(self, x, state=None):
        if hasattr(self, "lstm"):
            return self.lstm(x, state)
        states = []
        for i, layer in enumerate(self.rnn[::2]):
            x, (h, c) = layer(x, state and (state[0][i : i + 1], state[1][i : i + 1]))
            states.append((h, c))
        return x, tuple(torch.cat(part) for part in zip(*states))


class Reference(nn.Module):
    """The architecture, an utterance at a time."""

    def __init__(self, sizes: Sizes, apart: bool = False):
        super().__init__()
        s, self.stack = sizes, sizes.stack
        self.encoder = nn.ModuleDict(
            {
                "pre_rnn": Layers(s.mels * s.splice, s.encoder, s.pre, apart),
                "post_rnn": Layers(s.encoder * s.stack, s.encoder, s.post, apart),
            }
        )
        self.prediction = nn.ModuleDict(
            {
                "embed": nn.Embedding(s.symbols, s.predictor),
                "dec_rnn": Layers(s.predictor, s.predictor, s.layers, apart),
            }
        )
        self.joint_pred = nn.Linear(s.predictor, s.joint)
        self.joint_enc = nn.Linear(s.encoder, s.joint)
        self.joint_net = nn.Sequential(nn.ReLU(), nn.Dropout(0.3), nn.Linear(s.joint, s.symbols + 1))

    def encode(self, features_SF):
        x = self.encoder["pre_rnn"](features_SF[:, None])[0][:, 0]
        rest = -len(x) % self.stack
        x = torch.cat([x, x.new_zeros(rest, x.shape[1])]).reshape(-1, x.shape[1] * self.stack)
        return self.encoder["post_rnn"](x[:, None])[0][:, 0]

    def forward(self, features_SF, targets_U):
        """Logits (T, U+1, V) of one utterance."""
        y = self.prediction["embed"](targets_U)
        y = torch.cat([y.new_zeros(1, y.shape[1]), y])
        prediction = self.prediction["dec_rnn"](y[:, None])[0][:, 0]
        encoding = self.encode(features_SF)
        return self.joint_net(self.joint_enc(encoding)[:, None] + self.joint_pred(prediction)[None])

    def decode(self, features_SF, blank: int) -> list[int]:
        """Greedy, symbol after symbol, at most 30 a frame."""
        tokens, state = [], None
        last = torch.zeros(1, 1, self.joint_pred.in_features)
        for frame in self.joint_enc(self.encode(features_SF)):
            for _ in range(30):
                prediction, after = self.prediction["dec_rnn"](last, state)
                best = int(self.joint_net(frame + self.joint_pred(prediction[0, 0])).argmax())
                if best == blank:
                    break
                tokens.append(best)
                last, state = self.prediction["embed"](torch.tensor([[best]])), after
        return tokens


def reference(sizes: Sizes = SMALL, seed: int = 0, apart: bool = False) -> Reference:
    torch.manual_seed(seed)
    return Reference(sizes, apart).eval()


def settings(sizes: Sizes = SMALL, sentencepiece="pieces.model") -> dict:
    s = sizes
    return {
        "tokenizer": {"sentpiece_model": str(sentencepiece), "labels": [" ", "a", "b"]},
        "input_val": {
            "audio_dataset": {"sample_rate": 16000, "trim_silence": True, "normalize_transcripts": True},
            "filterbank_features": {
                "normalize": "per_feature", "sample_rate": 16000, "window_size": 0.02, "window_stride": 0.01,
                "window": "hann", "n_fft": 512, "n_filt": s.mels, "dither": 0.00001,
            },
            "frame_splicing": {"frame_stacking": s.splice, "frame_subsampling": s.splice},
        },
        "rnnt": {
            "in_feats": s.mels * s.splice, "enc_n_hid": s.encoder, "enc_pre_rnn_layers": s.pre,
            "enc_post_rnn_layers": s.post, "enc_stack_time_factor": s.stack, "enc_dropout": 0.1,
            "pred_n_hid": s.predictor, "pred_rnn_layers": s.layers, "pred_dropout": 0.3,
            "joint_n_hid": s.joint, "joint_dropout": 0.3, "forget_gate_bias": 1.0,
        },
    }  # fmt: skip


@pytest.fixture(scope="session")
def pieces(tmp_path_factory) -> bytes:
    """A SentencePiece model of 29 pieces."""
    folder = tmp_path_factory.mktemp("pieces")
    tokenizer = tokenizers.train_tokenizer(TEXTS, TokenizerConfig("sentencepiece", 29))
    tokenizer.save(folder)
    assert tokenizer.learned == 29
    return (folder / "tokenizer.model").read_bytes()


@pytest.fixture
def files(tmp_path, pieces):
    """Writes a checkpoint and its YAML file, and returns the arguments of `convert`."""

    def write(model_or_state, tree=None, ema=None, **more):
        state = model_or_state.state_dict() if isinstance(model_or_state, nn.Module) else model_or_state
        content = {
            "epoch": 3, "step": 100, "best_wer": 0.06, "state_dict": state, "ema_state_dict": ema,
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"betas": (0.9, 0.999)}]},
            "amp": {"loss_scaler0": {"loss_scale": 512.0, "unskipped": 3}},
        }  # fmt: skip
        torch.save(content | more, tmp_path / "reference.pt")
        (tmp_path / "baseline.yaml").write_text(yaml.safe_dump(tree or settings()))
        (tmp_path / "pieces.model").write_bytes(pieces)
        return tmp_path / "reference.pt", tmp_path / "baseline.yaml", tmp_path / "out"

    return write


@torch.inference_mode()
def assert_same_logits(theirs: Reference, ours, sizes: Sizes, frames=(1, 4, 13, 8), labels=(3, 0, 6, 5)):
    """Ours in one padded batch, theirs an utterance at a time."""
    model = ours.model
    generator = torch.Generator().manual_seed(1)
    features = [torch.randn(n, sizes.mels * sizes.splice, generator=generator) for n in frames]
    targets = [torch.randint(0, sizes.symbols, (n,), generator=generator) for n in labels]
    features_BSF = nn.utils.rnn.pad_sequence(features, batch_first=True, padding_value=1e3)
    targets_BU = nn.utils.rnn.pad_sequence(targets, batch_first=True)
    encoder_BTD, lengths = model.encoder(features_BSF, torch.tensor(frames))
    logits_BTUV = model.joint(
        model.joint.encoder(encoder_BTD)[:, :, None], model.joint.predictor(model.predictor(targets_BU))[:, None]
    )
    for i, (x, y) in enumerate(zip(features, targets)):
        expected = theirs(x, y)
        assert expected.shape == (lengths[i], len(y) + 1, sizes.symbols + 1) and expected.std() > 0.01
        torch.testing.assert_close(logits_BTUV[i, : lengths[i], : len(y) + 1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("sizes", [SMALL, ODD, DEEP])
def test_logits_are_those_of_the_reference(sizes, apart, files):
    theirs = reference(sizes, apart=apart)
    checkpoint, config, out = files(theirs, settings(sizes))
    ours, key = convert(checkpoint, config, out)
    assert key == "state_dict"
    assert_same_logits(theirs, ours, sizes)
    assert_same_logits(theirs, rnnt.load(out), sizes)


def test_the_full_model():
    """The sizes and settings of the published baseline are those of the preset."""
    theirs = reference(FULL)
    tokenizer = Symbols("characters", [chr(0x4E00 + i) for i in range(1023)])
    ours = Recognizer(reference_config(settings(FULL), "baseline.yaml", tokenizer), tokenizer).eval()
    preset = load_config("librispeech-mlperf")
    assert ours.config.model == preset.model and ours.config.features == preset.features
    assert ours.model.num_parameters() == 49_006_080
    fill(ours.model, theirs.state_dict(), "reference.pt", "baseline.yaml")
    assert_same_logits(theirs, ours, FULL, (7, 3), (2, 4))


def test_averaged_weights_are_taken_unless_others_are_asked_for(files, tmp_path):
    trained, averaged = reference(seed=1), reference(seed=2)
    for weights, expected, key in (("ema", averaged, "ema_state_dict"), ("raw", trained, "state_dict")):
        checkpoint, config, _ = files(trained, ema=averaged.state_dict())
        ours, taken = convert(checkpoint, config, tmp_path / weights, weights=weights)
        assert taken == key
        assert_same_logits(expected, ours, SMALL)
    checkpoint, config, out = files(None, ema=averaged.state_dict())
    assert_same_logits(averaged, convert(checkpoint, config, out)[0], SMALL)
    with pytest.raises(ValueError, match="holds no state_dict; use --weights ema"):
        convert(checkpoint, config, tmp_path / "new", weights="raw")
    with pytest.raises(ValueError, match="choose one of ema, raw"):
        convert(checkpoint, config, tmp_path / "new", weights="best")


@pytest.mark.parametrize(
    "rename",
    [
        lambda key: f"module.{key}",
        lambda key: key.replace("joint_net.2.", "joint_net.1."),
        lambda key: key.replace("joint_net.2.", "fc."),
        lambda key: key.replace("joint_net.2.", "fc.fused_dense."),
        lambda key: re.sub(r"joint_net.2.(\w+)", r"fc.mlp.\1_0", key),
        lambda key: re.sub(r"joint_net.2.(\w+)", r"joint_net.2.\1_0", key),
    ],
)
def test_names_of_the_other_codes(rename, files):
    theirs = reference()
    renamed = {rename(key): value for key, value in theirs.state_dict().items()}
    assert set(renamed) != set(theirs.state_dict())
    assert_same_logits(theirs, convert(*files(renamed))[0], SMALL)


def test_names_that_only_look_alike_stay_as_they_are():
    for key in (
        "encoder.pre_rnn.rnn.1.weight_ih_l0",
        "joint_net.3.weight",
        "fcx.weight",
        "fc.weight_1",
        "fc.mlp.weight_1",
    ):
        assert reference_name(key) == key


def test_half_precision_and_the_old_file_format(files):
    theirs = reference().half()
    checkpoint, config, out = files(theirs)
    content = torch.load(checkpoint, weights_only=True)
    torch.save(content, checkpoint, _use_new_zipfile_serialization=False)
    ours, _ = convert(checkpoint, config, out)
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    assert_same_logits(theirs.float(), ours, SMALL)


def test_settings_come_from_the_yaml_file(files):
    tree = settings(Sizes(mels=40, splice=2))
    tree["input_val"]["audio_dataset"]["trim_silence"] = False
    tree["input_val"]["filterbank_features"] |= {
        "sample_rate": 8000, "window_size": 0.025, "window_stride": 0.0125, "n_fft": 256, "dither": "1e-4",
        "preemph": 0.9, "lowfreq": 20, "highfreq": 3800, "normalize": "none", "log": True, "max_duration": 16.7,
    }  # fmt: skip
    tree["rnnt"] |= {"enc_dropout": 0.2, "pred_dropout": 0.15, "joint_dropout": 0.25}
    ours, _ = convert(*files(reference(Sizes(mels=40, splice=2)), tree))
    assert ours.config.features == configs.FeaturesConfig(
        sample_rate=8000, trim_silence=False, dither=1e-4, preemphasis=0.9, n_fft=256, window=200, hop=100, mels=40,
        low_hz=20.0, high_hz=3800.0, normalization="none", stack=2,
    )  # fmt: skip
    model = ours.config.model
    assert (model.encoder.lstm.dropout, model.predictor.dropout, model.joint.dropout) == (0.2, 0.15, 0.25)
    assert ours.config.tokenizer == TokenizerConfig("sentencepiece", 29)


def test_what_the_yaml_file_leaves_open_is_as_in_the_mlperf_model(files):
    sizes = Sizes(mels=80)
    tree = settings(sizes)
    tree["input_val"] = {"filterbank_features": {"n_filt": 80, "sample_rate": 16000}}
    assert convert(*files(reference(sizes), tree))[0].config.features == configs.FeaturesConfig()


def test_yaml_with_anchors_as_the_reference_writes_it(files):
    checkpoint, config, out = files(reference())
    text = yaml.safe_dump(settings())
    text = text.replace("sample_rate: 16000", "sample_rate: &rate 16000", 1).replace("e: 16000", "e: *rate")
    config.write_text(text + "input_train:\n  audio_dataset: &a {max_duration: 16.7}\n  more:\n    <<: *a\n")
    assert text.count("*rate") == 1
    assert convert(checkpoint, config, out)[0].config.features.sample_rate == 16000


BOMB = "bomb: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefghij", "bcdefghijk")
)


@pytest.mark.parametrize(
    ("key", "value"),
    [("n_fft", "*k"), ("n_fft", "&l [*l]"), ("n_fft", "${oc.env:RNNT_TEST_TOKEN}"), ("n_fft", "${"),
     ("dither", "{a: 1}"), ("window_size", "*k"), ("window", "*k"), ("window", "${oc.env:RNNT_TEST_TOKEN}"),
     ("log", "*k")],
)  # fmt: skip
def test_a_hostile_value_in_the_yaml_file_is_refused(files, monkeypatch, key, value):
    monkeypatch.setenv("RNNT_TEST_TOKEN", "secret")
    checkpoint, config, out = files(reference())
    tree = settings()
    tree["input_val"]["filterbank_features"][key] = "HERE"
    config.write_text(BOMB + yaml.safe_dump(tree).replace("HERE", value))
    with pytest.raises(ValueError, match=rf"{key} is no number and no word; write the value out") as caught:
        convert(checkpoint, config, out)
    assert "secret" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "9" * 5000, "\x00"])
def test_a_damaged_yaml_file_is_named(files, text):
    checkpoint, config, out = files(reference())
    config.write_text(text)
    with pytest.raises(ValueError, match=r"baseline\.yaml is not readable as YAML: "):
        convert(checkpoint, config, out)


def test_the_tokenizer(files, tmp_path, pieces):
    checkpoint, config, out = files(
        reference(), settings(sentencepiece="/datasets/sentencepieces/librispeech1023.model")
    )
    with pytest.raises(
        ValueError, match=r"librispeech1023.model, which .*baseline.yaml names; give .* --tokenizer FILE"
    ):
        convert(checkpoint, config, out)
    with pytest.raises(ValueError, match=r"no tokenizer file .*absent$"):
        convert(checkpoint, config, out, tmp_path / "absent")
    with pytest.raises(ValueError, match=r"baseline.yaml: not a SentencePiece model"):
        convert(checkpoint, config, out, config)
    ours, _ = convert(checkpoint, config, out, tmp_path / "pieces.model")
    assert ours.tokenizer.encode(TEXTS[0]) == tokenizers.SentencePiece(pieces).encode(TEXTS[0])
    assert (out / "tokenizer.model").read_bytes() == pieces

    characters = [" ", *"abcdefghijklmnopqrstuvwxyz", "'", "-"]
    tree = settings()
    tree["tokenizer"] = {"labels": characters}
    ours, _ = convert(*files(reference(), tree)[:2], tmp_path / "characters")
    assert ours.tokenizer.decode([3, 1, 20, 0, 28]) == "cat -"

    for tokenizer in ({}, {"labels": 5}, {"labels": ["a", "a"]}):
        tree["tokenizer"] = tokenizer
        with pytest.raises(ValueError, match="neither sentpiece_model nor a list of labels"):
            convert(*files(reference(), tree)[:2], tmp_path / "none")


def without(state: dict, key: str) -> dict:
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: without(s, "joint_enc.bias"), r"baseline.yaml and the tokenizer describe: it lacks joint_enc.bias$"),
        (lambda s: s | {"encoder.batch_norm.weight": torch.ones(3)}, "it has no use for encoder.batch_norm.weight$"),
        (
            lambda s: without(s, "prediction.embed.weight") | {"prediction.embedding.weight": torch.ones(29, 16)},
            "lacks prediction.embed.weight and has no use for prediction.embedding.weight$",
        ),
        (lambda s: s | {"fc.weight": s["joint_net.2.weight"]}, "has no use for fc.weight$"),
        (lambda s: s | {"joint_enc.bias": [0.0] * 20}, "lacks joint_enc.bias and has no use for joint_enc.bias"),
        (lambda s: s | {7: torch.ones(1)}, "has no use for 7$"),
        (lambda s: s | {"joint_enc.bias": torch.ones(21)}, r"joint_enc.bias is \(21,\), but \(20,\) by"),
        (lambda s: s | {"joint_enc.bias": torch.full((20,), torch.nan)}, "joint_enc.bias holds NaN"),
        (lambda s: {}, r"lacks encoder.pre_rnn.lstm.weight_ih_l0, .* and 31 more$"),
    ],
)
def test_every_weight_has_its_place(change, says, files):
    checkpoint, config, out = files(change(dict(reference().state_dict())))
    with pytest.raises(ValueError, match=says):
        convert(checkpoint, config, out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("rnnt.enc_n_hid", 25, r"encoder.pre_rnn.lstm.weight_ih_l0 is \(96, 24\), but \(100, 24\)"),
        ("rnnt.enc_post_rnn_layers", 4, "lacks encoder.post_rnn.lstm.weight_ih_l3"),
        ("rnnt.pred_rnn_layers", 1, "no use for prediction.dec_rnn.lstm.weight_ih_l1"),
        ("rnnt.enc_stack_time_factor", 3, r"encoder.post_rnn.lstm.weight_ih_l0 is \(96, 48\), but \(96, 72\)"),
        ("rnnt.joint_n_hid", "wide", r"rnnt.joint_n_hid: model.joint.hidden: .*wide"),
        ("rnnt.pred_dropout", 3, "model.predictor.dropout is 3"),
        ("input_val.filterbank_features.n_filt", 9, r"is \(96, 24\), but \(96, 27\)"),
        ("input_val.filterbank_features.window", "hamming", "window is 'hamming'; only hann can be converted"),
        ("input_val.filterbank_features.normalize", "all_features", "only per_feature and none can be converted"),
        ("input_val.filterbank_features.log", False, "log is False"),
        (
            "input_val.filterbank_features.stats_path",
            "/stats",
            "filterbank_features.stats_path is a setting of features",
        ),
        ("input_val.filterbank_features.window_size", "20 ms", "window_size is '20 ms', which is no number"),
        ("input_val.filterbank_features.sample_rate", [16000], "sample_rate is no number and no word"),
        ("input_val.frame_splicing.frame_subsampling", 2, "frame_subsampling is 2; only 3 can be converted"),
        ("input_val.filterbank_features", None, "it has no section input_val.filterbank_features"),
        ("rnnt", [1], "no configuration of the reference: it has no section rnnt"),
        ("tokenizer", None, "it has no section tokenizer"),
    ],
)
def test_a_yaml_file_of_another_model(path, value, says, files):
    tree = settings()
    place = tree
    *sections, key = path.split(".")
    for section in sections:
        place = place[section]
    place[key] = value
    checkpoint, config, out = files(reference(), tree)
    with pytest.raises(ValueError, match=says):
        convert(checkpoint, config, out)
    assert not out.exists()


class Trap:
    """Runs when it is unpickled unsafely."""

    def __init__(self, function, argument):
        self.function, self.argument = function, argument

    def __reduce__(self):
        return self.function, (self.argument,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Trap(exec, "raise SystemExit('unpickled')"), "holds exec in addition to tensors"),
        (Trap(os._exit, 3), r"holds \w+._exit in addition to tensors"),
        (argparse.Namespace(lr=1), "holds argparse.Namespace in addition to tensors"),
        (np.float64(1), r"holds numpy\..*scalar in addition to tensors"),
    ],
)
def test_nothing_but_tensors_is_unpickled(value, name, zipped, files, tmp_path, monkeypatch):
    theirs = reference()
    checkpoint, config, out = files(theirs)
    content = torch.load(checkpoint, weights_only=True)
    torch.save(content | {"args": value}, checkpoint, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=name) as caught:
        convert(checkpoint, config, out)
    assert not out.exists()
    if isinstance(value, Trap):
        return
    monkeypatch.chdir(tmp_path)
    exec(re.search(r'python -c "(.*)"', str(caught.value))[1], {})  # the mend that the message gives, as it stands
    assert_same_logits(theirs, convert(tmp_path / "weights.pt", config, out)[0], SMALL)


def test_files_that_are_damaged_or_none(files, tmp_path):
    checkpoint, config, out = files(reference())
    whole = checkpoint.read_bytes()
    at = whole.index(reference().joint_enc.weight.detach().numpy().tobytes()) + 101
    for content in (
        whole[: len(whole) // 2], b"", b"no checkpoint", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
    ):  # fmt: skip
        checkpoint.write_bytes(content)
        with pytest.raises(ValueError, match=r"reference.pt is damaged or was not written by torch.save"):
            convert(checkpoint, config, out)
    for content in ({"model": {}}, [1], {"state_dict": None, "ema_state_dict": None}, {"state_dict": 3}):
        torch.save(content, checkpoint)
        with pytest.raises(ValueError, match="it holds no ema_state_dict and no state_dict"):
            convert(checkpoint, config, out)
    with pytest.raises(ValueError, match=r"no checkpoint .*absent.pt"):
        convert(tmp_path / "absent.pt", config, out)
    with pytest.raises(ValueError, match=r"no configuration file .*absent.yaml"):
        convert(checkpoint, tmp_path / "absent.yaml", out)
    for text in ("rnnt: [", "5", ""):
        config.write_text(text)
        with pytest.raises(ValueError, match=r"baseline.yaml is (not readable as YAML|no configuration)"):
            convert(checkpoint, config, out)
    assert not out.exists()


def test_the_command_and_the_text_that_the_reference_would_decode(files, tmp_path, capsys, monkeypatch):
    def call(*words) -> int:
        monkeypatch.setattr("sys.argv", ["rnnt", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0

    theirs = reference()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter *= 6 if parameter.ndim == 2 else 1  # so that what is said depends on what was heard and said
        theirs.joint_net[2].bias[29] += 1  # and blanks come now and then
    checkpoint, config, out = files(theirs)
    arguments = ("convert", checkpoint, "--config", config, "--out", out)
    assert call(*arguments, "--tokenizer", tmp_path / "absent") == 2
    assert call(*arguments) == 0
    assert re.search(r"out: [\d,]+ parameters from state_dict, 29 symbols", capsys.readouterr().out)
    assert call(*arguments) == 2
    assert "holds a model or a run already" in capsys.readouterr().err

    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.wav" for i in range(3)]
    for path, samples in zip(paths, (8000, 5200, 11111)):
        soundfile.write(path, 0.1 * rng.standard_normal(samples), 16000)
    assert call("transcribe", out, *paths) == 0
    texts = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    model = rnnt.load(out)
    said = set()
    for path, text, transcript in zip(paths, texts, model.transcribe(paths)):
        with torch.inference_mode():
            audio = torch.from_numpy(read_audio(path))[None]
            tokens = theirs.decode(model.features(audio, torch.tensor([audio.shape[1]]))[0][0], blank=29)
        assert transcript.tokens == tokens and text == model.tokenizer.decode(tokens)
        assert 0 < len(tokens) < 300
        said |= set(tokens)
    assert len(said) > 10
