"""Alignment on a cluster: each row is what the plain alignment of that recording gives."""

import pytest
import soundfile

from rnnt.cluster.inputs import Recording
from rnnt.recordings import Grid

pytest.importorskip("ray", reason="needs ray[data]")


def test_rows_are_those_of_the_plain_alignment(make, speech, tmp_path):
    from rnnt.cluster.aligning import AlignWork

    recognizer = make()
    texts = {"a": "a b c", "b": "c c", "empty": " ", "unknown": "a zebra", "none": "a", "without": None}
    for number, name in enumerate(texts):
        if name != "none":
            soundfile.write(tmp_path / f"{name}.wav", speech(1.5, number), 16000)
    recordings = [Recording(str(tmp_path / f"{name}.wav"), 1, 1, text) for name, text in texts.items()]
    work = AlignWork(None, Grid.of(recognizer), 16, "cpu", "digest", "{}")
    rows = work.rows(recordings, [work.decode(recognizer, window) for window in work.read(recordings)])
    for row, recording in zip(rows[:2], recordings):
        expected = recognizer.align(recording.path, recording.text)
        assert row["text"] == expected.text == recording.text and row["error"] is None and len(row["audio"]) == 64
        found = [(word["word"], word["start"], word["end"], word["confidence"]) for word in row["words"]]
        assert found == [(word.word, word.start, word.end, word.confidence) for word in expected.words]
        assert row["transcribed"] == expected.seconds
    for row, recording, why in zip(
        rows[2:], recordings[2:], ("is empty", "cannot be aligned", "no such file", "gives no text"), strict=True
    ):
        assert row["error"].startswith(f"{recording.path}: ") and why in row["error"] and not row["words"]
