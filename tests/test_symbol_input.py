from dataclasses import replace

import pytest
import torch

from rnnt.config import Config
from rnnt.features import Features
from rnnt.settings import load_config
from rnnt.symbol_input import SymbolInput, make_input


def test_symbols_pass_as_they_are():
    given = make_input(Config(input="symbols"))
    assert isinstance(given, SymbolInput) and isinstance(make_input(Config()), Features)
    symbols, lengths = torch.tensor([[3, 1], [2, 0]]), torch.tensor([2, 1])
    frames, counts = given(symbols, lengths, None)
    assert frames is symbols and counts.tolist() == [2, 1] and given.num_frames(lengths).tolist() == [2, 1]
    assert given.width == Config().symbols.embedding and (given.joined, given.frame_seconds) == (1, 0.0)
    assert not list(given.parameters())


def test_settings_for_audio_are_refused():
    config = load_config("g2p")
    for section, value in (("augment", replace(config.augment, time_masks=1)),
                           ("train", replace(config.train, curriculum_epochs=1.0))):  # fmt: skip
        with pytest.raises(ValueError, match="input is symbols; the settings augment and"):
            replace(config, **{section: value})
