"""The events of a run, in their order and with their positions."""

from rnnt.training.listener import Listener
from rnnt.training.trainer import Trainer

EVENTS = [name for name in vars(Listener) if not name.startswith("_")]


class Recorder(Listener):
    def __init__(self):
        self.calls = []

    def names(self):
        return [name for name, _ in self.calls]


for event in EVENTS:
    setattr(Recorder, event, lambda self, *values, event=event: self.calls.append((event, values)))


def record(trainer):
    recorder = Recorder()
    trainer.listeners.append(recorder)
    trainer.run()
    return recorder


def test_a_run_reports_its_events_in_order(tones, settings, tmp_path):
    """An epoch has 7 steps, and a validation follows it."""
    recorder = record(Trainer(settings("train.epochs=2"), tones, tmp_path / "run"))
    names = [name for name in recorder.names() if name not in ("note", "validation_progress")]
    epoch = ["epoch_start", *["step"] * 7, "epoch_stop"]
    validation = ["validation_start", "validation_stop", "block_stop"]
    assert names == ["run_start", *epoch, *validation, *epoch, *validation, "run_stop", "close"]
    positions = {
        name: values[0] for name, values in recorder.calls if name not in ("note", "validation_progress", "close")
    }
    assert (positions["run_start"].step, positions["run_stop"].step) == (0, 14)
    assert (positions["epoch_start"].epoch, positions["epoch_stop"].epoch) == (1, 2)
    progress = [values for name, values in recorder.calls if name == "validation_progress"]
    assert progress[0][0] == 0 and progress[-1][0] == progress[-1][1]


def test_a_listener_that_overrides_nothing_takes_every_event(tones, settings, tmp_path):
    trainer = Trainer(settings("train.epochs=1"), tones, tmp_path / "run")
    trainer.listeners.append(Listener())
    assert "run_stop" in record(trainer).names()


def test_a_run_that_ends_with_an_error_still_closes_its_listeners(tones, settings, tmp_path, killed_at):
    trainer = Trainer(settings(), tones, tmp_path / "run")
    recorder = Recorder()
    trainer.listeners.append(recorder)
    with killed_at(type(trainer.stepper), "take", 3):
        trainer.run()
    assert recorder.names()[-1] == "close" and "run_stop" not in recorder.names()
