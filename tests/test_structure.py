"""The package keeps its shape: imports point one way, names are distinct, files are short, explained and tested."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rnnt"
FILES = sorted(PACKAGE.rglob("*.py"))

# Each module may import those of the same layer and of the layers above it in this list (docs/architecture.md).
LAYERS = [
    "text files fields read_ahead threads usage arrow model_config features_config phones features_presets",
    "config device progress frames loudness voice stream_states silence sounds boundaries reestimation calibration",
    "transcript characters",
    "plain_yaml tree background archive",
    "subtitles formats",
    "settings audio mel tokenizer alphabet shard description",
    "corpora readers dataset origin ngram known_times",
    "sound_folder",
    "noise rooms",
    "scene",
    "conditions",
    "prepare sampler loader splice segments recordings",
    "page_files augment mfcc shapes running_statistics features feature_stream loss",
    "symbol_input",
    "model",
    "decoding",
    "measure model_folder latency",
    "error_rate",
    "references",
    "word_times anchors windows",
    "transcription evaluation text_alignment live_segment",
    "transduction live",
    "symbol_alignment",
    "recognizer",
    "comparison time_errors suspicion live_evaluation",
    "report report_folder plot alignment_picture convert nemo_config nemo calibrator tuning",
    "training serve cluster",
    "info demo export",
    "commands",
    "cli",
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
# Functions that several modules offer under one name because they are one interface.
INTERFACES = {"splits"} | {"hidden", "add_hidden_gradient", "log_probs", "logit_gradient", "forward_backward"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports(path):
    """The modules of the package that a file imports, also inside functions, except those for type checkers alone."""
    tree = ast.parse(path.read_text())
    checked = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in checked:
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.split(".")[0] == "rnnt":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "rnnt":
                yield name if name in MODULES else name.rpartition(".")[0]


GRAPH = {name: set(imports(path)) - {name} for name, path in MODULES.items()}


def test_no_circle_of_imports():
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for other in GRAPH[name]:
                visit(other)
            path.pop()
            done.add(name)

    for name in GRAPH:
        visit(name)


def test_imports_point_one_way():
    def noun(name):
        return name.split(".")[1]

    below = [name for name in MODULES if name != "rnnt" and noun(name) not in LEVEL]
    assert not below, f"give them a layer: {below}"
    upward = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if name != "rnnt" and other != "rnnt" and LEVEL[noun(other)] > LEVEL[noun(name)]
    ]
    assert not upward


def definitions():
    """(module, qualified name, node) of each public class, function and method."""
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                yield name, node.name, node
                for item in node.body if isinstance(node, ast.ClassDef) else ():
                    if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
                        yield name, f"{node.name}.{item.name}", item


def test_every_public_definition_is_explained():
    """A method that overrides one of a base class of the package is explained there."""
    found = list(definitions())
    explained = {name for _, name, node in found if ast.get_docstring(node)}
    bases = {
        name: [base.id for base in node.bases if isinstance(base, ast.Name)]
        for _, name, node in found
        if isinstance(node, ast.ClassDef)
    }
    bare = []
    for module, name, _ in found:
        owner, _, method = name.partition(".")
        inherited = any(f"{base}.{method}" in explained for base in bases.get(owner, ()))
        if name not in explained and not inherited:
            bare.append(f"{module}.{name}")
    assert not bare


def test_no_two_public_functions_share_a_name():
    homes = defaultdict(list)
    for module, name, _ in definitions():
        if "." not in name and name not in INTERFACES:
            homes[name].append(module)
    assert not {name: modules for name, modules in homes.items() if len(modules) > 1}


@pytest.mark.parametrize("folder", ["rnnt", "tests", "benchmarks", "examples"])
def test_files_are_short(folder):
    limit = 320 if folder == "rnnt" else 560
    long = {
        str(path): lines for path in (ROOT / folder).rglob("*.py") if (lines := path.read_text().count("\n")) > limit
    }
    assert not long


def test_every_module_has_a_test_file_of_its_name():
    """rnnt/X.py is tested in tests/test_X.py, and rnnt/loss/X.py in tests/loss/test_X.py."""
    missing = []
    for path in FILES:
        mirror = ROOT / "tests" / path.relative_to(PACKAGE).with_name(f"test_{path.name}")
        if path.name != "__init__.py" and not mirror.is_file():
            missing.append(str(mirror.relative_to(ROOT)))
    assert not missing
