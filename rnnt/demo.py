"""The main job on a corpus that needs no download: prepare, train, score, transcribe."""

import shutil
import sys
import time
from pathlib import Path

from rnnt.corpora import read_splits
from rnnt.corpora.synthetic import speak
from rnnt.dataset import Dataset
from rnnt.error_rate import character_error_rate, word_error_rate
from rnnt.plot import learning_curve
from rnnt.prepare import prepare
from rnnt.progress import track
from rnnt.recognizer import load
from rnnt.report import write_report
from rnnt.settings import load_config
from rnnt.text import duration
from rnnt.training.trainer import Trainer

PRESET = "demo"
VOICE = "en-us+f2"  # of the test split
SENTENCE = "call maria on the third of june"


def run(out: Path) -> None:
    """Run the demo in the folder `out`. A demo that was interrupted continues there."""
    started = time.monotonic()

    def heading(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        print(f"\n[{minutes}:{seconds:02d}] {text}", flush=True)

    data, run_folder = out / "data", out / "run"
    heading("1. A corpus of spoken commands, by a speech synthesizer with many voices")
    for name, summary in prepare(read_splits("synthetic", Path("-")), data, source="synthetic").items():
        print(f"   {name}: {summary.utterances} utterances, {duration(summary.hours)}")

    heading("2. Training a small transducer on it")
    trainer = Trainer(load_config(PRESET), data, run_folder)
    print(f"   {trainer.model.num_parameters():,} parameters, on {trainer.device}", flush=True)
    trainer.run()
    if problem := trainer.missing_model():
        raise OSError(problem)
    picture = out / "learning-curve.png"
    learning_curve(run_folder / "metrics.jsonl", picture)

    heading("3. Scoring it on sentences and voices that it never heard")
    recognizer = load(run_folder / "best", str(trainer.device))
    result = recognizer.evaluate(Dataset(data / "test"), track=track)
    write_report(out / "evaluation", result.pairs, "Demo: held-out sentences and voices", result.skipped)
    rate = word_error_rate(result.pairs)
    print(f"   {rate}\n   {character_error_rate(result.pairs)}")

    heading("4. Using it: a sentence spoken just now")
    transcript = recognizer.transcribe([speak(SENTENCE, VOICE, sample_rate=recognizer.config.features.sample_rate)])[0]
    print(f"   said:  {SENTENCE}\n   heard: {transcript.text}")

    command = "rnnt" if shutil.which("rnnt") else Path(sys.argv[0]).absolute()  # without an activated .venv
    heading("Done. What there is now, and what to try next")
    print(
        f"   model           {run_folder / 'best'}\n"
        f"   learning curve  {picture}\n"
        f"   errors, aligned {out / 'evaluation' / 'report.html'}\n"
        f"   {command} transcribe {run_folder / 'best'} YOUR.wav   (it knows some 200 words of spoken commands)\n"
        f"   {command} info {run_folder}\n"
        "   your own recordings or LibriSpeech: see README.md\n"
    )
    print(f"WER {100 * rate.rate:.2f} %")
