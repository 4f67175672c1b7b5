"""What a format offers."""

from rnnt.export.exporting import FORMATS
from rnnt.export.format import graph_bytes
from rnnt.export.plain_onnx import plain_graphs


def test_formats_have_their_names():
    assert list(FORMATS) == ["onnx", "sherpa", "onnx-asr", "web"]
    assert all(kind.name == name for name, kind in FORMATS.items())


def test_bytes_are_those_of_the_files(make):
    graphs = plain_graphs(make())
    assert graph_bytes(graphs) == sum(len(graph.SerializeToString()) for graph in graphs.values())
