"""The page without a server: what is written, and what it does in a browser."""

import io
import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile
import soxr
from browser import browsing, downloaded
from tones import tones, train_listener

from rnnt.decoding.endpoint import EndpointRules
from rnnt.export import web
from rnnt.export.exporting import export_model
from rnnt.export.plain_onnx import DECODER, ENCODER, STREAM


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """A folder that stands for the npm package."""
    (tmp_path / "package" / "dist").mkdir(parents=True)
    for name in web._RUNTIME:
        (tmp_path / "package" / "dist" / name).write_text(name)
    monkeypatch.setenv(web.VARIABLE, str(tmp_path / "package"))
    web.find_runtime.cache_clear()
    yield tmp_path / "package"
    web.find_runtime.cache_clear()


def test_all_files_of_the_page_are_written(make, runtime, tmp_path):
    out = tmp_path / "out"
    export_model(make(features={"normalization": "none"}), "web", out)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {f"ort/{name}" for name in web._RUNTIME} <= files
    assert {f"model/{STREAM}", f"model/{DECODER}", "model/tokens.txt", "model/config.json"} <= files
    assert f"model/{ENCODER}" not in files and not any("server" in name for name in files)
    html = (out / "index.html").read_text()
    for name in re.findall(r'(?:href|src)="(.*?)"', html):
        assert name in files
    assert "wasm-unsafe-eval" in html and "unsafe-inline" not in html and "http" not in html.replace("http-equiv", "")
    for path in out.rglob("*.js"):
        for other in re.findall(r'(?:from |new URL\()"(.*?)"', path.read_text()):
            assert (path.parent / other).resolve().relative_to(out).as_posix() in files, (path, other)


def test_a_model_that_cannot_stream_has_the_other_encoder(make, runtime, tmp_path):
    export_model(make(), "web", tmp_path / "out", "float16")
    names = {path.name for path in (tmp_path / "out" / "model").iterdir()}
    assert names == {ENCODER, DECODER, "tokens.txt", "config.json"}


def test_a_model_of_symbols_is_refused(speller, runtime, tmp_path):
    with pytest.raises(ValueError, match="symbols"):
        export_model(speller, "web", tmp_path / "out")


def test_where_onnx_runtime_comes_from(runtime, tmp_path, monkeypatch):
    assert web.find_runtime() == {name: name.encode() for name in web._RUNTIME}
    for folder, why in ((tmp_path / "none", "holds no ort.wasm"), (runtime / "dist", "the folder must hold")):
        (runtime / "dist" / web._RUNTIME[1]).unlink(missing_ok=True)
        monkeypatch.setenv(web.VARIABLE, str(folder))
        web.find_runtime.cache_clear()
        with pytest.raises(ValueError, match=why):
            web.find_runtime()
    monkeypatch.delenv(web.VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=f"there is no npm.*{web.VARIABLE}=DIR"):
        web.find_runtime()
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND\nnpm error network is unreachable' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(ValueError, match=f"network is unreachable; .*{web.VARIABLE}=DIR"):
        web.find_runtime()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def sound():
    return tones([0, 2, 1, 0, 1, 2, 1], np.random.default_rng(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="module")
def site(folder):
    """Serve the folder's exports. Gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture(scope="module")
def browser(folder, sound, site):
    try:
        web.find_runtime()
    except ValueError as error:
        pytest.skip(str(error))
    soundfile.write(folder / "sound.wav", sound, 16000)
    with browsing(folder, folder / "sound.wav") as found:
        yield found


@pytest.fixture(scope="module")
def listener(make):
    return train_listener(make)


@pytest.fixture(scope="module")
def whole(browser, folder, make):
    """A model that cannot stream, exported as `whole`."""
    recognizer = make()
    export_model(recognizer, "web", folder / "whole")
    return recognizer


def opened(browser, site, name):
    browser.open(f"{site}/{name}/")
    browser.until("!document.querySelector('#microphone').disabled")


def transcribed(browser, path):
    """Choose a file, and return the text of each paragraph."""
    browser.type("#file", str(path))
    browser.until("!document.querySelector('#result').hidden")
    return browser.run("return [...document.querySelectorAll('#transcript p:not(#partial)')].map(p => p.textContent)")


def test_files_have_the_text_of_transcribe(browser, folder, site, whole, utterances):
    opened(browser, site, "whole")
    assert "when you stop" in browser.text("#status")
    for number in (2, 0):
        soundfile.write(folder / f"{number}.wav", utterances[number], 16000)
        (expected,) = whole.transcribe([utterances[number]])
        assert transcribed(browser, folder / f"{number}.wav") == [expected.text]
    browser.click("[data-kind=json]")
    record = json.loads(downloaded(folder / "0.json"))
    assert record["text"] == expected.text and record["duration"] == pytest.approx(1.3)
    assert [word["word"] for word in record["words"]] == expected.text.split()
    emitted = [time + whole.frame_seconds for time in expected.times]
    np.testing.assert_allclose([word["end"] for word in record["words"]], emitted, atol=2e-3)
    probabilities = np.exp(expected.log_probs)
    np.testing.assert_allclose([word["confidence"] for word in record["words"]], probabilities, rtol=1e-2, atol=1e-4)
    assert browser.log() == []


def test_live_text_is_that_of_a_stream(browser, folder, site, listener, sound):
    export_model(listener, "web", folder / "live")
    opened(browser, site, "live")
    pause = (65 * np.random.default_rng(2).standard_normal(3 * 16000)).astype(np.int16)
    long = np.concatenate([sound, pause, sound[:40000]])
    soundfile.write(folder / "long.wav", long, 16000)
    stream = listener.stream(rules=EndpointRules())
    stream.accept(long)
    segments = stream.finish().segments
    assert len(segments) == 2 and transcribed(browser, folder / "long.wav") == [segment.text for segment in segments]
    browser.click("#microphone")
    browser.until("partial.textContent.length >= 5 && / s behind/.test(latency.textContent)")
    browser.click("#microphone")
    browser.until("!document.querySelector('#result').hidden")
    browser.click("[data-kind=wav]")
    samples, rate = soundfile.read(io.BytesIO(downloaded(folder / "microphone.wav")), dtype="int16")
    stream = listener.stream(rate)
    stream.accept(samples)
    text = browser.run("return document.querySelector('#transcript').textContent")
    assert text == stream.finish().text and len(set(text.split())) > 1
    assert browser.log() == []


def test_a_missing_file_is_an_error_in_one_line(browser, folder, site, make):
    export_model(make(), "web", folder / "broken")
    (folder / "broken" / "model" / DECODER).unlink()
    browser.open(f"{site}/broken/")
    browser.until("document.querySelector('#status').className === 'error'")
    assert f"{DECODER} is missing" in browser.text("#status")
    browser.log()


def test_long_recordings_are_cut_where_it_is_quiet(browser, site, whole):
    opened(browser, site, "whole")
    rng = np.random.default_rng(0)
    samples, rate = rng.standard_normal(75 * 1000) * 0.1, 1000
    quiet = [12.0, 27.5, 43.0, 61.0]
    for second in quiet:
        samples[int(second * rate) :][:300] *= 0.01
    script = """const [samples, rate] = arguments;
        return import("/whole/page/local/encoders.js").then((m) => m.stretches(Float32Array.from(samples), rate))"""
    found = browser.run(script, samples.tolist(), rate)
    assert [start for start, _ in found] == [0, *(end for _, end in found[:-1])] and found[-1][1] == len(samples)
    assert len(found) == 5
    for (_, end), second in zip(found, quiet):
        assert second <= end / rate <= second + 0.3
    assert browser.run(script, samples[: 30 * rate].tolist(), rate) == [[0, 30 * rate]]


def test_the_resampler_is_that_of_the_package_to_hearing(browser, site, whole):
    opened(browser, site, "whole")
    rng = np.random.default_rng(0)
    script = """const [samples, rate, sizes] = arguments;
        return import("/whole/page/local/resampler.js").then(({ Resampler }) => {
            const [resampler, found] = [new Resampler(rate, 16000), []];
            let place = 0;
            for (const size of sizes) {
                found.push(...resampler.convert(Float32Array.from(samples.slice(place, place + size))));
                place += size;
            }
            return [...found, ...resampler.finish()];
        })"""
    for rate in (8000, 16000, 44100, 48000):
        n = rate // 4
        t = np.arange(n) / rate
        pitches = [f for f in (150, 440, 1370, 3500, 7200) if f < rate / 2]
        slow = sum(np.sin(2 * np.pi * f * t + f) for f in pitches) * np.hanning(n)
        samples = (0.15 * slow).astype(np.float32)
        cuts = np.sort(rng.integers(0, n, 9))
        whole = np.array(browser.run(script, samples.tolist(), rate, [n]))
        pieces = np.array(browser.run(script, samples.tolist(), rate, np.diff([0, *cuts, n]).tolist()))
        expected = soxr.resample(samples.astype(np.float64), rate, 16000)
        assert len(whole) == len(expected)
        np.testing.assert_array_equal(whole, pieces)
        assert np.abs(whole - expected).max() < 1e-3 * np.abs(expected).max() + 1e-4
