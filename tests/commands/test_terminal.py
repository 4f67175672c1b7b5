"""What the commands print: nothing that a terminal obeys, and JSON that comes back whole."""

import io
import json
import sys

import pytest

from rnnt.commands.terminal import json_line, show


def test_lines_are_shown_without_what_a_terminal_obeys(capsys):
    show("a\x1b[2Jb", "größe")
    out = capsys.readouterr().out
    assert "\x1b" not in out and out.splitlines()[1] == "größe"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("text", ["plain", "größe 好", "a\x1b[2Jb\n"])
def test_a_line_of_json_fits_any_encoding_and_comes_back_whole(encoding, text, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    line = json_line({"text": text})
    line.encode(encoding)
    assert "\n" not in line and "\x1b" not in line and json.loads(line) == {"text": text}
