"""YAML from files that may come from strangers: plain values, of a size that settings have."""

from pathlib import Path
from typing import Any

import yaml

from rnnt.text import one_line, reason

_MOST_BYTES = 1 << 18  # a complete configuration has 3 kB
_MOST_LEVELS = 20
_DATE = "tag:yaml.org,2002:timestamp"


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file, as `parse_yaml` does. Messages of a ValueError begin with the path."""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{path} is too long for settings: more than {_MOST_BYTES >> 10} KiB")
    try:
        return parse_yaml(content.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable as YAML: {error}") from None


def parse_yaml(text: str) -> Any:
    """Return the nested dictionaries, lists, numbers, words and None of a YAML text; a date is a word.

    Raises ValueError, with one line, if it cannot be parsed, has a key twice, or is not plain: aliases, which let a
    short text stand for gigabytes, are refused, and so are deep nesting and tags of objects.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        place, problem = error.problem_mark or error.context_mark, error.problem or error.context
        raise ValueError(f"{one_line(problem)} (line {place.line + 1}, column {place.column + 1})") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(reason(error)) from None


class _Loader(yaml.SafeLoader):
    levels = 0

    def compose_node(self, parent, index):
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed; write the value out", mark)
        self.levels += 1
        if self.levels > _MOST_LEVELS:
            raise yaml.composer.ComposerError(None, None, f"it is nested more than {_MOST_LEVELS} levels deep", mark)
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node

    def construct_mapping(self, node, deep=False):
        names = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in names:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value[:100]}", key.start_mark)
            names.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
