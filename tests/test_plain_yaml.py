"""Plain YAML: the same values as the library reads, except for dates and for aliases that can grow."""

import pytest
import yaml

from rnnt.config import Config
from rnnt.plain_yaml import parse_yaml, read_yaml
from rnnt.settings import PRESETS, to_yaml

TEXTS = [path.read_text() for path in sorted(PRESETS.glob("*.yaml"))] + [
    to_yaml(Config()), "", "3", "word", "- a\n- b", "a: {b: [1, 2.5, .inf, true, null, 'x: y', \"\\u00e4\"]}",
    "a: |\n  b\n  c\n", "a: &name 1", "{a: 1, b: {c: 2}}", "? a\n: 1", "# nothing",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_plain_texts_are_read_as_the_library_reads_them(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    assert parse_yaml(text) == read_yaml(tmp_path / "a.yaml") == yaml.safe_load(text)


def test_a_date_is_a_word():
    assert parse_yaml("[2024-01-01, 2024-01-01 10:00:00]") == ["2024-01-01", "2024-01-01 10:00:00"]
    assert str(yaml.safe_load("2024-01-01")) == "2024-01-01"  # the library's own loader is unchanged
    assert not isinstance(yaml.safe_load("2024-01-01"), str)


def test_twenty_levels_are_enough():
    assert parse_yaml("[" * 20 + "]" * 20) == yaml.safe_load("[" * 20 + "]" * 20)
    with pytest.raises(ValueError, match=r"nested more than 20 levels deep \(line 1, column 21\)"):
        parse_yaml("[" * 21 + "]" * 21)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"^duplicate key a \(line 3, column 1\)$"),
        ("a: {b: 1, b: 2}", r"^duplicate key b \(line 1, column 11\)$"),
        ("a: &x {b: 1}\nc: {<<: *x}", r"^aliases are not allowed; write the value out \(line 2, column 9\)$"),
        ("a: [1", r"^expected ',' or '\]', but got '<stream end>' \(line 1, column 6\)$"),
        ("a: \x1b[31m", "special characters are not allowed"),
        ("a: !!python/name:os.system", r"^could not determine a constructor for the tag .*\(line 1, column 4\)$"),
        ("--- a\n--- b", "found another document"),
    ],
)
def test_a_problem_is_one_line_with_its_place(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)


def test_a_long_file_is_not_read(tmp_path):
    with (tmp_path / "a.yaml").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(ValueError, match=r"a\.yaml is too long for settings: more than 256 KiB"):
        read_yaml(tmp_path / "a.yaml")
