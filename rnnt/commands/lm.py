"""The verb `lm`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rnnt.commands.terminal import show


def lm_command(
    texts: Annotated[
        list[Path],
        typer.Argument(help="UTF-8 files with a sentence a line (.gz too), or prepared splits", metavar="TEXT..."),
    ],
    model: Annotated[Path, typer.Option(help="the run or model to make the language model for")] = ...,
    out: Annotated[Path, typer.Option(metavar="LM.arpa", help="the file to write; compressed if it ends in .gz")] = ...,
    order: Annotated[int, typer.Option(help="longest n-grams, in symbols; 1 to 10")] = 6,
    words: Annotated[bool, typer.Option("--words", help="n-grams of words in place of the model's symbols")] = False,
    prune: Annotated[
        str, typer.Option(metavar='"0 0 1"', help="leave out n-grams that occur at most so often, for each order")
    ] = "0",
) -> None:
    """Estimate an n-gram language model from text, for decoding with --lm.

    Example: rnnt lm books.txt --model runs/digits --order 6 --out books.arpa
    """
    from rnnt.model_folder import find_model, read_config
    from rnnt.ngram.estimate import estimate_language_model
    from rnnt.ngram.sentences import Sentences
    from rnnt.tokenizer import load_tokenizer

    limits = prune.split()
    if not limits or not all(limit.isdecimal() and len(limit) < 10 for limit in limits):
        raise ValueError(f'--prune {prune[:50]!r} is no list of numbers; give one for each order, such as "0 0 1"')
    folder = find_model(model)
    tokenizer = load_tokenizer(folder, read_config(folder / "config.yaml").tokenizer)
    sentences = Sentences(texts, tokenizer)
    counts = estimate_language_model(sentences, out, order, [int(limit) for limit in limits], words)
    if sentences.changed:
        what = "capitals or punctuation that the model lacks were replaced"
        show(f"{sentences.changed:,} of {sentences.read:,} sentences: {what}", file=sys.stderr)
    if sentences.left_out:
        lines = sentences.left_out + sentences.read
        show(f"{sentences.left_out:,} of {lines:,} lines left out (first {sentences.first_left_out})", file=sys.stderr)
    shown = ", ".join(f"{count:,} {n}-grams" for n, count in enumerate(counts, 1))
    show(f"{out}: {shown}, from {sentences.read:,} sentences")
