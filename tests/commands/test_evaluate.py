"""The verb `evaluate`: its output and its files."""

import json
import re
import shutil

import pytest

import rnnt
from rnnt.dataset import Dataset


def test_evaluate_prints_rates_and_writes_the_report(call, run, prepared, tmp_path, capsys):
    assert call("evaluate", run, "--data", prepared / "valid", "--out", tmp_path / "report") == 0
    text = capsys.readouterr().out
    assert re.search(r"WER [\d.]+ % \[[\d.]+, [\d.]+\], \d+ substitutions, \d+ deletions, \d+ insertions", text)
    assert re.search(
        r"\ngreedy: decoding [\d.]+ s, [\d.]+ % of the encoder's [\d.]+ s; together [\d,.]+ times real", text
    )
    assert "decoding  WER" not in text
    assert "CER" in text and (tmp_path / "report" / "report.html").is_file()
    pairs = [json.loads(line) for line in (tmp_path / "report" / "pairs.jsonl").read_text().splitlines()]
    assert len(pairs) == json.loads((prepared / "valid" / "dataset.json").read_text())["utterances"]


def test_a_split_by_two_paths_counts_once(call, run, prepared, tmp_path, monkeypatch, capsys):
    (tmp_path / "link").symlink_to(prepared / "valid")
    monkeypatch.chdir(prepared)
    paths = ["valid", "./valid/", f"../{prepared.name}/valid", tmp_path / "link", prepared / "valid"]
    for out, words in (("one", paths[:1]), ("several", paths)):
        data_options = [word for path in words for word in ("--data", path)]
        assert call("evaluate", run, *data_options, "--out", tmp_path / out) == 0
        assert call("tokenizer", *words, "--out", tmp_path / out, "--kind", "words") == 0
    assert "valid+valid" not in capsys.readouterr().out
    for name in ("pairs.jsonl", "scores.json", "tokenizer.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "several" / name).read_bytes()


def test_several_decoders_are_compared_in_one_table(call, run, prepared, tmp_path, capsys):
    options = ["--decoding", "greedy", "--decoding", "beam:3", "--decoding", "beam", "--nbest", "2"]
    assert call("evaluate", run, "--data", prepared / "valid", "--out", tmp_path, *options) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("decoding") and "oracle WER %" in head
    assert [row.split()[0] for row in rows[:3]] == ["greedy", "beam:3", "beam:4"]
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [row["decoding"] for row in scores["decoders"]] == ["greedy", "beam:3", "beam:4"]
    assert scores["word"]["rate"] == scores["decoders"][0]["word"]["rate"]
    assert all(row["peak_bytes"] > 0 for row in scores["decoders"])
    count = scores["utterances"]
    records = [json.loads(line) for line in (tmp_path / "nbest.jsonl").read_text().splitlines()]
    assert [record["decoding"] for record in records] == ["greedy"] * count + ["beam:3"] * count + ["beam:4"] * count
    assert {len(record["nbest"]) for record in records[count:]} == {2}
    assert "Decoders" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "labels", "names"),
    [
        (["--measure", "symbols"], ("PER", "SER"), ("symbol", "sequence")),
        (["--measure", "sequences", "--fold", "timit-39"], ("WER", "PER"), ("sequence", "symbol")),
        (["--measure", "words"], ("WER", "CER"), ("word", "character")),
    ],
)
def test_another_measure(call, run, prepared, tmp_path, capsys, options, labels, names):
    how = ["--data", prepared / "valid", "--out", tmp_path, *options, "--decoding", "beam:2", "--nbest", "2"]
    assert call("evaluate", run, *how) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].startswith(f"{labels[0]} ") and text.splitlines()[1].startswith(f"{labels[1]} ")
    assert f"oracle of the 2 best: {labels[0]}" in text
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [name for name in ("word", "character", "symbol", "sequence") if name in scores] == sorted(
        names, key=["word", "character", "symbol", "sequence"].index
    )
    assert scores["decoders"][0][names[0]] == scores[names[0]]


def test_each_measure_has_another_report(call, run, prepared, capsys):
    found = set()
    for options in ([], ["--measure", "symbols"], ["--measure", "sequences", "--fold", "timit-39"]):
        assert call("evaluate", run, "--data", prepared / "valid", *options) == 0
        found.add(capsys.readouterr().out.splitlines()[-1].removeprefix("report: "))
    names = {"evaluation-valid", "evaluation-valid-symbols", "evaluation-valid-sequences-timit-39"}
    assert {name.split("/")[-2] for name in found} == names


def test_an_unknown_measure_is_named(call, run, prepared, capsys):
    for option, value in (("measure", "letters"), ("fold", "timit-61")):
        assert call("evaluate", run, "--data", prepared / "valid", f"--{option}", value) == 2
        assert f"scoring.{option} is '{value}'; it must be one of" in " ".join(capsys.readouterr().err.split())


def test_the_oracle_of_one_decoder(call, run, prepared, tmp_path, capsys):
    options = ["--data", prepared / "valid", "--out", tmp_path, "--decoding", "beam:4", "--nbest", "4"]
    assert call("evaluate", run, *options) == 0
    assert re.search(r"\noracle of the 4 best: WER [\d.]+ %", capsys.readouterr().out)


def test_a_blank_penalty_gives_other_texts(call, run, prepared, tmp_path):
    texts = {}
    for penalty in ("0", "-20"):
        options = ["--data", prepared / "valid", "--out", tmp_path / penalty, "--blank-penalty", penalty]
        assert call("evaluate", run, *options) == 0
        texts[penalty] = (tmp_path / penalty / "pairs.jsonl").read_text()
    assert call("evaluate", run, "--data", prepared / "valid", "--out", tmp_path / "plain") == 0
    assert (tmp_path / "plain" / "pairs.jsonl").read_text() == texts["0"] != texts["-20"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--decoding", "greedy", "--decoding", "greedy"], "--decoding greedy is given twice; leave one of them out"),
        (["--decoding", "wfst"], "no decoding 'wfst'; give greedy, beam, or beam:8 for a beam of 8"),
        (["--decoding", "beam:0"], "decoding.beam is 0; it must be between 1 and 256"),
        (["--decoding", "beam:10000"], "decoding.beam is 10000; it must be between 1 and 256"),
        (["--decoding", "beam:4+lm"], "--decoding beam:4+lm needs a language model; give --lm FILE"),
        (["--nbest", "3"], "lists of the 3 best hypotheses need a beam of 3; give --decoding beam:3"),
        (["--blank-penalty", "1000"], "decoding.blank_penalty is 1000.0; it must be between -20 and 20"),
        (["--blank-penalty", "nan"], "decoding.blank_penalty is nan; it must be between -20 and 20"),
    ],
)
def test_bad_options_get_one_line_and_leave_the_old_report(call, run, prepared, tmp_path, capsys, options, message):
    (tmp_path / "scores.json").write_text("{}")
    assert call("evaluate", run, "--data", prepared / "valid", "--out", tmp_path, *options) == 2
    shown = capsys.readouterr()
    assert shown.err.strip() == f"error: {message}" and shown.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["scores.json"]


def test_hot_words(call, run, prepared, tmp_path, capsys):
    hot, data, texts = tmp_path / "hot.txt", ["--data", prepared / "valid"], []
    for phrase in ("wild", "low :900"):
        hot.write_text(phrase)
        assert call("evaluate", run, *data, "--out", tmp_path / phrase[:3], "--hotwords", hot) == 0
        texts.append((tmp_path / phrase[:3] / "pairs.jsonl").read_text())
    assert texts[0] != texts[1]
    options = ["--out", tmp_path / "two", "--decoding", "greedy", "--decoding", "greedy+hotwords", "--hotwords", hot]
    capsys.readouterr()
    assert call("evaluate", run, *data, *options) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == ["greedy", "greedy+hotwords"]
    assert call("evaluate", run, *data, "--decoding", "beam", "--hotwords", hot) == 2
    assert "no --decoding has +hotwords; give, for example, --decoding beam+hotwords" in capsys.readouterr().err
    hot.write_bytes(b"")
    assert call("evaluate", run, *data, "--hotwords", hot) == 2
    assert "holds no hot words; write one phrase a line" in capsys.readouterr().err


def test_times_are_judged_by_those_of_the_data(call, run, prepared, recordings, tmp_path, capsys):
    data = shutil.copytree(prepared / "valid", tmp_path / "valid")
    assert call("evaluate", run, "--data", data, "--out", tmp_path / "report", "--times") == 2
    assert f"{data}: holds no times of symbols" in capsys.readouterr().err and not (tmp_path / "report").exists()
    words = {utterance.id: utterance.text.split() for utterance in Dataset(data)}  # 0.3 s from each to the next
    rows = [(key, [[w, 0.3 * i, 0.3 * i + 0.2] for i, w in enumerate(text)]) for key, text in words.items()]
    lines = [json.dumps({"id": key, "times": times}) for key, times in rows]
    (data / "times.jsonl").write_text("\n".join(lines))
    assert call("evaluate", run, "--data", data, "--out", tmp_path / "report", "--times") == 0
    shown = capsys.readouterr().out
    assert f"times: {sum(len(text) - 1 for text in words.values())} boundaries in {len(words)} utterances: " in shown
    figures = json.loads((tmp_path / "report" / "scores.json").read_text())["times"]
    assert figures["utterances"] == len(words) and 0 <= figures["within_10_ms"] <= figures["within_50_ms"] <= 1
    (data / "times.jsonl").write_text("\n".join(lines[1:]))
    assert call("evaluate", run, "--data", data, "--out", tmp_path / "report", "--times") == 0
    assert f"1 utterances were not aligned (first {rows[0][0]}: its times are not known)" in capsys.readouterr().out


def test_several_models_decode_together(call, run, others, prepared, tmp_path, capsys):
    options = ["--data", prepared / "valid", "--decoding", "greedy", "--decoding", "beam:3"]
    assert call("evaluate", run, *others, *options, "--out", tmp_path) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["greedy", "beam:3"]
    result = rnnt.load([run, *others]).evaluate(Dataset(prepared / "valid"))
    assert f"loss {result.loss:.4f} nats a symbol" in out
    pairs = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert [pair["hypothesis"] for pair in pairs] == [pair.hypothesis for pair in result.pairs]
    alone = [rnnt.load(path).evaluate(Dataset(prepared / "valid")).loss for path in (run, *others)]
    assert len({result.loss, *alone}) == 4 and result.loss < max(alone)
    title = json.loads((tmp_path / "scores.json").read_text())["title"]
    assert title == f"{run / 'best'}, {others[0]}, {others[1]} on valid"


def test_the_report_on_an_ensemble_stands_next_to_its_first_model(call, run, others, prepared, capsys):
    for models in ([*others, run], [*others]):
        assert call("evaluate", *models, "--data", prepared / "valid") == 0
    shown = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines() if line.startswith("report: ")]
    assert shown[0] == str(others[0].parent / "evaluation-ensemble-valid" / "report.html")
    assert shown[1].startswith(str(others[0].parent / "evaluation-ensemble-valid-of-")) and shown[1] != shown[0]


def test_an_ensemble_is_scored_with_language_models(call, run, others, prepared, tmp_path, capsys):
    lm = tmp_path / "lm.arpa"
    assert call("lm", prepared / "train", "--model", run, "--order", "3", "--out", lm) == 0
    options = ["--data", prepared / "valid", "--decoding", "beam:2", "--lm", lm]
    assert call("evaluate", run, others[0], *options, "--tune", "--out", tmp_path / "tuned") == 0
    assert "chosen on valid" in capsys.readouterr().out
    weights = ["--lm-weight", "0.4", "--ilm-weight", "0.2", "--decoding", "beam:2+lm"]
    assert call("evaluate", run, others[0], *options, *weights, "--out", tmp_path / "fused") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == ["beam:2", "beam:2+lm"]


def test_a_model_that_is_named_twice_gets_one_line(call, run, others, prepared, capsys):
    assert call("evaluate", run, others[0], run / "best", "--data", prepared / "valid") == 2
    shown = capsys.readouterr()
    assert shown.err == f"error: {run / 'best'} is named twice; an ensemble takes each model once\n" and not shown.out


def test_the_data_is_heard_in_noise_and_rooms(call, run, prepared, tmp_path, capsys):
    def scores(*options):
        assert call("evaluate", run, "--data", prepared / "valid", "--out", tmp_path / "report", *options) == 0
        return json.loads((tmp_path / "report" / "scores.json").read_text()), capsys.readouterr().out

    quiet, text = scores()
    assert "\nheard" not in text
    noisy, text = scores("--noise", "white", "--snr", "-5", "--rooms", "simulated")
    assert "heard in rooms (simulated) with noise (white) at -5 dB\n" in text
    assert noisy["subject"] != quiet["subject"]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "valid in rooms (simulated) with noise (white) at -5 dB" in page
    loss = re.search(r"\nloss ([\d.]+) nats", text)[1]
    again, text = scores("--noise", "white", "--snr", "-5", "--rooms", "simulated", "--batch-size", "1")
    assert again == noisy and re.search(r"\nloss ([\d.]+) nats", text)[1] == loss
    _, text = scores("--noise", "white", "--snr", "-5", "--rooms", "simulated", "--seed", "1")
    assert re.search(r"\nloss ([\d.]+) nats", text)[1] != loss and "at -5 dB, seed 1\n" in text
    _, text = scores("--noise", "white")
    assert "heard with noise (white) at 5 dB\n" in text


def test_a_report_in_noise_does_not_replace_the_other(call, run, prepared, capsys):
    assert call("evaluate", run, "--data", prepared / "valid", "--noise", "babble") == 0
    assert call("evaluate", run, "--data", prepared / "valid") == 0
    assert "evaluation-valid-noise-babble-5dB/report.html" in capsys.readouterr().out
    subjects = [
        json.loads((run / name / "scores.json").read_text())["subject"]
        for name in ("evaluation-valid", "evaluation-valid-noise-babble-5dB")
    ]
    assert subjects[0] != subjects[1]


def test_noise_from_a_folder(call, run, prepared, recordings, tmp_path, capsys):
    folder = tmp_path / "noise"
    shutil.copytree(recordings, folder)
    options = ["--data", prepared / "valid", "--noise", folder, "--out", tmp_path / "report"]
    assert call("evaluate", run, *options) == 0
    shown = capsys.readouterr()
    assert f"{folder}: 2 of 42 recordings are left out (cut.wav: " in shown.err and "silent.wav: is silent" in shown.err
    assert "heard with noise (noise) at 5 dB" in shown.out
    assert (tmp_path / "noise-16000.noise" / "samples.i16").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--snr", "5"], "--snr is the level of the speech above --noise; give that too, such as --noise babble"),
        (["--noise", "nowhere"], "nowhere: is no folder; name one that holds recordings of noise"),
        (["--rooms", "nowhere"], "nowhere: is no folder; name one that holds impulse responses of rooms"),
    ],
)
def test_noise_that_is_not_there_gets_one_line(call, run, prepared, tmp_path, capsys, options, message):
    assert call("evaluate", run, "--data", prepared / "valid", "--out", tmp_path, *options) == 2
    assert capsys.readouterr().err.splitlines() == [f"error: {message}"]
