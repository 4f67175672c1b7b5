"""Cut manifests of lhotse (github.com/lhotse-speech/lhotse), which has recipes for about a hundred corpora."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.serialization import deserialize_item, load_manifest_lazy_or_eager, open_best

from rnnt.audio import mono_blocks, resample, to_pcm
from rnnt.corpora import Split, Utterance
from rnnt.corpora.manifest import Entry, distinct, parse_json, to_name
from rnnt.text import reason
from rnnt.tree import visible_paths

_ROUNDING_SECONDS = 0.001
_SUFFIX = re.compile(r"\.(jsonl|json|yaml|yml)(\.gz)?$")


def splits(source: Path) -> dict[str, Split]:
    """Find the utterances of cut manifests: one for each supervision of each cut. lhotse loads the audio.

    `source` is a manifest, or a folder in which each manifest with "cuts" in its name is a split. The split has the
    name of the file without `cuts` and suffixes. Hidden files are left out. Raises ValueError if there is no manifest
    or it holds no cuts.
    """
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")
    paths = [source]
    if source.is_dir():
        paths = [path for path in visible_paths(source) if "cuts" in path.name and _SUFFIX.search(path.name)]
    if not paths:
        raise ValueError(f"{source}: expected a lhotse cut manifest, or a folder of *cuts*.jsonl.gz")
    found: dict[str, Split] = {}
    for path in paths:
        name = _split_name(path)
        if name in found:
            raise ValueError(f"{path}: a second manifest for the split {name!r}; prepare it on its own")
        found[name] = _manifest(path)
    return found


def _split_name(path: Path) -> str:
    stem = _SUFFIX.sub("", path.name)
    return re.sub(r"(^|[_.-])cuts([_.-]|$)", lambda match: "_" if match[1] and match[2] else "", stem) or stem


def _manifest(path: Path) -> Split:
    problems: list[tuple[str, str]] = []
    try:
        entries = [entry for cut in _cuts(path, problems) for entry in _entries(cut, problems)]
    except Exception as error:  # lhotse has no error class for manifests that it cannot read
        raise ValueError(f"{path}: is no lhotse cut manifest that can be read ({reason(error)})") from None
    return Split(distinct(entries, problems), problems)


def _cuts(path: Path, problems: list[tuple[str, str]]) -> Iterator[Cut]:
    """Yield the cuts of a manifest. One with a cut in each line is read line by line, so that a bad line is skipped."""
    if ".jsonl" not in path.suffixes:
        cuts = load_manifest_lazy_or_eager(path)
        if not isinstance(cuts, CutSet):
            raise ValueError(f"holds a {type(cuts).__name__}, expected cuts")
        yield from cuts
        return
    found = False
    with open_best(path, "r") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                item = deserialize_item(parse_json(line))
                if not isinstance(item, Cut):
                    raise ValueError(f"holds a {type(item).__name__}, expected a cut")
            except Exception as error:  # whatever is wrong with one line must not stop the others
                problems.append((f"line {number}", reason(error)))
                continue
            found = True
            yield item
    if not found:
        raise ValueError(": ".join(problems[0]) if problems else "it is empty")


def _entries(cut: Cut, problems: list[tuple[str, str]]) -> Iterator[Entry]:
    if not cut.supervisions:
        problems.append((str(cut.id), "the cut has no supervision"))
        return
    try:
        parts = _parts(cut, problems)
    except Exception as error:  # an absurd time, for example
        problems.append((str(cut.id), f"the cut cannot be taken apart ({error})"))
        return
    for part in parts:
        try:
            yield _entry(part, cut)
        except ValueError as error:
            problems.append((str(part.supervisions[0].id), str(error)))


def _parts(cut: Cut, problems: list[tuple[str, str]]) -> list[Cut]:
    """Return a cut for each supervision that lies within the cut."""
    # Cutting a recording into windows leaves supervisions that are only partly inside. Their text would not match
    # the audio, and lhotse refuses to trim to them.
    outside = {x.id for x in cut.supervisions if x.start < 0 or x.end > cut.duration + _ROUNDING_SECONDS}
    problems += [(str(x), f"only a part of it, or nothing, lies within its cut {cut.id}") for x in sorted(outside)]
    if outside:
        cut = cut.filter_supervisions(lambda x: x.id not in outside)
    return list(cut.trim_to_supervisions(keep_overlapping=False))


def _entry(part: Cut, cut: Cut) -> Entry:
    supervision = part.supervisions[0]
    text = "" if supervision.text is None else supervision.text
    if not isinstance(text, str):
        raise ValueError(f"its text is a {type(text).__name__}, not a text")
    identity = to_name(supervision.id, "id")
    utterance = Utterance(identity, text, to_name(supervision.speaker, "speaker"), partial(_read, part))
    return Entry(utterance, f"{cut.id}/{identity}", identity)


def _read(cut: Cut, sample_rate: int) -> np.ndarray:
    if not cut.has_recording:
        raise ValueError(f"cut {cut.id} has no recording")
    samples = cut.load_audio()  # (channels, N), float32
    try:
        (mono,) = mono_blocks([samples.T])
        return to_pcm(resample(mono, cut.sampling_rate, sample_rate))
    except ValueError as error:
        raise ValueError(f"cut {cut.id} {error}") from None
