"""The folder of a report: one name for each model and data, and no mixture of old and new files."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from rnnt.comparison import compare
from rnnt.error_rate import Pair
from rnnt.evaluation import Alternative, DecoderResult, Evaluation
from rnnt.report import write_default_report, write_report
from rnnt.report_folder import FILES, default_folders, subject_in, subject_of
from rnnt.usage import Usage

OLD, NEW = [Pair("old", "a b", "a")], [Pair("new", "c d", "c"), Pair("more", "e", "e")]


def lines_of(pairs):
    """The line of a decoder with n-best lists."""
    lists = [[Alternative(pair.hypothesis, [0], -1.0, -1.0)] for pair in pairs]
    result = DecoderResult("beam:4", pairs, [], lists, Usage(1.0))
    return compare(Evaluation(pairs, 0.1, 3, [], [], [], [result], Usage(1.0)))


def folder_for(model, data, pairs=NEW):
    return write_default_report([Path(model)], [Path(path) for path in data], pairs, "title")


def test_a_run_and_a_split_have_the_plain_name(tmp_path):
    folder = folder_for(tmp_path / "run" / "best", [tmp_path / "data" / "test"])
    assert folder == tmp_path / "run" / "evaluation-test"
    assert folder_for(tmp_path / "run" / "best", [tmp_path / "data" / "test"], OLD) == folder  # replaced
    assert json.loads((folder / "scores.json").read_text())["utterances"] == 1
    assert {path.name for path in folder.iterdir()} == set(FILES) - {"skipped.tsv", "nbest.jsonl"}
    both = folder_for(tmp_path / "run" / "best", [tmp_path / "data" / "test", tmp_path / "data" / "valid"])
    assert both == tmp_path / "run" / "evaluation-test+valid"


@pytest.mark.parametrize("order", [1, -1])
def test_reports_on_different_models_and_data_never_share_a_folder(tmp_path, order):
    cases = [
        (tmp_path / "models" / model, data)
        for model in ("a", "b", "a-x", "best")
        for data in (
            [tmp_path / "one" / "test"], [tmp_path / "two" / "test"], [tmp_path / "deep" / "two" / "test"],
            [tmp_path / "one" / "x-test"], [tmp_path / "one" / "test", tmp_path / "two" / "test"],
            [tmp_path / "two" / "test", tmp_path / "one" / "test"], [tmp_path / "one" / "b-test"],
        )
    ][::order]  # fmt: skip
    folders = [folder_for(*case) for case in cases]
    assert len(set(folders)) == len(cases)
    assert [folder_for(*case) for case in cases] == folders  # the same again, in the same place
    for case, folder in zip(cases, folders):
        assert folder.parent == tmp_path / "models" and subject_in(folder) == subject_of([case[0]], case[1])


def test_a_report_of_an_earlier_version_is_replaced(tmp_path):
    folder = tmp_path / "run" / "evaluation-test"
    folder.mkdir(parents=True)
    for content in ('{"title": "old"}', "[1]", "{", "[" * 100_000):
        (folder / "scores.json").write_text(content)
        assert folder_for(tmp_path / "run" / "best", [tmp_path / "test"]) == folder


def test_names_are_neither_empty_nor_too_long(tmp_path, monkeypatch):
    model = tmp_path / "models" / "mine"
    model.mkdir(parents=True)
    monkeypatch.chdir(model)
    for given in (".", f"../{model.name}", str(model)):
        folder = folder_for(given, [tmp_path / "test"])
        assert folder.resolve() == tmp_path / "models" / "evaluation-mine-test"
    folder = folder_for(model, [tmp_path / f"split-{i}" for i in range(100)])
    assert len(folder.name) < 100 and subject_in(folder)
    assert folder_for(tmp_path / "models" / ("é" * 120), [tmp_path / "test"]).is_dir()


def test_two_evaluations_at_the_same_time_have_two_folders(tmp_path):
    model, data = tmp_path / "run" / "best", [tmp_path / "test"]
    first, *others = default_folders([model], data)
    first.mkdir(parents=True)
    with (first / ".report.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert folder_for(model, data) == others[0]
        with pytest.raises(ValueError, match="evaluation-test: another evaluation is writing its report here; give an"):
            write_report(first, NEW, "t")
    assert folder_for(model, data) == first


def test_a_file_system_without_locks_takes_a_report(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_report(tmp_path, NEW, "t")
    assert (tmp_path / "scores.json").is_file() and not (tmp_path / ".report.lock").exists()


def kill_after(steps: int, folder: Path) -> bool:
    """Write the new report in a process that ends at once before its file operation number `steps`."""
    child = os.fork()
    if child == 0:
        count = 0

        def counted(original):
            def operation(*arguments, **options):
                nonlocal count
                count += 1
                if count > steps:
                    os._exit(9)
                return original(*arguments, **options)

            return operation

        os.replace, os.fsync, os.unlink, os.mkdir = map(counted, (os.replace, os.fsync, os.unlink, os.mkdir))
        Path.unlink = counted(Path.unlink)
        write_report(folder, NEW, "new", [("x", "y")], lines=lines_of(NEW))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_killed_evaluation_never_leaves_old_and_new_files_together(tmp_path):
    seen = set()
    for steps in range(100):
        folder = tmp_path / str(steps)
        write_report(folder, OLD, "old", [("z", "y")], lines=lines_of(OLD))
        (folder / "notes.txt").write_text("mine")
        before = {name: (folder / name).read_bytes() for name in FILES}
        killed = kill_after(steps, folder)
        there = {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}
        old = {name for name in there if there[name] == before[name]}
        assert old in (set(), set(there)), (steps, old, set(there))
        seen.add((len(there), bool(old)))
        if "scores.json" in there:  # a report with scores is complete
            assert set(there) == set(FILES)
        write_report(folder, NEW, "again")  # what was left does not disturb
        assert {path.name for path in folder.iterdir()} == {*FILES, "notes.txt"} - {"skipped.tsv", "nbest.jsonl"}
        if not killed:
            break
    assert not killed and steps > 15 and {(5, True), (5, False), (0, False)} <= seen


def test_a_report_that_has_no_pairs_does_not_keep_old_scores(tmp_path):
    write_report(tmp_path, OLD, "old")
    with pytest.raises(ValueError, match="no utterance to score"):
        write_report(tmp_path, [], "new", [("a", "empty")])
    assert [path.name for path in tmp_path.iterdir()] == ["skipped.tsv"]
