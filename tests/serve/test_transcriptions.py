"""Recordings over HTTP, by the client of OpenAI and by requests that make no sense."""

import httpx
import numpy as np
import pytest
from serve_clients import error_of, post, wav


def test_the_text_is_that_of_transcribe(client, utterances, expected):
    for samples, transcript in zip(utterances, expected):
        found = client.audio.transcriptions.create(model="any", file=("a.wav", wav(samples)))
        assert found.text == transcript.text


def test_words_and_segments(client, utterances, expected):
    given = {"model": "any", "file": ("a.wav", wav(utterances[2])), "response_format": "verbose_json"}
    found = client.audio.transcriptions.create(**given, timestamp_granularities=["word", "segment"])
    transcript = expected[2]
    assert [word.word for word in found.words] == [word.word for word in transcript.words]
    np.testing.assert_allclose([word.start for word in found.words], [word.start for word in transcript.words])
    np.testing.assert_allclose([word.end for word in found.words], [word.end for word in transcript.words])
    assert [segment.text for segment in found.segments] == [segment.text for segment in transcript.segments]
    assert float(found.duration) == transcript.seconds
    assert client.audio.transcriptions.create(**given).words is None  # segments are the default


@pytest.mark.parametrize("kind", ["text", "srt", "vtt"])
def test_other_formats(client, utterances, expected, kind):
    pytest.importorskip("pysubs2")
    found = client.audio.transcriptions.create(
        model="any", file=("a.flac", wav(utterances[2], kind="FLAC")), response_format=kind
    )
    first = expected[2].words[0].word
    assert first in found and ("-->" in found) == (kind != "text") and found.startswith("WEBVTT") == (kind == "vtt")


def test_server_sent_events(client, utterances, expected):
    events = list(client.audio.transcriptions.create(model="any", file=("a.wav", wav(utterances[2])), stream=True))
    assert events[-1].type == "transcript.text.done" and events[-1].text == expected[2].text
    assert "".join(event.delta for event in events[:-1]) == expected[2].text


def test_requests_that_make_no_sense(address, utterances):
    good = {"file": wav(utterances[1])}
    assert "no file" in error_of(post(address, {"other": b"x"}), 400)
    assert "no file" in error_of(post(address, None, file="text"), 400)
    assert "response_format is 'pdf'" in error_of(post(address, good, response_format="pdf"), 400)
    assert "needs response_format=verbose_json" in error_of(
        post(address, good, **{"timestamp_granularities[]": "word"}), 400
    )
    assert "has 'letter'" in error_of(post(address, good, **{"timestamp_granularities[]": "letter"}), 400)
    assert "stream is 'maybe'" in error_of(post(address, good, stream="maybe"), 400)
    assert "no language model 'x'" in error_of(post(address, good, lm="x"), 400)
    assert "xyz" in error_of(post(address, good, hotwords="xyz"), 400)
    assert "notes.txt" in error_of(post(address, {"file": ("notes.txt", b"not audio")}), 400)
    assert error_of(post(address, {"file": ("a.wav", b"")}), 400)
    assert httpx.post(f"http://{address}/v1/audio/transcriptions", content=b"junk").status_code == 400
    assert httpx.get(f"http://{address}/v1/audio/transcriptions").status_code == 405
