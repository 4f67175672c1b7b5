"""A picture of the alignment of a text with its input, after Figure 4 of Graves 2012 (arXiv 1211.3711).

It shows the input, a recording or symbols, the outputs of the two networks, the occupancy of the lattice, and the path.
Shapes: T encoder frames, U symbols of the text, V symbols with blank, S feature frames, F mel bins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from rnnt.files import naming, replacing
from rnnt.formats import UNSURE
from rnnt.loss.lattice import forward_backward
from rnnt.symbol_alignment import SymbolAlignment, encode_symbols
from rnnt.tokenizer import SPACE_PIECE
from rnnt.transcription import Audio, named_waveform
from rnnt.windows import encode_windows

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer
    from rnnt.transcript import Transcript

_MOST_NODES = 2_000_000  # of a lattice whose picture can still be read
_LEAST = 1e-6  # the smallest occupancy that is shown
_VISITED = 0.01  # the smallest occupancy of a node whose symbols are shown
_CHUNK = 4096  # nodes whose symbols are computed at once
_MOST_SYMBOLS = 40  # more names than that cannot be read next to an axis
_MOST_TICKS = 80  # symbols of an input whose names can be read below an axis
_SEEN = 0.05  # the probability from which a symbol that is not in the text is shown
_MARK, _DOUBT = "#0072b2", "#d55e00"  # of words, and of those with little confidence


@torch.inference_mode()
def occupancy(recognizer: Recognizer, encoder_1TD: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    """Return the occupancy (T, U+1) of each node: the probability that the alignment passes through it."""
    joint = recognizer.model.joint
    targets_1U = torch.tensor([tokens], dtype=torch.long)
    lengths = torch.tensor([encoder_1TD.shape[1]]), torch.tensor([len(tokens)])
    predictor_1UD = recognizer.model.predictor(targets_1U.to(encoder_1TD.device))
    projected = joint.project_encoder(encoder_1TD), joint.project_predictor(predictor_1UD)
    scores = joint.node_scores(*projected, targets_1U, *lengths)
    _, blank, label = forward_backward(*scores, *(x.to(scores[0].device) for x in lengths))
    return (blank + label)[0].cpu()


@torch.inference_mode()
def network_outputs(
    recognizer: Recognizer, encoder_1TD: torch.Tensor, tokens: list[int], lattice_TU: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the probabilities of all symbols in each frame (T, V), and after each number of symbols (U+1, V).

    An additive joint adds the scores of encoder and predictor. Each network's scores alone then give its probabilities,
    as in the paper. In another joint neither network scores symbols. A frame's probability of a symbol is then the
    largest over its nodes: the occupancy times the probability that the joint gives to the symbol there; and so for
    each number of symbols. lattice_TU: the occupancy.
    """
    joint = recognizer.model.joint
    predictor_1UD = recognizer.model.predictor(torch.tensor([tokens], dtype=torch.long, device=encoder_1TD.device))
    encoder_TH, predictor_UH = joint.project_encoder(encoder_1TD)[0], joint.project_predictor(predictor_1UD)[0]
    if joint.additive:
        return encoder_TH.float().softmax(1).cpu(), predictor_UH.float().softmax(1).cpu()
    by_frame, by_symbol = (torch.zeros(len(x), recognizer.model.vocabulary) for x in (encoder_TH, predictor_UH))
    for nodes in (lattice_TU >= _VISITED).nonzero().split(_CHUNK):
        t, u = nodes.unbind(1)
        logits_NV = joint(encoder_TH[t.to(encoder_TH.device)], predictor_UH[u.to(encoder_TH.device)])
        share_NV = lattice_TU[t, u, None] * logits_NV.float().softmax(1).cpu()
        by_frame.scatter_reduce_(0, t[:, None].expand_as(share_NV), share_NV, "amax")
        by_symbol.scatter_reduce_(0, u[:, None].expand_as(share_NV), share_NV, "amax")
    return by_frame, by_symbol


def draw_alignment(recognizer: Recognizer, audio: Audio, transcript: Transcript, picture: Path) -> None:
    """Draw the alignment `transcript` of a recording as a PNG, which is written whole or not at all.

    From above: the spectrogram with the words; the outputs of the encoder; the occupancy of the whole lattice with the
    path. The outputs of the predictor are to the left of the lattice. Raises ValueError if the recording is too long
    for a picture, which begins at one to two minutes.
    """
    samples = named_waveform(audio, recognizer.config.features.sample_rate, 0)
    tokens, step = transcript.tokens, recognizer.frame_seconds
    _require_readable(transcript.seconds / step, tokens, f"{transcript.seconds:.0f} s")
    with recognizer.inference():
        encoder_1TD = encode_windows(recognizer, samples)
        inputs = torch.from_numpy(samples.copy())[None].to(recognizer.device), torch.tensor([len(samples)])
        mel_SF = recognizer.features.log_mel(*inputs)[0][0].float().cpu().numpy()
    width = 10 + transcript.seconds / 2
    path = _Path(tokens, transcript.frames, step, transcript.seconds, "seconds")
    with _panels(recognizer, encoder_1TD, path, width, picture) as panel:
        _draw_words(panel, mel_SF, transcript)


def draw_symbol_alignment(recognizer: Recognizer, alignment: SymbolAlignment, picture: Path) -> None:
    """Draw the alignment of an output with its input of symbols, as `draw_alignment` does.

    In place of a spectrogram there are the symbols of the input, and above them those that they emit. Raises ValueError
    if there are too many of them.
    """
    symbols, tokens = alignment.input, alignment.tokens
    _require_readable(len(symbols), tokens, f"{len(symbols)} input symbols")
    with recognizer.inference():
        encoder_1TD = encode_symbols(recognizer, symbols)
    frames = encoder_1TD.shape[1]
    path = _Path(tokens, [each.frame for each in alignment.emitted], 1.0, frames, "input symbols")
    with _panels(recognizer, encoder_1TD, path, 10 + frames / 3, picture) as panel:
        _draw_symbols(panel, alignment, frames)


class _Path(NamedTuple):
    """The best path through a lattice, and its axis of frames: the width of a frame, the end, and the label."""

    tokens: list[int]
    frames: list[int]
    step: float
    end: float
    label: str


def _require_readable(frames: float, tokens: list[int], size: str) -> None:
    if frames * (len(tokens) + 1) > _MOST_NODES:
        raise ValueError(f"a picture of {size} and {len(tokens)} symbols could not be read; draw an excerpt")


@contextmanager
def _panels(
    recognizer: Recognizer, encoder_1TD: torch.Tensor, path: _Path, width: float, picture: Path
) -> Iterator[Axes]:
    """Draw everything but the input, for which the panel is given, and write the picture."""
    with recognizer.inference():
        lattice_TU = occupancy(recognizer, encoder_1TD, path.tokens)
        encoder_TV, predictor_UV = network_outputs(recognizer, encoder_1TD, path.tokens, lattice_TU)
    figure = Figure(figsize=(min(width, 40), 11), dpi=100, layout="constrained")
    panels = figure.subplot_mosaic(
        [[".", "input"], [".", "encoder"], ["predictor", "lattice"]], height_ratios=[2, 3, 3], width_ratios=[1, 3]
    )
    for name in ("input", "encoder"):
        panels[name].sharex(panels["lattice"])
        panels[name].tick_params(labelbottom=False)
    yield panels["input"]
    end = len(lattice_TU) * path.step
    shown = _shown_symbols(path.tokens, encoder_TV, predictor_UV)
    names = _names(recognizer, shown)
    linear = Normalize(0, 1)
    _draw_nodes(panels["encoder"], encoder_TV[:, shown].T, (0, end, -0.5, len(shown) - 0.5), linear)
    panels["encoder"].set_yticks(range(len(shown)), names, fontsize=6)
    panels["encoder"].set_title("outputs of the encoder", fontsize=9)
    across = (-0.5, len(shown) - 0.5, -0.5, len(path.tokens) + 0.5)
    _draw_nodes(panels["predictor"], predictor_UV[:, shown], across, linear)
    panels["predictor"].set_xticks(range(len(shown)), names, fontsize=6, rotation=90)
    panels["predictor"].set_title("outputs of the predictor", fontsize=9)
    panels["predictor"].set_ylabel("symbols emitted")
    _draw_lattice(figure, panels["lattice"], lattice_TU, path)
    with naming(picture), replacing(Path(picture)) as file:
        figure.savefig(file, format="png")


def _shown_symbols(tokens: list[int], encoder_TV: torch.Tensor, predictor_UV: torch.Tensor) -> list[int]:
    """Return the symbols of the text as they come, then others that are probable anywhere, then blank."""
    blank = encoder_TV.shape[1] - 1
    most_V = torch.maximum(encoder_TV.amax(0), predictor_UV.amax(0))
    others = [k for k in most_V.argsort(descending=True).tolist() if most_V[k] >= _SEEN and k != blank]
    return [*list(dict.fromkeys([*tokens, *others]))[: _MOST_SYMBOLS - 1], blank]


def _names(recognizer: Recognizer, symbols: list[int]) -> list[str]:
    """Return the symbols' names; the last one is blank."""
    tokenizer = recognizer.tokenizer
    texts = [tokenizer.spellings[k].decode("utf-8", "replace") for k in symbols[:-1]]
    if tokenizer.kind == "words":
        texts = [text.strip() for text in texts]
    return [*(_shown(text.replace(" ", SPACE_PIECE)) for text in texts), "blank"]


def _shown(text: str) -> str:
    """Return a text for matplotlib. A dollar sign would begin a formula. Characters that the font lacks have codes."""
    known = get_font(findfont(FontProperties())).get_char_index
    return "".join(c if known(ord(c)) else f"U+{ord(c):04X}" for c in text).replace("$", "\\$")


def _draw_nodes(panel: Axes, image: torch.Tensor, extent: tuple[float, float, float, float], scale: Normalize):
    return panel.imshow(
        image.numpy(), origin="lower", aspect="auto", cmap="viridis", norm=scale, interpolation="nearest", extent=extent
    )


def _draw_lattice(figure: Figure, panel: Axes, lattice_TU: torch.Tensor, path: _Path) -> None:
    labels, end = len(path.tokens), len(lattice_TU) * path.step
    image = _draw_nodes(panel, lattice_TU.T.clamp(min=_LEAST), (0, end, -0.5, labels + 0.5), LogNorm(_LEAST, 1))
    times = (np.repeat(path.frames, 2) + 0.5) * path.step
    columns = np.repeat(np.arange(labels + 1), 2)[1:-1]
    panel.plot([0.0, *times.tolist(), end], [0, *columns.tolist(), labels], color="white", linewidth=0.8)
    panel.set_xlabel(path.label)
    panel.set_title("occupancy of the lattice, and the most probable path", fontsize=9)
    panel.set_xlim(0, path.end)
    figure.colorbar(image, ax=panel)


def _draw_symbols(panel: Axes, alignment: SymbolAlignment, frames: int) -> None:
    """Draw the input symbols in a row, and above each frame the symbols that it emits."""
    count = len(alignment.input)
    panel.set_ylim(0, 1)
    panel.set_yticks([])
    places, names = (np.arange(count) + 0.5) * frames / count, [_shown(symbol) for symbol in alignment.input]
    size = min(20.0, 750 / (count * max(1.5, *map(len, names))))  # points
    for place, name in zip(places, names):
        panel.text(place, 0.25, name, ha="center", va="center", fontsize=size)
    if count <= _MOST_TICKS:
        panel.set_xticks(places, names, fontsize=min(size, 10.0))  # of the panels below too
    for frame, group in groupby(alignment.emitted, lambda each: each.frame):
        emitted = list(group)
        color = _DOUBT if min(each.probability for each in emitted) < UNSURE else _MARK
        panel.axvspan(frame, frame + 1, ymin=0.5, color=color, alpha=0.15)
        text = " ".join(each.symbol for each in emitted)
        panel.text(frame + 0.5, 0.75, _shown(text), ha="center", va="center", fontsize=size, color=color)
    panel.set_title("symbols emitted, above the symbols of the input", fontsize=9)


def _draw_words(panel: Axes, mel_SF: np.ndarray, transcript: Transcript) -> None:
    low, high = np.quantile(mel_SF, (0.05, 0.999))
    panel.imshow(
        mel_SF.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high,
        extent=(0, transcript.seconds, 0, mel_SF.shape[1]),
    )  # fmt: skip
    panel.set_ylabel("mel bin")
    for word in transcript.words:
        color = _DOUBT if word.confidence < UNSURE else _MARK
        panel.axvspan(word.start, word.end, ymin=0.96, color=color)
        panel.axvline(word.start, color="white", linewidth=0.5)
        panel.annotate(
            _shown(word.word), ((word.start + word.end) / 2, mel_SF.shape[1]), xytext=(0, 3),
            textcoords="offset points", ha="center", va="bottom", rotation=60, fontsize=8, color=color,
            annotation_clip=False,
        )  # fmt: skip
