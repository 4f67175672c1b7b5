"""How much of the lattice the loss's backward pass visits, for models early and late in training, and a picture of it.

python benchmarks/plot_occupancy.py DATA/test EARLY/best LATE/best --picture occupancy.png
"""

import argparse
from pathlib import Path

import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import rnnt
from rnnt.dataset import Dataset
from rnnt.files import replacing
from rnnt.loss.lattice import forward_backward
from rnnt.recognizer import Recognizer

_TOLERANCE = 1e-7


@torch.inference_mode()
def occupancy(recognizer: Recognizer, audio, text: str) -> torch.Tensor:
    """(T, U+1): the probability of each node that the alignment of the utterance passes through it."""
    model, blank = recognizer.model, recognizer.model.blank
    samples = torch.from_numpy(audio.copy())[None]
    targets = torch.tensor([recognizer.tokenizer.encode(text)])
    encoder, lengths = model.encoder(*recognizer.features(samples, torch.tensor([samples.shape[1]])))
    hidden = model.joint.encoder(encoder)[:, :, None] + model.joint.predictor(model.predictor(targets))[:, None]
    log_probs = model.joint.output(getattr(torch, model.joint.activation)(hidden)).log_softmax(-1)
    index = torch.nn.functional.pad(targets, (0, 1))[:, None, :, None].expand(-1, hidden.shape[1], -1, 1)
    label = log_probs.gather(3, index)[..., 0]
    _, g_blank, g_label = forward_backward(log_probs[..., blank], label, lengths, torch.tensor([targets.shape[1]]))
    return (g_blank + g_label)[0]


def visited(recognizer: Recognizer, data: Dataset, utterances: int) -> tuple[int, int]:
    """Nodes above the tolerance, and all nodes, of the first utterances of the data."""
    lattices = [occupancy(recognizer, record.input, record.text) for record in map(data.__getitem__, range(utterances))]
    return sum(int((x > _TOLERANCE).sum()) for x in lattices), sum(x.numel() for x in lattices)


def draw(lattices: dict[str, torch.Tensor], text: str, picture: Path) -> None:
    figure = Figure(figsize=(9, 2.6 * len(lattices)), dpi=120, layout="constrained")
    panels = figure.subplots(len(lattices), sharex=True, squeeze=False)[:, 0]
    for panel, (name, lattice_TU) in zip(panels, lattices.items()):
        share = float((lattice_TU > _TOLERANCE).float().mean())
        image = panel.imshow(
            lattice_TU.T.clamp(min=_TOLERANCE / 10), origin="lower", aspect="auto", cmap="viridis",
            norm=LogNorm(_TOLERANCE, 1), interpolation="nearest",
        )  # fmt: skip
        panel.set_title(f"{name}: {100 * share:.0f} % of the nodes above {_TOLERANCE:g}", loc="left")
        panel.set_ylabel("labels emitted")
    panels[-1].set_xlabel(f'encoder frame of "{text}"')
    figure.colorbar(image, ax=list(panels), label="occupancy")
    with replacing(picture) as file:
        figure.savefig(file, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a prepared split")
    parser.add_argument("models", nargs="+", help="models or runs, in the order of the panels")
    parser.add_argument("--names", nargs="+", help="the panels' titles")
    parser.add_argument("--utterance", type=int, default=0, help="which one to draw")
    parser.add_argument("--count", type=int, default=50, help="utterances over which the share is measured")
    parser.add_argument("--picture", type=Path, required=True)
    given = parser.parse_args()
    data, lattices = Dataset(given.data), {}
    record = data[given.utterance]
    for name, path in zip(given.names or given.models, given.models):
        recognizer = rnnt.load(path)
        lattices[name] = occupancy(recognizer, record.input, record.text)
        some, all_nodes = visited(recognizer, data, min(given.count, len(data)))
        print(f"{name}: {some} of {all_nodes} nodes visited ({100 * some / all_nodes:.1f} %)")
    draw(lattices, record.text, given.picture)


if __name__ == "__main__":
    main()
