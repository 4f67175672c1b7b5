"""Files of results: old rows are kept, new columns are added, and each row says which code measured it."""

import csv
import datetime
import os
import subprocess

import pytest
import results
import torch
from results import append_rows, device_name


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_are_appended_and_new_columns_added(tmp_path):
    append_rows("x", [{"case": "a", "ms": 1.5}], folder=tmp_path / "new")
    path = append_rows("x", [{"case": "b", "note": "died, alas"}, {"case": "c"}], folder=tmp_path / "new")
    assert path == tmp_path / "new" / "x.csv"
    rows = read(path)
    assert [(row["case"], row["ms"], row["note"]) for row in rows] == [
        ("a", "1.5", ""), ("b", "", "died, alas"), ("c", "", ""),
    ]  # fmt: skip
    assert list(rows[0]) == ["date", "commit", "device", "torch", "threads", "case", "ms", "note"]


@pytest.mark.parametrize(
    ("value", "text"), [(1.23456, "1.235"), (123456.0, "123500.0"), (0.0000123456, "1.235e-05"), (123456, "123456")]
)
def test_numbers_are_rounded_to_four_digits_and_counts_are_not(tmp_path, value, text):
    assert read(append_rows("x", [{"value": value}], folder=tmp_path))[0]["value"] == text


def test_each_row_says_when_and_on_what_it_was_measured(tmp_path):
    before = datetime.datetime.now(datetime.timezone.utc).replace(second=0, microsecond=0)
    (row,) = read(append_rows("x", [{}], folder=tmp_path))
    assert before <= datetime.datetime.fromisoformat(row["date"]) <= datetime.datetime.now(datetime.timezone.utc)
    assert row["torch"] == torch.__version__ and row["threads"] == str(torch.get_num_threads())
    assert row["device"] == device_name("cpu") and row["device"].endswith(f" x {os.cpu_count()}")


def test_the_commit_has_a_plus_if_tracked_files_have_changed(tmp_path, monkeypatch):
    def git(*arguments):
        command = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit():
        return read(append_rows("x", [{}], folder=tmp_path / "results"))[-1]["commit"]

    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() == ""  # outside of a checkout
    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-q", "-m", "one")
    head = git("rev-parse", "--short=10", "HEAD")
    assert commit() == head  # the file of results is not tracked
    (tmp_path / "code.py").write_text("2")
    assert commit() == f"{head}+"
