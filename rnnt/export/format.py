"""What a format of exported models offers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnt.export.runtime import Engine
from rnnt.recognizer import Recognizer

Graphs = Mapping[str, Any]  # onnx.ModelProto by the name of its file


@dataclass(frozen=True)
class Format:
    """A format: how its graphs are made, run and written.

    graphs(recognizer): the graphs in float32, as onnx.ModelProto, by the names of their files. Raises ValueError if the
    model cannot be exported so, with the settings to train with.
    engines(recognizer, graphs): functions that open the graphs, by the names of the ways to run them; the first of them
    runs whole utterances.
    write(recognizer, graphs, folder, weights): write all files. weights: float32, float16 or int8.
    """

    name: str
    graphs: Callable[[Recognizer], dict[str, Any]]
    engines: Callable[[Recognizer, Graphs], dict[str, Callable[[], Engine]]]
    write: Callable[[Recognizer, Graphs, Path, str], None]


def graph_bytes(graphs: Graphs) -> int:
    """Return the size of all graphs."""
    return sum(graph.ByteSize() for graph in graphs.values())
