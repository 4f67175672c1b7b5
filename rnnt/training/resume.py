"""Which settings a run that is resumed may change."""

from dataclasses import asdict
from pathlib import Path

from rnnt.config import Config

_MAY_CHANGE = (  # of a run that is resumed
    "device", "train.epochs", "train.steps", "train.target_wer", "train.validate_every", "train.validate_from",
    "train.checkpoint_every", "train.keep_checkpoints", "train.max_skipped", "train.accumulation", "decoding.batch",
)  # fmt: skip


def check_same(old: Config, new: Config, out: Path) -> None:
    """Raise ValueError where settings of the run in `out` differ, in more than how long, how often and on what."""

    def flat(tree: dict, prefix: str = "") -> dict:
        pairs = {}
        for key, value in tree.items():
            pairs |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return pairs

    before, after = flat(asdict(old)), flat(asdict(new))
    changed = [key for key in after if before[key] != after[key] and key not in _MAY_CHANGE]
    if changed:
        key = changed[0]
        raise ValueError(
            f"{out} holds a run with {key}={before[key]}, not {after[key]}; "
            "choose another --out, or remove it to start anew"
        )
