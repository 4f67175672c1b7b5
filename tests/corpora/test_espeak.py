"""The synthesizer gives the same samples for the same request, and never another voice than the one asked for."""

import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rnnt.corpora import espeak
from rnnt.corpora.espeak import languages, synthesize, variants

TEXT = "call maria on friday"
# Flutter, noise of the engine, another kind of synthesis, noise of the C library, another accent.
VOICES = ("en-us+m1", "en-us+f2", "en+klatt6", "en-gb-scotland+Reed", "en-029+m8")


@pytest.fixture
def engine():
    pytest.importorskip("espeakng_loader", reason="espeak-ng is not installed (pip install 'rnnt[synth]')")


@pytest.fixture
def fresh_caches():
    caches = (espeak.languages, espeak.variants, espeak.data_folder)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def fundamental(samples: np.ndarray, rate: int) -> float:
    """Median pitch in Hz of the voiced frames, by autocorrelation."""
    pitches = []
    for start in range(0, len(samples) - 2048, 512):
        frame = samples[start : start + 2048] * np.hanning(2048)
        correlation = np.fft.irfft(np.abs(np.fft.rfft(frame, 4096)) ** 2)
        lags = slice(rate // 450, rate // 60)
        best = lags.start + correlation[lags].argmax()
        if correlation[best] > 0.5 * correlation[0] > 0:
            pitches.append(rate / best)
    return float(np.median(pitches))


def speak_all(voices: tuple[str, ...]) -> dict[str, bytes]:
    return {voice: synthesize(TEXT, voice, seed=5).samples.tobytes() for voice in voices}


def test_same_samples_in_any_order_and_process(engine):
    expected = speak_all(VOICES)
    assert len(set(expected.values())) == len(VOICES)
    assert speak_all(VOICES[::-1]) == expected
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        forwards, backwards = pool.map(speak_all, [VOICES, VOICES[::-1]], chunksize=1)
    assert forwards == backwards == expected


def test_threads_take_turns(engine):
    expected = speak_all(VOICES)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda voice: synthesize(TEXT, voice, seed=5).samples.tobytes(), VOICES * 3))
    assert results == [expected[voice] for voice in VOICES] * 3


@pytest.mark.parametrize("voice", ["en-us+f2", "en+Reed"])  # the engine's generator, the C library's
def test_seed_changes_the_breath(engine, voice):
    one, other = synthesize(TEXT, voice, seed=1).samples, synthesize(TEXT, voice, seed=2).samples
    assert len(one) == len(other) and not np.array_equal(one, other)


def test_rate_and_pitch_do_what_they_say(engine):
    spoken = synthesize(TEXT, "en-us", rate=130)
    slow, rate = spoken.samples, spoken.sample_rate
    fast = synthesize(TEXT, "en-us", rate=200).samples
    assert slow.dtype == np.int16 and slow.ndim == 1
    assert 0.5 < len(slow) / rate < 3
    assert 1.3 < len(slow) / len(fast) < 1.8
    low, high = (fundamental(synthesize(TEXT, "en-us", pitch=pitch).samples, rate) for pitch in (30, 70))
    assert 60 < low < 0.85 * high < 250
    flat, lively = (synthesize(TEXT, "en-us", pitch_range=pitch_range).samples for pitch_range in (0, 99))
    assert not np.array_equal(flat, lively)


@pytest.mark.parametrize(
    ("voice", "reason"),
    [
        ("en-gb", "no language 'en-gb'"),  # the engine knows it only as a property of "en"
        ("en-us+nobody", "no variant 'nobody'"),  # the engine would take the plain voice
        ("en-us+F3", "no variant 'F3'"),
        ("", "no language ''"),
        ("en-us+../../lang/gmw/en", "no variant"),
    ],
)
def test_voice_that_does_not_exist(engine, voice, reason):
    with pytest.raises(ValueError, match=reason):
        synthesize(TEXT, voice)


@pytest.mark.parametrize("setting", [{"rate": 79}, {"rate": 451}, {"pitch": -1}, {"pitch": 100}, {"pitch_range": 100}])
def test_setting_out_of_range(engine, setting):
    with pytest.raises(ValueError, match="out of range"):
        synthesize(TEXT, "en-us", **setting)


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_nothing_to_say(engine, text):
    with pytest.raises(ValueError, match="cannot say"):
        synthesize(text, "en-us")


def test_lists_hold_what_is_installed(engine):
    assert {"en", "en-us", "en-029"} <= languages()
    assert {"f1", "m1", "Andy", "whisper"} <= variants()


def test_data_that_cannot_be_read(engine, monkeypatch, tmp_path):
    languages()  # kept from before
    monkeypatch.setattr(espeak, "data_folder", lambda: Path(tmp_path, "no", "such", "folder"))
    with pytest.raises(ValueError, match="cannot read its data"):
        synthesize(TEXT, "en-us")
    monkeypatch.undo()
    assert len(synthesize(TEXT, "en-us").samples) > 10000


def test_data_at_a_long_path(engine, monkeypatch, tmp_path):
    expected = synthesize(TEXT, "en-gb-scotland+f2").samples
    deep = tmp_path / ("x" * 200)
    deep.symlink_to(espeak.data_folder())
    monkeypatch.setattr(espeak, "data_folder", lambda: deep)
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    assert np.array_equal(synthesize(TEXT, "en-gb-scotland+f2").samples, expected)


def test_missing_package(monkeypatch, fresh_caches):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # makes the import fail
    with pytest.raises(ValueError, match=r"pip install 'rnnt\[synth\]'") as caught:
        synthesize(TEXT, "en-us")
    assert "\n" not in str(caught.value)


def test_words_begin_and_end_in_the_order_of_the_text_with_silence_in_a_pause(engine):
    text = "call maria, and stop"
    speech = synthesize(text, "en-us")
    assert [word for word, _, _ in speech.words] == ["call", "maria", "and", "stop"]
    (_, first, call), (_, maria, pause), (_, resumed, and_), (_, stop, last) = speech.words
    assert 0 == first < call == maria < pause < resumed < and_ == stop < last <= len(speech.samples)
    level = np.abs(speech.samples.astype(float))
    assert resumed - pause > 0.1 * speech.sample_rate
    assert level[pause + 500 : resumed - 500].mean() < 0.02 * level[maria:pause].mean()
    assert level[last + 100 :].max(initial=0) < 0.02 * level.max()


def test_the_time_between_the_starts_of_words_is_that_of_the_words_between(engine):
    """The speech before a word is the same whatever follows it."""
    short, long = (synthesize(text, "en-us").words for text in ("stop. now.", "stop. call maria. now."))
    assert short[0] == long[0] and long[-1][1] - short[-1][1] > 10_000
