"""Arguments of the losses: accepted if valid, whatever the padding holds, and named in the error if not."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnt.loss.arguments import check_joint, check_lattices, reduce_losses

CPU = torch.device("cpu")
SIZES = st.lists(st.tuples(st.integers(1, 7), st.integers(0, 6)), min_size=1, max_size=4)


def lattices(**changes):
    given = {
        "shape": (3, 7, 5),
        "vocabulary": 5,
        "device": CPU,
        "targets_BU": torch.tensor([[3, 1, 9, 9], [-5, 9, 9, 9], [0, 1, 2, 3]]),
        "encoder_lengths": torch.tensor([5, 2, 7]),
        "target_lengths": torch.tensor([2, 0, 4]),
        "blank": -1,
        "scores": "hats",
        "lengths": "hat_lengths",
    }
    return check_lattices(**{**given, **changes})


def test_valid_arguments_become_lattices():
    found = lattices()
    assert found.targets.tolist() == [[3, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 2, 3, 0]]
    assert found.encoder_lengths.tolist() == [5, 2, 7]
    assert found.target_lengths.tolist() == [2, 0, 4]
    assert found.lengths == [(5, 2), (2, 0), (7, 4)]
    assert found.blank == 4
    assert found.nodes == 5 * 3 + 2 * 1 + 7 * 5
    assert {x.dtype for x in (found.targets, found.encoder_lengths, found.target_lengths)} == {torch.int64}


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_any_integers_will_do(dtype):
    found = lattices(
        targets_BU=torch.tensor([[3, 1, 9, 9], [-5, 9, 9, 9], [0, 1, 2, 3]], dtype=dtype),
        encoder_lengths=torch.tensor([5, 2, 7], dtype=dtype),
    )
    assert torch.equal(found.targets, lattices().targets) and found.targets.dtype == torch.int64
    assert found.lengths == lattices().lengths


def test_the_arguments_are_left_unchanged():
    targets = torch.tensor([[3, 1, 9, 9], [-5, 9, 9, 9], [0, 1, 2, 3]])
    copy = targets.clone()
    lattices(targets_BU=targets)
    assert torch.equal(targets, copy)


@given(sizes=SIZES, vocabulary=st.integers(2, 6), data=st.data())
def test_a_target_is_accepted_exactly_if_it_is_a_symbol_or_padding(sizes, vocabulary, data):
    blank = data.draw(st.integers(-vocabulary, vocabulary - 1))
    frames, labels = torch.tensor(sizes).T
    shape = (len(sizes), int(frames.max()), int(labels.max()) + 1)
    symbol = (blank + 1) % vocabulary
    targets = torch.full((shape[0], shape[2] - 1), symbol)
    changed = data.draw(st.integers(-2, vocabulary + 1))
    i = data.draw(st.integers(0, shape[0] - 1))
    wrong = False
    if shape[2] > 1:
        u = data.draw(st.integers(0, shape[2] - 2))
        targets[i, u] = changed
        is_symbol = 0 <= changed < vocabulary and changed != blank % vocabulary
        wrong = u < sizes[i][1] and not is_symbol
    arguments = (shape, vocabulary, CPU, targets, frames, labels, blank, "scores", "lengths")
    if wrong:
        with pytest.raises(ValueError, match=rf"targets\[{i}, {u}\] is {changed}, which is "):
            check_lattices(*arguments)
    else:
        found = check_lattices(*arguments)
        assert found.nodes == sum(1 for t, labels in sizes for _ in range(t) for _ in range(labels + 1))
        assert found.targets.shape == (shape[0], shape[2])
        for row, (_, valid) in zip(range(shape[0]), sizes):
            assert torch.equal(found.targets[row, :valid], targets[row, :valid])
            assert found.targets[row, valid:].abs().sum() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_lengths": torch.tensor([5, 2, 8])}, r"^hat_lengths\[2\] is 8; it must lie between 1 and 7$"),
        ({"encoder_lengths": torch.tensor([5, 2])}, "^hat_lengths is for 2 utterances, hats for 3$"),
        ({"target_lengths": torch.tensor([2, 0, 5])}, r"^target_lengths\[2\] is 5; it must lie between 0 and 4$"),
        ({"shape": (3, 7, 6)}, r"^targets are \(3, 4\), but hats need \(3, 5\)$"),
        ({"target_lengths": torch.tensor([2.0, 0.0, 4.0])}, "^target_lengths must hold integers, not torch.float32$"),
        ({"vocabulary": 3}, r"^targets\[0, 0\] is 3, which is outside 0 \.\. 2$"),
        ({"blank": 1}, r"^targets\[0, 1\] is 1, which is blank$"),
        ({"blank": 5}, "^blank is 5; it must lie between -5 and 4$"),
        (
            {
                "shape": (0, 7, 5),
                "targets_BU": torch.zeros(0, 4, dtype=torch.long),
                "encoder_lengths": torch.zeros(0, dtype=torch.long),
                "target_lengths": torch.zeros(0, dtype=torch.long),
            },
            "^hats hold no utterance$",
        ),
    ],
)
def test_a_mistake_is_named_in_the_callers_words(changes, message):
    with pytest.raises(ValueError, match=message):
        lattices(**changes)


def joint(**changes):
    given = {
        "encoder_BTH": torch.zeros(1, 3, 4),
        "predictor_BUH": torch.zeros(1, 2, 4),
        "weight_VH": torch.zeros(6, 4),
        "bias_V": torch.zeros(6),
        "targets_BU": torch.tensor([[3]]),
        "encoder_lengths": torch.tensor([3]),
        "target_lengths": torch.tensor([1]),
        "blank": -1,
        "activation": "relu",
    }
    return check_joint(**{**given, **changes})


def test_the_vocabulary_is_the_weights_or_the_additive_joints_width():
    assert joint().blank == 5
    assert joint(weight_VH=None, bias_V=None, targets_BU=torch.tensor([[2]])).blank == 3
    with pytest.raises(ValueError, match=r"targets\[0, 0\] is 3, which is blank"):
        joint(weight_VH=None, bias_V=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "identity"}, "activation is 'identity'; choose relu or tanh"),
        ({"dropout": -0.1}, r"dropout is -0\.1; it must be at least 0 and below 1"),
        ({"weight_VH": None}, "give both weight and bias, or None for both"),
        ({"predictor_BUH": torch.zeros(1, 2, 5)}, "differ in their last size"),
        ({"predictor_BUH": torch.zeros(2, 2, 4)}, "predictor is for 2 utterances, encoder for 1"),
        ({"bias_V": torch.zeros(6, 1)}, r"bias is \(6, 1\), but weight is for 6 symbols"),
        ({"encoder_lengths": torch.tensor([4])}, r"encoder_lengths\[0\] is 4"),
    ],
)
def test_a_mistake_in_the_joint_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        joint(**changes)


def test_reductions():
    losses = torch.tensor([1.0, 2.5, 4.0])
    assert reduce_losses(losses, "none") is losses
    assert reduce_losses(losses, "mean").item() == 2.5
    assert reduce_losses(losses, "sum").item() == 7.5
    with pytest.raises(ValueError, match="reduction is 'max'; choose none, mean or sum"):
        reduce_losses(losses, "max")
