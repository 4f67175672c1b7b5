"""The page of the server: what a browser is told of it, and what it does in one."""

import io
import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import soundfile
from browser import browsing, downloaded
from serve_clients import post, wav
from tones import tones, train_listener

from rnnt.formats import to_srt, to_vtt
from rnnt.page_files import PAGE
from rnnt.serve.audio import decode_upload
from rnnt.transcript import Transcript, Word

FILES = sorted(
    path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*.*") if path.is_file() and path.parent.name != "local"
)


def test_every_file_has_its_type_and_a_policy_that_allows_no_other_host(address):
    types = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for name in FILES:
        url = f"http://{address}/" + (f"page/{name}" if name != "index.html" else "")
        found = httpx.get(url)
        assert found.status_code == 200 and found.text == (PAGE / name).read_text()
        assert found.headers["content-type"].split(";")[0] == types[name.rsplit(".", 1)[1]]
        assert found.headers["x-content-type-options"] == "nosniff"
        policy = dict(part.strip().split(" ", 1) for part in found.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
        assert set(policy.values()) <= {"'none'", "'self'", "blob:"}
    assert httpx.get(f"http://{address}/page/other.js").status_code == 404
    assert httpx.get(f"http://{address}/page/..%2f__init__.py").status_code == 404


class Parser(HTMLParser):
    """Collects what the page loads, and what is written into it that a policy forbids."""

    def __init__(self):
        super().__init__()
        self.loaded, self.inline = [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.loaded += [values[name] for name in ("src", "href") if name in values]
        self.inline += [name for name in values if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in values):
            self.inline.append(tag)


def test_nothing_comes_from_elsewhere():
    parser = Parser()
    parser.feed((PAGE / "index.html").read_text())
    assert not parser.inline and parser.loaded
    assert {path.removeprefix("page/") for path in parser.loaded} <= set(FILES)
    for name in FILES:
        text = (PAGE / name).read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"""https?://|["'(]//|@import|\beval\b|innerHTML""", text), name
        for other in re.findall(r'from "(.*)"', text):
            assert (PAGE / name).parent.joinpath(other).resolve().is_relative_to(PAGE)
            assert (PAGE / name).parent.joinpath(other).is_file()


@pytest.fixture(scope="module")
def sound():
    return tones([0, 2, 1, 0, 1, 2, 1], np.random.default_rng(1))


@pytest.fixture(scope="module")
def listener(make):
    return train_listener(make)


@pytest.fixture(scope="module")
def browser(sound, tmp_path_factory):
    """A browser whose microphone repeats a sound."""
    folder = tmp_path_factory.mktemp("browser")
    soundfile.write(folder / "microphone-sound.wav", sound, 16000)
    with browsing(folder, folder / "microphone-sound.wav") as found:
        found.folder = folder
        yield found


def opened(browser, address):
    browser.open(f"http://{address}/")
    browser.until("!document.querySelector('#microphone').disabled")


def speak(browser, until):
    """Use the microphone until a JavaScript condition holds, and wait for the result."""
    browser.click("#microphone")
    browser.until(until)
    browser.click("#microphone")
    browser.until("!document.querySelector('#result').hidden")


def results(browser, name, kinds):
    """Click on the downloads, and return their contents."""
    found = {}
    for kind in kinds:
        (browser.folder / f"{name}.{kind}").unlink(missing_ok=True)
        browser.click(f"[data-kind={kind}]")
        found[kind] = downloaded(browser.folder / f"{name}.{kind}")
    return SimpleNamespace(**found)


def heard(data, sound):
    """Assert that a WAV file is what the microphone played, and return its samples and rate.

    The browser converts the sound to its own rate and begins anywhere in it, also between two samples.
    """
    samples, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    at_16k = decode_upload(data, 16000, "microphone", 60)[4000:16000].astype(float)
    repeated = np.concatenate([sound, sound, sound]).astype(float)
    product = np.fft.irfft(np.fft.rfft(repeated) * np.conj(np.fft.rfft(at_16k, len(repeated))), len(repeated))
    place = int(np.argmax(product[: len(repeated) - len(at_16k)]))
    assert np.corrcoef(repeated[place : place + len(at_16k)], at_16k)[0, 1] > 0.7
    return samples, rate


def test_words_appear_while_the_microphone_is_open(browser, serving, listener, sound):
    with serving(listener) as address:
        opened(browser, address)
        speak(browser, "partial.textContent.length >= 5 && / s behind/.test(latency.textContent)")
        found = results(browser, "microphone", ("wav", "json", "srt", "vtt"))
    samples, rate = heard(found.wav, sound)
    stream = listener.stream(rate)
    stream.accept(samples)
    expected = stream.finish()
    assert len(set(expected.text.split())) > 1
    shown = browser.run("return [...document.querySelectorAll('#transcript p:not(#partial)')].map(p => p.textContent)")
    assert " ".join(shown) == expected.text
    record = json.loads(found.json)
    assert record["text"] == expected.text and record["duration"] == pytest.approx(len(samples) / rate)
    words = [Word(**word) for word in record["words"]]
    assert [(w.word, w.start, w.end) for w in words] == [(w.word, w.start, w.end) for w in expected.words]
    np.testing.assert_allclose([w.confidence for w in words], [w.confidence for w in expected.words], atol=1e-3)
    whole = Transcript(record["text"], [], [], [], [], record["duration"], words=words)
    assert found.srt.decode() == to_srt(whole) and found.vtt.decode() == to_vtt(whole)
    assert browser.log() == []


def test_what_a_server_sent_before_it_went_is_kept(browser, serving, listener):
    with serving(listener) as address:
        opened(browser, address)
        browser.click("#microphone")
        browser.until("partial.textContent.length >= 3")
    browser.until("!document.querySelector('#result').hidden")
    assert browser.text("#status.error")
    assert len(browser.text("#transcript p")) >= 3 and browser.text("#partial") == ""
    assert browser.run("return document.querySelector('#microphone').getAttribute('aria-pressed')") == "false"
    browser.log()


def test_a_file_and_a_word_of_it(browser, address, utterances, expected):
    opened(browser, address)
    data = wav(utterances[2])
    (browser.folder / "some speech.wav").write_bytes(data)
    browser.type("#file", str(browser.folder / "some speech.wav"))
    browser.until("!document.querySelector('#result').hidden")
    assert browser.run("return [...document.querySelectorAll('#transcript p')].map(p => p.textContent)") == [
        expected[2].text,
        "",
    ]
    found = results(browser, "some speech", ("json", "srt"))
    assert found.srt.decode() == post(address, {"file": data}, response_format="srt").text
    assert json.loads(found.json)["words"] == json.loads(json.dumps([vars(word) for word in expected[2].words]))
    last = len(expected[2].words) - 1
    assert browser.run("return [...document.querySelectorAll('.word')].map(w => w.style.length)") == [1] * (last + 1)
    browser.run("audio.addEventListener('pause', () => (window.ended = audio.currentTime))")
    browser.click(f".word[data-number='{last - 1}']")
    word = expected[2].words[last - 1]
    assert word.start - 0.05 <= browser.until("window.ended") <= word.end + 0.3
    assert browser.run("return audio.played.start(0)") == pytest.approx(word.start - 0.03, abs=0.02)
    browser.run("delete window.ended; document.querySelector('.word').focus()")
    browser.type(".word", "\ue010\ue012\n")  # End, arrow to the left, Enter: by keys alone to the last word but one
    assert browser.run("return document.activeElement.dataset.number") == str(last - 1)
    assert word.start - 0.05 <= browser.until("window.ended") <= word.end + 0.3
    assert browser.log() == []


def test_a_model_that_cannot_stream_gets_the_whole_recording(browser, make, serving, sound):
    recognizer = make()
    with serving(recognizer) as address:
        opened(browser, address)
        assert "when you stop" in browser.text("#status")
        speak(browser, "document.querySelector('#clock').textContent >= '0:01'")
        data = results(browser, "microphone", ["wav"]).wav
        heard(data, sound)
        (transcript,) = recognizer.transcribe([decode_upload(data, 16000, "microphone", 60)])
        assert transcript.text and browser.text("#transcript p") == transcript.text
        assert browser.log() == []


def test_a_token_of_any_letters(browser, served, serving):
    with serving(served, {"token": "se/cret+to=ken"}) as address:
        browser.open(f"http://{address}/")
        browser.until("!document.querySelector('#access').hidden")
        browser.type("#token", "wrong")
        browser.click("#access button")
        browser.until("/wrong/.test(document.querySelector('#status').textContent)")
        browser.run("token.value = ''")
        browser.type("#token", "se/cret+to=ken")
        browser.click("#access button")
        browser.until("document.querySelector('#access').hidden")
        speak(browser, "!document.querySelector('#partial').hidden")
        assert browser.text("#transcript")
        browser.log()  # two answers with the status 401


def test_a_recording_that_cannot_be_read_is_an_error_in_one_line(browser, address):
    opened(browser, address)
    (browser.folder / "bad.wav").write_bytes(b"no sound")
    browser.type("#file", str(browser.folder / "bad.wav"))
    browser.until("document.querySelector('#status').className === 'error'")
    assert "bad.wav" in browser.text("#status")
    browser.log()
    opened(browser, address)


def test_subtitles_are_those_of_the_package(browser, address):
    opened(browser, address)
    rng = np.random.default_rng(0)
    letters = ["a", "bc", "def", "ghijklm", "<b>", "1:02:03.4", "-->", "x" * 100, "é&", "{\\b}"]
    cases = []
    for number in range(60):
        steps = rng.choice([0.0, 0.1, 0.3, 1.5, 8.0], size=2 * number, p=[0.2, 0.4, 0.3, 0.08, 0.02])
        times = np.cumsum(steps).round(3)
        words = [Word(str(rng.choice(letters)), *times[i : i + 2].tolist(), 0.5) for i in range(0, len(times), 2)]
        cases.append(Transcript("", [], [], [], [], float(times[-1]) + 1 if words else 1.0, words=words))
    script = """const cases = arguments[0];
        return import("/page/subtitles.js").then(({ toSrt, toVtt }) => cases.map((x) => [toSrt(x), toVtt(x)]))"""
    found = browser.run(script, [{"duration": x.seconds, "words": [vars(word) for word in x.words]} for x in cases])
    assert found == [[to_srt(case), to_vtt(case)] for case in cases]
