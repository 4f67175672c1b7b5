"""Settings from presets and YAML files, changed by KEY=VALUE; a run's config.yaml."""

import dataclasses
import difflib
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnt.config import Config, LstmConfig

PRESETS = Path(__file__).parent / "presets"


# Keys of earlier versions, and where their settings are now.
_MOVED = {f"model.encoder.{item.name}": f"model.encoder.lstm.{item.name}" for item in dataclasses.fields(LstmConfig)}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _known_keys(cls: type, prefix: str = "") -> list[str]:
    keys = []
    for item in dataclasses.fields(cls):
        keys.append(prefix + item.name)
        if dataclasses.is_dataclass(item.type):
            keys += _known_keys(item.type, f"{prefix}{item.name}.")
    return keys


def _flatten(tree: dict, prefix: str = "") -> list[str]:
    keys = []
    for name, value in tree.items():
        keys += _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]
    return keys


def presets() -> list[str]:
    """Names of the shipped configurations."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def find_preset(name: str) -> Path:
    """The file of a preset or the path of a YAML file. ValueError where there is neither."""
    if name.endswith((".yaml", ".yml")):
        _require(Path(name).is_file(), f"no configuration file {name}")
        return Path(name)
    path = PRESETS / f"{name}.yaml"
    _require(path.is_file(), f"no preset {name!r}; there are {', '.join(presets())}, or give a .yaml file")
    return path


def load_config(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a preset's name or a YAML file; `overrides` are dotted, such as optim.lr=0.002.

    Raises ValueError, naming the key, for an unknown key, a value of the wrong type or one out of range.
    """
    path = find_preset(str(path))
    places, trees = {}, []
    try:
        trees.append(_renew(OmegaConf.create(path.read_text(encoding="utf-8"))))
    except Exception as error:  # whatever the YAML parser raises
        raise ValueError(f"{path} is not readable as YAML: {' '.join(str(error).split())}") from None
    for item in overrides:
        _require("=" in item, f"{item!r} is no setting; write it as key=value, such as optim.lr=0.002")
        try:
            trees.append(_renew(OmegaConf.from_dotlist([item])))
        except Exception as error:
            raise ValueError(f"{item!r} is not readable as YAML: {' '.join(str(error).split())}") from None
        key = item.partition("=")[0]
        places[_MOVED.get(key, key)] = repr(item)
    try:
        tree = OmegaConf.merge(*trees)
    except (OmegaConfBaseException, TypeError) as error:  # a list here is a section there
        given = " ".join(overrides)
        raise ValueError(f"{path} does not go together with {given}: {str(error).splitlines()[0]}") from None
    return from_tree(tree, str(path), places)


def _renew(tree):
    """Move settings from the keys of earlier versions to those of today; return the same tree."""
    if not OmegaConf.is_dict(tree):
        return tree
    for old, new in _MOVED.items():
        section, _, name = old.rpartition(".")
        holder = OmegaConf.select(tree, section)
        if OmegaConf.is_dict(holder) and name in holder:
            OmegaConf.update(tree, new, holder.pop(name))
    return tree


def from_tree(tree, where: str, places: dict[str, str] | None = None) -> Config:
    """Build a Config from nested dictionaries (or an OmegaConf tree) that may leave out any key.

    A complaint begins with `where`, or with what `places` has for the key that it is about.
    """
    plain = OmegaConf.to_container(tree) if OmegaConf.is_config(tree) else tree
    _require(isinstance(plain, dict), f"{where} does not hold settings")
    plain = OmegaConf.to_container(_renew(OmegaConf.create(plain)))
    places = places or {}
    known = _known_keys(Config)
    for key in _flatten(plain):
        below = [name for name in known if name.startswith(f"{key}.")]
        if below:
            raise ValueError(f"{places.get(key, where)}: {key} is a section; set what is in it, such as {below[0]}")
        if key not in known:
            close = difflib.get_close_matches(key, known, 1, 0.5)
            mend = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{places.get(key, where)}: unknown key {key}{mend}")
    schema = OmegaConf.structured(Config)
    OmegaConf.set_readonly(schema, False)
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema, plain))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", "") or "a key"
        reason = str(error.__cause__ or error).splitlines()[0]
        if "ListConfig" in reason:
            reason = "it must be a list, such as [train,train-*]"
        raise ValueError(f"{places.get(key, where)}: {key}: {reason}") from None


def to_yaml(config: Config) -> str:
    """The complete configuration, as `from_tree` reads it."""
    return OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))
