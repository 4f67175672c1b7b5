"""The terminal while a decoder runs: some decoders write to it about damaged files, and cannot be told not to."""

import ctypes
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

_OUTPUTS = (1, 2)  # standard output, standard error
# Lines of libmpg123, and of libsndfile's decoders of MIDI dumps and ALAC.
_DECODER = re.compile(
    rb"(?m)(?:^\n)?^(?:\[src/libmpg123|Note: (?:Illegal|Trying to resync|Skipped|Hit end|Could be|broken|Cut)|"
    rb"Warning: (?:Xing|Big change|Encountered more|Real sample)|Error [A1] : [0-9A-F]+$|alac_\w+ )[^\n]*\n?"
)

_lock = threading.Lock()
_c = ctypes.CDLL(None)


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Keep a decoder's lines off standard output and standard error.

    Both belong to the whole process. What other threads write to them meanwhile appears at the end, and only one thread
    at a time can enter: keep the block short.
    """
    with _lock:
        redirected: list[tuple[int, int, BinaryIO]] = []
        _c.fflush(None)  # lines in C's buffers belong to what was before, or after, this block
        try:
            for output in _OUTPUTS:
                try:
                    saved = os.dup(output)
                except OSError:  # it is closed
                    continue
                redirected.append((output, saved, _scratch_file()))
                os.dup2(redirected[-1][2].fileno(), output)
            yield
        finally:
            _c.fflush(None)
            for output, saved, scratch in redirected:
                os.dup2(saved, output)
                os.close(saved)
                scratch.seek(0)
                kept = _DECODER.sub(b"", scratch.read())
                scratch.close()
                with suppress(OSError):  # nobody reads the output any more
                    while kept:
                        kept = kept[os.write(output, kept) :]


def _scratch_file() -> BinaryIO:
    try:
        # Memory in place of a file, where the system has this.
        return open(os.memfd_create("decoder"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()
    except OSError:  # no folder for temporary files, for example
        return open(os.devnull, "w+b")
