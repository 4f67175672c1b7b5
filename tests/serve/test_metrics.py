"""What the server counts."""

import httpx
import pytest
from serve_clients import post, text_of, vosk, wav


def test_what_is_counted(address, utterances):
    def count(name):
        lines = httpx.get(f"http://{address}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    before = count("rnnt_audio_seconds_total"), count("rnnt_errors_total")
    post(address, {"file": wav(utterances[0])})
    post(address, {"file": b"nothing"})
    assert count("rnnt_audio_seconds_total") == pytest.approx(before[0] + len(utterances[0]) / 16000)
    assert count("rnnt_errors_total") == before[1] + 1 and count("rnnt_files ") == 0
    assert count("rnnt_batch_size_count") >= 1
    text_of(vosk(address, utterances[0])[1])
    streamed = pytest.approx(before[0] + 2 * len(utterances[0]) / 16000)
    assert count("rnnt_audio_seconds_total") == streamed and count("rnnt_streams ") == 0
