"""Reading ahead: the order, how far, errors, and threads that end with the loop."""

import threading
import time

import pytest

from rnnt.read_ahead import read_ahead


def threads():
    return [thread for thread in threading.enumerate() if thread is not threading.main_thread()]


def test_reading_ahead_is_a_map_in_order():
    assert list(read_ahead(range(50), lambda x: x * x, 4)) == [x * x for x in range(50)]
    assert list(read_ahead([], lambda x: x, 4)) == []
    assert list(read_ahead(range(3), lambda x: None, 1)) == [None, None, None]

    def slow_at_first(x):
        time.sleep(0.05 * (x == 0))
        return x

    assert list(read_ahead(range(20), slow_at_first, 4, threads=3)) == list(range(20))


def test_it_reads_only_so_far_ahead():
    read, waiting = [], threading.Event()

    def note(x):
        read.append(x)
        if len(read) == 4:
            waiting.set()
        return x

    results = read_ahead(range(100), note, 3)
    assert next(results) == 0
    assert waiting.wait(10)
    results.close()
    assert len(read) <= 6  # one given out, three waiting, one in hand, one put when the first was taken


def test_an_error_of_the_reader_is_raised_where_its_result_was_due():
    def fail(x):
        if x == 3:
            raise KeyError("three")
        return x

    results = read_ahead(range(10), fail, 8)
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)
    assert list(results) == []


def test_an_error_of_the_plan_is_raised():
    def plan():
        yield 1
        raise OSError("the plan is gone")

    with pytest.raises(OSError, match="the plan is gone"):
        list(read_ahead(plan(), lambda x: x, 2))


@pytest.mark.parametrize("ahead", [1, 4])
def test_the_threads_end_when_the_user_leaves(ahead):
    before = threads()
    results = read_ahead(iter(int, 1), lambda x: x, ahead)  # endless
    assert next(results) == 0
    assert len(before) < len(threads()) <= len(before) + 2
    results.close()
    assert threads() == before
