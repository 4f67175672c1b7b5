"""Several processes do what one does: in the same steps, with the same stops, and with errors that end all of them."""

import re
import signal

import pytest
import torch

from rnnt.dataset import Dataset
from rnnt.training.distributed import Processes

SETTINGS = (
    "features.normalization=global", "augment.speed_min=0.9", "augment.speed_max=1.1", "augment.noise_probability=0.5",
    "augment.time_masks=2", "augment.frequency_masks=1", "augment.frequency_width=4", "model.encoder.lstm.dropout=0.2",
    "model.predictor.dropout=0.2", "model.joint.dropout=0.2", "optim.lr=0.003", "train.epochs=1", "train.ema=0.9",
    "train.ctc_weight=0.3", "train.ctc_epochs=0.5", "train.weight_noise=0.01",
    "train.ctc_consistency=0.2", "model.predictor.masking=0.3",
)  # fmt: skip
STEPS = 7  # of an epoch: 26 utterances in batches of 4; two are left for one batch, so of 4 processes two have none


@pytest.fixture(scope="module")
def train(tones, run_processes):
    """train(out, *overrides, count=, ...) -> exit code and stderr of each process."""
    return lambda out, *overrides, **job: run_processes(*SETTINGS, *overrides, data=tones, out=out, **job)


@pytest.fixture(scope="module")
def by_count(train, tmp_path_factory):
    """The folders of the same run in one process with 4 shares of a batch, in 2 with 2, in 4 with 1."""
    folder = tmp_path_factory.mktemp("by_count")
    for count in (1, 2, 4):
        results = train(folder / str(count), f"train.accumulation={4 // count}", count=count)
        assert [code for code, _ in results] == [0] * count, results
    return {count: folder / str(count) for count in (1, 2, 4)}


@pytest.fixture
def weights(state_of):
    """weights(out): the model's and the averaged weights of a run."""

    def read(out):
        state = state_of(out)
        return state["recognizer"] | {f"ema.{name}": value for name, value in state["ema"]["averages"].items()}

    return read


@pytest.mark.parametrize("count", [2, 4])
def test_losses_do_not_depend_on_how_many_processes_divide_the_shares(by_count, rows, weights, count):
    expected, found = rows(by_count[1]), rows(by_count[count])
    assert len(found) == STEPS + 1
    for a, b in zip(expected, found):
        for name in ("step", "epoch", "lr", "valid_wer"):
            assert a.get(name) == b.get(name)
        for name in ("loss", "grad_norm", "valid_loss"):
            assert a.get(name, 0.0) == pytest.approx(b.get(name, 0.0), rel=1e-4)
    for name, value in weights(by_count[count]).items():
        torch.testing.assert_close(value, weights(by_count[1])[name], rtol=1e-3, atol=1e-5, msg=name)


def test_other_shares_would_have_given_other_losses(by_count, train, rows, tmp_path):
    """The test above can fail: different shares have different random draws."""
    train(tmp_path / "run", "train.accumulation=1", "train.steps=3", "data.valid=[]")
    assert rows(tmp_path / "run")[0]["loss"] != pytest.approx(rows(by_count[1])[0]["loss"], rel=1e-4)


def test_only_the_first_process_speaks(train, tmp_path):
    (_, first), (code, second) = train(tmp_path / "run", "data.max_seconds=0.8", "data.valid=[]", count=2)
    assert code == 0 and "left out of training" in first and second == ""


def test_all_processes_skip_the_same_steps_and_name_the_utterances(tones, train, rows, weights, tmp_path):
    data = Dataset(tones / "train")
    texts = list(data.texts())
    text = next(text for text in texts if texts.count(text) == 2)
    names = {data.id(i) for i, other in enumerate(texts) if other == text}
    results = train(tmp_path / "run", "data.valid=[]", "train.accumulation=2", count=2, spoil=text)
    assert [code for code, _ in results] == [0, 0], results
    skipped = [line for line in rows(tmp_path / "run") if "skipped" in line]
    told = [re.fullmatch("the loss of (.+) is not finite", line["skipped"])[1].split(", ") for line in skipped]
    assert names == {name for names in told for name in names}
    assert all(line["loss"] is None for line in skipped)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())
    (code, _), (other, _) = train(tmp_path / "end", "train.max_skipped=1", "data.valid=[]", count=2, spoil=text)
    assert code == other == 1


def test_a_signal_to_any_process_stops_all_at_the_same_step(
    by_count, train, rows, timeless, state_of, weights, tmp_path
):
    out = tmp_path / "run"
    at_a_step = {"rank": 1, "place": "step", "call": 4, "delay": 0, "signals": [signal.SIGTERM]}
    results = train(out, "train.accumulation=2", count=2, faults=[at_a_step])
    assert [code for code, _ in results] == [143, 143], results
    assert 3 <= len(rows(out)) < STEPS
    position = state_of(out)["position"]
    assert position["step"] == position["batch"] == len(rows(out))
    at_the_validation = {"rank": 0, "place": "validation", "call": 1, "delay": 0, "signals": [signal.SIGINT]}
    results = train(out, "train.accumulation=2", count=2, faults=[at_the_validation])
    assert results[0][0] == 130 and "saving a checkpoint" in results[0][1] and results[1] == (143, "")
    assert len(rows(out)) == STEPS
    assert state_of(out)["position"]["unscored"]
    results = train(out, "train.accumulation=2", count=2)
    assert [code for code, _ in results] == [0, 0], results
    assert timeless(out) == timeless(by_count[2])
    # Two summands have but one order: with two processes the weights are the same bit for bit.
    for name, value in weights(out).items():
        assert torch.equal(value, weights(by_count[2])[name]), name
    models = [folder / "best" / "model.safetensors" for folder in (out, by_count[2])]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_a_run_goes_on_with_another_number_of_processes(by_count, train, rows, weights, tmp_path):
    out = tmp_path / "run"
    stop = {"rank": 0, "place": "step", "call": 3, "delay": 0, "signals": [signal.SIGTERM]}
    assert [code for code, _ in train(out, "train.accumulation=2", count=2, faults=[stop])] == [143, 143]
    assert train(out, "train.accumulation=4")[0][0] == 0
    assert [line["step"] for line in rows(out)] == [line["step"] for line in rows(by_count[1])]
    for name, value in weights(out).items():
        torch.testing.assert_close(value, weights(by_count[1])[name], rtol=1e-3, atol=1e-5, msg=name)


def test_devices_that_several_processes_cannot_share_are_refused(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="device=cuda:1 with several processes; choose cuda"):
        Processes("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="process 2 of this machine has no GPU: there are 1; start as many processes"):
        Processes("auto")


def test_one_process_needs_no_launcher(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    alone = Processes("cpu")
    assert (alone.rank, alone.count, alone.main) == (0, 1, True)
    assert alone.gather("x") == ["x"] and alone.from_main(lambda: 3) == 3
    assert alone.add(torch.ones(2)).tolist() == [1, 1]
    with pytest.raises(ZeroDivisionError):
        alone.from_main(lambda: 1 / 0)
    alone.leave()
