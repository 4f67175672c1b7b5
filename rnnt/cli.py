"""The command `rnnt`: a function for each verb, which parses, calls and prints."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import yaml

from rnnt.cluster.session import with_address
from rnnt.commands.align import align_command
from rnnt.commands.cluster import Cluster, prepare_on_cluster
from rnnt.commands.evaluate import evaluate_command
from rnnt.commands.export import export_command
from rnnt.commands.live import live_command
from rnnt.commands.lm import lm_command
from rnnt.commands.serve import serve_command
from rnnt.commands.terminal import show
from rnnt.commands.transcribe import transcribe_command
from rnnt.text import complaint, one_line, visible
from rnnt.training.launch import tell_launcher
from rnnt.tree import distinct_folders

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

KEY_VALUE = "KEY=VALUE"
Overrides = Annotated[list[str] | None, typer.Argument(metavar=KEY_VALUE, help="settings, such as optim.lr=0.002")]


def main() -> None:
    """Run the command. A user's mistake gets one line and exit code 2."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 lacks characters
    try:
        app(with_address(sys.argv[1:]))
    except (ValueError, OSError, ImportError) as error:
        message = visible(one_line(complaint(error)))
        if not tell_launcher(message):
            print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


@app.callback()
def about() -> None:
    """Train, evaluate and run recurrent neural network transducers (RNN-T)."""


@app.command("prepare")
def prepare_command(
    corpus: Annotated[
        str, typer.Argument(help="librispeech, timit, an4, digits, synthetic, folder, lhotse, mlperf-json or lexicon")
    ],
    source: Annotated[Path, typer.Argument(help="folder or file of the corpus; - for synthetic, which needs none")],
    options: Annotated[list[str] | None, typer.Argument(metavar=KEY_VALUE, help="the corpus's options")] = None,
    out: Annotated[Path, typer.Option(help="folder in which each split gets a folder")] = ...,
    sample_rate: Annotated[int, typer.Option(help="samples per second of the prepared audio")] = 16000,
    workers: Annotated[int | None, typer.Option(help="processes; all cores by default")] = None,
    cluster: Cluster = None,
) -> None:
    """Turn a corpus into splits, once: of decoded audio, or of words and their symbols (lexicon).

    Example: rnnt prepare librispeech /data/LibriSpeech --out /data/prepared

    Example: rnnt prepare lexicon words.tsv --out data/words dev=0.05 test=0.05
    """
    from rnnt.corpora import read_splits
    from rnnt.prepare import prepare
    from rnnt.text import duration

    values = _key_values(options or [])
    splits = read_splits(corpus, source, **values)
    if cluster is not None and workers is not None:
        raise ValueError("--workers is for one machine; with --cluster all cores of the cluster read")
    arguments = splits, out, sample_rate, workers, f"{corpus} {source}"
    done = prepare(*arguments) if cluster is None else prepare_on_cluster(cluster, *arguments)
    for name, summary in done.items():
        state = "already prepared" if summary.already_prepared else f"{summary.skipped} skipped"
        size = f"{summary.words} words" if summary.words else duration(summary.hours)
        show(f"{out / name}: {summary.utterances} utterances, {size}, {state}")
        if summary.skipped:
            show(f"  why: {out / name / 'skipped.tsv'}")


@app.command("tokenizer")
def tokenizer_command(
    data: Annotated[list[Path], typer.Argument(help="prepared splits whose text to learn from")],
    out: Annotated[Path, typer.Option(help="folder for tokenizer.model or tokenizer.json")] = ...,
    kind: Annotated[str, typer.Option(help="sentencepiece, characters or words")] = "sentencepiece",
    size: Annotated[int, typer.Option(help="pieces of a SentencePiece model")] = 1023,
) -> None:
    """Learn a tokenizer from the text of prepared splits.

    Example: rnnt tokenizer /data/prepared/train-* --out /data/prepared
    """
    from rnnt.config import TokenizerConfig
    from rnnt.dataset import Dataset
    from rnnt.tokenizer import train_tokenizer

    say = partial(show, file=sys.stderr)
    learned = train_tokenizer(Dataset(*distinct_folders(data)).texts(), TokenizerConfig(kind, size), say)
    out.mkdir(parents=True, exist_ok=True)
    learned.save(out)
    show(f"{out}: {kind}, {learned.learned} symbols")
    if learned.learned < len(learned):
        show(f"  the text is too short for {size} pieces; the other symbols stay unused")


@app.command("train")
def train_command(
    preset: Annotated[str, typer.Argument(help="the name of a preset, or a .yaml file")],
    overrides: Overrides = None,
    data: Annotated[Path, typer.Option(help="folder of prepared splits")] = ...,
    out: Annotated[Path, typer.Option(help="the run's folder; one that holds a run is resumed")] = ...,
    processes: Annotated[int, typer.Option(help="on this machine; each takes a GPU if there is one", min=1)] = 1,
    nodes: Annotated[int, typer.Option(help="machines; give each of them the same command", min=1)] = 1,
    rendezvous: Annotated[str, typer.Option(help="HOST:PORT on one of several machines, where they meet")] = "",
    restarts: Annotated[int, typer.Option(help="how often to start again after a process has failed", min=0)] = 0,
    mlperf_log: Annotated[Path | None, typer.Option(metavar="FILE", help="write a log for MLPerf's checker")] = None,
) -> None:
    """Train a model, or resume a run that was interrupted.

    Example: rnnt train digits --data data/digits --out runs/digits train.epochs=10
    """
    from rnnt.measure import measure_of
    from rnnt.settings import load_config
    from rnnt.training.launch import launch, launched, yielding_to_the_first

    config = load_config(preset, overrides or [])
    if (processes > 1 or nodes > 1 or restarts) and not launched():
        launch(sys.argv[1:], processes, nodes, rendezvous, restarts)
        return
    from rnnt.training.trainer import Trainer

    with yielding_to_the_first():
        trainer = Trainer(config, data, out, mlperf_log)
        main, count = trainer.processes.main, trainer.processes.count
        where = f"{count} x {trainer.device.type}" if count > 1 else trainer.device
        if main:
            show(f"{trainer.model.num_parameters():,} parameters, {where}, run {out}", file=sys.stderr)
        best = trainer.run()
    if main and best != float("inf"):
        show(f"best validation {measure_of(config.scoring).first.label} {100 * best:.2f} %")
    if problem := trainer.missing_model():
        raise OSError(problem)
    if main:
        show(f"model: {out / 'best'}")


app.command("evaluate")(evaluate_command)
app.command("transcribe")(transcribe_command)
app.command("align")(align_command)
app.command("lm")(lm_command)
app.command("live")(live_command)
app.command("serve")(serve_command)
app.command("export")(export_command)


@app.command("convert")
def convert_command(
    checkpoint: Annotated[
        Path, typer.Argument(help="a .nemo of NeMo, or a .pt of the MLCommons, DeepSpark or NVIDIA code")
    ],
    config: Annotated[Path | None, typer.Option(help="the YAML file that a .pt was trained with")] = None,
    out: Annotated[Path, typer.Option(help="folder for the model")] = ...,
    tokenizer: Annotated[Path | None, typer.Option(help="SentencePiece model, if not where FILE says")] = None,
    weights: Annotated[str, typer.Option(help="ema: averaged weights, if there are any; raw: as trained")] = "ema",
) -> None:
    """Turn a transducer of NeMo, or a checkpoint of the MLPerf reference, into a model.

    Example: rnnt convert stt_en_fastconformer_transducer_large.nemo --out models/fastconformer

    Example: rnnt convert RNN-T_best_checkpoint.pt --config baseline_v3-1023sp.yaml --out models/reference
    """
    if checkpoint.suffix == ".nemo":
        from rnnt.nemo import convert_nemo

        if config or tokenizer or weights != "ema":
            raise ValueError(f"{checkpoint} holds all that is needed; leave out --config, --tokenizer and --weights")
        recognizer = convert_nemo(checkpoint, out)
        show(f"{out}: {recognizer.model.num_parameters():,} parameters, {len(recognizer.tokenizer)} symbols")
        return
    if config is None:
        raise ValueError(f"{checkpoint} is no .nemo; give the YAML file that it was trained with: --config FILE")
    from rnnt.convert import convert

    recognizer, key = convert(checkpoint, config, out, tokenizer, weights)
    show(f"{out}: {recognizer.model.num_parameters():,} parameters from {key}, {len(recognizer.tokenizer)} symbols")


@app.command("info")
def info_command(
    path: Annotated[Path, typer.Argument(help="a run, a model, a prepared split, a folder of splits, or a preset")],
    verify: Annotated[bool, typer.Option("--verify", help="read prepared data and compare its checksums")] = False,
) -> None:
    """Describe a run, a model, prepared data, or a preset.

    Example: rnnt info runs/digits
    """
    from rnnt.info import describe, verify_shards

    show(*describe(path).split("\n"))
    if verify:
        show(*verify_shards(path).split("\n"))


@app.command("settings")
def settings_command(
    prefix: Annotated[str, typer.Argument(help="a section such as optim, or a key; all by default")] = "",
) -> None:
    """Print every setting with its default and an explanation.

    Example: rnnt settings optim
    """
    from rnnt.settings import settings_table

    show(*settings_table(prefix).split("\n"))


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option(help="folder for the corpus, the run and the picture")] = Path("runs/demo"),
) -> None:
    """Build a synthetic corpus, train a small model on it, score it and use it, in minutes on two cores.

    Example: rnnt demo --out /tmp/demo
    """
    from rnnt.demo import run

    run(out)


def _key_values(items: list[str]) -> dict:
    values = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not sign:
            raise ValueError(f"{item!r} is no option; write it as key=value, such as seed=1")
        try:
            values[key.replace("-", "_")] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(f"{item!r} is not readable as YAML; give {key} a number or a word") from None
    return values


if __name__ == "__main__":
    main()
