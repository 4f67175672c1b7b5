"""The settings of the model: sections in sections, each checked when it is made."""

import pytest

from rnnt.model_config import ConformerConfig, EncoderConfig, JointConfig, LstmConfig, ModelConfig


def test_sections_are_nested_and_their_errors_begin_with_the_key():
    config = ModelConfig(EncoderConfig(lstm=LstmConfig(hidden=3)))
    assert config.encoder.lstm.hidden == 3 and config.joint == JointConfig()
    with pytest.raises(ValueError, match=r"^model\.encoder\.lstm\.hidden is 0"):
        LstmConfig(hidden=0)
    with pytest.raises(ValueError, match=r"^model\.joint\.kind is 'sum'; it must be one of network, additive"):
        JointConfig(kind="sum")


def test_one_layer_is_enough_if_no_frames_are_joined_after_it():
    assert LstmConfig(pre_layers=1, time_stack=1, post_layers=0).post_layers == 0
    with pytest.raises(
        ValueError, match=r"^model\.encoder\.lstm\.post_layers is 0; it must be at least 1, or .* must be 1"
    ):
        LstmConfig(post_layers=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 100}, r"width is 100; it must be an even multiple of model\.encoder\.conformer\.heads \(8\)$"),
        ({"width": 8, "heads": 8}, r"width is 8; it must be an even multiple of \S+heads \(8\)$"),
        ({"kernel": 8}, r"kernel is 8; it must be odd, up to 1023$"),
        ({"subsampling": 6}, r"subsampling is 6; it must be 2, 4, 8 or 16$"),
        ({"attention_right": -2}, r"attention_right is -2; it must be between -1 and 1000000000$"),
        (
            {"attention_left": 70, "attention_right": 7},
            r"attention_left is 70; it must be a multiple of the chunk, attention_right \+ 1 \(8\)$",
        ),
        ({"layer_dropout": 1.0}, r"layer_dropout is 1\.0; it must be at least 0 and below 1$"),
    ],
)
def test_a_conformer_whose_sizes_do_not_fit_each_other_is_refused(changes, message):
    with pytest.raises(ValueError, match=rf"^model\.encoder\.conformer\.{message}"):
        ConformerConfig(**changes)


@pytest.mark.parametrize("durations", [[0], [1, 1], [0, -1], [0, 101]])
def test_durations_are_different_numbers_of_frames(durations):
    with pytest.raises(ValueError, match=r"^model\.joint\.durations is \[.*\]; it must be different numbers of frames"):
        JointConfig(durations=durations)
    assert JointConfig(durations=[0, 100, 1]).durations == [0, 100, 1]


def test_limits_of_attention_that_fit():
    for left, right in ((-1, -1), (-1, 6), (70, -1), (0, 6), (70, 6), (5, 0)):
        assert ConformerConfig(attention_left=left, attention_right=right).attention_left == left
