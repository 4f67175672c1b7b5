"""Cases of the loss benchmark have the shapes that they name, and trained inputs are like those of a trained model."""

import pytest
import torch
from bench_loss import write_oracle
from loss_inputs import S2, Case, case, make_inputs

ODD = Case("odd", ((1, 0), (6, 3), (4, 4), (5, 0)), 9, 16)


@pytest.mark.parametrize("shape", [case("toy", 0, 0), case("S1", 0, 0), case("S2", 0, 0), ODD])
def test_nodes_are_counted_with_and_without_padding(shape):
    lengths = torch.tensor(shape.lengths)
    inside_BTU = (torch.arange(lengths[:, 0].max()) < lengths[:, :1])[:, :, None] & (
        torch.arange(lengths[:, 1].max() + 1) <= lengths[:, 1:]
    )[:, None]
    assert shape.nodes == int(inside_BTU.sum())
    assert shape.padded_nodes == inside_BTU.numel()


def test_named_cases_have_their_vocabularies():
    assert [(case(name, 0, 0).vocabulary, case(name, 0, 0).width) for name in ("toy", "S1", "S2")] == [
        (11, 16), (1024, 512), (500, 512),
    ]  # fmt: skip
    assert case("S2", 0, 0).lengths == S2
    with pytest.raises(ValueError, match="there is no case 'S3'; choose toy, S1, S2 or mlperf"):
        case("S3", 0, 0)


def test_mlperf_takes_frames_of_60_ms_and_fewer_tokens_from_utterances_that_are_not_too_long(shapes_csv):
    shapes_csv((6.0, 100), (16.8, 30), (12.03, 10), (1.0, 0))
    drawn = case("mlperf", 3, 0)
    assert sorted(drawn.lengths) == [(17, 0), (100, 80), (201, 8)]
    assert (drawn.name, drawn.vocabulary) == ("mlperf-3", 1024)


def test_mlperf_without_the_file_of_lengths_says_which_file_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr("loss_inputs.SHAPES_CSV", tmp_path / "absent.csv")
    with pytest.raises(ValueError, match=r"needs the lengths of LibriSpeech's utterances in .*absent\.csv"):
        case("mlperf", 3, 0)


def test_mlperf_draws_other_utterances_of_librispeech_for_another_seed(shared_data):
    drawn = case("mlperf", 64, 0)
    assert drawn == case("mlperf", 64, 0) != case("mlperf", 64, 1)
    assert max(frames for frames, _ in drawn.lengths) <= 279
    assert 10 < sum(tokens for _, tokens in drawn.lengths) / 64 < 100


@pytest.mark.parametrize("kind", ["random", "trained"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inputs_have_the_shapes_and_types_of_the_case_and_depend_on_the_seed(kind, dtype):
    x, again, other = (make_inputs(ODD, kind, dtype, "cpu", seed) for seed in (0, 0, 1))
    assert [tuple(y.shape) for y in x.learned] == [(4, 6, 16), (4, 5, 16), (9, 16), (9,)]
    assert [y.dtype for y in x.learned] == [dtype, dtype, torch.float32, torch.float32]
    assert all(y.requires_grad and y.is_leaf for y in x.learned)
    assert x.targets.shape == (4, 4) and x.targets.min() >= 0 and x.targets.max() < 8
    assert torch.stack((x.encoder_lengths, x.target_lengths), 1).tolist() == [list(pair) for pair in ODD.lengths]
    assert all(torch.equal(y, z) for y, z in zip(x.learned, again.learned))
    assert not torch.equal(x.encoder, other.encoder)


def test_trained_inputs_have_a_trained_models_loss_and_a_thin_band(tmp_path, loss_options):
    shape = Case("small", ((60, 12), (45, 10), (80, 20)), 500, 512)
    facts = {
        kind: write_oracle(shape, kind, torch.float32, loss_options, tmp_path / "oracle.pt")
        for kind in ("random", "trained")
    }
    assert 0.05 < facts["trained"]["nats_per_label"] < 0.5 < facts["random"]["nats_per_label"]
    assert facts["trained"]["visited"] < 0.3 < facts["random"]["visited"]


def test_trained_inputs_need_a_frame_for_each_label():
    with pytest.raises(ValueError, match="short has an utterance of 3 labels in 2 frames"):
        make_inputs(Case("short", ((2, 3),), 9, 16), "trained", torch.float32, "cpu")
