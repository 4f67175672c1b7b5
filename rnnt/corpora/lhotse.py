"""Cut manifests of lhotse (github.com/lhotse-speech/lhotse), which has recipes for about a hundred corpora."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.serialization import load_manifest_lazy_or_eager

from rnnt.audio import mono_blocks, resample, to_pcm
from rnnt.corpora import Split, Utterance
from rnnt.text import reason

_ROUNDING_SECONDS = 0.001
_SUFFIX = re.compile(r"\.(jsonl|json|yaml|yml)(\.gz)?$")


def splits(source: Path) -> dict[str, Split]:
    """Find the utterances of cut manifests: one for each supervision of each cut. lhotse loads the audio.

    `source` is a manifest, or a folder in which each manifest with "cuts" in its name is a split. The split has the
    name of the file without `cuts` and suffixes. Raises ValueError if there is no manifest or it holds no cuts.
    """
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")
    paths = (
        [source] if source.is_file() else sorted(path for path in source.glob("*cuts*") if _SUFFIX.search(path.name))
    )
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
    try:
        cuts = load_manifest_lazy_or_eager(path)
        if not isinstance(cuts, CutSet):
            raise ValueError(f"holds a {type(cuts).__name__}, expected cuts")
        problems: list[tuple[str, str]] = []
        return Split(list(_utterances(cuts, problems)), problems)
    except (ValueError, KeyError, TypeError, AssertionError, NotImplementedError, EOFError, OSError) as error:
        raise ValueError(f"{path}: is no lhotse cut manifest that can be read ({reason(error)})") from None


def _utterances(cuts: CutSet, problems: list[tuple[str, str]]) -> Iterator[Utterance]:
    for cut in cuts:
        if not cut.supervisions:
            problems.append((cut.id, "the cut has no supervision"))
            continue
        # Cutting a recording into windows leaves supervisions that are only partly inside. Their text would not match
        # the audio, and lhotse refuses to trim to them.
        outside = {x.id for x in cut.supervisions if x.start < 0 or x.end > cut.duration + _ROUNDING_SECONDS}
        problems += [(name, f"only a part of it, or nothing, lies within its cut {cut.id}") for name in sorted(outside)]
        if outside:
            cut = cut.filter_supervisions(lambda x, outside=outside: x.id not in outside)
        try:
            parts = list(cut.trim_to_supervisions(keep_overlapping=False))
        except (ValueError, AssertionError) as error:
            problems.append((cut.id, f"the cut cannot be taken apart ({error})"))
            continue
        for part in parts:
            supervision = part.supervisions[0]
            yield Utterance(supervision.id, supervision.text or "", supervision.speaker or "", partial(_read, part))


def _read(cut: Cut, sample_rate: int) -> np.ndarray:
    if not cut.has_recording:
        raise ValueError(f"cut {cut.id} has no recording")
    samples = cut.load_audio()  # (channels, N), float32
    try:
        (mono,) = mono_blocks([samples.T])
        return to_pcm(resample(mono, cut.sampling_rate, sample_rate))
    except ValueError as error:
        raise ValueError(f"cut {cut.id} {error}") from None
