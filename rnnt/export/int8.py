"""Weights of 8 bits that keep the accuracy: which layers stay in float32, and what makes up for blank's bias.

Quantization mostly makes blank too probable, and words are deleted. The bias is measured at the nodes of the paths that
torch has decoded, and taken back. If the error rate is still too high, the layers whose quantization changes the logits
most stay in float32, one after the other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rnnt.export.check import Reference, Result, check_engine, damage
from rnnt.export.format import Format, Graphs, graph_bytes
from rnnt.export.weights import layer_names, quantize, shift_blank
from rnnt.recognizer import Recognizer

_PROBED = 20  # utterances by which the layers are compared
_LEAST_BIAS = 0.005  # nats; less changes nothing


@dataclass(frozen=True)
class Quantized:
    """Graphs of 8 bits. kept: the layers that stay in float32, the worst first. bias: nats taken off blank.

    damages: the mean change of the logits by each layer alone, if they were compared.
    """

    graphs: dict[str, Any]
    result: Result
    kept: list[str]
    bias: float
    damages: dict[str, float]


def fit_int8(
    kind: Format,
    recognizer: Recognizer,
    graphs: Graphs,
    references: Sequence[Reference],
    most_rate: float,
    track: Callable[[Iterable, int, str], Iterable],
) -> Quantized:
    """Quantize as many layers as an error rate of `most_rate` on the references allows."""
    layers = shared_layers(graphs)
    kept: list[str] = []
    damages: dict[str, float] = {}
    while True:
        found, result, bias = _best_bias(kind, recognizer, _quantized(graphs, layers, kept), references, track)
        if result.rate <= most_rate or len(kept) == len(layers):
            return Quantized(found, result, kept, bias, damages)
        if not damages:
            damages = layer_damages(kind, recognizer, graphs, references, track)
        kept.append(max((name for name in layers if name not in kept), key=damages.__getitem__))


def layer_damages(
    kind: Format,
    recognizer: Recognizer,
    graphs: Graphs,
    references: Sequence[Reference],
    track: Callable[[Iterable, int, str], Iterable],
) -> dict[str, float]:
    """Return the mean change of the logits by each layer if it alone has 8 bits."""
    layers = shared_layers(graphs)
    probed = list(islice((each for each in references if each.logits is not None), _PROBED))
    found = {}
    for name in track(layers, len(layers), "layers"):
        changed = _quantized(graphs, layers, [other for other in layers if other != name])
        make = next(iter(kind.engines(recognizer, changed).values()))
        found[name] = damage(make(), probed)
    return found


def shared_layers(graphs: Graphs) -> dict[str, dict[str, str]]:
    """Return the layers of a model: for each, its name, and that in each graph which has it.

    The graph of a stream has the layers of the encoder, if that is there, under other names in the same order.
    """
    layers: dict[str, dict[str, str]] = {}
    for file, graph in graphs.items():
        names = layer_names(graph)
        whole = file.replace("-stream", "")
        stream, stem = whole != file and whole in graphs, whole.partition(".")[0]
        for number, name in enumerate(names):
            layers.setdefault(f"{stem}:{number}", {})[file] = name
        if not stream:
            renamed = {f"{stem}:{number}": f"{stem}{name}" for number, name in enumerate(names)}
            layers = {renamed.get(key, key): of for key, of in layers.items()}
            continue
        originals = [key for key, of in layers.items() if whole in of]
        extra = [layers.pop(f"{stem}:{number}") for number in range(len(names))]
        for key, of in zip(originals, extra, strict=True):
            layers[key] |= of
    return layers


def _quantized(graphs: Graphs, layers: dict[str, dict[str, str]], kept: Sequence[str]) -> dict[str, Any]:
    keep = {file: [layers[name][file] for name in kept if file in layers[name]] for file in graphs}
    return {file: quantize(graph, keep[file]) for file, graph in graphs.items()}


def _best_bias(
    kind: Format,
    recognizer: Recognizer,
    graphs: dict[str, Any],
    references: Sequence[Reference],
    track: Callable[[Iterable, int, str], Iterable],
) -> tuple[dict[str, Any], Result, float]:
    """Return the graphs with or without the correction of blank's bias, whichever errs less, and the correction."""

    def check(changed: Graphs) -> Result:
        make = next(iter(kind.engines(recognizer, changed).values()))
        return check_engine("int8", recognizer, make, graph_bytes(changed), references, track)

    result = check(graphs)
    if abs(result.bias) < _LEAST_BIAS:
        return graphs, result, 0.0
    shifted = {file: shift_blank(graph, result.bias) for file, graph in graphs.items()}
    corrected = check(shifted)
    if (corrected.rate, corrected.differing) <= (result.rate, result.differing):
        return shifted, corrected, result.bias
    return graphs, result, 0.0
