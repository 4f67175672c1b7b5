"""Shares of a batch: together they are the batch, whatever the number of processes."""

from types import SimpleNamespace

import numpy as np
import pytest

from rnnt.config import TrainConfig
from rnnt.training.share import check_shares, own_shares


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 23, 24])
@pytest.mark.parametrize(("accumulation", "count"), [(1, 1), (8, 1), (4, 2), (2, 4), (1, 8)])
def test_shares_cover_a_batch_and_every_process_has_one(size, accumulation, count):
    batch = np.arange(100, 100 + size)
    by_process = [own_shares(batch, accumulation, SimpleNamespace(rank=r, count=count)) for r in range(count)]
    assert all(by_process)
    counted = [share for shares in by_process for share in shares if share.weight]
    assert sorted(np.concatenate([share.indices for share in counted])) == batch.tolist()
    assert all(share.weight == 1 and len(share.indices) for share in counted)
    idle = [share for shares in by_process for share in shares if not share.weight]
    assert all(share.indices.tolist() == [100] for share in idle) and len(idle) == max(0, count - size)
    whole = own_shares(batch, accumulation * count, SimpleNamespace(rank=0, count=1))
    ours = {share.number: share.indices.tolist() for share in counted}
    assert ours == {share.number: share.indices.tolist() for share in whole}


def test_a_batch_that_has_no_equal_shares_is_refused():
    train = TrainConfig(batch=12, accumulation=3)
    check_shares(train, SimpleNamespace(count=4))
    with pytest.raises(ValueError, match=r"train.batch \(12\) is not a multiple of .* x processes \(15\)"):
        check_shares(train, SimpleNamespace(count=5))
