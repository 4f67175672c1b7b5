"""The description of a split: refused in one line with its name and the mend, however it is damaged."""

import io
import json
import math
import random

import numpy as np
import pytest
from typer.testing import CliRunner

from rnnt.cli import app
from rnnt.corpora import Split, Utterance
from rnnt.dataset import Dataset, write_split
from rnnt.prepare import prepare
from rnnt.shard import StoredUtterance

MEND = r"; remove .* and run `rnnt prepare [^`]+ --out [^`]+` again$"


@pytest.fixture
def folder(tmp_path):
    given = [StoredUtterance(f"u{i}", np.arange(900 + i, dtype=np.int16), f"text {i}", "s") for i in range(5)]
    write_split(tmp_path / "data" / "train", given, shard_bytes=3000, source="folder /corpus")
    return tmp_path / "data" / "train"


def leaves(value, path=()):
    """The path of everything in a JSON value but of the value itself."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from leaves(value[key], (*path, key))


WRONG = [
    None,
    True,
    -1,
    -(2**70),
    2**70,
    10**400,
    0.5,
    math.nan,
    math.inf,
    "",
    "a",
    "\0",
    "../x",
    [],
    [None],
    {},
    {"a": 1},
]


def test_any_wrong_value_is_refused_in_one_line(folder):
    path = folder / "dataset.json"
    whole = json.loads(path.read_text())
    refused = 0
    for place in leaves(whole):
        for wrong in WRONG:
            damaged = json.loads(json.dumps(whole))
            parent = damaged
            for key in place[:-1]:
                parent = parent[key]
            if type(wrong) is type(parent[place[-1]]):  # another text or number may be right
                continue
            parent[place[-1]] = wrong
            path.write_text(json.dumps(damaged))
            if (place, wrong) == (("characters",), None):
                Dataset(folder)
                continue
            with pytest.raises(ValueError, match=MEND) as error:
                pytest.fail(f"{wrong} is accepted at {place}: {Dataset(folder)}")
            assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
            refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_rate": 0},
        {"sample_rate": 10**9},
        {"sample_rate": -16000},
        {"utterances": 6},
        {"utterances": 0},
        {"hours": -1},
        {"hours": 1e300},
        {"input": "symbols"},
        {"input": "video"},
        {"skipped": -1},
        {"words": 5},
        {"input": "symbols", "sample_rate": 0},
        {"symbols": "a"},
        {"shards": []},
        {"characters": {"common": "", "rare": {"a": [5]}}},
        {"characters": {"common": "", "rare": {"a": [-1]}}},
        {"characters": {"common": "", "rare": {"ab": [1]}}},
    ],
)
def test_numbers_that_cannot_be_are_refused(folder, changes):
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=rf"^{path}: .*{MEND}"):
        Dataset(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", "../train/shard-00000.arrow"), ("name", "/etc/passwd"), ("batches", [2, 1]), ("batches", [-2, 4]),
     ("bytes", -1), ("batches", [])],
)  # fmt: skip
def test_shards_that_cannot_be_are_refused(folder, key, value):
    path = folder / "dataset.json"
    description = json.loads(path.read_text())
    description["shards"][0][key] = value
    path.write_text(json.dumps(description))
    with pytest.raises(ValueError, match=rf"^{path}: .*{MEND}"):
        Dataset(folder)
    description["shards"][0] = description["shards"][1]  # twice the same
    path.write_text(json.dumps(description))
    with pytest.raises(ValueError, match=rf"^{path}: .*{MEND}"):
        Dataset(folder)


@pytest.mark.parametrize("name", ["dataset.json", "num_samples.npy"])
def test_damaged_bytes_open_or_are_refused_in_one_line(folder, name):
    path = folder / name
    whole = path.read_bytes()
    refused = 0
    for case in range(400):
        draw = random.Random(case)
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 2, 20])):
            damaged[draw.randrange(min(len(whole), 200))] = draw.choice([*b'0-9"[]{},e', 0, 255, draw.randrange(256)])
        path.write_bytes(damaged[: draw.choice([len(whole), len(whole), draw.randrange(len(whole))])])
        try:
            list(Dataset(folder))
        except ValueError as error:
            refused += 1
            assert str(error).startswith(str(folder)) and "`rnnt prepare " in str(error)
            assert len(str(error).splitlines()) == 1 and len(str(error)) < 3 * len(str(folder)) + 400
    assert refused > 200


def test_nesting_and_long_numbers_are_refused(folder):
    for content in (
        "[" * 100_000,
        '{"version": ' * 100_000,
        '{"version": 1' + "0" * 5000 + "}",
        "null",
        "1",
        '"a"',
        "",
    ):
        (folder / "dataset.json").write_text(content)
        with pytest.raises(ValueError, match=MEND) as error:
            Dataset(folder)
        assert "\n" not in str(error.value) and len(str(error.value)) < 1000


def saved(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


GOOD = np.array([900, 901, 902, 903, 904])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        saved(GOOD),  # int64
        saved(GOOD.astype(np.float32)),
        saved(GOOD.astype(np.float64) * np.nan),
        saved(GOOD.astype(">i4").astype("S4")),
        saved(GOOD.astype(np.int32)[None]),
        saved(np.array(7, np.int32)),
        saved(GOOD.astype(np.int32)[:4]),
        saved(np.array([900, 901, 902, 903, -904], np.int32)),
        saved(np.array([900, 901, 902, 903, 2**31 - 1], np.int32)),
        saved(np.array([1, None, [], {}, "a"], object), allow_pickle=True),
        saved(GOOD.astype(np.int32))[:-3],
        saved(GOOD.astype(np.int32)).replace(b"(5,)", b"(-5)"),
        saved(GOOD.astype(np.int32)).replace(b"(5,), }              ", b"(5000000000000000,), }"[:21]),
        saved(GOOD.astype(np.int32)).replace(b"(5,), }", b"((((((("),
    ],
)
def test_lengths_that_are_no_lengths_are_refused(folder, content):
    path = folder / "num_samples.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{path}: .*; remove {folder} and run `rnnt prepare folder /corpus --out "):
        Dataset(folder)


def silence(rate):
    return np.zeros(rate, np.int16)


def test_every_command_names_the_damaged_file(folder, tmp_path, recognizer):
    recognizer.save(tmp_path / "model")
    for name in ("dataset.json", "num_samples.npy"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(b"damaged")
        for command in (
            ["info", folder],
            ["info", folder.parent],
            ["info", folder, "--verify"],
            ["evaluate", tmp_path / "model", "--data", folder],
            ["tokenizer", folder, "--out", tmp_path],
            ["train", "small", "--data", folder.parent, "--out", tmp_path / "run", "data.valid=[]"],
        ):
            result = CliRunner().invoke(app, [str(part) for part in command])
            text = str(result.exception) + result.output
            assert result.exit_code and str(folder / name) in text and "rnnt prepare" in text, command
        if name == "dataset.json":
            with pytest.raises(ValueError, match=rf"{folder / name}: cannot be read .*{MEND}"):
                prepare({"train": Split([Utterance("u", "text", "", silence)])}, folder.parent, workers=1)
        (folder / name).write_bytes(whole)
    assert not (tmp_path / "run").exists()
