"""Measure how much of the lattice the loss's backward pass visits, and draw the lattice of one utterance.

    python benchmarks/plot_occupancy.py DATA/test EARLY/best LATE/best --picture occupancy.png

The occupancy of a node is the probability that the alignment passes through it. The backward pass visits the nodes
whose occupancy exceeds the loss's tolerance. With models from early and late in training, the picture shows how this
band becomes narrow. It has one panel for each model.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from loss_implementations import TOLERANCE
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import rnnt
from rnnt.alignment_picture import occupancy as node_occupancy
from rnnt.dataset import Dataset
from rnnt.files import replacing
from rnnt.recognizer import Recognizer


@torch.inference_mode()
def occupancy(recognizer: Recognizer, audio: np.ndarray, text: str) -> torch.Tensor:
    """Return the occupancy of each node, (T, U+1), for an utterance with these int16 samples (N,) and this text."""
    samples = torch.from_numpy(audio.copy())[None]
    features = recognizer.features(samples, torch.tensor([samples.shape[1]]))
    encoder_1TD, _ = recognizer.model.encoder(*features)
    return node_occupancy(recognizer, encoder_1TD, recognizer.tokenizer.encode(text))


def visited(recognizer: Recognizer, data: Dataset, count: int) -> tuple[int, int]:
    """Return the number of nodes above the tolerance and the number of all nodes, in the first `count` utterances."""
    utterances = map(data.__getitem__, range(count))
    lattices = [occupancy(recognizer, utterance.input, utterance.text) for utterance in utterances]
    return sum(int((x > TOLERANCE).sum()) for x in lattices), sum(x.numel() for x in lattices)


def draw(lattices: dict[str, torch.Tensor], text: str, picture: Path) -> None:
    """Draw lattices of occupancies (T, U+1), a panel each with its name as the title, as a PNG file."""
    figure = Figure(figsize=(9, 2.6 * len(lattices)), dpi=120, layout="constrained")
    panels = figure.subplots(len(lattices), sharex=True, squeeze=False)[:, 0]
    for panel, (name, lattice_TU) in zip(panels, lattices.items()):
        fraction = float((lattice_TU > TOLERANCE).float().mean())
        image = panel.imshow(
            lattice_TU.T.clamp(min=TOLERANCE / 10), origin="lower", aspect="auto", cmap="viridis",
            norm=LogNorm(TOLERANCE, 1), interpolation="nearest",
        )  # fmt: skip
        panel.set_title(f"{name}: {100 * fraction:.0f} % of the nodes above {TOLERANCE:g}", loc="left")
        panel.set_ylabel("labels emitted")
    panels[-1].set_xlabel(f'encoder frame of "{text}"')
    figure.colorbar(image, ax=list(panels), label="occupancy")
    with replacing(picture) as file:
        figure.savefig(file, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a prepared split")
    parser.add_argument("models", nargs="+", help="folders of models or runs, in the order of the panels")
    parser.add_argument("--names", nargs="+", help="titles of the panels; default: the folders")
    parser.add_argument("--utterance", type=int, default=0, help="index of the utterance to draw")
    parser.add_argument("--count", type=int, default=50, help="number of utterances in which to count visited nodes")
    parser.add_argument("--picture", type=Path, required=True, help="PNG file to write")
    options = parser.parse_args()
    data, lattices = Dataset(options.data), {}
    utterance = data[options.utterance]
    for name, path in zip(options.names or options.models, options.models):
        recognizer = rnnt.load(path)
        lattices[name] = occupancy(recognizer, utterance.input, utterance.text)
        some, all_nodes = visited(recognizer, data, min(options.count, len(data)))
        print(f"{name}: {some} of {all_nodes} nodes visited ({100 * some / all_nodes:.1f} %)")
    draw(lattices, utterance.text, options.picture)


if __name__ == "__main__":
    main()
