"""Times that a corpus knows: when each symbol of a text was said, as people have marked it.

A prepared split holds them in `times.jsonl`, with an object in each line: the id of an utterance and its times, a list
of [symbol, start, end] with the times in seconds.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rnnt.corpora import Utterance
from rnnt.description import read_description, renew
from rnnt.files import naming, replacing
from rnnt.shard import Shard, ShardReader
from rnnt.text import read_lines

TIMES = "times.jsonl"

KnownTimes = tuple[tuple[str, float, float], ...]  # symbol, start and end in seconds


def write_times(folder: Path, utterances: Iterable[Utterance], shards: Iterable[Shard]) -> None:
    """Write the known times of the utterances that the shards in `folder` hold, or no file if there are none."""
    timed = (utterance for utterance in utterances if utterance.times)
    first = next(timed, None)
    if first is None:
        return
    readers = [ShardReader(str(folder / shard.name)) for shard in shards]
    stored = {
        identity for reader in readers for batch in range(len(reader.rows)) for identity in reader.texts("id", batch)
    }
    path = folder / TIMES
    with naming(path), replacing(path) as file:
        for utterance in (first, *timed):
            if utterance.id in stored:
                line = json.dumps({"id": utterance.id, "times": utterance.times}, ensure_ascii=False)
                file.write(f"{line}\n".encode())


def read_times(folder: Path) -> dict[str, KnownTimes]:
    """Return the known times of a prepared split by the ids of its utterances.

    Raises ValueError if the split has none or their file is damaged.
    """
    path = folder / TIMES
    if not path.is_file():
        raise ValueError(
            f"{folder}: holds no times of symbols; of the corpora that `rnnt prepare` reads, timit has them"
        )
    found: dict[str, KnownTimes] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line:
            continue
        try:
            item = json.loads(line)
            found[item["id"]] = tuple(map(_timed, item["times"]))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            mend = renew(folder, read_description(folder)["source"])
            raise ValueError(f"{path}: line {number} cannot be read; {mend}") from None
    return found


def _timed(item: Any) -> tuple[str, float, float]:
    symbol, start, end = item
    if not isinstance(symbol, str) or not 0 <= float(start) <= float(end) < math.inf:
        raise ValueError("these are no times")
    return symbol, float(start), float(end)
