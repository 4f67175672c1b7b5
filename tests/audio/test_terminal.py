"""The terminal while a decoder runs: its lines are kept off, all others get through."""

import os
import subprocess
import sys
import threading

from rnnt.audio.terminal import quiet_decoder


def test_the_lines_of_decoders_are_kept_off_and_others_appear(capfd):
    with quiet_decoder():
        os.write(2, b"\nNote: Illegal Audio-MPEG-Header 0x00000000 at offset 100.\n")
        os.write(2, b"[src/libmpg123/parse.c:1234] error: Giving up.\n")
        os.write(2, b"a line of another thread\n")
        os.write(1, b"text\n")
    assert capfd.readouterr() == ("text\n", "a line of another thread\n")


def test_the_terminal_is_back_after_an_error(capfd):
    for _ in range(3):
        try:
            with quiet_decoder():
                raise KeyError
        except KeyError:
            os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n" * 3


def test_threads_take_turns_and_no_descriptor_is_left(capfd):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None

    def work(number):
        for _ in range(20):
            with quiet_decoder():
                os.write(1, b"%d\n" % number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(capfd.readouterr().out.split()) == sorted(str(n) for n in range(4) for _ in range(20))
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


DAMAGED = """
import io, sys
import numpy as np, soundfile
from rnnt.audio import read_audio
file = io.BytesIO()
soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, 64000), 16000, format="MP3")
for seed in range(60):
    random = np.random.default_rng(seed)
    content = bytearray(file.getvalue())
    for position in random.integers(0, len(content), 6):
        content[position] = random.integers(256)
    if seed % 3 == 0:
        del content[5000:5000 + seed]
    try:
        read_audio(bytes(content))
    except ValueError:
        pass
print("done")
"""


def test_damaged_mp3_files_print_nothing():
    run = subprocess.run([sys.executable, "-c", DAMAGED], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr, run.returncode) == ("done\n", "", 0)


def test_closed_outputs_do_no_harm():
    script = "import os; from rnnt.audio.terminal import quiet_decoder\nos.close(1); os.close(2)\n"
    script += "with quiet_decoder(): pass\n"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
