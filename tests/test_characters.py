"""The characters of a split's texts, against reading all texts."""

from hypothesis import given
from hypothesis import strategies as st

from rnnt import characters
from rnnt.characters import Characters, find_characters


@given(st.lists(st.text("abcdé ", max_size=6), max_size=30), st.sets(st.sampled_from("abcdé xyz")), st.integers(1, 5))
def test_holding_agrees_with_reading_all_texts(texts, wanted, rare):
    limit = characters.RARE
    characters.RARE = rare
    try:
        found = find_characters(iter(texts))
    finally:
        characters.RARE = limit
    counts = {character: sum(character in text for text in texts) for character in set("".join(texts))}
    assert sorted(found) == sorted(counts)
    assert list(found.common) == sorted(character for character, count in counts.items() if count > rare)
    if wanted & set(found.common):
        assert found.holding(wanted) is None
    else:
        assert found.holding(wanted) == [i for i, text in enumerate(texts) if wanted & set(text)]


def test_a_character_is_common_in_more_than_the_limit():
    texts = ["a"] * characters.RARE + ["b", "bb"]
    assert find_characters(texts) == Characters("", {"a": list(range(characters.RARE)), "b": [100, 101]})
    assert find_characters([*texts, "ab"]) == Characters("a", {"b": [100, 101, 102]})


def test_no_texts():
    assert find_characters([]) == find_characters(["", ""]) == Characters("", {})
    assert Characters("", {}).holding("a") == []
