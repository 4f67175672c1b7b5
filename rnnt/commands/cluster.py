"""The option `--cluster` of the verbs: recordings on many machines, into a folder of shards."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnnt.commands.terminal import show, warnings_shown

if TYPE_CHECKING:
    from rnnt.corpora import Split
    from rnnt.prepare import Summary

Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="[ADDRESS]",
        help="work with Ray, on the cores of this machine or of the cluster at HOST:PORT or auto (see docs/cluster.md)",
    ),
]
_KINDS = {"text": "parquet", "json": "json"}


def archive_on_cluster(
    task: str,
    models: Sequence[Path],
    inputs: Sequence[str],
    kind: str,
    out: Path | None,
    device: str,
    address: str,
    batch_size: int | None = None,
    **options: object,
) -> None:
    """Transcribe or align recordings with Ray, and print how many. Raises typer.Exit if some could not be.

    task: transcribe or align. options: those of `rnnt.cluster.model_files.LoadOptions`.
    """
    from rnnt.cluster.session import check_address, connected, require_ray

    require_ray()
    if out is None:
        raise ValueError("--cluster writes a folder of shards; name it with --out DIR")
    if kind not in _KINDS:
        raise ValueError("--cluster writes Parquet, or JSON lines with --format json; leave --format out")
    check_address(address)
    with ThreadPoolExecutor(1) as background:
        loading = background.submit(import_module, "rnnt.cluster.job")  # with torch: seconds, like the start of Ray
        with connected(address), warnings_shown():
            job = loading.result()
            asked = models, job.LoadOptions(**options), inputs, out, _KINDS[kind], batch_size or 16, device
            summary = job.archive(job.Order(task, *asked))
    show(f"{out}: {summary.recordings:,} recordings, {summary.hours}, {summary.errors:,} errors")
    if summary.scored:
        show(summary.word_error_rate)
    show(f"report: {out / 'report.html'}")
    if summary.errors:
        path, why = summary.listed[0]
        show(f"{summary.errors:,} of {summary.recordings:,} have an error, such as: {why or path}", file=sys.stderr)
        raise typer.Exit(1 if summary.errors < summary.recordings else 2)


def prepare_on_cluster(
    address: str, splits: dict[str, Split], out: Path, sample_rate: int, workers: int | None, source: str
) -> dict[str, Summary]:
    """Prepare splits with Ray, as `rnnt.prepare.prepare` does."""
    from rnnt.cluster.session import connected
    from rnnt.prepare import prepare

    with connected(address):
        from rnnt.cluster.preparing import ClusterReaders

        return prepare(splits, out, sample_rate, workers, source, readers=ClusterReaders(sample_rate))
