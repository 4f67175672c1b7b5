"""Signals are requests to stop while a run is going on. Before and after, they have their usual effect."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time

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


def test_a_hangup_is_a_request_that_may_come_twice(capfd):
    with Stop() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal == signal.SIGHUP and capfd.readouterr().err.count("saving a checkpoint") == 1
        with pytest.raises(SystemExit):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_process_that_ignores_hangups_goes_on():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_message_that_cannot_be_written_stops_nothing(capfd):
    saved, full = os.dup(2), os.open("/dev/full", os.O_WRONLY)
    try:
        os.dup2(full, 2)
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(full)
    assert stop.signal == signal.SIGTERM


@pytest.mark.parametrize("ignoring", [False, True])
def test_closing_the_terminal_ends_a_run_with_a_checkpoint_unless_it_ignores_that(
    tiny, tones, tmp_path, ignoring, rows
):
    """The run has a terminal, which this test closes after its third step."""
    command = ["-m", "rnnt.cli", "train", tiny, "data.valid=[]", "train.checkpoint_every=1", "train.epochs=3"]
    command += ["--data", tones, "--out", tmp_path / "run"]
    process, terminal = pty.fork()
    if not process:
        if ignoring:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.execv(sys.executable, [sys.executable, *map(str, command)])
    while not (tmp_path / "run" / "checkpoints" / "step-00000003").exists():
        time.sleep(0.005)
    os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    last = rows(tmp_path / "run")[-1]["step"]
    assert (tmp_path / "run" / "checkpoints" / f"step-{last:08}" / "state.sha256").exists()
    if ignoring:
        assert last == 21 and (tmp_path / "run" / "best" / "model.safetensors").exists()
    else:
        assert code == 128 + signal.SIGHUP and 3 <= last < 21


@pytest.mark.parametrize("ignoring", [False, True])
def test_the_launcher_hands_a_hangup_on_unless_it_ignores_it(tiny, tones, tmp_path, ignoring, rows):
    command = ["-m", "rnnt.cli", "train", tiny, "data.valid=[]", "train.checkpoint_every=1", "train.epochs=3"]
    command += ["--data", tones, "--out", tmp_path / "run", "--processes", "2"]
    start = ["nohup"] if ignoring else []
    with subprocess.Popen(
        [*start, sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        while not (tmp_path / "run" / "checkpoints" / "step-00000003").exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGHUP)
        said = process.communicate(timeout=120)[1].decode()
    last = rows(tmp_path / "run")[-1]["step"]
    assert (tmp_path / "run" / "checkpoints" / f"step-{last:08}" / "state.sha256").exists()
    assert (process.returncode, last) == (0, 21) if ignoring else (process.returncode == 129 and 3 <= last < 21), said
    assert "Traceback" not in said
