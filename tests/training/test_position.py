"""The position of a run: when a validation is due, and what checkpoints hold."""

import math
from dataclasses import replace

import pytest

from rnnt.config import TrainConfig
from rnnt.training.position import Position


def test_steps_and_epochs_are_counted():
    position = Position()
    for skipped in (False, True, True, False, True):
        position = position.after_step(skipped)
    assert position == Position(step=5, batch=5, skipped=3, skipped_in_row=1)
    position = position.after_epoch()
    assert (position.step, position.epoch, position.batch, position.skipped) == (5, 1, 0, 3)


@pytest.mark.parametrize(
    ("plan", "due"),
    [
        ({"epochs": 7}, [1, 2, 3, 4, 5, 6, 7]),
        ({"epochs": 7, "validate_every": 3}, [1, 4, 7]),
        ({"epochs": 6, "validate_every": 3}, [1, 4, 6]),
        ({"epochs": 7, "validate_every": 2, "validate_from": 4}, [4, 6, 7]),
        ({"epochs": 2, "validate_from": 9}, [2]),
    ],
)
def test_epochs_are_validated_by_the_plan_and_the_last_one_always(plan, due):
    train = TrainConfig(**plan)
    epochs = range(1, train.epochs + 1)
    assert [epoch for epoch in epochs if Position(epoch=epoch).validation_due(train)] == due


def test_the_target_is_reached_by_the_best_model_so_far():
    assert not Position(best_wer=0.0).target_reached(TrainConfig(target_wer=0))
    assert not Position().target_reached(TrainConfig(target_wer=0.058))
    assert not Position(best_wer=0.0581).target_reached(TrainConfig(target_wer=0.058))
    assert Position(best_wer=0.058).target_reached(TrainConfig(target_wer=0.058))


def test_a_run_ends_after_its_steps_and_last_validation_or_at_its_target():
    train = TrainConfig(epochs=3, target_wer=0.1)
    assert not Position(step=5, epoch=2).finished(train, 6)
    assert Position(step=6, epoch=2).finished(train, 6) and Position(step=5, epoch=3).finished(train, 6)
    assert not Position(step=6, epoch=3, unscored=True).finished(train, 6)
    assert Position(step=1, best_wer=0.1).finished(train, 6)
    assert not Position(step=1, best_wer=0.11).finished(train, 6)


def test_a_checkpoint_gives_the_position_back():
    position = Position(step=9, epoch=2, batch=1, unscored=True, skipped=4, skipped_in_row=3, best_wer=0.25)
    state = position.state_dict()
    assert state == {
        "position": {"step": 9, "epoch": 2, "batch": 1, "unscored": True},
        "skipped": [4, 3],
        "best_wer": 0.25,
    }
    assert Position.from_state(state) == position
    assert Position.from_state(Position().state_dict()) == Position() and Position().best_wer == math.inf


def test_a_checkpoint_of_the_first_version_has_a_position_too():
    state = {"position": {"step": 9, "epoch": 2, "batch": 1}, "skipped": [4, 3], "best_wer": 0.25, "utterances": 5}
    assert Position.from_state(state) == replace(Position(9, 2, 1), skipped=4, skipped_in_row=3, best_wer=0.25)


def test_a_lost_model_is_remembered_until_a_better_one_is_kept():
    lost = Position(best_wer=0.3, lost_wer=0.2)
    assert lost.best_is_lost and Position.from_state(lost.state_dict()) == lost
    assert not Position(best_wer=0.2, lost_wer=0.2).best_is_lost and not Position().best_is_lost
    assert Position(lost_wer=0.0).best_is_lost  # without validation
