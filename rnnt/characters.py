"""Which characters the texts of a split hold, and in which utterances the rare ones are.

`dataset.json` keeps this, so that a training finds the texts that its tokenizer lacks symbols for without reading all
of them: what it lacks is rare, or else the tokenizer is of another language.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

RARE = 100  # utterances, at most


@dataclass(frozen=True)
class Characters:
    """common: each character that is in more than `RARE` texts; rare: the others, with the places of their texts."""

    common: str
    rare: dict[str, list[int]]

    def __iter__(self) -> Iterator[str]:
        yield from self.common
        yield from self.rare

    def holding(self, wanted: Collection[str]) -> list[int] | None:
        """The places, in order, of the texts with any of the wanted characters; None if only reading them can tell."""
        if not set(wanted).isdisjoint(self.common):
            return None
        return sorted({place for character in wanted for place in self.rare.get(character, ())})


def find_characters(texts: Iterable[str]) -> Characters:
    """Go through all texts of a split."""
    common: set[str] = set()
    rare: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        for character in set(text) - common:
            places = rare.setdefault(character, [])
            places.append(place)
            if len(places) > RARE:
                common.add(character)
                del rare[character]
    return Characters("".join(sorted(common)), dict(sorted(rare.items())))
