"""Settings from presets and YAML files, changed by KEY=VALUE; a run's config.yaml; a table that explains every key."""

import dataclasses
import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnt.config import Config, LstmConfig
from rnnt.text import reason

PRESETS = Path(__file__).parent / "presets"

# Keys of earlier versions, and where their settings are now.
_MOVED = {f"model.encoder.{item.name}": f"model.encoder.lstm.{item.name}" for item in dataclasses.fields(LstmConfig)}


def presets() -> list[str]:
    """Return the names of the shipped configurations."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def find_preset(name: str) -> Path:
    """Return the file of a preset, or the path of a YAML file. Raises ValueError if there is none."""
    if name.endswith((".yaml", ".yml")):
        _require(Path(name).is_file(), f"no configuration file {name}")
        return Path(name)
    path = PRESETS / f"{name}.yaml"
    _require(path.is_file(), f"no preset {name!r}; there are {', '.join(presets())}, or give a .yaml file")
    return path


def load_config(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a preset's name or a YAML file; `overrides` are dotted, such as optim.lr=0.002.

    Raises ValueError that names the key if it is unknown, or if its value has the wrong type or is not allowed.
    """
    path = find_preset(str(path))
    places, trees = {}, []
    try:
        trees.append(_renew(OmegaConf.create(path.read_text(encoding="utf-8"))))
    except Exception as error:  # the YAML parser raises many kinds
        raise ValueError(f"{path} is not readable as YAML: {reason(error)}") from None
    for item in overrides:
        _require("=" in item, f"{item!r} is no setting; write it as key=value, such as optim.lr=0.002")
        try:
            trees.append(_renew(OmegaConf.from_dotlist([item])))
        except Exception as error:
            raise ValueError(f"{item!r} is not readable as YAML: {reason(error)}") from None
        key = item.partition("=")[0]
        places[_MOVED.get(key, key)] = repr(item)
    try:
        tree = OmegaConf.merge(*trees)
    except (OmegaConfBaseException, TypeError) as error:  # one has a list and another a section
        given = " ".join(overrides)
        raise ValueError(f"{path} does not go together with {given}: {_first_line(error)}") from None
    return from_tree(tree, str(path), places)


def from_tree(tree: Any, where: str, places: dict[str, str] | None = None) -> Config:
    """Return the Config of nested dictionaries (or an OmegaConf tree) that may leave out any key.

    Raises ValueError as `load_config` does. Error messages start with `where`, or with `places[key]` if the offending
    key is in it.
    """
    plain = OmegaConf.to_container(tree) if OmegaConf.is_config(tree) else tree
    _require(isinstance(plain, dict), f"{where} does not hold settings")
    plain = OmegaConf.to_container(_renew(OmegaConf.create(plain)))
    places = places or {}
    known = [key for key, _ in _fields(Config)]
    for key in _flatten(plain):
        below = [name for name in known if name.startswith(f"{key}.")]
        if below:
            raise ValueError(f"{places.get(key, where)}: {key} is a section; set what is in it, such as {below[0]}")
        if key not in known:
            raise ValueError(f"{places.get(key, where)}: {_unknown(key, known)}")
    schema = OmegaConf.structured(Config)
    OmegaConf.set_readonly(schema, False)
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema, plain))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", "") or "a key"
        problem = _first_line(error.__cause__ or error)
        if "ListConfig" in problem:
            problem = "it must be a list, such as [train,train-*]"
        raise ValueError(f"{places.get(key, where)}: {key}: {problem}") from None
    except ValueError as error:  # a value that is not allowed; the message has the keys that matter
        named = re.findall(r"[\w.]+", str(error))
        place = next((places[key] for key in named if key in places), where)
        raise ValueError(f"{place}: {error}") from None


def to_yaml(config: Config) -> str:
    """Return the complete configuration as YAML, which `from_tree` reads."""
    return OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))


def settings_table(prefix: str = "") -> str:
    """Return a line for each setting: key, default as it is written in KEY=VALUE, and explanation, in columns.

    prefix: a section such as optim, or a key; only the settings there are listed. Raises ValueError if there are none.
    """
    keys = [key for key, _ in _fields(Config)]
    rows = [
        (key, _written(_default(item)), item.metadata["explanation"])
        for key, item in _fields(Config)
        if not dataclasses.is_dataclass(item.type) and (not prefix or f"{key}.".startswith(f"{prefix}."))
    ]
    _require(bool(rows), _unknown(prefix, keys, most=3))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{key:{widths[0]}}  {value:{widths[1]}}  {explanation}" for key, value, explanation in rows)


def _fields(cls: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field]]:
    """Every section and setting with its key, in the order of the dataclasses."""
    for item in dataclasses.fields(cls):
        yield prefix + item.name, item
        if dataclasses.is_dataclass(item.type):
            yield from _fields(item.type, f"{prefix}{item.name}.")


def _flatten(tree: dict, prefix: str = "") -> list[str]:
    keys = []
    for name, value in tree.items():
        keys += _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]
    return keys


def _renew(tree: Any) -> Any:
    """Move settings from the keys of earlier versions to those of today; return the same tree."""
    if not OmegaConf.is_dict(tree):
        return tree
    for old, new in _MOVED.items():
        section, _, name = old.rpartition(".")
        holder = OmegaConf.select(tree, section)
        if OmegaConf.is_dict(holder) and name in holder:
            OmegaConf.update(tree, new, holder.pop(name))
    return tree


def _default(item: dataclasses.Field) -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"


def _unknown(key: str, known: list[str], most: int = 1) -> str:
    """The message for a key that does not exist, with up to `most` keys that may be meant."""
    same = [name for name in known if name.endswith(f".{key}")]
    close = same[:most] or difflib.get_close_matches(key.lower(), known, most, 0.5)
    return f"unknown key {key}; " + (f"did you mean {' or '.join(close)}?" if close else "`rnnt settings` lists all")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
