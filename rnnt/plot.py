"""Pictures of a training run."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnnt.files import replacing

# Two colours of the palette by Okabe and Ito, which the colour-blind can tell apart.
_BLUE, _VERMILION = "#0072b2", "#d55e00"
_SMOOTHED_SHARE = 0.03  # length of the window that averages the loss, as a share of all steps


def learning_curve(metrics: Path, picture: Path) -> None:
    """Draw a run's `metrics.jsonl` as a PNG: the training loss, raw and averaged, above the validations.

    Incomplete lines (the last one of a killed run) and values that are not finite (null) are ignored. The file
    `picture` is written whole or not at all. Raises ValueError if there is nothing to draw, and OSError if `metrics`
    cannot be read or `picture` cannot be written.
    """
    loss, error_rate, label = _read(metrics)
    if not len(loss) and not len(error_rate):
        raise ValueError(f"{metrics}: has no losses and no validations yet; train for a few steps first")
    figure = Figure(figsize=(8, 6), dpi=120, layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    _draw_loss(above, loss)
    _draw_error_rate(below, error_rate, label)
    below.set_xlabel("step")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for panel in (above, below):
        panel.grid(color="0.9")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(x=0.02)
    with replacing(Path(picture)) as file:
        figure.savefig(file, format="png")


def _draw_loss(panel, loss: np.ndarray) -> None:
    panel.set_ylabel("training loss")
    if not len(loss):
        return
    steps, values = loss.T
    panel.plot(steps, values, color=_BLUE, alpha=0.25, linewidth=0.8, label="each step")
    panel.plot(steps, _smoothed(values), color=_BLUE, linewidth=1.8, label="averaged")
    if values.min() > 0:  # the loss falls by orders of magnitude
        panel.set_yscale("log")
    panel.legend(frameon=False)


def _draw_error_rate(panel, error_rate: np.ndarray, label: str) -> None:
    panel.set_ylabel(f"validation {label} (%)")
    panel.set_ylim(0, 100)
    if not len(error_rate):
        panel.text(0.5, 0.5, "no validation yet", ha="center", va="center", color="0.5", transform=panel.transAxes)
        return
    steps, percent = error_rate[:, 0], 100 * error_rate[:, 1]
    # Insertions can lift the rate above 100 % early in a run. Such points are drawn at the edge.
    panel.plot(steps, percent.clip(max=100), color=_VERMILION, marker="o", markersize=4, linewidth=1.5, clip_on=False)
    best = percent.argmin()
    panel.annotate(
        f"best {percent[best]:.2f} %",
        (steps[best], min(percent[best], 100)),
        xytext=(0, 14 if percent[best] < 80 else -20),
        textcoords="offset points",
        ha="right" if steps[best] > steps.mean() else "left",
        color=_VERMILION,
        fontweight="bold",
    )


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The mean over a window centred at each value. At the ends the window is shorter."""
    window = np.ones(2 * int(_SMOOTHED_SHARE * len(values) / 2) + 1)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _read(metrics: Path) -> tuple[np.ndarray, np.ndarray, str]:
    """Rows of (step, loss), rows of (step, error rate of the validation), and the label of this rate."""
    rows = list(_records(metrics))
    label = "PER" if any("valid_per" in row for row in rows) else "WER"
    loss, error_rate = (
        [(row["step"], row[name]) for row in rows if _is_number(row.get("step")) and _is_number(row.get(name))]
        for name in ("loss", f"valid_{label.lower()}")
    )
    return np.array(loss, float).reshape(-1, 2), np.array(error_rate, float).reshape(-1, 2), label


def _records(metrics: Path) -> Iterator[dict]:
    with open(metrics, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))
