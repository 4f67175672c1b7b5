"""The folder of a run: settings, tokenizer, checkpoints and best model. It can be resumed."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from rnnt.config import Config
from rnnt.files import write_file
from rnnt.model_folder import read_config
from rnnt.recognizer import Recognizer
from rnnt.settings import to_yaml
from rnnt.tokenizer import Tokenizer, load_chosen_tokenizer, load_tokenizer, train_tokenizer
from rnnt.training import checkpoint
from rnnt.training.distributed import Processes

_MAY_CHANGE = (
    "device", "train.epochs", "train.steps", "train.target_wer", "train.validate_every", "train.validate_from",
    "train.checkpoint_every", "train.keep_checkpoints", "train.max_skipped", "train.accumulation", "decoding.batch",
)  # fmt: skip


def check_same(old: Config, new: Config, out: Path) -> None:
    """Raise ValueError if the settings differ from those of the run in `out`.

    Only those in `_MAY_CHANGE` (how long to train, how often to validate and save, and on which device) may differ.
    """
    before, after = _flat(asdict(old)), _flat(asdict(new))
    changed = [key for key in after if before[key] != after[key] and key not in _MAY_CHANGE]
    if changed:
        key = changed[0]
        raise ValueError(
            f"{out} holds a run with {key}={before[key]}, not {after[key]}; "
            "choose another --out, or remove it to start anew"
        )


def _flat(tree: dict, prefix: str = "") -> dict:
    pairs = {}
    for key, value in tree.items():
        pairs |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return pairs


class RunFolder:
    """The folder `path` of a run. All processes read it, and the first one writes it.

    resuming: the folder held a run before. Raises ValueError if that run has other settings.
    """

    def __init__(self, path: Path, config: Config, processes: Processes):
        self.path, self.config, self.processes = path, config, processes
        # The first process answers for all, because it writes this file later, and others may look only then.
        self.resuming = processes.from_main((path / "config.yaml").exists)
        if self.resuming:
            check_same(read_config(path / "config.yaml"), config, path)

    def open_tokenizer(self, texts: Iterable[str]) -> Tokenizer:
        """Return the tokenizer of the run that is resumed, that of tokenizer.path, or one learned from the texts."""
        config = self.config.tokenizer
        if self.resuming:
            return load_tokenizer(self.path, config)
        if config.path:
            return load_chosen_tokenizer(config)
        return self.processes.from_main(lambda: train_tokenizer(texts, config))

    def load_newest(self) -> tuple[dict | None, list[str]]:
        """Return the state in the newest undamaged checkpoint and a line for each damaged one; None for a new run.

        Raises ValueError if the processes find different checkpoints.
        """
        state, problems = checkpoint.load_newest(self.path / "checkpoints") if self.resuming else (None, [])
        if len(set(self.processes.gather(state and state["position"]["step"]))) > 1:
            raise ValueError(f"the processes find different checkpoints in {self.path}; all must see the same folder")
        return state, problems

    def write(self, tokenizer: Tokenizer) -> None:
        """Write the tokenizer, then config.yaml: a folder that has this file is taken for a run."""
        self.path.mkdir(parents=True, exist_ok=True)
        tokenizer.save(self.path)
        write_file(self.path / "config.yaml", to_yaml(self.config))

    def save_checkpoint(self, step: int, state: dict) -> None:
        """Write a checkpoint and remove old ones. Raises OSError if it cannot be written."""
        checkpoint.save(self.path / "checkpoints", step, state, self.config.train.keep_checkpoints)

    def save_best(self, recognizer: Recognizer) -> None:
        """Write the best model. Raises OSError if it cannot be written."""
        recognizer.save(self.path / "best")
