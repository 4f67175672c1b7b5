"""The verb `evaluate`: its output and its files."""

import json
import re


def test_evaluate_prints_rates_and_writes_the_report(call, run, prepared, tmp_path, capsys):
    assert call("evaluate", run, "--data", prepared / "valid", "--out", tmp_path / "report") == 0
    text = capsys.readouterr().out
    assert re.search(r"WER [\d.]+ % \[[\d.]+, [\d.]+\], \d+ substitutions, \d+ deletions, \d+ insertions", text)
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
