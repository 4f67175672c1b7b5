"""A validation that several processes divide: the same result as that of one, or none if one was stopped."""

from types import SimpleNamespace

import pytest

from rnnt.config import ScoringConfig
from rnnt.dataset import Dataset
from rnnt.error_rate import Pair, score_pairs
from rnnt.evaluation import Evaluation
from rnnt.measure import measure_of
from rnnt.references import merge_pairs
from rnnt.training.distributed import Processes
from rnnt.training.stop import Stop
from rnnt.training.trainer import Trainer
from rnnt.training.validation import own_share, validate


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9])
def test_shares_are_the_dataset_in_its_order(tones, count):
    data = Dataset(tones / "valid")
    shares = [own_share(data, SimpleNamespace(rank=r, count=count)) for r in range(count)]
    assert sum(map(len, shares)) == len(data) == 7
    ids = [share.id(i) for share in shares for i in range(len(share))]
    assert ids == [data.id(i) for i in range(len(data))]
    for share in shares:
        assert share.lengths.tolist() == [len(share[i].input) for i in range(len(share))]
        assert [share.text(i) for i in range(len(share))] == [share[i].text for i in range(len(share))]
        assert share.lengths.sum() <= data.lengths.sum() / count + data.lengths.max()


@pytest.fixture(scope="module")
def recognizer(tones, settings, tmp_path_factory):
    trainer = Trainer(settings("train.epochs=1"), tones, tmp_path_factory.mktemp("validation") / "run")
    trainer.run()
    return trainer.recognizer


class Member:
    """One of several processes: `results` are what they give, None before their turn."""

    def __init__(self, rank, results):
        self.rank, self.count, self.results = rank, len(results), results

    def gather(self, value):
        self.results[self.rank] = value
        return list(self.results)


def test_several_processes_give_the_result_of_one(tones, recognizer):
    data, shown = Dataset(tones / "valid"), []
    whole = validate(recognizer, data, Processes("cpu"), Stop(), lambda done, total: shown.append((done, total)))
    assert shown == [(done, 7) for done in range(8)]
    assert len(whole.pairs) == 7 and whole.skipped == []
    results = [None] * 3
    for rank in range(3):  # the last one has the results of all
        result = validate(recognizer, data, Member(rank, results), Stop(), lambda *_: None)
        assert (result is None) == (rank < 2)
    assert result.pairs == whole.pairs and result.symbols == whole.symbols and result.truncated == whole.truncated
    assert result.loss == pytest.approx(whole.loss, rel=1e-5)


READ = [
    Pair("1", "R IY D", "R EH D", input=("r", "e")), Pair("2", "R EH D", "R EH", input=("r",)),
    Pair("3", "R EH D", "R EH D", input=("r", "e")), Pair("4", "R", "R", input=("e",)),
    Pair("5", "", "R", input=("r",)),
]  # fmt: skip


class Known:
    """A recognizer that finds the pairs of `READ`: its data are their places."""

    def eval(self):
        pass

    def evaluate(self, share, track):
        measure = measure_of(ScoringConfig(measure="sequences"))
        pairs = [READ[i] for i in track(share, len(share), "")]
        names = [pair.id for pair in pairs if pair.id != "4"]
        return Evaluation(
            merge_pairs(pairs, measure.tokens), 2.0, 3 * len(pairs), [], names, measure=measure, decoded=len(pairs)
        )


def test_an_input_of_several_references_counts_once_however_it_is_divided(monkeypatch):
    for shares in ([[0, 1, 2, 3, 4]], [[0], [1, 2, 3, 4]], [[0, 1], [2, 3], [4]], [[], [0, 1, 2], [3], [4]]):
        monkeypatch.setattr("rnnt.training.validation.own_share", lambda data, processes: data[processes.rank])
        results = [None] * len(shares)
        for rank in range(len(shares)):
            found = validate(Known(), shares, Member(rank, results), Stop(), lambda *_: None)
        assert [(pair.id, pair.reference) for pair in found.pairs] == [("1", "R EH D"), ("2", "R EH D"), ("4", "R")]
        assert [pair.references for pair in found.pairs] == [("R IY D", "R EH D"), ("R EH D", ""), ()]
        assert (found.decoded, found.symbols, found.loss, found.truncated) == (5, 15, 2.0, ["1", "2"])
        assert score_pairs(found.pairs, found.measure.first).rate == 1 / 3


def test_a_validation_that_one_process_was_asked_to_stop_has_no_result(tones, recognizer):
    data, stop = Dataset(tones / "valid"), Stop()

    def stop_at_three(done, total):
        stop.signal = 15 if done == 3 else stop.signal

    assert validate(recognizer, data, Processes("cpu"), stop, stop_at_three) is None
    results = [None, None]  # of the other process, which was stopped
    assert validate(recognizer, data, Member(1, results), Stop(), lambda *_: None) is None
    assert results[1] is not None
