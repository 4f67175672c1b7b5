"""Hot words of a request."""

from serve_clients import post, wav


def test_hot_words_are_of_one_request(address, served, utterances):
    plain, steered = (
        post(address, {"file": wav(utterances[2])}, **more).json()["text"] for more in ({}, {"hotwords": "b a :8"})
    )
    assert plain == served.transcribe([utterances[2]])[0].text != steered
    assert post(address, {"file": wav(utterances[2])}).json()["text"] == plain
