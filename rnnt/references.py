"""Several references of one input: it counts once, with the reference that is nearest to the hypothesis."""

from collections.abc import Sequence
from dataclasses import replace

from rnnt.error_rate import Pair, oracle_pairs
from rnnt.measure import Unit


def group_inputs(pairs: Sequence[Pair]) -> list[list[int]]:
    """Return the places of pairs with equal inputs, in the order of the first of each group.

    Pairs without symbols as input, those of audio, are alone.
    """
    groups: dict[tuple[str, ...] | int, list[int]] = {}
    for place, pair in enumerate(pairs):
        groups.setdefault(pair.input or place, []).append(place)
    return list(groups.values())


def merge_pairs(pairs: Sequence[Pair], unit: Unit) -> list[Pair]:
    """Return one pair for each input: the first one with the references of all, the nearest of them as its reference.

    Pairs that were merged before can be merged again with others. unit: see `nearest_references`.

    >>> from rnnt.measure import PHONE
    >>> said = [Pair("1", "R EH D", "R IY D", input=tuple("read")), Pair("2", "R IY D", "R IY D", input=tuple("read"))]
    >>> merge_pairs(said, PHONE)[0].reference
    'R IY D'
    """
    merged = []
    for places in group_inputs(pairs):
        first = pairs[places[0]]
        texts = tuple(dict.fromkeys(text for i in places for text in pairs[i].references or (pairs[i].reference,)))
        merged.append(replace(first, reference=texts[0], references=texts if len(texts) > 1 else ()))
    return nearest_references(merged, unit)


def nearest_references(pairs: Sequence[Pair], unit: Unit) -> list[Pair]:
    """Return the pairs with the nearest of their references: the one with the fewest errors, the first of equals.

    unit: that the errors are counted in, a word or a symbol.
    """
    if not any(pair.references for pair in pairs):
        return list(pairs)
    choices = [[replace(pair, reference=text) for text in pair.references or (pair.reference,)] for pair in pairs]
    return oracle_pairs(choices, unit)
