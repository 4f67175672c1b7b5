"""A whole job: recordings and a model -> a folder of shards and a report."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ray

from rnnt.cluster.aligning import AlignWork
from rnnt.cluster.inputs import find_recordings
from rnnt.cluster.ledger import Ledger, digest_of, open_ledger
from rnnt.cluster.model_files import LoadOptions, ModelFiles
from rnnt.cluster.pool import Pool
from rnnt.cluster.progress_line import ProgressLine
from rnnt.cluster.reading import WINDOW_SECONDS
from rnnt.cluster.schedule import Schedule, Work
from rnnt.cluster.session import versions
from rnnt.cluster.summary import JobSummary, run_facts, summarize, write_page
from rnnt.cluster.transcribing import TranscribeWork
from rnnt.model.joint import require_no_durations
from rnnt.recordings import Grid
from rnnt.text import reason


@dataclass(frozen=True)
class Order:
    """A job as a user asks for it.

    task: transcribe or align. kind: of the shards, parquet or json. device: of the actors, auto, cpu or cuda.
    """

    task: str
    models: Sequence[Path]
    options: LoadOptions
    inputs: Sequence[str]
    out: Path
    kind: str = "parquet"
    batch_size: int = 16
    device: str = "auto"


def archive(order: Order) -> JobSummary:
    """Transcribe recordings on the cluster that this process is `connected` to, or align them with their texts.

    If the folder holds the same job unfinished, goes on with it. Raises ValueError or OSError with one line.
    """
    gpus = wants_gpus(order.device)
    recognizer = order.options.load(order.models, "cpu")  # so that mistakes show before anything is read
    recognizer.require_input("audio")
    grid = Grid.of(recognizer)
    files = ModelFiles.read(order.models, order.options)
    settings = files.settings | {"rnnt": versions()["rnnt"]}
    transcribes = order.task == "transcribe"
    if transcribes:
        settings |= asdict(recognizer.config.decoding) | {"batch": order.batch_size, "window": WINDOW_SECONDS}
    else:
        require_no_durations(recognizer.model.joint.durations)
    del recognizer
    shown = json.dumps(settings, sort_keys=True)
    job = {"task": order.task, "model": files.digest, "settings": digest_of(settings), "shown": settings}
    with open_ledger(order.out, find_recordings(order.inputs), job, order.kind) as ledger:
        facts = {"time": "nothing was left to do"}
        if any(portion.number not in ledger.done for portion in ledger.portions()):
            make = TranscribeWork if transcribes else AlignWork
            device = "cuda" if gpus else "cpu"
            work = make(ray.put(files), grid, order.batch_size, device, files.digest, shown)
            facts = run_job(ledger, work, gpus)
        summary = summarize(ledger, scored=transcribes)
        described = {"task": order.task, "model": files.digest, "settings": shown}
        write_page(ledger, summary, f"{order.out.resolve().name}: {summary.recordings:,} recordings", described, facts)
        return summary


def wants_gpus(device: str) -> bool:
    """Return whether actors take a GPU each. Raises ValueError if GPUs were asked for and the cluster has none."""
    found = ray.cluster_resources().get("GPU", 0) >= 1
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device is {device!r}; with --cluster choose auto, cpu or cuda (each actor gets a GPU)")
    if device == "cuda" and not found:
        raise ValueError("--device cuda asks for GPUs, but no machine of the cluster has one; choose auto or cpu")
    return found and device != "cpu"


def run_job(ledger: Ledger, work: Work, gpus: bool = False) -> dict[str, str]:
    """Do all portions that are not finished, and write their shards. Return facts about this run."""
    earlier = len(ledger.done)
    before = sum(portion.bytes for portion in ledger.portions() if portion.number in ledger.done) if earlier else 0
    left = (portion for portion in ledger.portions() if portion.number not in ledger.done)
    pool, line, start = Pool(ray.put(work), gpus), ProgressLine(ledger.bytes, before), time.monotonic()
    workers = 0

    def tick() -> None:
        nonlocal workers
        workers = max(workers, pool.size)
        line.show(pool.size, pool.deaths + schedule.reader_deaths)

    schedule = Schedule(work, pool, tick)
    try:
        for portion, rows in schedule.run(left):
            ledger.write(portion.number, rows)
            line.add(portion, rows)
    except ray.exceptions.RayError as error:  # of no window and no actor
        raise ChildProcessError(
            f"Ray ended the job ({reason(error)}); run the same command again: it goes on"
        ) from None
    finally:
        pool.close()
    deaths = pool.deaths + schedule.reader_deaths
    line.show(pool.size, deaths, last=True)
    return run_facts(time.monotonic() - start, line.hours, workers, deaths, earlier)
