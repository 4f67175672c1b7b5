"""A beam that settles on symbols goes on with the hypotheses that begin with them, and forgets the rest."""

import pytest
import torch

from rnnt.config import DecodingConfig
from rnnt.decoding import Beam
from rnnt.decoding.beam_state import ranked


@pytest.fixture(scope="module")
def search(make):
    model = make().model
    with torch.no_grad():
        model.joint.output.bias[-1] -= 4
    return Beam(model, DecodingConfig(method="beam", beam=4, max_symbols_per_frame=3))


@pytest.fixture(scope="module")
def frames(search):
    return torch.randn(1, 60, search.model.encoder.width, generator=torch.Generator().manual_seed(1))


def advance(search, state, frames):
    return search.advance(state, frames, torch.tensor([frames.shape[1]]))


def test_the_best_comes_first(search, frames):
    state = advance(search, search.start(1), frames[:, :20])
    ((places, ranks),) = ranked(state)
    assert [ranks[place] for place in places] == sorted((ranks[place] for place in places), reverse=True)
    (best,) = search.best(state)
    assert best.total == ranks[places[0]] and best.tokens
    assert search.last_frames(state)[0][0] == best.frames[-1] and len(search.last_frames(state)[0]) == len(places)
    assert search.last_frames(search.start(2)) == [[-1], [-1]]


def test_only_hypotheses_with_the_settled_symbols_stay(search, frames):
    state = advance(search, search.start(1), frames[:, :20])
    (before,), (best,) = search.finish(state), search.best(state)
    count = len(best.tokens) - 1
    (after,) = search.finish(search.settle(state, best.tokens[:count], False))
    wanted = {tuple(x.tokens[count:]) for x in before if x.tokens[:count] == best.tokens[:count]}
    assert {tuple(x.tokens) for x in after} == wanted and tuple(best.tokens[count:]) in wanted
    for hypothesis in after:  # the frames are still those of the stream
        (same,) = (x for x in before if x.tokens == best.tokens[:count] + hypothesis.tokens)
        assert hypothesis.frames == same.frames[count:]


def test_frames_before_the_symbols_that_are_left_are_forgotten(search, frames):
    state = advance(search, search.start(1), frames[:, :20])
    (best,) = search.best(state)
    (alone,) = search.settle(state, best.tokens, True).frames
    assert alone == ()
    settled = search.settle(state, best.tokens[:-1], False)
    first = min(x.frames[0] for x in search.finish(settled)[0] if x.tokens)
    assert sum(map(len, settled.frames[0])) == 20 - first
    assert torch.equal(settled.frames[0][0], torch.cat(state.frames[0])[first:])


def test_a_settled_hypothesis_goes_on_as_if_it_were_the_only_one(search, frames):
    """The reference keeps a beam with one hypothesis, and its symbols and frames."""
    state = advance(search, search.start(1), frames[:, :20])
    (best,) = search.best(state)
    settled = search.settle(state, best.tokens, True)
    assert [x.tokens for x in search.finish(settled)[0]] == [[]]
    (place,) = ranked(settled)[0][0]
    kept = search.settle(state, [], False)  # nothing is settled, so nothing is forgotten
    assert [x.tokens for x in search.finish(kept)[0]] == [x.tokens for x in search.finish(state)[0]]
    others = [other for other in ranked(state)[0][0] if other != place]
    paths = tuple(path if other == place else None for other, path in enumerate(state.paths[0]))
    reference = state._replace(
        paths=(paths,),
        score=state.score.clone().index_fill_(1, torch.tensor(others), -torch.inf),
        best=state.best.clone().index_fill_(1, torch.tensor(others), -torch.inf),
        **{
            name: getattr(state, name).clone().index_fill_(1, torch.tensor(others), 0)
            for name in ("key", "prefix", "count")
        },
    )
    found, expected = (search.best(advance(search, x, frames[:, 20:]))[0] for x in (settled, reference))
    assert found.tokens and best.tokens + found.tokens == expected.tokens
    assert best.frames + found.frames == expected.frames
