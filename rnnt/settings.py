"""Settings from presets and YAML files, changed by KEY=VALUE; a run's config.yaml; a table that explains every key."""

import copy
import dataclasses
import difflib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnt.config import Config, DecodingConfig, FeaturesConfig
from rnnt.features_presets import FEATURE_PRESETS
from rnnt.model_config import LstmConfig
from rnnt.plain_yaml import parse_yaml, read_yaml
from rnnt.text import one_line

PRESETS = Path(__file__).parent / "presets"

# Keys of earlier versions, and where their settings are now.
_MOVED = {f"model.encoder.{item.name}": f"model.encoder.lstm.{item.name}" for item in dataclasses.fields(LstmConfig)}
_LISTS = {list[str]: "[train,train-*]", list[int]: "[0,1,2,3,4]"}  # types of lists, and an example of each
_FOLLOWING = ("n_fft", "window", "hop", "high_hz")  # settings of features that follow features.sample_rate


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
    tree = read_yaml(path)
    tree = {} if tree is None else tree
    _require(isinstance(tree, dict), f"{path} does not hold settings")
    tree, given, places = _renewed(tree), {}, {}
    known = [key for key, _ in _fields(Config)]
    for item in overrides:
        shown = repr(item[:100])
        key, sign, text = item.partition("=")
        _require(bool(sign), f"{shown} is no setting; write it as key=value, such as optim.lr=0.002")
        key = _MOVED.get(key, key)
        _require(key in (*known, "features"), f"{shown}: {_unknown(key, known)}")
        try:
            value = parse_yaml(text)
        except ValueError as error:
            raise ValueError(f"{shown} is not readable as YAML: {error}") from None
        for name in reversed(key.split(".")):
            value = {name: value}
        places[key] = shown
        given = _merged(given, _renewed(value), shown)
    both = _merged(tree, given, f"{path} does not go together with {' '.join(overrides)}")
    return from_tree(_merged(both, _follow_rate(tree, given), str(path)), str(path), places)


def from_tree(tree: Any, where: str, places: dict[str, str] | None = None) -> Config:
    """Return the Config of nested dictionaries (or an OmegaConf tree) that may leave out any key.

    Raises ValueError as `load_config` does. Error messages start with `where`, or with `places[key]` if the offending
    key is in it. Settings that follow features.sample_rate, and are not given, are those of the default rate scaled.
    """
    plain = OmegaConf.to_container(tree) if OmegaConf.is_config(tree) else tree
    _require(isinstance(plain, dict), f"{where} does not hold settings")
    plain = _renewed(plain)
    plain = _merged(plain, _follow_rate(plain), where)
    places = places or {}
    known = {key: item.type for key, item in _fields(Config)}
    for key, value in _flatten(plain):
        place = places.get(key, where)
        below = [name for name in known if name.startswith(f"{key}.")]
        if below and value == {}:
            continue
        if below:
            raise ValueError(f"{place}: {key} is a section; set what is in it, such as {below[0]}")
        if key not in known:
            raise ValueError(f"{place}: {_unknown(key, list(known))}")
        if isinstance(value, list) and known[key] not in _LISTS:
            raise ValueError(f"{place}: {key} is a list; give one value")
        for item in value if isinstance(value, list) else [value]:
            _require(_is_plain(item), f"{place}: {key} holds {repr(item)[:100]}; {_why_not_plain(item)}")
    schema = OmegaConf.structured(Config)
    OmegaConf.set_readonly(schema, False)
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema, plain))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", "") or "a key"
        problem = _first_line(error.__cause__ or error)
        if "ListConfig" in problem:
            problem = f"it must be a list, such as {_LISTS[known[key]]}"
        raise ValueError(f"{places.get(key, where)}: {key}: {problem}") from None
    except ValueError as error:  # a value that is not allowed; the message has the keys that matter
        named = re.findall(r"[\w.]+", str(error))
        place = next((places[key] for key in named if key in places), where)
        raise ValueError(f"{place}: {error}") from None


def choose_decoding(text: str, config: DecodingConfig) -> DecodingConfig:
    """Return the settings with another search: greedy, beam, or beam:8 for a beam of 8.

    Raises ValueError if the text is none of these, or if the width is not allowed.
    """
    method, colon, width = text.partition(":")
    _require(
        method == "beam" and width.isdecimal() if colon else method in ("greedy", "beam"),
        f"no decoding {text[:100]!r}; give greedy, beam, or beam:8 for a beam of 8",
    )
    return dataclasses.replace(config, method=method, **({"beam": int(width)} if colon else {}))


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


def _flatten(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_plain(value: Any) -> bool:
    """Whether a value is a word, a number or None, means itself, and fits 64 bits."""
    if isinstance(value, str):
        return "${" not in value and value != "???"
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or isinstance(value, float)


def _why_not_plain(value: Any) -> str:
    if isinstance(value, str):  # OmegaConf would look up such a word, in other settings or in the environment
        return "settings stand for themselves, not for others or for the environment; write the value out"
    return "the number is too large" if isinstance(value, int) else "give a number or a word"


def _merged(below: dict, above: dict, complaint: str) -> dict:
    """Return the settings of both; those of `above` count. Raises ValueError if one has a list for a section."""
    both = dict(below)
    for name, value in above.items():
        old = below.get(name)
        if isinstance(value, dict) and isinstance(old, list):
            raise ValueError(f"{complaint}: {name} is a list and a section")
        both[name] = _merged(old, value, complaint) if isinstance(value, dict) and isinstance(old, dict) else value
    return both


def _follow_rate(*layers: dict) -> dict:
    """Return, as a tree, the settings of features that must change because features.sample_rate does.

    Each of the layers (a file, then overrides) counts above those before it and above the defaults. If one changes the
    rate and leaves a setting of `_FOLLOWING` alone, that one follows: a window and a hop keep their length in seconds,
    n_fft becomes a power of two of at least its length in seconds, and high_hz is at most half the rate.
    """
    rate, given = 0, {}
    for layer in ({"features": dataclasses.asdict(FeaturesConfig())}, *layers):
        features = layer.get("features")
        if isinstance(features, dict):
            rate = features.get("sample_rate", rate)
            given |= {name: (features[name], rate) for name in _FOLLOWING if name in features}
    changed = {}
    for name, pair in given.items():
        value, old, new = map(_number, (*pair, rate))
        if old == new or not (value and old and new):  # the last: to be refused as they are
            continue
        scaled = value * new / old
        if name == "high_hz":
            changed[name] = min(value, new / 2)
        elif name == "n_fft":
            changed[name] = 1 << (math.ceil(scaled) - 1).bit_length()
        else:
            changed[name] = max(round(scaled), 1)
    return {"features": changed} if changed else {}


def _number(value: Any) -> float:
    """The value as a number above 0, or 0 if it is none."""
    try:
        return max(float(value), 0.0) if math.isfinite(float(value)) else 0.0
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _renewed(tree: dict) -> dict:
    """Return a copy whose settings have moved from the keys of earlier versions to those of today."""
    tree = copy.deepcopy(tree)
    if isinstance(name := tree.get("features"), str):
        _require(name in FEATURE_PRESETS, f"no features {name[:50]!r}; there are {', '.join(FEATURE_PRESETS)}")
        tree["features"] = dict(FEATURE_PRESETS[name])
    for old, new in _MOVED.items():
        (*sections, name), (section, _) = old.split("."), new.split(".")[-2:]
        holder = tree
        for key in sections:
            holder = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and name in holder and isinstance(holder.get(section, {}), dict):
            holder.setdefault(section, {})[name] = holder.pop(name)
    return tree


def _default(item: dataclasses.Field) -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"


def _unknown(key: str, known: list[str], most: int = 1) -> str:
    """The message for a key that does not exist, with up to `most` keys that may be meant."""
    key = one_line(key)[:100]
    same = [name for name in known if name.endswith(f".{key}")]
    close = same[:most] or difflib.get_close_matches(key.lower(), known, most, 0.5)
    return f"unknown key {key}; " + (f"did you mean {' or '.join(close)}?" if close else "`rnnt settings` lists all")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
