"""tokens.txt."""

import pytest

from rnnt.export.tokens import token_names, tokens_text
from rnnt.tokenizer import Symbols


def test_spaces_are_written_as_a_sign():
    assert token_names(Symbols("characters", ["a", " "])) == ["a", "▁", "<blk>"]
    assert tokens_text(token_names(Symbols("words", ["AH", "B"]))) == "▁AH 0\n▁B 1\n<blk> 2\n"


def test_white_space_in_a_name_is_refused():
    with pytest.raises(ValueError, match="holds white space"):
        token_names(Symbols("characters", ["a", "\t"]))
