"""Signals are requests to stop while a run is going on. Before and after, they have their usual effect."""

import os
import signal
import threading

import pytest

from rnnt.training.stop import Stop


def test_the_first_signal_is_a_request_and_the_second_an_end(capfd):
    before = signal.getsignal(signal.SIGTERM)
    with Stop() as stop:
        assert stop.signal == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        assert "once more to quit at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(SystemExit) as end:
            os.kill(os.getpid(), signal.SIGTERM)
        assert end.value.code == 143 and stop.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_items_end_with_the_signal(capfd):
    with Stop(announce=False) as stop:
        assert list(stop.until([1, 2])) == [1, 2]
        taken = []
        for item in stop.until(range(5)):
            taken.append(item)
            if item == 2:
                os.kill(os.getpid(), signal.SIGINT)
        assert taken == [0, 1, 2] and capfd.readouterr().err == ""


def test_other_threads_have_no_signals():
    problems = []

    def work():
        try:
            with Stop() as stop:
                assert list(stop.until("ab")) == ["a", "b"]
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert problems == []
