"""Greedy search without torch; test_plain_onnx.py compares it with the model's."""

import numpy as np
import pytest

from rnnt.export.runtime import greedy_symbols


class Table:
    """An engine whose frames are logits. After a symbol, blank gains `patience`."""

    def __init__(self, patience=0.0):
        self.patience = patience

    def start(self):
        return 0.0

    def logits(self, frames_TD, state):
        logits = frames_TD.copy()
        logits[:, -1] += state
        return logits, lambda symbol: state + self.patience


def reference(engine, frames, per_frame, most):
    found, state = [], engine.start()
    for frame in frames:
        for _ in range(per_frame):
            logits, advance = engine.logits(frame[None], state)
            best = int(logits[0].argmax())
            if best == frames.shape[1] - 1 or len(found) == most:
                break
            found.append(best)
            state = advance(best)
    return found


@pytest.mark.parametrize("patience", [0.0, 0.3])
@pytest.mark.parametrize("frames", [0, 1, 7, 8, 9, 50])
@pytest.mark.parametrize(("per_frame", "most"), [(1, 300), (3, 300), (3, 5)])
def test_windows_find_what_single_frames_find(frames, patience, per_frame, most):
    rng = np.random.default_rng(frames)
    table = rng.standard_normal((frames, 4)) + np.array([0, 0, 0, 1])
    expected = reference(Table(patience), table, per_frame, most)
    assert greedy_symbols(Table(patience), table, per_frame, most) == expected
