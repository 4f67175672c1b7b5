"""The pool of readers: the same results and order for any number of processes, all of which end with the pool."""

import errno
import os
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from rnnt import readers
from rnnt.audio import resample, to_pcm
from rnnt.corpora import Utterance
from rnnt.readers import Readers


def noise(seed, seconds, sample_rate):
    return np.random.default_rng(seed).integers(-3000, 3000, round(seconds * sample_rate)).astype(np.int16)


def refuse(error, sample_rate):
    raise error


def constant(value, sample_rate):
    return np.full(sample_rate // 2, value, np.int16)


def ringing(value, sample_rate):
    return to_pcm(resample(constant(value, 8000) / np.float32(32768), 8000, sample_rate))


def noisy(value, sample_rate):
    return constant(value, sample_rate) + np.random.default_rng(0).integers(-1, 2, sample_rate // 2).astype(np.int16)


def process(sample_rate):
    return np.tile(np.array([os.getpid() % 30000, 0], np.int16), sample_rate // 2)


def good(count):
    return [Utterance(f"u{n}", f"text {n}", "", partial(noise, n, 0.2)) for n in range(count)]


BAD = {
    "cannot read it": Utterance("refused", "text", "", partial(refuse, OSError("cannot\n\tread it"))),
    "ZeroDivisionError": Utterance("a bug", "text", "", partial(refuse, ZeroDivisionError())),
    "x" * 500: Utterance("long", "text", "", partial(refuse, ValueError("x" * 500))),
    "the text is empty": Utterance("no text", " \n", "", partial(noise, 0, 0.2)),
    "its id, text or speaker is not valid Unicode; rename the file or correct the text": Utterance(
        "gr\udcfcn", "text", "", partial(noise, 0, 0.2)
    ),
    "holds only silence, but has a text": Utterance("silence", "text", "", partial(constant, 0)),
    "only 0.099 s long, the minimum is 0.1 s": Utterance("short", "text", "", partial(noise, 0, 0.099)),
}


@pytest.mark.parametrize("workers", [1, 2])
def test_each_utterance_has_its_samples_or_a_reason_in_order(workers):
    utterances = [*good(30), *BAD.values(), *good(7)]
    with Readers(8000, workers) as pool:
        results = list(pool.read(utterances))
        assert [utterance.id for utterance, _ in results] == [utterance.id for utterance in utterances]
        for n, (_, result) in enumerate(results[:30]):
            np.testing.assert_array_equal(result, noise(n, 0.2, 8000))
        assert [result for _, result in results[30:-7]] == list(BAD)
        assert [len(result) for _, result in results[-7:]] == [1600] * 7
        assert list(pool.read([])) == []


@pytest.mark.parametrize("encode", [constant, ringing, noisy])
@pytest.mark.parametrize("value", [0, 8, -256])  # of A-law, and of a recorder of 8 bits
def test_silence_with_a_text_is_left_out(encode, value):
    """The model would learn to give words where nobody speaks."""
    utterances = [Utterance("u", "text", "", partial(encode, value)), *good(1)]
    with Readers(16000, 1) as pool:
        (_, result), (_, samples) = pool.read(utterances)
    assert result == "holds only silence, but has a text"
    assert len(samples) == 3200


def test_the_softest_speech_is_no_silence():
    soft = np.rint(4 * np.sin(np.arange(16000) / 10)).astype(np.int16)
    with Readers(16000, 1) as pool:
        ((_, samples),) = pool.read([Utterance("u", "text", "", lambda sample_rate: soft)])
    assert samples is soft


def test_processes_serve_every_call_and_end_with_the_block():
    utterances = [Utterance(f"u{n}", "text", "", process) for n in range(20)]
    with Readers(1000, 2) as pool:
        assert pool._pool is None  # none are started before there is something to read
        first = {int(samples[0]) for _, samples in pool.read(utterances)}
        processes = list(pool._pool._processes.values())
        second = {int(samples[0]) for _, samples in pool.read(utterances)}
        assert first | second <= {process.pid % 30000 for process in processes} and len(processes) <= 2
        assert os.getpid() % 30000 not in first
    assert not any(process.is_alive() for process in processes)


def test_a_limited_number_is_read_ahead():
    given = 0

    def counted():
        nonlocal given
        for utterance in good(500):
            given += 1
            yield utterance

    with Readers(16000, 2) as pool:
        results = pool.read(counted())
        for taken in range(1, 100):
            next(results)
            assert given - taken <= 2 * readers._CHUNKS_AHEAD * readers._CHUNK


@pytest.mark.parametrize("samples", [np.zeros((2, 16000), np.int16), np.zeros(16000, np.float32)])
def test_a_corpus_that_breaks_the_contract_is_a_bug_and_no_bad_utterance(samples):
    with Readers(16000, 1) as pool, pytest.raises(TypeError, match=r"u: read\(\) gave .* expected int16 \(N,\)"):
        list(pool.read([Utterance("u", "text", "", lambda sample_rate: samples)]))


INTERRUPTED = """
import os, time
from functools import partial
import numpy as np
from rnnt.corpora import Utterance
from rnnt.readers import Readers

def process(sample_rate):
    time.sleep(0.02)
    return np.tile(np.array([os.getpid() % 30000, 0], np.int16), sample_rate // 2)

if __name__ == "__main__":
    utterances = [Utterance(str(n), "text", "", process) for n in range(16)]
    with Readers(1000, 2) as pool:
        seen = set()
        while len(seen) < 2:  # until both processes have started
            seen |= {int(samples[0]) for _, samples in pool.read(utterances)}
        print("ready", flush=True)
        WAIT
"""
WAITS = {
    "idle": "time.sleep(60)",
    "in the middle of reading": "list(pool.read([Utterance('slow', 'text', '', partial(time.sleep))] * 100))",
}


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_is_handled_by_the_parent_alone_and_at_once(tmp_path, wait):
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED.replace("WAIT", WAITS[wait]))
    command = [sys.executable, script]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout.readline() == "ready\n"
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the parent and all its children
        _, errors = run.communicate(timeout=60)
    assert run.returncode in (1, -signal.SIGINT)
    assert errors.count("Traceback") == errors.count("KeyboardInterrupt\n") == 1


@pytest.mark.parametrize("error", [OSError(errno.EROFS, "Read-only file system"), ImportError("no sem_open")])
def test_without_semaphores_it_reads_in_one_process(monkeypatch, capfd, error):
    def fail(*_, **__):
        raise error

    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    monkeypatch.setattr(readers, "ProcessPoolExecutor", fail)
    with Readers(16000, workers=3) as pool:
        for _ in range(2):
            results = [result for _, result in pool.read(good(20))]
            for number, samples in enumerate(results):
                np.testing.assert_array_equal(samples, noise(number, 0.2, 16000))
    assert not before or len(os.listdir("/proc/self/fd")) <= len(before)
    noted = capfd.readouterr().err
    assert noted.startswith("audio is read in one process: /dev/shm cannot be used (") and len(noted.splitlines()) == 1


READ = """
from functools import partial
import numpy as np
from rnnt.corpora import Utterance
from rnnt.readers import Readers

def read(sample_rate):
    return np.arange(sample_rate, dtype=np.int16)

if __name__ == "__main__":
    with Readers(16000, workers=2) as pool:
        print(sum(len(samples) for _, samples in pool.read([Utterance("u", "text", "", read)] * 20)))
"""


@pytest.mark.parametrize("options", ["ro", "size=4k,nr_inodes=1"])
def test_an_unusable_shared_memory(tmp_path, options):
    (tmp_path / "read.py").write_text(READ)
    mounted = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o {options} none /dev/shm && "$@"', "sh"]
    try:
        able = subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        able = False
    if not able:
        pytest.skip("needs Linux with namespaces of users")
    command = [*mounted, sys.executable, tmp_path / "read.py"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout) == (0, "320000\n"), run.stderr
    assert "/dev/shm cannot be used" in run.stderr and len(run.stderr.splitlines()) == 1
