"""Many recordings at once, and models that fail or take long."""

import threading
import time

from serve_clients import error_of, post, wav


def test_many_at_once_have_the_results_that_they_have_alone(address, utterances, expected):
    order = [number % len(utterances) for number in range(20)]
    found = [None] * len(order)

    def ask(place):
        found[place] = post(address, {"file": wav(utterances[order[place]])}).json()["text"]

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(order))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected[number].text for number in order]


def test_too_many_recordings_are_refused_and_a_late_one_is_an_error(served, serving, utterances, monkeypatch):
    begun, go = threading.Event(), threading.Event()
    original = type(served).transcribe_files

    def slow(self, *args):
        begun.set()
        go.wait(20)
        return original(self, *args)

    monkeypatch.setattr(type(served), "transcribe_files", slow)
    with serving(served, files=1, file_seconds=2.0) as address:
        found = []
        thread = threading.Thread(target=lambda: found.append(post(address, {"file": wav(utterances[0])})))
        thread.start()
        assert begun.wait(20)
        refused = post(address, {"file": wav(utterances[0])})
        assert "wait already" in error_of(refused, 429) and refused.headers["retry-after"]
        thread.join(20)
        assert "no transcript after 2 s" in error_of(found[0], 504)
        go.set()
        time.sleep(0.1)
        assert post(address, {"file": wav(utterances[0])}).status_code == 200


def test_a_model_that_fails_is_an_error_and_not_an_empty_text(served, serving, utterances, monkeypatch):
    with serving(served) as address:
        with monkeypatch.context() as patch:
            patch.setattr(type(served), "transcribe_files", lambda *_: 1 / 0)
            assert "the model failed" in error_of(post(address, {"file": wav(utterances[0])}), 500)
        assert post(address, {"file": wav(utterances[0])}).status_code == 200
