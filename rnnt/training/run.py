"""The folder of a run: settings, tokenizer, checkpoints and best model. It can be resumed."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rnnt.alphabet import Alphabet, learn_alphabet, load_alphabet
from rnnt.config import Config
from rnnt.files import locked, write_file, write_json
from rnnt.model_folder import WEIGHTS, read_config
from rnnt.ngram.bigram import BIGRAM, estimate_bigram
from rnnt.recognizer import Recognizer
from rnnt.settings import to_yaml
from rnnt.text import reason, tsv_line
from rnnt.tokenizer import Tokenizer, load_chosen_tokenizer, load_tokenizer, train_tokenizer
from rnnt.training import checkpoint
from rnnt.training.distributed import Processes

LEFT_OUT = "left-out.tsv"
FINGERPRINTS = "fingerprints.json"
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


def lock_run(path: Path) -> AbstractContextManager:
    """Make the folder of a run and hold its lock during a `with`. Raises ValueError if another program holds it."""
    path.mkdir(parents=True, exist_ok=True)
    return locked(path / ".lock", f"another program trains in {path}; wait for its end, or choose another --out")


class RunFolder:
    """The folder `path` of a run. All processes read it, and the first one writes it while it holds the lock.

    data: fingerprints of the training and the validation data, by the names train and valid, and of recordings that are
    mixed in, by the names noise and rooms. They are kept in `fingerprints.json` with that of the tokenizer. resuming:
    the folder holds a run on this data that is continued. A run that was killed before its first checkpoint has learned
    nothing: with other data it begins anew.

    Raises ValueError if the run in the folder has other settings, or was trained on other data, or if the processes
    read different data.
    """

    def __init__(self, path: Path, config: Config, processes: Processes, data: dict[str, str]):
        self.path, self.config, self.processes = path, config, processes
        if len({json.dumps(found) for found in processes.gather(data)}) > 1:
            raise ValueError("the processes read different data; give all machines the same prepared splits")
        # The first process answers for all, because it writes this file later, and others may look only then.
        holds_run = processes.from_main((path / "config.yaml").exists)
        if holds_run:
            check_same(read_config(path / "config.yaml"), config, path)
        self._fingerprints = dict(data)
        before = processes.from_main(self._read_fingerprints) if holds_run else {}
        self.resuming = holds_run and processes.from_main(lambda: self._is_same(before))
        if self.resuming:
            self._fingerprints = before | data

    def _read_fingerprints(self) -> dict[str, str]:
        """The fingerprints of the run in the folder; none if an earlier version began it."""
        path = self.path / FINGERPRINTS
        if not path.exists():
            return {}
        try:
            found = json.loads(path.read_bytes())
            if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
                raise ValueError
        except (ValueError, RecursionError):
            raise ValueError(
                f"{path} is damaged; if you are sure that data and tokenizer are those of the run, remove it"
            ) from None
        return found

    def _is_same(self, before: dict[str, str]) -> bool:
        """Whether the run in the folder goes on, or begins anew because it has learned nothing from other data."""
        learned = self.has_best or bool(checkpoint.steps(self.path / "checkpoints"))
        changed = [name for name, found in self._fingerprints.items() if before.get(name, found) != found]
        if changed and learned:
            name = changed[0]
            of_data = hasattr(self.config.data, name)
            key = f"data.{name}" if of_data else f"augment.{name}"
            given = ", ".join(getattr(self.config.data, name)) if of_data else getattr(self.config.augment, name)
            raise ValueError(
                f"{self.path} holds a run on other data: the content of {key} ({given}) has changed since; give the "
                "same data, or choose another --out"
            )
        return learned or (bool(before) and not changed)

    def open_tokenizer(self, texts: Iterable[str]) -> Tokenizer:
        """Return the tokenizer of the run that is resumed, that of tokenizer.path, or one learned from the texts.

        Raises ValueError if the run began with another tokenizer than the one that it finds now.
        """
        config = self.config.tokenizer
        if self.resuming:
            tokenizer = load_tokenizer(self.path, config)
            self._check_tokenizer(tokenizer)
            return tokenizer
        if config.path:
            return load_chosen_tokenizer(config)
        say = partial(print, file=sys.stderr, flush=True)
        return self.processes.from_main(lambda: train_tokenizer(texts, config, say))

    def open_alphabet(self, inputs: Iterable[Sequence[str]]) -> Alphabet | None:
        """Return the alphabet of the run that is resumed, or one learned from the inputs; None for audio.

        Raises ValueError if the run began with another alphabet than the one that it finds now.
        """
        if self.config.input != "symbols":
            return None
        if not self.resuming:
            return self.processes.from_main(lambda: learn_alphabet(inputs, self.config.symbols.unicode))
        alphabet = load_alphabet(self.path)
        if self._fingerprints.get("alphabet") != alphabet.fingerprint:
            raise ValueError(
                f"the alphabet in {self.path} is not the one that the run began with; put that one back, or choose "
                "another --out"
            )
        return alphabet

    def _check_tokenizer(self, tokenizer: Tokenizer) -> None:
        before, path = self._fingerprints.get("tokenizer"), self.config.tokenizer.path
        if before is None:  # an earlier version began the run
            return
        if tokenizer.fingerprint != before:
            raise ValueError(
                f"the tokenizer in {self.path} is not the one that the run began with; put that one back, or choose "
                "another --out"
            )
        given = None
        if path:
            with suppress(ValueError):  # it is gone or damaged: the run has its own copy
                given = load_tokenizer(path, self.config.tokenizer)
        if given and given.fingerprint != before:
            raise ValueError(
                f"tokenizer.path ({path}) holds another tokenizer than the one that the run in {self.path} began with; "
                "put that one back, or choose another --out"
            )

    def load_newest(self, check: Callable[[dict], None] = lambda state: None) -> tuple[dict | None, list[str]]:
        """Return the state in the newest usable checkpoint and a line for each that is passed over; None for a new run.

        check(state): raises an error if the run cannot go on from a state. Raises ValueError if the processes find
        different checkpoints, or if there are undamaged ones and none can be used.
        """
        state, problems = checkpoint.load_newest(self.path / "checkpoints", check) if self.resuming else (None, [])
        if len(set(self.processes.gather(state and state["position"]["step"]))) > 1:
            raise ValueError(f"the processes find different checkpoints in {self.path}; all must see the same folder")
        return state, problems

    def write(self, tokenizer: Tokenizer, alphabet: Alphabet | None = None) -> None:
        """Write what was learned from the texts, then config.yaml: a folder that has this file is taken for a run."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.resuming:  # so that a kill leaves no tokenizer with the fingerprints of other data
            (self.path / FINGERPRINTS).unlink(missing_ok=True)
        tokenizer.save(self.path)
        learned = {"tokenizer": tokenizer.fingerprint}
        if alphabet is not None:
            alphabet.save(self.path)
            learned["alphabet"] = alphabet.fingerprint
        write_json(self.path / FINGERPRINTS, self._fingerprints | learned)
        write_file(self.path / "config.yaml", to_yaml(self.config))

    def write_left_out(self, omitted: Iterable[tuple[str, str]]) -> None:
        """List the ids and reasons of the utterances that are not trained on in `left-out.tsv`, if there are any."""
        path = self.path / LEFT_OUT
        lines = [tsv_line(identity, why) for identity, why in omitted]
        if lines:
            write_file(path, "".join(["id\treason\n", *lines]))
        else:
            path.unlink(missing_ok=True)

    def clean(self, step: int) -> None:
        """Remove what killed processes left, in a run that is resumed after this step."""
        checkpoint.clean(self.path / "checkpoints", step, self.config.train.keep_checkpoints)
        for left in (*self.path.glob(".*.tmp"), *self.path.glob("best/.*.tmp")):
            left.unlink(missing_ok=True)

    def save_checkpoint(self, step: int, state: dict) -> None:
        """Write a checkpoint and remove old ones. Raises OSError if it cannot be written."""
        checkpoint.save(self.path / "checkpoints", step, state, self.config.train.keep_checkpoints)

    @property
    def has_best(self) -> bool:
        """Whether the folder holds a model."""
        return (self.path / "best" / WEIGHTS).is_file()

    def save_best(self, recognizer: Recognizer) -> None:
        """Write the best model. Raises OSError if it cannot be written."""
        recognizer.save(self.path / "best")

    def save_bigram(self, texts: Callable[[], Iterable[str]], tokenizer: Tokenizer) -> str:
        """Write the bigram model of the training texts next to the best model, unless it is there.

        texts: as in `estimate_bigram`. Return why it could not be written, "" if there is no problem.
        """
        path = self.path / "best" / BIGRAM
        if path.is_file() or not self.has_best:
            return ""
        try:
            estimate_bigram(texts, tokenizer, path)
        except (ValueError, OSError) as error:
            return f"cannot write {path}: {reason(error)}"
        return ""
