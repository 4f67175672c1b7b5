"""The beams: keys of sequences, prefixes, and one frame that is worked through by hand."""

import itertools

import numpy as np
import pytest

from rnnt.decoding.frontier import _ROOT, Frontier, Window, _extend_key


def test_no_two_sequences_have_the_same_key():
    keys = [np.array([_ROOT])]
    for _ in range(5):
        symbols = np.tile(np.array([0, 1, 2, 7, 1022]), len(keys[-1]))
        keys.append(_extend_key(np.repeat(keys[-1], 5), symbols))
    keys = np.concatenate(keys)
    assert len(set(keys.tolist())) == len(keys) == sum(5**n for n in range(6)) and 0 not in keys


def key(sequence):
    found = np.array([_ROOT])
    for symbol in sequence:
        found = _extend_key(found, np.array([symbol]))
    return int(found[0])


def frontier_of(sequences, beam, probabilities):
    """One stream at its first frame, whose hypotheses have these probabilities."""
    found = Frontier.start(1, beam, 1)
    for place, (sequence, p) in enumerate(zip(sequences, probabilities)):
        found.score[0, place] = found.best[0, place] = np.log(p)
        found.count[0, place] = len(sequence)
        found.symbol[0, place] = sequence[-1] if sequence else 0
        found.key[0, place], found.prefix[0, place] = key(sequence), key(sequence[:-1]) if sequence else 0
        found.paths[0, place] = ()
        for symbol in sequence:
            found.paths[0, place] = (found.paths[0, place], symbol, 0, 0.0)
    return found


def one_frame(found, model, beam, per_frame=30, most=300):
    """Work through a frame at which every hypothesis has the probabilities `model` of its symbols and of blank."""
    places, labels = found.key.shape[1], len(model) - 1
    window = Window.make(1, places, 1, labels, 1, float)
    window.end[:] = 1
    found.begin(window, np.array([most]), per_frame, np.zeros(1, int))
    order = np.argsort(-np.array(model[:-1]), kind="stable")
    while True:
        window.blank[:] = np.log(model[-1])
        window.symbols[:] = order
        window.log_probs[:] = window.values[:] = np.log(np.array(model[:-1])[order])
        rows = np.arange(1)
        families = found.families(rows)
        arcs = np.log(np.array(model[:-1])[found.symbol[families[0], families[1]]])
        found.link(rows, families, arcs[:, None])
        if not len(found.run(rows).stream):
            return {
                int(found.key[0, place]): float(np.exp(found.score[0, place, 0]))
                for place in range(places)
                if found.key[0, place]
            }


def exact(start, model, per_frame):
    """Probabilities of all sequences after the frame."""
    found = {}
    for (sequence, p), count in itertools.product(start.items(), range(per_frame + 1)):
        for more in itertools.product(range(len(model) - 1), repeat=count):
            whole = (*sequence, *more)
            found[whole] = found.get(whole, 0.0) + p * np.prod([model[x] for x in more]) * model[-1]
    return found


@pytest.mark.parametrize("per_frame", [1, 2, 3])
@pytest.mark.parametrize("start", [{(): 1.0}, {(): 0.5, (1,): 0.2, (1, 0): 0.1, (0, 0): 0.2}])
def test_a_frame_adds_the_ways_to_each_sequence(start, per_frame):
    model = (0.3, 0.1, 0.6)
    expected = {key(sequence): p for sequence, p in exact(start, model, per_frame).items()}
    found = one_frame(frontier_of(list(start), 64, start.values()), model, 64, per_frame)
    assert found == pytest.approx(expected)


def test_the_best_few_sequences_stay():
    start, model = {(): 0.5, (1,): 0.2, (1, 0): 0.1, (0, 0): 0.2}, (0.3, 0.1, 0.6)
    found = one_frame(frontier_of(list(start), 4, start.values()), model, 4)
    best = sorted(exact(start, model, 4).items(), key=lambda item: -item[1])[:4]
    assert set(found) == {key(sequence) for sequence, _ in best}


def test_a_sequence_of_the_longest_length_grows_no_more():
    start, model = {(1, 0): 0.7, (0,): 0.3}, (0.5, 0.2, 0.3)
    found = one_frame(frontier_of(list(start), 8, start.values()), model, 8, most=2)
    expected = {(1, 0): 0.21, (0,): 0.09, (0, 0): 0.045, (0, 1): 0.018}
    assert found == pytest.approx({key(sequence): p for sequence, p in expected.items()})
