"""The table of decoders: its figures by hand, and its three forms."""

import dataclasses
import json
import re

import pytest

from rnnt.comparison import compare, nbest_records, table_html, table_json, table_text, time_line
from rnnt.config import ScoringConfig
from rnnt.error_rate import Pair, character_error_rate, rate_difference, word_error_rate
from rnnt.evaluation import Alternative, DecoderResult, Evaluation
from rnnt.measure import ENTRY, measure_of
from rnnt.usage import Usage

REFERENCES = ["the cat sat", "on the mat", "hello"]


def pairs_of(*hypotheses):
    return [Pair(f"u{i}", text, heard, 2.0) for i, (text, heard) in enumerate(zip(REFERENCES, hypotheses))]


def lists_of(*lists):
    return [[Alternative(text, [1, 2], -float(i), -float(i)) for i, text in enumerate(texts)] for texts in lists]


GREEDY = DecoderResult(
    "greedy", pairs_of("the bat sat", "on mat", "hello"), ["u1"], lists_of(["the bat sat"], ["on mat"], ["hello"]),
    Usage(0.5, 2 * 2**20),
)  # fmt: skip
BEAM = DecoderResult(
    "beam:4", pairs_of("the cat sat", "on mat mat", "yellow"), [],
    lists_of(["the cat sat", "a"], ["on mat mat", "on the mat"], ["yellow", "mellow"]),
    Usage(1.5, 3 * 2**20), lower=1, higher=2,
)  # fmt: skip


def evaluation(*results):
    return Evaluation(results[0].pairs, 0.1, 7, [], [], [], list(results), Usage(2.0, 2**20))


def test_figures():
    first, second = compare(evaluation(GREEDY, BEAM))
    assert (first.first, first.second) == (word_error_rate(GREEDY.pairs), character_error_rate(GREEDY.pairs))
    assert first.difference is None and second.difference == rate_difference(BEAM.pairs, GREEDY.pairs)
    assert first.audio_seconds == 6.0
    assert (first.of_encoder, second.of_encoder) == (0.25, 0.75)
    assert (first.times_real_time, second.times_real_time) == (6 / 2.5, 6 / 3.5)
    assert (first.oracle.errors, second.oracle.errors, second.oracle.reference_length) == (2, 1, 7)


def cells(text):
    return [cell for cell in re.split(r"  +", text.strip()) if cell]


def test_text():
    lines = compare(evaluation(GREEDY, BEAM))
    head, greedy, beam, *notes = table_text(lines)
    assert cells(head)[:5] == ["decoding", "WER %", "95 % interval", "minus first row", "CER %"]
    assert cells(head)[5:9] == ["sub", "del", "ins", "oracle WER %"]
    assert cells(head)[9:] == ["time s", "of encoder's", "x real time", "peak MiB", "search errors", "finds better"]
    assert cells(greedy)[:2] == ["greedy", "28.57"]
    assert cells(greedy)[4:] == ["1", "1", "0", "28.57", "0.50", "25.0 %", "2.4", "2"]
    assert cells(beam)[:2] == ["beam:4", "28.57"]
    assert cells(beam)[3].startswith("+0.00 [-") and cells(beam)[5:8] == ["2", "0", "0"]
    assert cells(beam)[8:] == ["14.29", "1.50", "75.0 %", "1.7", "3", "1", "2"]
    assert max(map(len, (greedy, beam))) <= len(head)
    assert notes[0] == "encoder, once for all rows: 2.00 s for 6 s of audio, peak 1 MiB"
    assert "over 3 utterances" in notes[1] and "greedy finds more probable" in notes[1]


def test_a_single_decoder_has_no_columns_of_comparison():
    plain = DecoderResult("greedy", GREEDY.pairs, [], [], Usage(0.5))
    (line,) = compare(Evaluation(GREEDY.pairs, 0.1, 7, [], [], [], [plain], Usage(2.0)))
    assert time_line(line) == "greedy: decoding 0.50 s, 25.0 % of the encoder's 2.00 s; together 2.4 times real time"
    head = table_text([line])[0]
    for name in ("minus", "search", "better", "oracle", "peak"):
        assert name not in head
    assert line.oracle is None


def test_html_is_escaped_and_has_all_cells():
    odd = DecoderResult("<beam>", *[getattr(BEAM, name) for name in ("pairs", "truncated", "nbest", "usage")])
    page = table_html(compare(evaluation(GREEDY, odd)))
    assert "<beam>" not in page and "&lt;beam&gt;" in page
    assert page.count("<tr>") == page.count("</tr>") == 3 and page.count("<td>") == 2 * 14


def test_json():
    figures = json.loads(json.dumps(table_json(compare(evaluation(GREEDY, BEAM)))))
    assert [row["decoding"] for row in figures] == ["greedy", "beam:4"]
    assert figures[0]["difference"] is None and figures[1]["difference"]["blocks"] == 3
    assert figures[1]["word"]["rate"] == 2 / 7 and figures[1]["oracle"]["rate"] == 1 / 7
    names = ("encoder_seconds", "decoding_seconds", "peak_bytes", "search_errors", "finds_better", "truncated")
    assert [figures[1][name] for name in names] == [2.0, 1.5, 3 * 2**20, 1, 2, 0]


def sounds_of(*hypotheses):
    """Three words without audio, the first of which has two pronunciations."""
    said = [("read", ("R IY D", "R EH D")), ("cat", ()), ("of", ())]
    texts = ["R IY D", "K AE T", "AH V"]
    return [
        Pair(word, text, heard, input=tuple(word), references=several)
        for (word, several), text, heard in zip(said, texts, hypotheses)
    ]


def test_symbols_and_sequences():
    lists = [
        [Alternative(text, [1], 0.0, 0.0) for text in texts]
        for texts in (["R IY", "R EH D"], ["K AH T", "K AE"], ["AH V", ""])
    ]
    pairs = sounds_of("R IY", "K AH T", "AH V")
    result = DecoderResult("beam:2", pairs, [], lists, Usage(1.0))
    measure = measure_of(ScoringConfig(measure="sequences"))
    found = Evaluation(pairs, 0.1, 7, [], [], [], [result, result], Usage(1.0), measure, 4)
    first, second = compare(found)
    assert (first.first.rate, first.second.rate, first.oracle.rate) == (2 / 3, 2 / 8, 1 / 3)
    assert second.difference == rate_difference(pairs, pairs, ENTRY)
    assert first.audio_seconds == 0 and first.utterances_per_second == 4 / 2
    head, row, _, *notes = table_text([first, second])
    assert cells(head)[:6] == ["decoding", "WER %", "95 % interval", "minus first row", "PER %", "sub"]
    assert "oracle WER %" in head and "utt/s" in head and "real time" not in head
    assert cells(row)[-1] == "2.0" and cells(row)[4:7] == ["1", "1", "0"]
    assert notes[0] == "encoder, once for all rows: 1.00 s for 4 utterances" and "difference of WER" in notes[1]
    assert time_line(first).endswith("encoder's 1.00 s; together 2.0 utterances a second")
    (figures, _) = table_json([first, second])
    assert (figures["sequence"]["unit"], figures["sequence"]["errors"]) == ("sequence", 2)
    assert figures["symbol"]["deletions"] == 1 and figures["utterances_per_second"] == 2
    assert "word" not in figures and "times_real_time" not in figures
    phones = dataclasses.replace(found, measure=measure_of(ScoringConfig(measure="symbols")))
    head, row, *_ = table_text(compare(phones))
    assert cells(head)[1:5] == ["PER %", "95 % interval", "minus first row", "SER %"] and "oracle PER %" in head
    assert cells(row)[1] == "25.00" and "66.67" in row


def test_records_of_the_lists():
    records = list(nbest_records(compare(evaluation(GREEDY, BEAM))))
    assert [(record["decoding"], record["id"]) for record in records] == [
        (name, f"u{i}") for name in ("greedy", "beam:4") for i in range(3)
    ]
    assert records[4]["reference"] == "on the mat"
    assert records[4]["nbest"][1] == {"text": "on the mat", "tokens": [1, 2], "score": -1.0, "total": -1.0}


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="there is no utterance to score"):
        compare(Evaluation([], 0.0, 0, [], [], [], [DecoderResult("greedy", [], [], [], Usage())]))
