"""Subsampling against its equations, written out place by place."""

import pytest
import torch

from rnnt.model.subsampling import Subsampling


@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_equals_the_equations_for_every_length(written_out, factor, causal, depthwise):
    torch.manual_seed(0)
    subsampling = Subsampling(5, 4, factor, 3, causal, depthwise).double()
    lengths = torch.tensor([1, 2, 7, 8, 9, 17])
    x_BSF = torch.randn(len(lengths), 17, 5, dtype=torch.float64)
    with torch.no_grad():
        output, counts = subsampling(x_BSF, lengths)
        assert counts.tolist() == [-(-length // factor) for length in lengths.tolist()]
        for i, (length, count) in enumerate(zip(lengths, counts)):
            expected = written_out.subsample(subsampling, x_BSF[i, :length], causal)
            torch.testing.assert_close(output[i, :count], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("causal", "counts"), [(False, [0, 0, 0, 1, 1, 2]), (True, [0, 1, 1, 1, 2, 2])])
def test_frames_are_complete_as_soon_as_they_can_be(causal, counts):
    subsampling = Subsampling(5, 4, 4, 3, causal)
    assert subsampling.count(torch.tensor([0, 1, 3, 4, 5, 8])).tolist() == counts


@pytest.mark.parametrize("causal", [False, True])
def test_a_step_gives_the_frames_that_are_complete_and_the_last_one_the_rest(causal):
    torch.manual_seed(0)
    subsampling = Subsampling(5, 4, 4, 3, causal).double()
    x_BSF, lengths = torch.randn(2, 11, 5, dtype=torch.float64), torch.tensor([11, 6])
    whole, counts = subsampling(x_BSF, lengths)
    past = torch.zeros(2, subsampling.memory, 5, dtype=torch.float64)
    first, new, past = subsampling.step(x_BSF[:, :6], torch.tensor([6, 5]), past, torch.tensor([0, 0]), False)
    assert new.tolist() == [2, 2] if causal else [1, 1]
    chunk = torch.stack((x_BSF[0, 6:], x_BSF[1, 5:10]))
    second, more, _ = subsampling.step(chunk, torch.tensor([5, 1]), past, torch.tensor([6, 5]), True)
    for i in range(2):
        found = torch.cat((first[i, : new[i]], second[i, : more[i]]))
        torch.testing.assert_close(found, whole[i, : counts[i]], rtol=1e-11, atol=1e-13)
