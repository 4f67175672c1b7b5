"""speaking_model makes models that emit symbols nearly as often as speech does."""

from speaking_model import RATE, random_recognizer


def test_a_random_model_speaks_nearly_as_fast_as_people(utterances):
    recognizer = random_recognizer("demo-live", utterances, ["model.encoder.lstm.hidden=32", "model.joint.hidden=32"])
    transcripts = recognizer.transcribe(utterances)
    seconds = sum(map(len, utterances)) / 16000
    assert 0.2 < sum(len(x.tokens) for x in transcripts) / (RATE * seconds) < 2
    for each in transcripts:  # one symbol a frame, of either kind in turn
        assert len(set(each.frames)) == len(each.frames)
        assert [token % 2 for token in each.tokens] == [place % 2 for place in range(len(each.tokens))]
