"""Windows -> rows, without Ray's processes: equal to the plain transcription, in any order of windows."""

import json

import pytest
import soundfile

from rnnt.cluster.inputs import Recording
from rnnt.recordings import Grid


@pytest.fixture(scope="module")
def transcribed(make, tmp_path_factory, speech):
    """Recordings, the work, the results of their windows, and what the plain transcription gives."""
    pytest.importorskip("ray", reason="needs ray[data]")
    from rnnt.cluster import transcribing
    from rnnt.cluster.model_files import LoadOptions, ModelFiles

    folder = tmp_path_factory.mktemp("transcribing")
    make().save(folder / "model")
    for name, seconds in (("a", 1.0), ("long", 330), ("b", 2.0)):
        soundfile.write(folder / f"{name}.wav", speech(seconds, len(name)), 16000)
    content = (folder / "long.wav").read_bytes()
    (folder / "half.wav").write_bytes(content[: len(content) // 2])
    paths = [folder / f"{name}.wav" for name in ("a", "long", "none", "b", "half")]
    files = ModelFiles.read([folder / "model"], LoadOptions())
    recognizer = files.open("cpu")
    work = transcribing.TranscribeWork(None, Grid.of(recognizer), 8, "cpu", "digest", json.dumps({"a": 1}))
    recordings = [Recording(str(path), 1, 1, "a b" if path.stem == "b" else None) for path in paths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transcribing.ray, "get", lambda reference: files)
        worker = work.open()
    results = [worker.decode(window) for window in work.read(recordings)]
    return recordings, work, results, [result for _, result in recognizer.transcribe_files(paths, 8)]


def test_rows_are_those_of_the_plain_transcription(transcribed):
    recordings, work, results, expected = transcribed
    assert len(results) > 1
    rows = work.rows(recordings, results)
    for recording, row, result in zip(recordings, rows, expected, strict=True):
        assert row["path"] == recording.path and row["reference"] == recording.text
        assert (row["model"], row["settings"]) == ("digest", '{"a": 1}')
        if isinstance(result, Exception):
            assert row["error"] == str(result) and row["text"] == "" and row["transcribed"] == 0
            continue
        assert (row["text"], row["error"], row["truncated"]) == (result.text, result.error, result.truncated)
        assert row["transcribed"] + row["left_out"] == pytest.approx(result.seconds, abs=1e-5)
        assert row["left_out"] == pytest.approx(sum(end - start for start, end in result.left_out), abs=1e-5)
        assert [word["start"] for word in row["words"]] == pytest.approx([x.start for x in result.words], abs=2e-3)
    assert "truncated" in rows[4]["error"] and rows[4]["text"] and len(rows[0]["audio"]) == 64


def test_windows_may_be_decoded_in_any_order(transcribed):
    recordings, work, results, _ = transcribed
    assert work.rows(recordings, results[::-1]) == work.rows(recordings, results)


def test_the_row_of_a_recording_that_ends_its_workers(transcribed):
    recordings, work, *_ = transcribed
    row = work.error_row(recordings[3], "ends every worker")
    assert (
        row["error"] == f"{recordings[3].path}: ends every worker" and row["words"] == [] and row["reference"] == "a b"
    )
    odd = work.error_row(Recording("/\udcff.wav", 1, 1), "why")
    assert odd["path"] == "/\\udcff.wav" and odd["error"] == "/\\udcff.wav: why"
