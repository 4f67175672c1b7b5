"""The verb `transcribe`: its output, exit codes, and bad files."""

import json
import re
import shutil

import numpy as np
import pytest
import soundfile

import rnnt


def test_transcribe_goes_on_past_bad_files(call, run, recordings, capsys):
    assert call("transcribe", run, recordings, recordings / "absent.wav") == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 41 and "cut.wav" in err and "absent.wav" in err
    assert call("transcribe", run, recordings / "00.wav", recordings / "cut.wav", "--json") == 1
    good, bad = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert set(good) >= {"path", "text", "tokens", "times", "log_probs", "seconds"} and "truncated" in bad["error"]
    assert call("transcribe", run, recordings / "cut.wav") == 2


def test_command_and_python_give_the_same_text(call, run, recordings, capsys):
    call("transcribe", run, recordings / "00.wav", recordings / "01.wav")
    texts = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    model = rnnt.load(run)
    assert texts == [x.text for x in model.transcribe([recordings / "00.wav", recordings / "01.wav"])]


def test_a_truncated_text_is_marked_as_such(call, run, recordings, prepared, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(run / "best", model)
    config = model / "config.yaml"
    config.write_text(re.sub(r"max_symbols: \d+", "max_symbols: 1", config.read_text()))
    assert call("transcribe", model, recordings / "00.wav") == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 and re.search(
        r"warning: .*00.wav: the text is truncated at [\d.]+ of [\d.]+ s", err
    )
    assert call("evaluate", model, "--data", prepared / "valid", "--out", tmp_path / "report") == 0
    assert re.search(r"\d+ transcripts were truncated at decoding.max_symbols", capsys.readouterr().out)


def test_the_search_is_chosen(call, run, recordings, capsys):
    texts = []
    for decoding in ("greedy", "beam", "beam:2"):
        assert call("transcribe", run, recordings / "00.wav", "--decoding", decoding, "--json") == 0
        texts.append(json.loads(capsys.readouterr().out)["text"])
    model = rnnt.load(run, decoding="beam")
    assert texts[1] == model.transcribe(recordings / "00.wav")[0].text
    for wrong, why in [("beam:0", "decoding.beam is 0"), ("beam:10000", "decoding.beam is 10000"), ("viterbi", "give")]:
        assert call("transcribe", run, recordings / "00.wav", "--decoding", wrong) == 2
        out, err = capsys.readouterr()
        assert out == "" and why in err and len(err.splitlines()) == 1


def test_hot_words(call, run, recordings, tmp_path, capsys):
    hot, paths = tmp_path / "hot.txt", [recordings / f"{i:02d}.wav" for i in range(8)]
    assert call("transcribe", run, *paths) == 0
    plain = capsys.readouterr().out
    hot.write_text("LOW :900\n")
    assert call("transcribe", run, *paths, "--hotwords", hot) == 0
    out, err = capsys.readouterr()
    assert out != plain and "warning: hot words are spelled in another case" in err and "'low'" in err
    steered = rnnt.load(run, hotwords=["low :900"]).transcribe(paths)
    assert [line.split("\t")[1] for line in out.splitlines()] == [each.text for each in steered]
    hot.write_text("low\nöl\n")
    assert call("transcribe", run, *paths, "--hotwords", hot) == 2
    assert "cannot spell this phrase: 'öl'" in capsys.readouterr().err


def test_json_accounts_for_every_second_of_a_long_file(call, run, recordings, tmp_path, capsys):
    parts = [soundfile.read(recordings / f"{i:02d}.wav", dtype="int16")[0] for i in range(40)]
    long = np.concatenate([x for part in parts for x in (part, np.zeros(24000, np.int16))])
    soundfile.write(tmp_path / "long.wav", long, 16000)
    assert call("transcribe", run, tmp_path / "long.wav", recordings / "01.wav", "--json") == 0
    whole, short = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (
        "error" not in whole and whole["path"] == str(tmp_path / "long.wav") and whole["seconds"] == len(long) / 16000
    )
    stretches = sorted([[x["start"], x["end"]] for x in whole["segments"]] + whole["left_out"])
    assert [0, *(end for _, end in stretches)] == [*(start for start, _ in stretches), whole["seconds"]]
    assert " ".join(x["text"] for x in whole["segments"]) == whole["text"]
    assert [[x["start"], x["end"]] for x in short["segments"]] + short["left_out"] == [[0, short["seconds"]]]


def test_a_long_file_that_ends_early_has_its_text_and_its_error(call, run, tmp_path, speech, capsys):
    soundfile.write(tmp_path / "a.wav", speech(60, 0), 16000)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) * 3 // 4])
    assert call("transcribe", run, tmp_path / "a.wav") in (1, 2)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert re.search(r"error: .*a\.wav: is truncated .* \(its text is that of the first 45\.0 s\)", err)
    call("transcribe", run, tmp_path / "a.wav", "--json")
    (record,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "is truncated" in record["error"] and record["seconds"] == pytest.approx(45, abs=0.1)


def test_an_empty_folder_is_named(call, run, tmp_path, capsys):
    assert call("transcribe", run, tmp_path) == 2
    assert "holds no audio files" in capsys.readouterr().err


def test_a_language_model_steers_the_search(call, run, recordings, prepared, tmp_path, capsys):
    lm = tmp_path / "lm.arpa"
    assert call("lm", prepared / "train", "--model", run, "--order", "3", "--out", lm) == 0
    capsys.readouterr()
    for decoding in ("greedy", "beam"):
        options = "--decoding", decoding, "--lm", lm, "--lm-weight", "0.4", "--lodr-weight", "0.1"
        assert call("transcribe", run, recordings / "00.wav", *options) == 0
        text = capsys.readouterr().out.rstrip("\n").split("\t")[1]
        model = rnnt.load(run, decoding=decoding, lm=lm, lm_weight=0.4, lodr_weight=0.1)
        assert text == model.transcribe(recordings / "00.wav")[0].text
    wrong = [
        (("--lm-weight", "0.3"), "lm_weight is given without a language model"),
        (("--lm", lm, "--lm-weight", "-1"), "lm_weight is -1.0; it must be"),
        (("--lm", tmp_path / "absent.arpa"), "absent.arpa"),
        (("--lm", recordings / "00.txt"), "no ARPA file"),
    ]
    for options, why in wrong:
        assert call("transcribe", run, recordings / "00.wav", *options) == 2
        out, err = capsys.readouterr()
        assert out == "" and why in err and len(err.splitlines()) == 1


def test_more_models_decode_together(call, run, others, recordings, capsys):
    paths = [recordings / f"{i:02d}.wav" for i in range(6)]
    more = [word for path in others for word in ("--model", path)]
    assert call("transcribe", run, *paths, *more, "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = rnnt.load([run, *others]).transcribe(paths)
    assert [record["text"] for record in records] == [transcript.text for transcript in expected]
    alone = rnnt.load(run).transcribe(paths)
    assert [record["log_probs"] for record in records] != [transcript.log_probs for transcript in alone]
    assert call("transcribe", run, paths[0], "--model", run) == 2
    assert capsys.readouterr().err.endswith("is named twice; an ensemble takes each model once\n")
