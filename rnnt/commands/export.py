"""The verb `export`."""

from pathlib import Path
from typing import Annotated

import typer

from rnnt.commands.terminal import show, warnings_shown
from rnnt.threads import Threads, adapting
from rnnt.tree import distinct_folders


def export_command(
    model: Annotated[Path, typer.Argument(help="a run or a model")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="the folder to write, new or empty")] = ...,
    kind: Annotated[str, typer.Option("--format", help="onnx, sherpa, onnx-asr or web")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="weights of 8 bits, in all layers that allow it")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="weights stored as 16-bit floats")] = False,
    check: Annotated[
        list[Path] | None,
        typer.Option(help="a prepared split to compare with torch on; default: the run's validation data, if found"),
    ] = None,
    tolerance: Annotated[float, typer.Option(help="percent by which the error rate may rise", min=0, max=100)] = 0.1,
) -> None:
    """Write a model as ONNX files, which run without PyTorch, and check them against it.

    Example: rnnt export runs/digits --format onnx --out exports/digits --check data/digits/test

    Example: rnnt export runs/digits --format sherpa --int8 --out exports/phone

    Example: rnnt export runs/digits --format web --out exports/page
    """
    from rnnt.dataset import Dataset
    from rnnt.export.exporting import check_out, export_model, report_lines
    from rnnt.export.onnx_file import require_onnx
    from rnnt.export.validation import find_validation
    from rnnt.progress import track
    from rnnt.recognizer import load

    if int8 and fp16:
        raise ValueError("--int8 and --fp16 do not go together; leave one of them out")
    require_onnx()
    check_out(out)
    threads = Threads()
    with warnings_shown():
        recognizer = load(model, "cpu")
    dataset = Dataset(*distinct_folders(check)) if check else find_validation(model, recognizer.config.data.valid)
    weights = "int8" if int8 else "float16" if fp16 else "float32"
    report = export_model(
        recognizer, kind, out, weights, dataset, tolerance / 100, lambda *of: adapting(track(*of), threads)
    )
    show(*report_lines(report, recognizer))
    show(f"{out}: {kind}, {weights}")
