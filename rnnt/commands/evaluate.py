"""The verb `evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from rnnt.commands.terminal import Device, show
from rnnt.threads import Threads, adapting
from rnnt.tree import distinct_folders

SPEAKERS_SHOWN = 10  # in the summary of an evaluation, those with the highest error rates


def evaluate_command(
    model: Annotated[Path, typer.Argument(help="a run or a model")],
    data: Annotated[list[Path], typer.Option(help="a prepared split; may be given several times")] = ...,
    out: Annotated[
        Path | None, typer.Option(help="the report's folder; default: evaluation-SPLIT by the model")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="utterances decoded together", min=1)] = None,
    device: Device = "auto",
) -> None:
    """Score a model on prepared splits: error rates, all pairs, and a page that shows the errors.

    Example: rnnt evaluate runs/digits --data data/digits/test
    """
    from rnnt.dataset import Dataset
    from rnnt.error_rate import by_speaker, character_error_rate, word_error_rate
    from rnnt.model_folder import find_model
    from rnnt.progress import track
    from rnnt.recognizer import load
    from rnnt.report import write_default_report, write_report
    from rnnt.report_folder import split_names, subject_of

    threads = Threads()
    folder, data = find_model(model), distinct_folders(data)
    result = load(folder, device).evaluate(Dataset(*data), batch_size, lambda *of: adapting(track(*of), threads))
    if result.pairs:
        show(str(word_error_rate(result.pairs)), str(character_error_rate(result.pairs)))
        loss = f"loss {result.loss:.4f} nats a symbol" if result.symbols else "no loss"
        show(f"{loss}, {len(result.pairs)} utterances, {len(result.skipped)} skipped")
    if result.without_loss:
        name, why = result.without_loss[0]
        show(f"{len(result.without_loss)} of {len(result.pairs)} utterances are not in the loss (first {name}: {why})")
    speakers = list(by_speaker(result.pairs).items())
    if len(speakers) > 1:
        shown = ", ".join(f"{name or '(unknown)'} {100 * rate.rate:.2f} %" for name, rate in speakers[:SPEAKERS_SHOWN])
        more = f" and {len(speakers) - SPEAKERS_SHOWN} more" if len(speakers) > SPEAKERS_SHOWN else ""
        show(f"WER by speaker: {shown}{more}")
    if result.truncated:
        first = result.truncated[0]
        show(f"{len(result.truncated)} transcripts were truncated at decoding.max_symbols (first {first})")
    report = result.pairs, f"{folder} on {split_names(data)}", result.skipped
    try:
        if out is None:
            out = write_default_report(folder, data, *report)
        else:
            write_report(out, *report, subject_of(folder, data))
    except OSError as error:
        why = error.strerror or error
        raise OSError(f"cannot write the report in {out or folder.parent}: {why}; give --out another folder") from error
    show(f"report: {out / 'report.html'}")
