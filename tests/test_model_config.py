"""The settings of the model: sections in sections, each checked when it is made."""

import pytest

from rnnt.model_config import EncoderConfig, JointConfig, LstmConfig, ModelConfig


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
