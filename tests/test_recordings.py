"""Windows of segments: their order and size, reading ahead, and errors in the middle of a recording."""

import threading
from functools import partial

import numpy as np

from rnnt.recordings import End, Piece, windows

RATE, HOP, STRIDE = 16000, 160, 6


def lists(sources, size=4, longest=10**9):
    return list(windows(sources, size, longest, RATE, HOP, STRIDE))


def blocks(speech, seconds, seed, error=None):
    """Noise in bursts, in blocks of three seconds, and then the error."""
    samples = speech(seconds, seed)
    yield from (samples[i : i + 3 * RATE] for i in range(0, len(samples), 3 * RATE))
    if error:
        raise error


def test_windows_hold_all_segments_in_order_and_grow(speech):
    sources = [partial(blocks, speech, seconds, i) for i, seconds in enumerate([1, 70, 0.5, 2, 100, *[1] * 60])]
    found = lists(sources)
    assert [sum(isinstance(x, Piece) for x in window) for window in found][:4] == [4, 8, 16, 16]
    items = [item for window in found for item in window]
    numbers = [item.recording for item in items]
    assert numbers == sorted(numbers) and [x.recording for x in items if isinstance(x, End)] == list(range(65))
    for end in (x for x in items if isinstance(x, End)):
        samples = np.concatenate(list(sources[end.recording]()))
        assert end.length == len(samples) and end.error is None
        pieces = [x for x in items if isinstance(x, Piece) and x.recording == end.recording]
        assert len(pieces) >= 1 + 2 * (len(samples) > 60 * RATE)
        for piece in pieces:
            assert np.array_equal(piece.samples, samples[piece.start : piece.start + len(piece.samples)])


def test_a_window_holds_at_most_so_many_samples_and_one_segment(speech):
    sources = [partial(blocks, speech, 3, i) for i in range(12)]
    for window in lists(sources, longest=7 * RATE):
        assert sum(len(x.samples) for x in window if isinstance(x, Piece)) <= 10 * RATE


def test_an_error_in_the_middle_keeps_what_was_read_of_a_long_recording_alone(speech):
    error = ValueError("is damaged")
    items = [
        item
        for window in lists([partial(blocks, speech, 45, 0, error), partial(blocks, speech, 6, 1, error)])
        for item in window
    ]
    ends = [x for x in items if isinstance(x, End)]
    assert [(x.recording, x.length, x.error) for x in ends] == [(0, 45 * RATE, error), (1, 6 * RATE, error)]
    pieces = [x for x in items if isinstance(x, Piece)]
    assert {x.recording for x in pieces} == {0}
    assert pieces[-1].start + len(pieces[-1].samples) > 44 * RATE


def test_a_long_recording_is_read_as_it_is_needed(speech):
    """An endless one can be begun, in another thread, and its memory is bounded."""
    threads, read = set(), 0

    def endless():
        nonlocal read
        while True:
            threads.add(threading.get_ident())
            read += 3
            yield speech(3, read)

    found = windows([endless], 4, 10**9, RATE, HOP, STRIDE)
    first = next(found)
    assert [x.recording for x in first] == [0] * 4
    assert threading.get_ident() not in threads
    found = None  # stops reading
    before = read
    assert before < 1000


def test_no_recording_gives_no_segment():
    assert [x for window in lists([]) for x in window] == []
