"""Names of decoders."""

import pytest
import torch

from rnnt.config import DecodingConfig
from rnnt.decoding.decoder import Decoder, configured_decoder, parse_decoders
from rnnt.loader import collate

CONFIG = DecodingConfig(max_symbols=50, beam=6)
SCORERS = {"hotwords": "the hot words", "lm": "the language model"}


def test_names_choose_search_width_and_scorers():
    texts = ["greedy", "beam", "beam:4", "greedy+lm", "beam:4+hotwords+lm"]
    decoders = parse_decoders(texts, CONFIG, SCORERS)
    assert [decoder.name for decoder in decoders] == ["greedy", "beam:6", "beam:4", "greedy+lm", "beam:4+lm+hotwords"]
    methods = [(decoder.config.method, decoder.width, decoder.config.max_symbols) for decoder in decoders]
    assert methods == [("greedy", 1, 50), ("beam", 6, 50), ("beam", 4, 50), ("greedy", 1, 50), ("beam", 4, 50)]
    scorers = [decoder.scorers for decoder in decoders]
    assert scorers == [(), (), (), ("the language model",), ("the language model", "the hot words")]


def test_the_settings_have_a_name():
    assert configured_decoder(CONFIG) == Decoder("greedy", CONFIG)
    config = DecodingConfig(method="beam", beam=3)
    assert configured_decoder(config, {"lm": 1}) == Decoder("beam:3+lm", config, (1,))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["greedy", "beam:4", "greedy"], "--decoding greedy is given twice; leave one of them out"),
        (["beam:6", "beam"], r"--decoding beam is given twice \(as beam:6\); leave one of them out"),
        (["beam:4+lm+hotwords", "beam:4+hotwords+lm"], r"is given twice \(as beam:4\+lm\+hotwords\)"),
        (["fast"], "no decoding 'fast'; give greedy, beam, or beam:8 for a beam of 8"),
        ([""], "no decoding ''"),
        (["beam:0"], r"decoding\.beam is 0; it must be between 1 and 256"),
        (["beam:10000"], r"decoding\.beam is 10000; it must be between 1 and 256"),
        (["beam:-1"], "no decoding 'beam:-1'"),
        (["greedy:2"], "no decoding 'greedy:2'"),
        (["greedy+tm"], r"no decoding 'greedy\+tm'; after greedy or beam:8 may come \+lm and \+hotwords, once each"),
        (["greedy+"], r"no decoding 'greedy\+'"),
        (["beam+lm+lm"], r"no decoding 'beam\+lm\+lm'.*once each"),
    ],
)
def test_bad_names_get_one_line(texts, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_decoders(texts, CONFIG, SCORERS)
    assert "\n" not in str(caught.value)


def test_a_scorer_that_is_not_there_is_asked_for():
    with pytest.raises(ValueError, match=r"--decoding beam:4\+lm needs a language model; give --lm FILE"):
        parse_decoders(["beam:4+lm"], CONFIG, {"hotwords": 1})
    with pytest.raises(ValueError, match=r"--decoding greedy\+hotwords needs hot words; give --hotwords FILE"):
        parse_decoders(["greedy+hotwords"], CONFIG)


class Forbid:
    """Forbids the symbol 1."""

    blank_weight = 0.0

    def start(self, batch):
        return torch.zeros(batch)

    def scores(self, state):
        return state[:, None] + torch.tensor([0.0, -torch.inf, 0.0])

    def advance(self, state, symbols):
        return state

    def finish(self, state):
        return state


@pytest.mark.parametrize("search", ["greedy", "beam:3"])
def test_the_scorers_steer_the_search(make, utterances, search):
    recognizer = make()
    batch = collate(utterances, [[]] * 7, [""] * 7)
    plain, steered = parse_decoders([search, f"{search}+lm"], recognizer.config.decoding, {"lm": Forbid()})
    with recognizer.inference():
        encoded = recognizer.encode(batch)
        found = [recognizer.search(batch, *encoded, decoder) for decoder in (plain, steered)]
    assert all(len(hypotheses) <= plain.width for hypotheses in found[0])
    symbols = [{symbol for hypotheses in each for best in hypotheses for symbol in best.tokens} for each in found]
    assert 1 in symbols[0] and symbols[1] and 1 not in symbols[1]
