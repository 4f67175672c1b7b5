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
