"""Whole jobs: their rows are those of the plain command, whatever is killed, and the same command goes on."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from rnnt.error_rate import Pair, word_error_rate

SHORT = 70  # more than one portion


@pytest.fixture(scope="module")
def model(make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    make().save(folder)
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory, speech, s3):
    """A list of recordings on this machine and on S3: short ones, a long one, and one that is no audio."""
    folder = tmp_path_factory.mktemp("archive")
    for i in range(SHORT):
        soundfile.write(folder / f"{i:02d}.wav", speech(0.2 + i % 5 / 10, i), 16000)
    soundfile.write(folder / "long.flac", speech(70, 100), 16000)
    (folder / "odd.wav").write_bytes(b"RIFF")
    s3.put("job/00.wav", (folder / "00.wav").read_bytes())
    paths = [*(f"{i:02d}.wav" for i in range(SHORT)), s3("job/00.wav"), "long.flac", "odd.wav"]
    rows = [{"audio_filepath": path, "text": "a b c b"} for path in paths]
    rows[1].pop("text")
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "list.jsonl"


def table(out):
    return pa.concat_tables([pq.read_table(file) for file in sorted(out.glob("part-*.parquet"))])


@pytest.fixture(scope="module")
def job(call, model, archive, address, tmp_path_factory):
    """The folder of an undisturbed job."""
    out = tmp_path_factory.mktemp("job") / "out"
    assert call("transcribe", model, archive, "--out", out, "--cluster", address) == 1  # one recording has an error
    return out


def test_rows_are_those_of_the_plain_command(job, model, archive, same, make):
    rows = table(job).to_pylist()
    paths = [
        archive.parent / name for name in (*(f"{i:02d}.wav" for i in range(SHORT)), "00.wav", "long.flac", "odd.wav")
    ]
    results = [result for _, result in make().transcribe_files(paths)]
    assert len(rows) == len(results) and sum(len(row["words"]) for row in rows) > 100
    for row, result in zip(rows[:-1], results):
        assert row["text"] == result.text and row["error"] is None and len(row["audio"]) == 64
        assert row["transcribed"] + row["left_out"] == pytest.approx(result.seconds)
        assert [word["word"] for word in row["words"]] == [word.word for word in result.words]
        for word, expected in zip(row["words"], result.words):
            numbers = expected.start, expected.end, expected.confidence
            assert (word["start"], word["end"], word["confidence"]) == pytest.approx(numbers, abs=2e-3)
    assert rows[-1]["error"] == str(results[-1]) and "odd.wav" in rows[-1]["error"]
    assert rows[SHORT]["path"].startswith("s3://") and rows[SHORT]["audio"] == rows[0]["audio"]
    assert json.loads(rows[0]["settings"])["method"] == "greedy" and len({row["model"] for row in rows}) == 1


def test_the_report_counts_and_scores(job, archive, model, call, capsys, address):
    shards = {file: file.stat().st_mtime_ns for file in job.glob("part-*")}
    assert len(shards) == 2
    assert call("transcribe", model, archive, "--out", job, "--cluster", address) == 1  # nothing is left to do
    assert {file: file.stat().st_mtime_ns for file in job.glob("part-*")} == shards
    out = capsys.readouterr().out
    pairs = [
        Pair(row["path"], row["reference"], row["text"])
        for row in table(job).to_pylist()
        if row["reference"] is not None and row["error"] is None
    ]
    rate = word_error_rate(pairs)
    expected = (
        f"WER {100 * rate.rate:.2f} %, {rate.errors:,} errors in {4 * (SHORT + 1)} words of {SHORT + 1} recordings"
    )
    assert len(pairs) == SHORT + 1 and expected in out and f"{SHORT + 3} recordings" in out and "1 errors" in out
    page = (job / "report.html").read_text()
    assert expected in page and "odd.wav: " in page and "<script" not in page


def test_a_killed_driver_loses_nothing_and_does_nothing_twice(job, model, archive, address, call, tmp_path):
    arguments = ["transcribe", *map(str, (model, archive)), "--out", str(tmp_path), "--cluster", address]
    program = f"""
import os, signal, sys
from rnnt import cli
from rnnt.cluster.ledger import Ledger
write = Ledger.write
def kill(*arguments):
    write(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
Ledger.write = kill
sys.argv = ["rnnt", *{arguments!r}]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    (first,) = tmp_path.glob("part-*.parquet")
    before = first.stat().st_mtime_ns
    assert call(*arguments) == 1
    assert first.stat().st_mtime_ns == before and table(tmp_path).equals(table(job))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            ["--device", "cuda"],
            "--device cuda asks for GPUs, but no machine of the cluster has one; choose auto or cpu",
        ),
        (["--device", "cuda:1"], "--device is 'cuda:1'; with --cluster choose auto, cpu or cuda"),
    ],
    ids=["no-gpu", "one-gpu"],
)
def test_gpus_that_are_not_there(call, model, archive, address, tmp_path, capsys, options, complaint):
    assert call("transcribe", model, archive, "--out", tmp_path, "--cluster", address, *options) == 2
    err = capsys.readouterr().err
    assert complaint in err and len(err.splitlines()) == 1 and not list(tmp_path.glob("part-*"))


def test_the_folder_of_a_job_with_other_settings(call, job, model, archive, address, capsys):
    assert call("transcribe", model, archive, "--out", job, "--cluster", address, "--decoding", "beam:2") == 2
    assert capsys.readouterr().err == f"error: {job} holds a job with other settings; give --out another folder\n"
    assert Path(job, "report.html").exists()
