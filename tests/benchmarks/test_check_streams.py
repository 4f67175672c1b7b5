"""check_streams counts streams as offline decoding has them, and last words at the end that the split knows."""

import json
import random

import check_streams
import pytest

from rnnt.dataset import write_split
from rnnt.known_times import TIMES
from rnnt.shard import StoredUtterance


@pytest.fixture(scope="module")
def transcripts(talkative, utterances):
    return [talkative.transcribe([samples])[0] for samples in utterances]


def test_streams_have_the_transcripts_of_files(talkative, utterances, transcripts):
    found = check_streams.streamed(talkative, utterances, random.Random(0))
    assert [x.tokens for x in found] == [x.tokens for x in transcripts] == check_streams.offline(talkative, utterances)
    assert sum(len(x.tokens) for x in found) > 15


@pytest.mark.parametrize("known", [True, False])
def test_last_words_are_counted(talkative, utterances, transcripts, known, tmp_path):
    pairs = [(x, t.text) for x, t in zip(utterances, transcripts) if t.text]
    rows = [StoredUtterance(f"u{n}", x, text) for n, (x, text) in enumerate(pairs)]
    write_split(tmp_path / "test", rows, 16000)
    if known:  # the last word ends with the audio, and one utterance is not known
        lines = [
            {"id": row.id, "times": [[word, 0.0, len(row.input) / 16000] for word in row.text.split()]}
            for row in rows[1:]
        ]
        (tmp_path / "test" / TIMES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    counts = check_streams.check(talkative, tmp_path / "test", 2, 0)
    assert counts["equal"] == counts["utterances"] == len(rows) > 3
    assert counts["truncated"] == counts["equal, truncated"] == len(rows) - known
    if known:
        assert counts["kept"] == counts["last word right"] == len(rows) - 1
