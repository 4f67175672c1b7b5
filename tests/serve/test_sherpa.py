"""Live speech in the protocol of sherpa-onnx."""

from serve_clients import sherpa, text_of


def test_sherpa(address, utterances, expected):
    for samples, transcript in zip(utterances, expected):
        messages = sherpa(address, samples)
        assert text_of([message for message in messages if message["is_final"]]) == transcript.text
        assert messages[-1]["is_eof"] and not any(message["is_eof"] for message in messages[:-1])
        for message in messages:
            assert len(message["tokens"]) == len(message["timestamps"])
