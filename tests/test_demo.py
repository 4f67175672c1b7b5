"""The demo from end to end, with a small corpus and a short training run."""

import re

import pytest

import rnnt
from rnnt import demo, settings
from rnnt.corpora import read_splits

pytest.importorskip("espeakng_loader", reason="the demo needs the extra `synth`")

SIZES = {"train_utterances": 16, "valid_utterances": 4, "test_utterances": 6}


def test_demo_ends_with_the_error_rate_and_leaves_what_it_names(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(demo, "read_splits", lambda name, source: read_splits(name, source, **SIZES))
    monkeypatch.setattr(
        demo, "load_config", lambda name: settings.load_config(name, ["train.epochs=1", "train.batch=8"])
    )
    demo.run(tmp_path / "out")
    out, _ = capfd.readouterr()
    assert re.fullmatch(r"WER \d+\.\d\d %", out.splitlines()[-1])
    assert "heard:" in out and "said:" in out
    assert (tmp_path / "out" / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "evaluation" / "report.html").is_file()
    assert rnnt.load(tmp_path / "out" / "run").model.num_parameters() > 1_000_000
    demo.run(tmp_path / "out")  # again: everything is there
    assert capfd.readouterr().out.splitlines()[-1] == out.splitlines()[-1]


def test_demo_says_a_sentence_and_voice_that_training_lacks():
    from rnnt.corpora.synthetic import split_of, voices

    assert split_of(demo.SENTENCE) == "test" and demo.VOICE in voices("test")
