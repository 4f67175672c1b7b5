"""Error rates in words, characters or other units, and the alignments that they are counted on.

Texts are compared as they are, except that a run of white space counts as one space and none counts at the ends.
Case, punctuation and Unicode forms count; to ignore them, remove them from both texts first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

from rnnt.measure import CHARACTER, WORD, Unit

_ENOUGH_SPEAKERS = 20  # for resampling speakers: with fewer, the interval would be more than a tenth too narrow


@dataclass(frozen=True)
class Pair:
    """One utterance: the text that was said, the text that was recognised, and its length.

    references: all the texts that count as right if there are several; `reference` is the nearest of them.
    """

    id: str
    reference: str
    hypothesis: str
    seconds: float = 0.0  # of audio
    speaker: str = ""  # "" if not known
    input: tuple[str, ...] = ()  # its symbols, () for audio
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class ErrorRate:
    """Errors over a set of utterances; `low` and `high` bound the rate with 95 % confidence."""

    unit: Unit
    errors: int  # the sum of the next three
    substitutions: int
    deletions: int  # said, not recognised
    insertions: int  # recognised, not said
    reference_length: int  # in units
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Errors divided by the reference length; above 1 if there are many insertions.

        References without any word count as one word, as in jiwer: the rate is then the number of insertions, and stays
        finite.
        """
        return self.errors / max(self.reference_length, 1)

    def __str__(self) -> str:
        rate = f"{self.unit.label} {100 * self.rate:.2f} % [{100 * self.low:.2f}, {100 * self.high:.2f}]"
        if self.unit.name == "sequence":
            return f"{rate}, {self.errors} of {self.reference_length} have a wrong symbol"
        return (
            f"{rate}, {self.substitutions} substitutions, {self.deletions} deletions, {self.insertions} insertions, "
            f"{self.reference_length} {self.unit.name}s"
        )


@dataclass(frozen=True)
class Difference:
    """Error rate minus that of other hypotheses for the same utterances; `low` and `high` bound it with 95 %."""

    rate: float  # below 0: fewer errors
    low: float
    high: float
    blocks: int  # that were resampled
    block: str  # "utterance" or "speaker"

    def __str__(self) -> str:
        return f"{100 * self.rate:+.2f} [{100 * self.low:+.2f}, {100 * self.high:+.2f}]"


def score_pairs(pairs: Sequence[Pair], unit: Unit, resamples: int = 1000, seed: int = 0) -> ErrorRate:
    """Return the error rate over `pairs`: all errors divided by all units of references, not the mean over utterances.

    The interval is the percentile bootstrap over utterances with `resamples` resamples (Bisani and Ney, ICASSP 2004),
    the same for the same pairs and seed. It assumes that utterances are independent, so with few speakers it is too
    narrow, and without any error it is [0, 0]. Raises ValueError if there are no pairs.
    """
    output = _process(pairs, unit)
    errors, lengths = _count(output)
    low, high = _bootstrap([errors, lengths], _rate, resamples, seed)
    return ErrorRate(
        unit=unit,
        errors=int(errors.sum()),
        substitutions=output.substitutions,
        deletions=output.deletions,
        insertions=output.insertions,
        reference_length=int(lengths.sum()),
        low=low,
        high=high,
    )


def word_error_rate(pairs: Sequence[Pair], resamples: int = 1000, seed: int = 0) -> ErrorRate:
    """Return the error rate in words, as `score_pairs` does.

    >>> word_error_rate([Pair("1", "the cat sat", "the bat sat down")]).rate
    0.6666666666666666
    """
    return score_pairs(pairs, WORD, resamples, seed)


def character_error_rate(pairs: Sequence[Pair], resamples: int = 1000, seed: int = 0) -> ErrorRate:
    """Return the error rate in characters, as `score_pairs` does; a space between words counts as a character."""
    return score_pairs(pairs, CHARACTER, resamples, seed)


def by_speaker(pairs: Sequence[Pair], unit: Unit = WORD) -> dict[str, ErrorRate]:
    """Return the error rate of each speaker, highest first; empty if no pair names its speaker."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.speaker, []).append(pair)
    rates = {speaker: score_pairs(group, unit) for speaker, group in groups.items()} if groups.keys() != {""} else {}
    return dict(sorted(rates.items(), key=lambda item: (-item[1].rate, item[0])))


def rate_difference(
    pairs: Sequence[Pair], baseline: Sequence[Pair], unit: Unit = WORD, resamples: int = 1000, seed: int = 0
) -> Difference:
    """Return the error rate of `pairs` minus that of `baseline`: the same utterances in the same order.

    The interval is the paired percentile bootstrap (Bisani and Ney, ICASSP 2004): each resample counts both hypotheses
    of the utterances drawn, so the difficulty of an utterance cancels. If it excludes 0, the difference is significant.
    A speaker's errors go together, so whole speakers are drawn (Liu et al., arXiv 1912.09508) if every pair names its
    speaker and there are at least 20. With fewer speakers utterances are drawn, because a bootstrap over a few blocks
    is far too narrow; the interval then speaks of more speech by these speakers. Raises ValueError if the utterances
    differ, or if there are none.

    >>> heard, other = [Pair("1", "the cat", "the cat")], [Pair("1", "the cat", "the bat")]
    >>> rate_difference(heard, other).rate
    -0.5
    """
    if [(x.id, x.references or x.reference) for x in pairs] != [(x.id, x.references or x.reference) for x in baseline]:
        raise ValueError("only hypotheses for the same utterances, in the same order, can be compared")
    counts = [*count_errors(pairs, unit), *count_errors(baseline, unit)]
    speakers = {pair.speaker for pair in pairs}
    block = "speaker" if "" not in speakers and len(speakers) >= _ENOUGH_SPEAKERS else "utterance"
    rate = float(_excess(*(x.sum() for x in counts)))
    if block == "speaker":
        _, of = np.unique([pair.speaker for pair in pairs], return_inverse=True)
        counts = [np.bincount(of, weights=x).astype(np.int64) for x in counts]
    return Difference(rate, *_bootstrap(counts, _excess, resamples, seed), len(counts[0]), block)


def oracle_pairs(lists: Sequence[Sequence[Pair]], unit: Unit = WORD) -> list[Pair]:
    """Return each utterance's pair with the fewest errors, the first of these. `lists` has its pairs, best first.

    Their error rate is the oracle's: that of a perfect choice from an n-best list.
    """
    errors = iter(count_errors([pair for pairs in lists for pair in pairs], unit)[0].tolist() if lists else ())
    return [min(zip((next(errors) for _ in pairs), pairs), key=lambda item: item[0])[1] for pairs in lists]


def count_errors(pairs: Sequence[Pair], unit: Unit = WORD) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair's errors and the units of its reference, (n,). Raises ValueError if there are no pairs."""
    return _count(_process(pairs, unit))


def align_words(pairs: Sequence[Pair], unit: Unit = WORD) -> list[list[tuple[str, str]]]:
    """Return the columns of a least-error alignment of each pair: (reference word, hypothesis word).

    A deletion has "" as its hypothesis word, an insertion has "" as its reference word. unit: of words or symbols.
    """
    output = _process(pairs, unit)
    return [
        [column for chunk in chunks for column in _columns(chunk, reference, hypothesis)]
        for reference, hypothesis, chunks in zip(output.references, output.hypotheses, output.alignments)
    ]


def _columns(chunk: jiwer.AlignmentChunk, reference: list[str], hypothesis: list[str]) -> list[tuple[str, str]]:
    said = reference[chunk.ref_start_idx : chunk.ref_end_idx]
    heard = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
    if chunk.type == "delete":
        return [(word, "") for word in said]
    if chunk.type == "insert":
        return [("", word) for word in heard]
    return list(zip(said, heard))


def _process(pairs: Sequence[Pair], unit: Unit) -> jiwer.WordOutput:
    if not pairs:
        raise ValueError("there is no utterance to score: the set is empty, or all of it was skipped")

    def split(texts: list[str]) -> list[list[str]]:
        return [unit.split(text) for text in texts]

    return jiwer.process_words([p.reference for p in pairs], [p.hypothesis for p in pairs], split, split)


def _count(output: jiwer.WordOutput) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors and the reference length of each pair, (n,)."""
    errors = np.array([sum(_size(c) for c in chunks if c.type != "equal") for chunks in output.alignments])
    return errors, np.array([len(reference) for reference in output.references])


def _size(chunk: jiwer.AlignmentChunk) -> int:
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)


def _rate(errors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return errors / np.maximum(lengths, 1)


def _excess(errors: np.ndarray, lengths: np.ndarray, before: np.ndarray, lengths_before: np.ndarray) -> np.ndarray:
    """Return the difference of two rates. Their lengths differ if the nearest of several references do."""
    lengths, lengths_before = np.maximum(lengths, 1), np.maximum(lengths_before, 1)
    return (errors - before * (lengths / lengths_before)) / lengths  # the quotient is exactly 1 for equal lengths


def _bootstrap(
    counts: Sequence[np.ndarray], rate: Callable[..., np.ndarray], resamples: int, seed: int
) -> tuple[float, float]:
    """Return the interval of a rate. counts: its arguments for each block, (n,); it is given sums of resamples."""
    rng = np.random.default_rng(seed)
    n = len(counts[0])
    rates = []
    rows = max(1, 2**22 // n)  # so many resamples at once that the indices take about 16 MB
    for start in range(0, resamples, rows):
        chosen = rng.integers(n, size=(min(rows, resamples - start), n), dtype=np.int32)
        rates.append(rate(*(count[chosen].sum(axis=1) for count in counts)))
    low, high = np.percentile(np.concatenate(rates), [2.5, 97.5])
    return float(low), float(high)
