"""The characters that occur in the texts of a split, and the utterances that hold the rare ones.

Stored in `dataset.json`. Training uses it to find texts with characters that the tokenizer does not know, without
reading every text: such characters are rare, unless the tokenizer was made for another language.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

RARE = 100  # a character in at most this many texts is rare


@dataclass(frozen=True)
class Characters:
    """The characters of a split's texts. Iterating yields each of them.

    common: the characters that occur in more than `RARE` texts. rare: each other character, with the indices of the
    texts that hold it.
    """

    common: str
    rare: dict[str, list[int]]

    def __iter__(self) -> Iterator[str]:
        yield from self.common
        yield from self.rare

    def holding(self, wanted: Collection[str]) -> list[int] | None:
        """Return the indices, in order, of the texts that hold any of the wanted characters.

        Returns None if one of them is common: then only reading the texts can tell.
        """
        if not set(wanted).isdisjoint(self.common):
            return None
        return sorted({index for character in wanted for index in self.rare.get(character, ())})


def find_characters(texts: Iterable[str]) -> Characters:
    """Collect the characters of all texts of a split."""
    common: set[str] = set()
    rare: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        for character in set(text) - common:
            indices = rare.setdefault(character, [])
            indices.append(index)
            if len(indices) > RARE:
                common.add(character)
                del rare[character]
    return Characters("".join(sorted(common)), dict(sorted(rare.items())))
