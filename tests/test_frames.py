"""Padded frames against plain Python."""

import pytest
import torch

from rnnt.frames import frames_from, reverse_frames, stack_frames, valid_places

LENGTHS = torch.tensor([7, 0, 4, 1])


@pytest.fixture
def frames():
    x = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0))
    return x.masked_fill(~valid_places(LENGTHS, 7)[:, :, None], 0.0)


def test_valid_places_are_the_first_ones():
    assert valid_places(LENGTHS, 7).tolist() == [[place < length for place in range(7)] for length in LENGTHS.tolist()]


@pytest.mark.parametrize("stack", [1, 2, 3, 8])
def test_neighbours_are_joined_and_the_last_frame_is_padded(frames, stack):
    stacked, lengths = stack_frames(frames, LENGTHS, stack)
    assert lengths.tolist() == [-(-length // stack) for length in LENGTHS.tolist()]
    assert stacked.shape == (4, -(-7 // stack), 3 * stack)
    for utterance, row in zip(frames.tolist(), stacked.tolist()):
        flat = [value for frame in utterance for value in frame]
        flat += [0.0] * (len(row) * len(row[0]) - len(flat))
        assert [value for frame in row for value in frame] == flat


def test_only_valid_frames_are_reversed():
    x = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(1))
    for before, after, length in zip(x.tolist(), reverse_frames(x, LENGTHS).tolist(), LENGTHS.tolist()):
        assert after == before[:length][::-1] + before[length:]


def test_frames_from_a_place_on_are_those_of_each_utterance():
    x = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(2))
    starts = [0, 3, 6, 4]
    found = frames_from(x, torch.tensor(starts), 4)
    assert found.shape == (4, 4, 3)
    for before, after, start in zip(x.tolist(), found.tolist(), starts):
        assert after[: 7 - start] == before[start : start + 4]
    assert frames_from(x, torch.tensor(starts), 0).shape == (4, 0, 3)
