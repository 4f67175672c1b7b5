"""Streams give what the offline decoding of the whole gives, in any chunks, at any rate, and beside any others."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rnnt.decoding import Greedy
from rnnt.decoding.decoder import configured_decoder
from rnnt.decoding.endpoint import EndpointRules
from rnnt.decoding.hotwords import hot_words
from rnnt.live import accept_together, finish_together
from rnnt.loader import collate

DECODINGS = {"greedy": {}, "beam": {"method": "beam", "beam": 3}}
SHORT = EndpointRules(0.5, 0.3, 1.0)
QUICK = settings(max_examples=8, phases=[Phase.explicit, Phase.generate])  # shrinking would take minutes


def prepare(recognizer, bias=-4.0):
    if recognizer.config.features.fitted:
        recognizer.features.mean.fill_(-7.0)
        recognizer.features.std.fill_(3.0)
    with torch.no_grad():
        recognizer.model.joint.output.bias[-1] += bias
    return recognizer


@pytest.fixture(scope="module", params=DECODINGS)
def model(request, make):
    """A random model that streams."""
    decoding = {"max_symbols_per_frame": 3, **DECODINGS[request.param]}
    return prepare(make(features={"normalization": "running"}, decoding=decoding))


@pytest.fixture(scope="module")
def whole(model, utterances):
    """The transcripts of the utterances, decoded at once."""
    found = [model.transcribe([samples])[0] for samples in utterances]
    assert sum(len(transcript.tokens) for transcript in found) > 15
    return found


def divide(samples, cuts):
    ends = sorted(min(cut, len(samples)) for cut in cuts)
    return [samples[start:end] for start, end in pairwise([0, *ends, len(samples)])]


def run(stream, chunks):
    for chunk in chunks:
        stream.accept(chunk)
    return stream.finish()


@QUICK
@given(number=st.integers(0, 6), cuts=st.lists(st.integers(0, 47000), max_size=60))
def test_any_chunks_give_the_transcript_of_the_whole(model, whole, utterances, same, number, cuts):
    found = run(model.stream(rules=None), divide(utterances[number], cuts))
    same(found, whole[number])
    assert (found.segments, found.left_out) == (whole[number].segments, whole[number].left_out)


def test_single_samples_give_the_transcript_of_the_whole(model, utterances, same):
    samples = utterances[1][:1700]
    same(run(model.stream(rules=None), samples[:, None]), model.transcribe([samples])[0])


@QUICK
@given(number=st.integers(0, 6), share=st.floats(0.05, 1), size=st.integers(1, 5000))
def test_a_stream_that_ends_anywhere_has_the_last_words_of_offline_decoding(
    model, utterances, same, number, share, size
):
    """Nothing follows the last word: neither silence nor the rest of an encoder frame."""
    samples = utterances[number][: int(share * len(utterances[number]))]
    chunks = divide(samples, range(size, len(samples), max(size, 500)))
    same(run(model.stream(), chunks), model.transcribe([samples])[0])


def test_scorers_steer_streams_as_files(make, utterances, same):
    recognizer = prepare(make(features={"normalization": "global"}, decoding={"method": "beam", "beam": 3}))
    plain = recognizer.transcribe(utterances)
    recognizer.scorers["hotwords"] = hot_words(["b a"], recognizer.tokenizer, recognizer.device)
    steered = recognizer.transcribe(utterances)
    assert [x.tokens for x in steered] != [x.tokens for x in plain]
    for samples, expected in zip(utterances, steered):
        same(run(recognizer.stream(rules=None), np.array_split(samples, 7)), expected)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_other_rates_are_resampled_as_files_are(model, utterances, rate, same, tmp_path):
    samples = utterances[2]
    soundfile.write(tmp_path / "a.wav", samples, rate)
    (expected,) = model.transcribe([tmp_path / "a.wav"])
    for chunks in (np.array_split(samples, 40), np.array_split(samples / 32768, 3)):
        same(run(model.stream(rate, rules=None), chunks), expected)


def test_floats_are_rounded_as_those_of_waveforms(model, utterances, same):
    samples = (utterances[0] / 30000).astype(np.float32)
    same(run(model.stream(rules=None), torch.from_numpy(samples).split(999)), model.transcribe([samples])[0])


@QUICK
@given(seed=st.integers(0, 10**6))
def test_streams_of_a_batch_have_the_results_that_they_have_alone(model, whole, utterances, same, seed):
    rng = np.random.default_rng(seed)
    streams = [model.stream(rules=None) for _ in utterances]
    left = [np.array_split(samples, rng.integers(1, 9)) for samples in utterances]
    while any(left):
        rows = [row for row, chunks in enumerate(left) if chunks and rng.integers(2)]
        accept_together([streams[row] for row in rows], [left[row].pop(0) for row in rows])
    for found, expected in zip(finish_together(streams), whole):
        same(found, expected)


def test_a_conformer_streams_with_its_look_ahead(make, utterances, same):
    limits = {"attention_left": 4, "attention_right": 1, "causal": True}
    conformer = {"width": 16, "layers": 2, "heads": 2, "subsampling": 4, "channels": 4, "kernel": 3, **limits}
    small = {"hidden": 8, "layers": 1, "embedding": 8}
    model = {"encoder": {"kind": "conformer", "conformer": conformer}, "predictor": small, "joint": {"hidden": 16}}
    recognizer = make(blank=-1.0, features={"normalization": "running", "stack": 1}, model=model)
    for samples in utterances[:3]:
        (expected,) = recognizer.transcribe([samples])
        found = run(recognizer.stream(rules=None), np.array_split(samples, 11))
        assert (found.tokens, found.frames) == (expected.tokens, expected.frames) and expected.tokens


def test_an_lstm_streams_with_its_look_ahead(make, utterances, same):
    lstm = {"hidden": 16, "pre_layers": 1, "post_layers": 1, "lookahead": 3}
    small = {"hidden": 8, "layers": 1, "embedding": 8}
    model = {"encoder": {"lstm": lstm}, "predictor": small, "joint": {"hidden": 16}}
    recognizer = prepare(make(features={"normalization": "running"}, model=model))
    expected = recognizer.transcribe(utterances)
    assert sum(len(transcript.tokens) for transcript in expected) > 15
    streams = [recognizer.stream(rules=None) for _ in utterances]
    for parts in zip(*(np.array_split(samples, 9) for samples in utterances)):
        accept_together(streams, parts)
    for found, wanted in zip(finish_together(streams), expected):
        same(found, wanted)


def test_streams_with_different_searches_advance_together(make, utterances, same):
    recognizer = prepare(make(features={"normalization": "none"}))
    wide = configured_decoder(recognizer.config.decoding.__class__(method="beam", beam=4))
    streams = [recognizer.stream(), recognizer.stream(decoder=wide), recognizer.stream()]
    accept_together(streams, [utterances[0]] * 3)
    first, other, third = finish_together(streams)
    same(first, third)
    same(first, recognizer.transcribe([utterances[0]])[0])
    same(other, run(recognizer.stream(decoder=wide), [utterances[0]]))


def test_one_call_of_the_search_serves_all_streams(make, utterances, monkeypatch):
    recognizer, batches, advance = make(features={"normalization": "none"}), [], Greedy.advance

    def counted(search, state, encoder_BTD, lengths):
        batches.append(len(lengths))
        return advance(search, state, encoder_BTD, lengths)

    monkeypatch.setattr(Greedy, "advance", counted)
    accept_together([recognizer.stream(rules=None) for _ in range(3)], utterances[:3])
    assert batches == [3]


def test_streams_that_cannot_advance_together_are_refused(make, utterances):
    one, other = (make(features={"normalization": "none"}).stream() for _ in range(2))
    with pytest.raises(ValueError, match="a stream is named twice"):
        accept_together([one, one], utterances[:2])
    with pytest.raises(ValueError, match="streams of different models cannot advance together"):
        accept_together([one, other], utterances[:2])


# ---- endpoints -------------------------------------------------------------------------------------------------------


def ends_of(model, samples, chunks, rules):
    """The transcripts of utterances as they came, and that of all."""
    stream, finals = model.stream(rules=rules), []
    for chunk in chunks:
        stream.accept(chunk)
        finals += stream.finals()
    result = stream.finish()
    return finals + stream.finals(), result


@pytest.fixture(scope="module")
def long(speech):
    """Ten seconds with pauses."""
    parts = [speech(1.1, 5), np.zeros(9000, np.int16), speech(2.5, 6), np.zeros(20000, np.int16), speech(3.6, 7)]
    return np.concatenate(parts)


@QUICK
@given(cuts=st.lists(st.integers(0, 145000), max_size=30))
def test_endpoints_do_not_depend_on_chunks(model, long, same, cuts):
    one, all_at_once = ends_of(model, long, [long], SHORT)
    other, chunked = ends_of(model, long, divide(long, cuts), SHORT)
    assert len(one) > 2
    for a, b in zip(one, other, strict=True):
        same(a, b)
    same(all_at_once, chunked)


def test_finals_are_the_whole_and_follow_each_other(model, long):
    finals, result = ends_of(model, long, np.array_split(long, 100), SHORT)
    assert [token for final in finals for token in final.tokens] == result.tokens
    assert [word for final in finals for word in final.words] == result.words
    assert [segment for final in finals for segment in final.segments] == result.segments
    assert result.text == " ".join(final.text for final in finals)  # its tokens are words
    bounds = [(segment.start, segment.end) for segment in result.segments]
    assert all(start < end for start, end in bounds) and all(a[1] <= b[0] for a, b in pairwise(bounds))
    assert all(end - start <= 1.0 + 0.06 for start, end in bounds[:-1])
    covered = sum(end - start for start, end in [*bounds, *result.left_out])
    assert covered == pytest.approx(len(long) / 16000, abs=1e-6)
    for final, (start, end) in zip(finals, bounds):
        assert all(start - 0.3 <= word.start <= word.end <= end + 0.3 for word in final.words)
        assert all(start <= time < end + 0.06 for time in final.times)


def test_greedy_search_has_the_tokens_of_the_whole_whatever_the_endpoints(make, long):
    decoding = {"max_symbols_per_frame": 3, "max_symbols": 10_000}  # a file's text would be truncated
    recognizer = prepare(make(features={"normalization": "running"}, decoding=decoding))
    batch = collate([long], [[]], [""])
    with recognizer.inference():
        (expected,) = recognizer.decode(batch, *recognizer.encode(batch))
    for rules in (SHORT, EndpointRules(), None, EndpointRules(0.06, 0.06, 0.06)):
        found = ends_of(recognizer, long, np.array_split(long, 31), rules)[1]
        assert (found.tokens, found.frames) == (expected.tokens, expected.frames)


def test_without_rules_beam_search_has_the_tokens_of_the_whole(make, long):
    decoding = {"method": "beam", "beam": 3, "max_symbols_per_frame": 3, "max_symbols": 10_000}
    recognizer = prepare(make(features={"normalization": "running"}, decoding=decoding))
    batch = collate([long], [[]], [""])
    with recognizer.inference():
        (expected,) = recognizer.decode(batch, *recognizer.encode(batch))
    finals, found = ends_of(recognizer, long, np.array_split(long, 31), None)
    assert found.tokens == expected.tokens and len(finals) == 1


def test_a_stream_forgets_what_is_final(model, long):
    stream, sizes = model.stream(rules=SHORT), []
    for chunk in np.array_split(np.tile(long, 3), 200):
        stream.accept(chunk)
        frames = sum(map(len, stream._heard.encoder))
        assert frames == stream._received - stream._heard.start
        sizes.append(frames)
        assert len(stream.partial.tokens) < 100
    assert max(sizes) <= 40  # 2 s


def test_partials_have_words_and_become_final(model, utterances, whole):
    samples, expected = utterances[2], whole[2]
    stream, seen = model.stream(rules=None), []
    for chunk in np.array_split(samples, 40):
        stream.accept(chunk)
        partial = stream.partial
        assert partial.seconds == pytest.approx(stream._num_samples / 16000)
        assert " ".join(word.word for word in partial.words) == partial.text
        assert stream.partial_text == replace(partial, words=[], symbols=[])
        assert all(0 <= word.confidence <= 1 and word.start <= word.end for word in partial.words)
        seen.append(partial.tokens)
    assert not stream.finals() and stream.finish().tokens == expected.tokens
    assert len({len(tokens) for tokens in seen}) > 2
    assert [final.text for final in stream.finals()] == [expected.text] and not stream.finals()


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 3), np.int16), r"must be \(N,\), not \(2, 3\); average channels first"),
        (np.zeros(3, np.int32), "must be int16 or float in"),
        (np.array(["a"]), "must be int16 or float in"),
        (np.array([0.0, np.nan]), "the stream holds samples that are NaN or infinite"),
        (np.array([0.0, 300.0]), "the stream holds samples of up to 300, but full scale is 1"),
    ],
)
def test_bad_samples_are_refused_and_the_stream_goes_on(make, utterances, samples, message, same):
    recognizer = prepare(make(features={"normalization": "none"}))
    stream, other = recognizer.stream(), recognizer.stream()
    accept_together([stream, other], [utterances[0][:5000]] * 2)
    with pytest.raises(ValueError, match=message):
        accept_together([stream, other], [utterances[0], samples])
    accept_together([stream, other], [utterances[0][5000:]] * 2)
    for found in finish_together([stream, other]):
        same(found, recognizer.transcribe([utterances[0]])[0])


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=DECODINGS)
def test_a_token_and_duration_model_streams(make, utterances, same, decoding):
    recognizer = make(
        features={"normalization": "running"},
        model={
            "encoder": {"hidden": 16, "pre_layers": 1, "post_layers": 1},
            "predictor": {"embedding": 8, "hidden": 8, "layers": 1},
            "joint": {"hidden": 16, "durations": [0, 1, 2, 3]},
            "init_scale": 1.0,
        },
        decoding={"max_symbols_per_frame": 3, **decoding},
    )
    whole = [recognizer.transcribe([samples])[0] for samples in utterances]
    assert sum(len(transcript.tokens) for transcript in whole) > 15
    streams = [recognizer.stream(rules=None) for _ in utterances]
    accept_together(streams, [samples[:20_000] for samples in utterances])
    for stream, samples in zip(streams, utterances):
        for chunk in np.array_split(samples[20_000:], 7):
            stream.accept(chunk)
        assert stream.partial.tokens or not stream.partial.text
    for found, expected in zip(finish_together(streams), whole):
        same(found, expected)


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=DECODINGS)
def test_endpoints_of_a_token_and_duration_model(make, long, decoding):
    joint = {"hidden": 16, "durations": [0, 1, 2, 3]}
    recognizer = make(features={"normalization": "running"}, model={"joint": joint}, decoding=decoding)
    transcript = run(recognizer.stream(rules=SHORT), np.array_split(long, 40))
    starts = [word.start for word in transcript.words]
    assert transcript.tokens and starts == sorted(starts)
    if decoding == DECODINGS["greedy"]:
        assert transcript.tokens == run(recognizer.stream(rules=None), [long]).tokens


def test_a_finished_stream_takes_nothing_and_repeats_its_result(make, utterances):
    stream = prepare(make(features={"normalization": "none"})).stream()
    stream.accept(utterances[0])
    assert stream.finish() is stream.finish() and stream.partial.text == ""
    with pytest.raises(ValueError, match="the stream is finished; start another one"):
        stream.accept(utterances[0])


@pytest.mark.parametrize("samples", [0, 1])
def test_streams_without_speech_have_no_text(make, samples):
    stream = prepare(make(features={"normalization": "running"}), bias=30).stream()
    stream.accept(np.zeros(samples, np.int16))
    result = stream.finish()
    assert (result.text, result.tokens, result.seconds, result.segments) == ("", [], samples / 16000, [])
    assert not stream.finals()


@pytest.mark.parametrize("rate", [1, 0, -8000, 10_000_000])
def test_senseless_rates_are_refused(make, rate):
    with pytest.raises(ValueError, match=f"sample_rate is {rate}; no recorder has it"):
        make(features={"normalization": "none"}).stream(rate)


def test_a_model_that_cannot_stream_says_why_and_what_to_train(make):
    reasons = r"the encoder needs .* and features.normalization=utterance needs .* and features.trim_silence=true needs"
    mend = "model.encoder.lstm.bidirectional=false features.trim_silence=false features.normalization=running"
    encoder = {"hidden": 16, "pre_layers": 1, "post_layers": 1, "bidirectional": True}
    model = make(features={"trim_silence": True}, model={"encoder": encoder})
    with pytest.raises(ValueError, match=f"this model cannot stream, because {reasons}.*; train one with {mend}"):
        model.stream()
