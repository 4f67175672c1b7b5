"""check_voices decodes a split as it is, and at other tempi and pitches, each of which changes one thing alone."""

import sys

import check_voices
import numpy as np
import pytest

from rnnt.dataset import Dataset, write_split
from rnnt.shard import StoredUtterance


@pytest.fixture(scope="module")
def split(talkative, utterances, tmp_path_factory):
    folder = tmp_path_factory.mktemp("voices") / "dev"
    texts = [transcript.text for transcript in talkative.transcribe(utterances)]
    rows = [StoredUtterance(f"u{n}", x, text) for n, (x, text) in enumerate(zip(utterances, texts)) if text]
    write_split(folder, rows, 16000)
    return folder


@pytest.mark.parametrize("batch", [1, 16])
def test_without_a_change_the_texts_are_those_of_transcripts(talkative, split, batch):
    pairs = list(check_voices.decode(talkative, Dataset(split), check_voices.changed(1.0, 1.0), batch))
    assert sorted(pair.id for pair in pairs) == sorted(row.id for row in Dataset(split)) and len(pairs) > 3
    assert all(pair.hypothesis == pair.reference for pair in pairs)


def test_each_change_has_its_own_errors(talkative, split):
    found = check_voices.check(talkative, Dataset(split), [0.5, 2.0], [0.7], 4)
    assert list(found) == [(1.0, 1.0), (0.5, 1.0), (2.0, 1.0), (1.0, 0.7)]
    (plain, slow, fast, low) = found.values()
    assert plain.errors == 0 < min(slow.errors, fast.errors, low.errors)


def test_it_prints_a_line_for_each(talkative, split, tmp_path, monkeypatch, capsys):
    talkative.save(tmp_path / "model")
    monkeypatch.setattr(sys, "argv", ["check_voices", str(tmp_path / "model"), str(split), "--tempo", "--pitch", "0.8"])
    check_voices.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tempo    1, pitch    1: WER 0.00 %" and lines[1].startswith("tempo    1, pitch  0.8: WER ")
    assert len(lines) == 2 and np.isfinite(float(lines[1].split()[-2]))
