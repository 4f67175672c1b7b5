"""A headless Chromium for the tests, driven over WebDriver, with a microphone that plays a file."""

import json
import shutil
import subprocess
import time
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's name in WebDriver


class Browser:
    """One window. Every wait ends after 30 seconds at the latest."""

    def __init__(self, address, session):
        self._url = f"{address}/session/{session}"

    def do(self, method, path, **content):
        return _ask(method, f"{self._url}/{path}", content)

    def open(self, url):
        self.do("POST", "url", url=url)

    def run(self, script, *arguments):
        """Return what a function body returns that runs in the page."""
        return self.do("POST", "execute/sync", script=script, args=list(arguments))

    def click(self, selector):
        self.do("POST", f"element/{self._find(selector)}/click")

    def type(self, selector, text):
        self.do("POST", f"element/{self._find(selector)}/value", text=text)

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def until(self, condition):
        """Wait until a JavaScript expression holds, and return its value."""
        end = time.monotonic() + 30
        while not (found := self.run(f"return {condition}")):
            assert time.monotonic() < end, (condition, self.text("body"), self.log())
            time.sleep(0.05)
        return found

    def log(self):
        """Return what the browser complained of since the last time."""
        return [entry["message"] for entry in self.do("POST", "se/log", type="browser")]

    def _find(self, selector):
        return self.do("POST", "element", using="css selector", value=selector)[_ELEMENT]


@contextmanager
def browsing(folder, microphone, width=1000, height=800):
    """Give a browser. folder: of its downloads and profile; microphone: the WAV file that its microphone repeats.

    Skips the test if there is no Chromium.
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver; on Debian: apt-get install chromium chromium-driver")
    arguments = [
        "--headless=new",
        "--no-sandbox",  # which a container's root cannot have
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
        f"--window-size={width},{height}",
        f"--user-data-dir={folder / 'profile'}",
    ]
    options = {
        "binary": chromium,
        "args": arguments,
        "prefs": {"download.default_directory": str(folder), "download.prompt_for_download": False},
    }
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        port = next(line.rsplit(" ", 1)[1].strip(" .\n") for line in process.stdout if "success" in line)
        address = f"http://127.0.0.1:{port}"
        session = _ask("POST", f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            yield Browser(address, session)
        finally:
            _ask("DELETE", f"{address}/session/{session}")
    finally:
        process.terminate()
        process.wait(10)


def downloaded(path):
    """Wait for a file of a download, and return its content. Chromium makes an empty file first, and replaces it."""
    end = time.monotonic() + 10
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < end, path
        time.sleep(0.05)
    return path.read_bytes()


def _ask(method, url, content=None):
    data = json.dumps(content or {}).encode() if method == "POST" else None
    request = Request(url, data, {"content-type": "application/json"}, method=method)
    try:
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except HTTPError as error:
        raise AssertionError(error.read().decode()[:2000]) from None
