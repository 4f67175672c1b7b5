"""An export from the model to the finished folder: graphs, weights, check, files. Whole, or not at all."""

import errno
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rnnt.dataset import Dataset
from rnnt.export.check import Reference, Result, check_engine, damage, read_references, result_table
from rnnt.export.format import Format, Graphs, graph_bytes
from rnnt.export.int8 import fit_int8
from rnnt.export.onnx_asr import ONNX_ASR
from rnnt.export.plain_onnx import PLAIN
from rnnt.export.sherpa import SHERPA
from rnnt.export.web import WEB
from rnnt.export.weights import halve
from rnnt.files import replacing_folder, sync_file, write_json
from rnnt.measure import measure_of
from rnnt.recognizer import Recognizer

FORMATS = {each.name: each for each in (PLAIN, SHERPA, ONNX_ASR, WEB)}
REPORT = "export.json"
_Track = Callable[[Iterable, int, str], Iterable]


@dataclass(frozen=True)
class Report:
    """What an export found. results: torch first; empty without a check. kept, bias, damages: as in `Quantized`."""

    format: str
    weights: str
    check: list[str]
    tolerance: float
    results: list[Result] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    bias: float = 0.0
    damages: dict[str, float] = field(default_factory=dict)


def export_model(
    recognizer: Recognizer,
    kind: str,
    out: Path,
    weights: str = "float32",
    dataset: Dataset | None = None,
    tolerance: float = 0.001,
    track: _Track = lambda items, total, name: items,
) -> Report:
    """Export a model into the folder `out`, which must be new or empty.

    kind: one of `FORMATS`. weights: float32, float16 or int8, which needs a dataset. tolerance: by how much the error
    rate on the dataset may rise. Raises ValueError if the model cannot be exported so, or if it rises by more;
    OSError if the folder cannot be written. The folder is there only if all went well.
    """
    if kind not in FORMATS:
        raise ValueError(f"no format {kind[:50]!r}; give one of {', '.join(FORMATS)}")
    check_out(out)
    if recognizer.model.joint.durations:
        raise ValueError(
            "this is a token-and-duration model, which cannot be exported; export a model without durations"
        )
    if weights == "int8" and dataset is None:
        raise ValueError("--int8 measures what it loses on a split; give one with --check DATA/split")
    chosen = FORMATS[kind]
    graphs = chosen.graphs(recognizer)
    references: list[Reference] = []
    report: dict[str, Any] = {"results": []}
    if dataset is not None:
        references, reference = read_references(recognizer, dataset, track)
        report["results"] = [reference, *_check(chosen, recognizer, graphs, references, "", track)]
        _require(chosen, recognizer, graphs, references, report["results"], tolerance)
        most = reference.rate + tolerance
    if weights == "float16":
        graphs = {name: halve(graph) for name, graph in graphs.items()}
    elif weights == "int8":
        quantized = fit_int8(chosen, recognizer, graphs, references, most, track)
        graphs = quantized.graphs
        report |= {"kept": quantized.kept, "bias": quantized.bias, "damages": quantized.damages}
    if weights != "float32" and dataset is not None:
        report["results"] += _check(chosen, recognizer, graphs, references, f" {weights}", track)
        _require(chosen, recognizer, graphs, references, report["results"], tolerance)
    folders = [] if dataset is None else [str(folder) for folder in dataset.folders]
    found = Report(kind, weights, folders, tolerance, **report)
    _write(chosen, recognizer, graphs, out, found)
    return found


def check_out(out: Path) -> None:
    """Raise ValueError if a folder cannot become an export's: it is a file, or holds something."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; give --out a new folder")
    if out.is_dir() and any(out.iterdir()):
        holds = "another export" if (out / REPORT).exists() else "other files"
        raise ValueError(f"{out} holds {holds}; give --out a new folder, or remove this one")


def report_lines(report: Report, recognizer: Recognizer) -> list[str]:
    """Return what an export found, for the terminal."""
    if not report.results:
        return ["not checked: no validation data was found; give it with --check DATA/split"]
    unit = "x real time" if recognizer.config.input == "audio" else "symbols/s"
    lines = result_table(report.results, measure_of(recognizer.config.scoring).first.label, unit)
    if report.bias:
        lines.append(f"blank was too probable by {report.bias:+.3f} nats, which is taken back")
    if report.kept:
        lines.append(f"in float32, since 8 bits cost too much: {', '.join(report.kept)}")
    return lines


def _check(
    kind: Format, recognizer: Recognizer, graphs: Graphs, references: list[Reference], suffix: str, track: _Track
) -> list[Result]:
    engines = kind.engines(recognizer, graphs)
    size = graph_bytes(graphs)
    return [check_engine(name + suffix, recognizer, make, size, references, track) for name, make in engines.items()]


def _require(
    kind: Format,
    recognizer: Recognizer,
    graphs: Graphs,
    references: list[Reference],
    results: list[Result],
    tolerance: float,
) -> None:
    """Raise ValueError if a result is worse than torch's by more than the tolerance. It names the culprits."""
    label = measure_of(recognizer.config.scoring).first.label
    first = results[0]
    for each in results[1:]:
        if each.rate > first.rate + tolerance:
            blame = _blame(kind, recognizer, graphs, references)
            raise ValueError(
                f"{each.name}: {label} {100 * each.rate:.2f} %, torch {100 * first.rate:.2f} %, more than --tolerance "
                f"{100 * tolerance:g} apart; the change comes from {blame}; nothing was written"
            )


def _blame(kind: Format, recognizer: Recognizer, graphs: Graphs, references: list[Reference]) -> str:
    """Name the graph that changes the logits most, by running each in the place of its float32 original."""
    originals = kind.graphs(recognizer)
    found = {}
    for name in graphs:
        mixed = originals | {name: graphs[name]}
        make = next(iter(kind.engines(recognizer, mixed).values()))
        found[name] = damage(make(), references[:20])
    worst = sorted(found, key=found.__getitem__, reverse=True)
    return ", ".join(f"{name} (logits change by {found[name]:.2g} on average)" for name in worst[:2])


def _write(kind: Format, recognizer: Recognizer, graphs: Graphs, out: Path, report: Report) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(out) as folder:
            kind.write(recognizer, graphs, folder, report.weights)
            write_json(folder / REPORT, json.loads(json.dumps(asdict(report))))
            for path in folder.rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        sync_file(file)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or error
        raise OSError(f"cannot write the export {out}: {why}; free space or give --out another folder") from error
