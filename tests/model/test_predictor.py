"""The predictor: one step after the other equals all at once."""

import pytest
import torch

from rnnt.model.predictor import Predictor
from rnnt.model_config import PredictorConfig


def make(layers=2, dropout=0.3, embedding=4):
    torch.manual_seed(0)
    return Predictor(7, PredictorConfig(embedding=embedding, hidden=5, layers=layers, dropout=dropout)).double()


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch", [1, 2, 7, 8, 20])
@pytest.mark.parametrize("embedding", [0, 4])
def test_steps_equal_the_whole_sequence(layers, batch, embedding):
    predictor = make(layers, embedding=embedding).eval()
    targets = torch.randint(7, (batch, 4))
    whole = predictor(targets)
    assert whole.shape == (batch, 5, 5)
    output, state = predictor.start(batch)
    torch.testing.assert_close(output, whole[:, 0], rtol=1e-12, atol=1e-14)
    for u in range(4):
        before = [x.clone() for x in state]
        output, after = predictor.step(targets[:, u], state)
        torch.testing.assert_close(output, whole[:, u + 1], rtol=1e-12, atol=1e-14)
        assert all(torch.equal(x, y) for x, y in zip(state, before))
        state = after
    _, (hidden, cell) = predictor.lstm(torch.nn.functional.pad(predictor.embedding(targets), (0, 0, 1, 0)))
    assert all(x.shape == (batch, layers, 5) for x in state)
    torch.testing.assert_close(state[0], hidden.transpose(0, 1), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(state[1], cell.transpose(0, 1), rtol=1e-12, atol=1e-14)


def test_a_sequence_starts_with_zeros_and_may_be_empty():
    predictor = make().eval()
    empty = predictor(torch.zeros(3, 0, dtype=torch.long))
    assert empty.shape == (3, 1, 5)
    expected = predictor.lstm(torch.zeros(3, 1, 4, dtype=torch.float64))[0]
    torch.testing.assert_close(empty, expected, rtol=1e-12, atol=0)


def test_a_row_has_seen_only_what_comes_before():
    predictor = make().eval()
    targets = torch.tensor([[3, 0, 6, 2]])
    before = predictor(targets)
    targets[0, 2] = 1
    after = predictor(targets)
    assert torch.equal(before[:, :3], after[:, :3]) and not torch.equal(before[:, 3], after[:, 3])


def test_dropout_is_for_training():
    predictor = make(dropout=0.5)
    targets = torch.zeros(20, 30, dtype=torch.long)
    assert 0.4 < (predictor.train()(targets) == 0).double().mean() < 0.6
    assert (predictor.eval()(targets) != 0).all()


def test_masking_hides_all_outputs_of_some_utterances_in_training():
    torch.manual_seed(0)
    predictor = Predictor(7, PredictorConfig(embedding=4, hidden=5, layers=1, dropout=0.0, masking=0.4))
    targets = torch.randint(7, (500, 3))
    plain, masked = predictor.eval()(targets), predictor.train()(targets)
    hidden = (masked == 0).all(2).all(1)
    torch.testing.assert_close(masked[~hidden], plain[~hidden])
    assert (masked[hidden] == 0).all() and 150 < int(hidden.sum()) < 250


def test_one_hot_vectors_make_the_input_weight_an_embedding():
    predictor, other = make(1, 0.0, 0), make(1, 0.0, 20)
    assert {name for name, _ in predictor.named_parameters()} == {
        name for name, _ in predictor.lstm.named_parameters("lstm")
    }
    with torch.no_grad():  # a wide embedding and its input weight, multiplied out
        for name, value in predictor.lstm.named_parameters():
            wide = getattr(other.lstm, name)
            value.copy_(wide @ other.embedding.weight.T if name == "weight_ih_l0" else wide)
    targets = torch.randint(7, (3, 6))
    torch.testing.assert_close(predictor(targets), other(targets), rtol=1e-10, atol=1e-12)
    assert predictor(targets).dtype == torch.float64 and predictor.float()(targets).dtype == torch.float32
