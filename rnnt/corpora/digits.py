"""Utterances of several digits, joined from recordings of single digits, `{digit}_{speaker}_{index}.wav`.

The layout is that of the Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset). By the rule of
that corpus, indices 0-4 are the test set and the others the training set.
"""

import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from rnnt.audio import read_audio, to_pcm
from rnnt.background import noise_floor, noise_like
from rnnt.corpora import Split, Utterance
from rnnt.text import is_unicode, reason
from rnnt.tree import visible_paths

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEST_INDICES = range(5)
MAX_DIGITS = 7
PAUSE_SECONDS = (0.0, 0.25)  # between two digits; drawn evenly from this range
END_SECONDS = (0.05, 0.3)  # before the first digit and after the last

_NAME = re.compile(r"(\d)_(.+)_(\d+)")
_FRAME_SECONDS = 0.016


def splits(
    source: Path,
    leave_out: str | None = None,
    seed: int = 0,
    train_utterances: int = 12000,
    test_utterances: int = 500,
) -> dict[str, Split]:
    """Compose utterances of 1 to 7 digits, each by one speaker. The same `seed` gives the same utterances.

    The splits are `train` and `test`, which share no recording. `leave_out` names a speaker: all recordings of this
    speaker then go to a third split, `leave-out-<speaker>`, which has `test_utterances` too. The recordings of a
    speaker are dealt like a pack of cards that is shuffled when it runs out, so all are used equally often. Raises
    ValueError if `source` has another layout, and for an unknown speaker.
    """
    if min(train_utterances, test_utterances) < 1:
        raise ValueError("train_utterances and test_utterances must be at least 1")
    folder = source / "recordings" if (source / "recordings").is_dir() else source
    recordings, problems = _scan(folder)
    speakers = sorted({speaker for speaker, *_ in recordings})
    if not speakers:
        raise ValueError(
            f"{source}: expected recordings named {{digit}}_{{speaker}}_{{index}}.wav here or in recordings/"
        )
    if leave_out is not None and leave_out not in speakers:
        raise ValueError(f"no speaker {leave_out!r} to leave out; there are {', '.join(speakers)}")

    pools: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for speaker, index, path in recordings:
        split = "test" if index in TEST_INDICES else "train"
        pools[f"leave-out-{speaker}" if speaker == leave_out else split][speaker].append(path)
    counts = defaultdict(lambda: test_utterances, train=train_utterances)
    return {
        name: Split(list(_compose(name, pools[name], counts[name], seed)), problems if name == max(pools) else ())
        for name in sorted(pools)
    }


def _scan(folder: Path) -> tuple[list[tuple[str, int, Path]], list[tuple[str, str]]]:
    """Return speaker, index and path of each usable recording, in a fixed order, and the problems of the others."""
    recordings, problems = [], []
    for path in visible_paths(folder) if folder.is_dir() else []:
        if path.suffix != ".wav":
            continue
        name = _NAME.fullmatch(path.stem)
        if not name:
            problems.append((path.stem, f"{path}: is not named {{digit}}_{{speaker}}_{{index}}.wav"))
            continue
        if not is_unicode(path.stem):
            problems.append((path.stem, f"{path}: its name is not valid Unicode; rename the file"))
            continue
        try:  # one bad recording would spoil many utterances, so it is found before they are composed
            read_audio(path)
        except Exception as error:  # whatever is wrong with one recording must not stop the others
            problems.append((path.stem, reason(error, limit=None)))
            continue
        recordings.append((name[2], int(name[3]), path))
    return recordings, problems


def _compose(split: str, pool: dict[str, list[Path]], count: int, seed: int) -> Iterator[Utterance]:
    rng = np.random.default_rng([seed, zlib.crc32(split.encode())])
    decks = {speaker: _deal(paths, rng) for speaker, paths in sorted(pool.items())}
    for number in range(count):
        speaker = list(decks)[number % len(decks)]
        paths = tuple(next(decks[speaker]) for _ in range(rng.integers(1, MAX_DIGITS + 1)))
        pauses = rng.uniform(*PAUSE_SECONDS, size=len(paths) + 1)
        pauses[[0, -1]] = rng.uniform(*END_SECONDS, size=2)
        yield Utterance(
            id=f"{speaker}-{split}-{seed}-{number:05d}",
            text=" ".join(WORDS[int(path.name[0])] for path in paths),
            speaker=speaker,
            read=partial(_read, paths, tuple(pauses.tolist()), int(rng.integers(2**32))),
        )


def _deal(paths: list[Path], rng: np.random.Generator) -> Iterator[Path]:
    while True:
        for index in rng.permutation(len(paths)):
            yield paths[index]


def _read(paths: tuple[Path, ...], pauses: tuple[float, ...], noise_seed: int, sample_rate: int) -> np.ndarray:
    """Join the recordings, with pauses (in seconds) before, between and after them."""
    rng = np.random.default_rng(noise_seed)
    recordings = [_recording(path, sample_rate) for path in paths]
    floors = [floor for _, floor in recordings]
    pieces = []
    for index, seconds in enumerate(pauses):
        # A pause sounds like the quieter of its two neighbours, whose noise floor is less likely to hold speech.
        floor = min(floors[max(index - 1, 0) : index + 1], key=np.sum)
        pieces.append(noise_like(floor, round(seconds * sample_rate), rng))
        if index < len(recordings):
            pieces.append(recordings[index][0])
    return to_pcm(np.concatenate(pieces) / np.float32(32768))


@lru_cache(maxsize=4096)
def _recording(path: Path, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples of a recording, and its noise floor."""
    samples = read_audio(path, sample_rate)
    return samples, noise_floor(samples, round(_FRAME_SECONDS * sample_rate))
