"""A picture of the alignment of a text with a recording: spectrogram, occupancy of the lattice, and path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from rnnt.files import naming, replacing
from rnnt.formats import UNSURE
from rnnt.loss import node_scores
from rnnt.loss.lattice import forward_backward
from rnnt.transcription import Audio, named_waveform
from rnnt.windows import encode_windows

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer
    from rnnt.transcript import Transcript

_MOST_NODES = 2_000_000  # of a lattice whose picture can still be read
_LEAST = 1e-6  # the smallest occupancy that is shown
_MARK, _DOUBT = "#0072b2", "#d55e00"  # of words, and of those with little confidence


@torch.inference_mode()
def occupancy(recognizer: Recognizer, encoder_1TD: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    """Return the occupancy (T, U+1) of each node: the probability that the alignment passes through it."""
    joint = recognizer.model.joint
    targets_1U = torch.tensor([tokens], dtype=torch.long)
    lengths = torch.tensor([encoder_1TD.shape[1]]), torch.tensor([len(tokens)])
    predictor_1UD = recognizer.model.predictor(targets_1U.to(encoder_1TD.device))
    projected = joint.project_encoder(encoder_1TD), joint.project_predictor(predictor_1UD)
    scores = node_scores(*projected, *joint.output_parameters, targets_1U, *lengths, activation=joint.activation)
    _, blank, label = forward_backward(*scores, *(x.to(scores[0].device) for x in lengths))
    return (blank + label)[0].cpu()


def draw_alignment(recognizer: Recognizer, audio: Audio, transcript: Transcript, picture: Path) -> None:
    """Draw the alignment `transcript` of a recording as a PNG, which is written whole or not at all.

    Above is the spectrogram with the words, below the occupancy of the whole lattice with the path. Raises ValueError
    if the recording is too long for a picture, which begins at one to two minutes.
    """
    config = recognizer.config.features
    samples = named_waveform(audio, config.sample_rate, 0)
    labels, step = len(transcript.tokens), recognizer.frame_seconds
    if transcript.seconds / step * (labels + 1) > _MOST_NODES:
        size = f"{transcript.seconds:.0f} s and {labels} symbols"
        raise ValueError(f"a picture of {size} could not be read; draw an excerpt")
    with recognizer.inference():
        lattice_TU = occupancy(recognizer, encode_windows(recognizer, samples), transcript.tokens)
        inputs = torch.from_numpy(samples.copy())[None].to(recognizer.device), torch.tensor([len(samples)])
        mel_SF = recognizer.features.log_mel(*inputs)[0][0].float().cpu().numpy()
    figure = Figure(figsize=(min(8 + transcript.seconds / 2, 40), 7), dpi=100, layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=[2, 3])
    _draw_words(above, mel_SF, transcript)
    image = below.imshow(
        lattice_TU.T.clamp(min=_LEAST).numpy(), origin="lower", aspect="auto", cmap="viridis", norm=LogNorm(_LEAST, 1),
        interpolation="nearest", extent=(0, len(lattice_TU) * step, -0.5, labels + 0.5),
    )  # fmt: skip
    times = (np.repeat(transcript.frames, 2) + 0.5) * step
    columns = np.repeat(np.arange(labels + 1), 2)[1:-1]
    ends = [0.0, *times.tolist(), len(lattice_TU) * step], [0, *columns.tolist(), labels]
    below.plot(*ends, color="white", linewidth=0.8)
    below.set_xlabel("seconds")
    below.set_ylabel("symbols emitted")
    below.set_xlim(0, transcript.seconds)
    figure.colorbar(image, ax=below, label="occupancy")
    with naming(picture), replacing(Path(picture)) as file:
        figure.savefig(file, format="png")


def _draw_words(panel, mel_SF: np.ndarray, transcript: Transcript) -> None:
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
        # A dollar sign would begin a formula.
        panel.annotate(
            word.word.replace("$", "\\$"), ((word.start + word.end) / 2, mel_SF.shape[1]), xytext=(0, 3),
            textcoords="offset points", ha="center", va="bottom", rotation=60, fontsize=8, color=color,
            annotation_clip=False,
        )  # fmt: skip
