"""`rnnt info` of presets and of data whose checksums are compared. Runs and models are in test_cli and test_golden."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from rnnt import cli
from rnnt.alphabet import Alphabet
from rnnt.info import describe
from rnnt.recognizer import Recognizer
from rnnt.settings import from_tree, load_config, presets, to_yaml
from rnnt.tokenizer import Symbols

GOLDEN = Path(__file__).parent / "golden"
SHARD = "shard-00000.arrow"


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command; give its exit code, standard output and standard error."""

    def run(*words):
        monkeypatch.setattr("sys.argv", ["rnnt", "info", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def data(tmp_path) -> Path:
    shutil.copytree(GOLDEN / "data", tmp_path / "data")
    return tmp_path / "data"


def damage(shard: Path) -> None:
    """Change one byte; the size stays."""
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def test_the_mlperf_preset(call):
    assert call("librispeech-mlperf") == (
        0,
        "librispeech-mlperf: The MLPerf RNN-T: 49,006,080 parameters, LibriSpeech 960 h, global batch 384, target WER "
        "0.058 on dev-clean.\n"
        "  parameters: 49,006,080 with 1023 symbols (sentencepiece) and blank\n"
        "  input: 16000 Hz, 80 mel bins, one encoder frame every 60 ms\n"
        "  encoder: 2 + 3 LSTM layers of 1024\n"
        "  streaming: no, because features.normalization=utterance needs the mean of the whole utterance and "
        "features.trim_silence=true needs the loudest place of the whole utterance\n"
        "  training: 100 epochs, batch 384, lamb\n",
        "",
    )


@pytest.mark.parametrize("preset", [name for name in presets() if load_config(name).tokenizer.kind != "sentencepiece"])
@pytest.mark.parametrize("symbols", [1, 28])
def test_parameters_without_symbols_and_of_each_symbol_add_up_to_the_model(preset, symbols):
    text, config = describe(Path(preset)), load_config(preset)
    kind = config.tokenizer.kind
    fixed, each, more = re.search(
        rf"parameters: ([\d,]+), and ([\d,]+) for each symbol(?: and (\d+) for each input symbol)?; .* {kind} of", text
    ).groups()
    known = [chr(0x4E00 + i) for i in range(symbols)]
    alphabet = Alphabet(known[:5], "nfd") if config.input == "symbols" else None
    with torch.device("meta"):
        model = Recognizer(config, Symbols(kind, known), alphabet).model
    inputs = int(more) * len(alphabet) if alphabet else 0
    assert int(fixed.replace(",", "")) + symbols * int(each.replace(",", "")) + inputs == model.num_parameters()


def test_a_file_of_settings_with_a_tokenizer_that_exists(tmp_path):
    Symbols("words", ["a", "b", "c"]).save(tmp_path)
    config = from_tree({"tokenizer": {"kind": "words", "path": str(tmp_path)}, "train": {"epochs": 7}}, "here")
    (tmp_path / "mine.yaml").write_text(to_yaml(config))
    text = describe(tmp_path / "mine.yaml")
    with torch.device("meta"):
        model = Recognizer(config, Symbols("words", ["a", "b", "c"])).model
    assert f"parameters: {model.num_parameters():,} with 3 symbols" in text
    assert text.startswith(f"{tmp_path}/mine.yaml: settings of a run\n") and "7 epochs" in text


def test_a_folder_that_is_called_like_a_preset_comes_first(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("small")[1].startswith("small: A small model for 30 minutes")
    (tmp_path / "small").mkdir()
    code, out, err = call("small")
    assert (code, out) == (2, "") and err.startswith("error: small is no run, no model and no prepared data; ")
    shutil.copytree(GOLDEN / "data" / "valid", tmp_path / "small", dirs_exist_ok=True)
    assert call("small")[1].startswith("small: 5 utterances")


def test_what_is_neither_a_folder_nor_a_preset_is_refused(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, message in (
        ("digit", "error: digit does not exist, and no preset has this name; there are an4, conformer-small, "),
        ("gone.yaml", "error: no configuration file gone.yaml"),
        ("small/x", "error: small/x does not exist"),
    ):
        code, out, err = call(name)
        assert (code, out) == (2, "") and err.startswith(message) and len(err.splitlines()) == 1
    (tmp_path / "bad.yaml").write_text("optim: {lr: -1}")
    assert call("bad.yaml") == (2, "", "error: bad.yaml: optim.lr is -1.0; it must be finite and above 0\n")


STREAMS = {"features": {"normalization": "none"}}


@pytest.mark.parametrize(
    ("key", "value", "obstacle"),
    [
        ("model.encoder.lstm.bidirectional", True, "the encoder needs the whole utterance"),
        ("features.normalization", "utterance", "features.normalization=utterance needs"),
        ("features.normalization", "shape", "features.normalization=shape needs"),
        ("features.trim_silence", True, "features.trim_silence=true needs"),
        ("features.peak_floor", 30.0, "features.peak_floor=30 needs"),
        ("features.normalization", "global", None),
        ("features.normalization", "running", None),
        ("features.log_floor", 1e-6, None),
        ("model.encoder.lstm.time_stack", 3, None),
    ],
)
def test_each_obstacle_to_streaming_is_named_alone(key, value, obstacle, tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(STREAMS))
    assert "\n  streaming: yes, with a latency of 66 ms (50 of joined frames, 16 of half a window, 0 of" in describe(
        tmp_path / "a.yaml"
    )
    (tmp_path / "b.yaml").write_text(to_yaml(load_config(tmp_path / "a.yaml", [f"{key}={value}"])))
    line = next(line for line in describe(tmp_path / "b.yaml").splitlines() if "streaming: " in line)
    assert line.startswith("  streaming: yes, with" if obstacle is None else f"  streaming: no, because {obstacle}")
    assert " and " not in line


def test_all_obstacles_to_streaming_are_named(tmp_path):
    keys = ["model.encoder.lstm.bidirectional=true", "features.peak_floor=30", "features.trim_silence=true"]
    (tmp_path / "a.yaml").write_text(to_yaml(load_config("small", keys)))
    line = next(line for line in describe(tmp_path / "a.yaml").splitlines() if "streaming: " in line)
    assert all(text in line for text in ("encoder", "peak_floor=30", "trim_silence=true", "normalization="))


ROW = {"step": 3, "epoch": 0.5, "loss": 2.5}
DAMAGED = [
    b"", b"{", b"3", b"null", b"[]", b'"text"', b"true", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"\xff\xfe",
    b"\0", b'{"step": 1}', b'{"loss": 1, "epoch": 1}', b'{"step": null, "epoch": 1, "loss": 1}',
    b'{"step": 1.5, "epoch": 1, "loss": 1}',
    *(json.dumps({**ROW, name: value}).encode() for name in ("step", "epoch", "loss", "valid_wer", "valid_per")
      for value in ("x", "\x1b[31m", [1], {}, float("nan"), float("inf"), -float("inf"), 10**400)),
    json.dumps({**ROW, "epoch": None}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: repr(line[:30]))
def test_a_damaged_line_of_a_log_is_counted(call, tmp_path, line):
    (tmp_path / "config.yaml").write_text("seed: 1")
    whole = json.dumps(ROW).encode() + b"\n"
    for content in (line + b"\n" + whole, whole + line + b"\n"):
        (tmp_path / "metrics.jsonl").write_bytes(content)
        code, out, err = call(tmp_path)
        assert (code, err) == (0, "") and "  done: 3 steps, epoch 0.50, loss 2.500\n" in out
        assert "  1 damaged lines in metrics.jsonl\n" in out and "\x1b" not in out
    (tmp_path / "metrics.jsonl").write_bytes(whole + line)  # the run was killed while it wrote the last line
    code, out, err = call(tmp_path)
    assert (code, err) == (0, "") and "done: 3 steps" in out and "damaged lines" not in out


def test_a_log_without_rows_is_described(call, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1")
    for content, damaged in ((b"", ""), (b"\n\n", "2 damaged"), (b"\xff" * 1000, "")):
        (tmp_path / "metrics.jsonl").write_bytes(content)
        code, out, err = call(tmp_path)
        assert (code, err) == (0, "") and "done" not in out and damaged in out and "checkpoints: none yet" in out


def test_names_and_sources_are_shown_without_what_a_terminal_obeys(call, data, tmp_path):
    evil = "a\x1b]0;title\x07\u202e\nb"
    shown = r"a\x1b]0;title\x07\u202e\nb"
    description = json.loads((data / "valid" / "dataset.json").read_text())
    (data / "valid" / "dataset.json").write_text(json.dumps({**description, "source": evil}))
    (data / "valid").rename(data / evil)
    code, out, _ = call(data)
    assert code == 0 and f"/{shown}: 5 utterances" in out and f"from {shown}\n" in out and len(out.splitlines()) == 2
    shutil.copytree(GOLDEN / "run", tmp_path / evil)
    code, out, _ = call(tmp_path / evil)
    assert code == 0 and f"/{shown}: a run of" in out and f"/{shown}/best: a model of" in out and "\x1b" not in out
    for path in (tmp_path / f"{evil}.yaml", tmp_path / f"{evil}2"):
        code, out, err = call(path)
        assert (code, out) == (2, "") and shown.replace(r"\n", " ") in err and len(err.splitlines()) == 1


def test_a_split_with_two_names_is_described_once(call, data):
    _, before, _ = call(data)
    (data / "zz-link").symlink_to(sorted(path.parent.name for path in data.glob("*/dataset.json"))[0])
    assert call(data) == (0, before, "")
    assert "zz-link" not in call(data, "--verify")[1]


def test_verified_data(call, data):
    code, out, err = call(data, "--verify")
    assert (code, err) == (0, "") and out == call(data)[1] + f"{data}/train: verified\n{data}/valid: verified\n"
    assert call(data / "valid", "--verify")[1].endswith(f"\n{data}/valid: verified\n")


def test_damaged_shards_are_named(call, data):
    damage(data / "train" / SHARD)
    assert call(data)[0] == call(data / "valid", "--verify")[0] == 0
    for path in (data, data / "train"):
        code, out, err = call(path, "--verify")
        assert code == 2 and "verified" not in out and len(err.splitlines()) == 1
        assert f"{data}/train/{SHARD}" in err and f"valid/{SHARD}" not in err
    damage(data / "valid" / SHARD)
    err = call(data, "--verify")[2]
    assert f"{data}/train/{SHARD}" in err and f"{data}/valid/{SHARD}" in err and len(err.splitlines()) == 1


def test_a_checksum_of_another_file_is_damage_too(call, data):
    path = data / "valid" / "dataset.json"
    description = json.loads(path.read_text())
    description["shards"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(description))
    assert call(data, "--verify")[0] == 2 and call(data)[0] == 0


@pytest.mark.parametrize("path", [GOLDEN / "run", GOLDEN / "model", "small"])
def test_only_data_can_be_verified(path, call):
    code, _, err = call(path, "--verify")
    assert code == 2 and err.startswith(f"error: {path} is no prepared data; ")
