import errno
import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from rnnt.characters import RARE
from rnnt.dataset import Dataset, write_split
from rnnt.description import write_description
from rnnt.progress import Display
from rnnt.shard import BATCH_BYTES, ShardWriter, StoredUtterance, open_shard
from rnnt.silence import trim_silence
from rnnt.text import duration


def utterances(count, seed=0, longest=5000):
    rng = np.random.default_rng(seed)
    return [
        StoredUtterance(
            id=f"id-{seed}-{number}",
            input=rng.integers(-32768, 32768, rng.integers(1, longest)).astype(np.int16),
            text=f"text {number} äß",
            speaker=f"s{number % 3}",
        )
        for number in range(count)
    ]


def write(folder, *shards, sample_rate=16000):
    folder.mkdir()
    written = []
    for number, shard in enumerate(shards):
        writer = ShardWriter(folder / f"shard-{number:05d}.arrow")
        for utterance in shard:
            writer.add(utterance)
        written.append(writer.close())
    write_description(folder, written, sample_rate, source="made up")
    return folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Two splits of several shards and of several batches in a shard, and what is in them."""
    parts = [utterances(7, 0), utterances(20, 1, longest=BATCH_BYTES // 4), utterances(1, 2)]
    folder = tmp_path_factory.mktemp("data")
    write(folder / "a", parts[0], parts[1])
    write(folder / "b", parts[2])
    return folder, [utterance for part in parts for utterance in part]


def same(left, right):
    np.testing.assert_array_equal(left.input, right.input)
    assert (left.id, left.text, left.speaker) == (right.id, right.text, right.speaker)


def test_gives_back_what_was_written(stored):
    folder, expected = stored
    dataset = Dataset(folder / "a", folder / "b")
    assert len(json.loads((folder / "a" / "dataset.json").read_text())["shards"][1]["batches"]) > 2
    assert len(dataset) == len(expected)
    for utterance, other in zip(dataset, expected):
        same(utterance, other)
    same(dataset[-1], expected[-1])
    same(dataset[np.int64(9)], expected[9])
    assert dataset.lengths.tolist() == [len(utterance.input) for utterance in expected]
    assert dataset.hours == pytest.approx(sum(len(utterance.input) for utterance in expected) / 16000 / 3600)
    assert list(dataset.texts()) == [utterance.text for utterance in expected]
    assert [dataset.text(i) for i in range(len(dataset))] == [utterance.text for utterance in expected]
    assert (dataset.id(8), dataset.speaker(8)) == (expected[8].id, expected[8].speaker)
    for index in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError):
            dataset[index]


def test_silence_is_trimmed_on_request(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    quiet = [np.zeros(n, np.int16) for n in (5000, 0, 3000, 3000)]
    audio = [np.concatenate([x, rng.integers(-9000, 9000, 6000).astype(np.int16), x]) for x in quiet]
    write(tmp_path / "a", [StoredUtterance(str(i), x, "t", "") for i, x in enumerate(audio)])

    def check():
        dataset = Dataset(tmp_path / "a")
        for i, samples in enumerate(audio):
            np.testing.assert_array_equal(dataset.read(i, trim=True)[0].input, trim_silence(samples))
            np.testing.assert_array_equal(dataset.read(i)[0].input, samples)
        return len(dataset.read(0, trim=True)[0].input)

    with monkeypatch.context() as patch:
        patch.setattr("rnnt.dataset.speech_bounds", None)  # the bounds are in the shard
        assert check() < 6000 + 2 * 2048

    path = tmp_path / "a" / "shard-00000.arrow"
    table = pa.ipc.open_file(path).read_all().drop_columns(["speech_start", "speech_end"])
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    description = json.loads((tmp_path / "a" / "dataset.json").read_text())
    description["shards"][0] |= {"bytes": path.stat().st_size, "sha256": "older"}
    (tmp_path / "a" / "dataset.json").write_text(json.dumps(description))
    check()


def test_characters_are_found_without_the_texts(tmp_path, monkeypatch):
    texts = ["ab", "", "bé", *["ab"] * (RARE + 20), "éz", "az"]
    split = [StoredUtterance(str(i), np.ones(2, np.int16), text, "") for i, text in enumerate(texts)]
    write(tmp_path / "a", split[:50], split[50:])
    write(tmp_path / "b", [StoredUtterance("x", np.ones(2, np.int16), "cz", "")])
    last = len(texts) - 1

    def check():
        dataset = Dataset(tmp_path / "a", tmp_path / "b", tmp_path / "a")
        again = last + 2  # the first utterance of the third folder
        assert dataset.characters() == set("abcéz")
        assert list(dataset.holding("é")) == [2, last - 1, again + 2, again + last - 1]
        assert list(dataset.holding("zc")) == [last - 1, last, last + 1, again + last - 1, again + last]
        assert list(dataset.holding("xy")) == list(dataset.holding("")) == []
        return dataset

    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "_texts", None)
        dataset = check()
    assert list(dataset.holding("aé"))[:4] == [0, 2, 3, 4]  # a is common
    assert sum(i <= last for i in dataset.holding("aé")) == len(texts) - 1

    for name in "ab":  # as an earlier version left it
        path = tmp_path / name / "dataset.json"
        description = json.loads(path.read_text())
        del description["characters"]
        path.write_text(json.dumps(description))
    check()


def test_many_folders_are_one_dataset(tmp_path):
    expected = []
    for number in range(60):
        part = utterances(number % 4 + 1, number, longest=50)
        write(tmp_path / f"{number:02d}", part)
        expected += part
    dataset = Dataset(*sorted(tmp_path.iterdir()))
    assert len(dataset) == len(expected)
    for utterance, other in zip(dataset, expected):
        same(utterance, other)
    assert list(dataset.holding("0")) == [i for i, utterance in enumerate(expected) if "0" in utterance.text]


def test_audio_cannot_be_written_into(stored):
    assert not any(utterance.input.flags.writeable for utterance in Dataset(stored[0] / "a"))


def test_a_dataset_whose_shard_is_damaged_while_it_is_open(tmp_path):
    folder = write(tmp_path / "a", utterances(2), utterances(3, 1))
    dataset, other = Dataset(folder), utterances(3, 2)
    assert len(list(dataset)) == 5
    shard = folder / "shard-00001.arrow"
    whole = shard.read_bytes()
    for content in (b"", whole[:100], b"\xff" * len(whole)):
        shard.write_bytes(content)
        for read in (lambda: dataset[3], lambda: dataset.text(4), lambda: list(dataset.texts())):
            with pytest.raises(ValueError, match=r"shard-00001.arrow: is damaged"):
                read()
        same(dataset[1], utterances(2)[1])
    write(tmp_path / "b", other)  # another shard under the checksum of this one
    shard.unlink()
    os.link(tmp_path / "b" / "shard-00000.arrow", shard)
    open_shard.cache_clear()
    with pytest.raises(ValueError, match=r"shard-00001.arrow: is damaged \(an input is not as long"):
        dataset[3]


def test_many_threads_read_at_once(stored):
    folder, expected = stored
    dataset = Dataset(folder / "a", folder / "b")
    order = np.random.default_rng(0).integers(0, len(expected), 2000).tolist()
    with ThreadPoolExecutor(8) as pool:
        for index, utterance in zip(order, pool.map(dataset.__getitem__, order)):
            same(utterance, expected[index])


def test_survives_pickling_and_forking(stored):
    folder, expected = stored
    dataset = Dataset(folder / "a")
    same(dataset[3], expected[3])
    same(pickle.loads(pickle.dumps(dataset))[8], expected[8])
    child = os.fork()
    if child == 0:
        try:
            same(dataset[8], expected[8])
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_index_of_ten_million_utterances_is_small(tmp_path):
    dataset = Dataset(write(tmp_path / "a", utterances(1000, longest=3)))
    arrays = [value.nbytes for value in vars(dataset).values() if isinstance(value, np.ndarray)]
    assert sum(arrays) / len(dataset) < 10  # bytes, no Python objects an utterance: below 100 MB in all


def test_a_rewritten_folder_is_read_anew(tmp_path):
    same(Dataset(write(tmp_path / "a", utterances(3, 0)))[1], utterances(3, 0)[1])
    (tmp_path / "a").rename(tmp_path / "old")
    same(Dataset(write(tmp_path / "a", utterances(3, 1)))[1], utterances(3, 1)[1])


def test_a_fingerprint_tells_data_apart(tmp_path):
    one, other = utterances(6), utterances(6)
    other[3].input[0] ^= 1
    folders = [write(tmp_path / name, part[:4], part[4:]) for name, part in (("a", one), ("b", other))]
    write(tmp_path / "text", one[:4], [replace(one[4], text="another"), one[5]])
    write(tmp_path / "speaker", one[:4], [replace(one[4], speaker="another"), one[5]])
    write(tmp_path / "rate", one[:4], one[4:], sample_rate=8000)
    write(tmp_path / "fewer", one[:4])
    datasets = [Dataset(tmp_path / name) for name in ("a", "b", "text", "speaker", "rate", "fewer")]
    datasets += [Dataset(*folders), Dataset(*folders[::-1]), datasets[0].subset([1, 2]), datasets[0].subset([2, 1])]
    assert len({dataset.fingerprint for dataset in datasets}) == len(datasets)
    shutil.copytree(folders[0], tmp_path / "copy")
    path = tmp_path / "copy" / "dataset.json"
    description = json.loads(path.read_text())
    assert len(description["shards"]) == 2
    for late in ("input", "characters"):  # as an earlier version left it
        del description[late]
    path.write_text(json.dumps(description | {"source": "elsewhere"}))
    assert Dataset(tmp_path / "copy").fingerprint == datasets[0].fingerprint


def test_verify_finds_a_changed_byte(tmp_path):
    folder = write(tmp_path / "a", utterances(5), utterances(5, 1))
    Dataset(folder).verify()
    shard = folder / "shard-00001.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged: .*shard-00001.arrow; "):
        Dataset(folder).verify()


def test_verify_compares_lengths_and_characters_with_the_shards(tmp_path):
    folder = write(tmp_path / "a", utterances(5), utterances(5, 1))
    other = write(tmp_path / "b", utterances(3))
    Dataset(folder, other).verify()
    for name in ("num_samples.npy", "dataset.json"):
        whole = (folder / name).read_bytes()
        if name == "dataset.json":
            description = json.loads(whole)
            description["characters"]["common"] += "ż"
            (folder / name).write_text(json.dumps(description))
        else:
            np.save(folder / name, np.load(folder / name)[::-1])
        with pytest.raises(ValueError, match=rf"^damaged: {folder} \(its (lengths|characters) are not[^,]*; copy"):
            Dataset(other, folder).verify()
        (folder / name).write_bytes(whole)
    Dataset(folder, other).verify()


def test_verify_shows_progress_and_names_a_failing_disk(tmp_path, monkeypatch, capsys):
    folder = write(tmp_path / "a", utterances(5), utterances(5, 1))
    monkeypatch.setattr("rnnt.dataset.Display", partial(Display, seconds=0))
    Dataset(folder).verify()
    assert capsys.readouterr().err.splitlines()[0].startswith(f"verifying {folder}: 1 of 2 shards")

    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("rnnt.dataset.sha256_of", fail)
    with pytest.raises(ValueError, match=r"shard-00000\.arrow \(Input/output error\), .*shard-00001"):
        Dataset(folder).verify()


def test_a_shard_that_is_overwritten_in_place_is_noticed(tmp_path):
    """The other one has the same size and layout, so that only its checksum tells."""
    folder = write(tmp_path / "a", utterances(3))
    path = folder / "shard-00000.arrow"
    whole = path.read_bytes()
    other = bytearray(whole)
    dataset = Dataset(folder)
    samples = dataset[1].input
    place = whole.index(samples.tobytes())
    other[place : place + samples.nbytes] = (samples ^ 1).tobytes()
    os.utime(path, (1, 1))  # any other date
    np.testing.assert_array_equal(dataset[1].input, samples)  # the same contents
    path.write_bytes(other)
    for read in (lambda: dataset[1], lambda: dataset.text(1), lambda: list(dataset.texts()), lambda: dataset.id(0)):
        with pytest.raises(ValueError, match=r"shard-00000\.arrow: is damaged \(another program wrote into it"):
            read()
    path.write_bytes(whole)
    np.testing.assert_array_equal(dataset[1].input, samples)
    path.unlink()  # the open one is still there
    path.write_bytes(other)
    np.testing.assert_array_equal(dataset[1].input, samples)


def test_mistakes_are_explained(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        Dataset()
    with pytest.raises(ValueError, match="no such dataset"):
        Dataset(tmp_path / "missing")
    with pytest.raises(ValueError, match="is not a dataset"):
        Dataset(tmp_path)
    write(tmp_path / "train", utterances(2))
    write(tmp_path / "test", utterances(2), sample_rate=8000)
    (tmp_path / ".valid.partial").mkdir()
    (tmp_path / ".valid.partial" / "dataset.json").write_text("{}")
    with pytest.raises(ValueError, match="it holds the splits test, train: name one of them"):
        Dataset(tmp_path)
    with pytest.raises(ValueError, match=r"test is at 8000 Hz and .*train at 16000 Hz"):
        Dataset(tmp_path / "train", tmp_path / "test")


def test_a_shard_that_is_missing_or_cut(tmp_path):
    folder = write(tmp_path / "a", utterances(2), utterances(2, 1))
    shard = folder / "shard-00001.arrow"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=rf"shard-00001.arrow: has {len(data) - 1} bytes instead of {len(data)}"):
        Dataset(folder)
    shard.unlink()
    with pytest.raises(ValueError, match=r"shard-00001.arrow: is missing"):
        Dataset(folder)
    shard.write_bytes(bytes(len(data)))  # the right size, and still no Arrow file
    with pytest.raises(ValueError, match=r"shard-00001.arrow: is damaged"):
        Dataset(folder)[2]
    half = len(data) // 2
    shard.write_bytes(bytes(half) + data[half:])  # the end of one, which says where the zeros before it begin
    with pytest.raises(ValueError, match=r"shard-00001.arrow: is damaged"):
        Dataset(folder)[2]


def test_a_description_that_is_damaged_or_of_another_version(tmp_path):
    folder = write(tmp_path / "a", utterances(2))
    path = folder / "dataset.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        Dataset(folder)
    for content in ("{", "[]", json.dumps({"version": 1}), json.dumps({**description, "shards": [{}]})):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"dataset.json: cannot be read"):
            Dataset(folder)


def test_the_lengths_must_fit(tmp_path):
    folder = write(tmp_path / "a", utterances(2))
    np.save(folder / "num_samples.npy", np.zeros(3, np.int32))
    with pytest.raises(ValueError, match=r"num_samples.npy: does not fit the shards"):
        Dataset(folder)
    (folder / "num_samples.npy").write_bytes(b"")
    with pytest.raises(ValueError, match=r"num_samples.npy: cannot be read"):
        Dataset(folder)
    (folder / "num_samples.npy").unlink()
    with pytest.raises(ValueError, match=r"num_samples.npy: cannot be read"):
        Dataset(folder)


def test_amounts_of_audio_in_words():
    assert [duration(hours) for hours in (0, 0.5 / 60, 0.99, 1, 1234.5)] == [
        "0.0 minutes", "0.5 minutes", "59.4 minutes", "1.00 hours", "1,234.50 hours",
    ]  # fmt: skip


def test_a_subset_is_a_dataset(stored):
    folder, expected = stored
    dataset = Dataset(folder / "a", folder / "b")
    order = [27, 3, 8, 3, 0]
    chosen = dataset.subset(order)
    assert len(chosen) == 5 and chosen.lengths.tolist() == dataset.lengths[order].tolist()
    for utterance, i in zip(chosen, order):
        same(utterance, expected[i])
    assert list(chosen.texts()) == [expected[i].text for i in order]
    assert [chosen.id(i) for i in range(5)] == [expected[i].id for i in order]
    assert chosen.characters() == set("".join(expected[i].text for i in order))
    assert list(chosen.holding("8")) == [i for i, place in enumerate(order) if "8" in expected[place].text]
    again = chosen.subset(range(1, 3))
    same(again[1], expected[8])
    assert chosen.hours == pytest.approx(sum(len(expected[i].input) for i in order) / 16000 / 3600)
    assert len(dataset) == len(expected) and len(dataset.subset([])) == 0
    with pytest.raises(IndexError):
        chosen[5]


def test_symbols_are_stored_as_audio_is(tmp_path):
    words = [["c", "a", "t"], ["ß"], [], ["ch", "e"]]
    expected = [StoredUtterance(f"w{i}", word, " ".join(word).upper(), "") for i, word in enumerate(words)]
    write_split(tmp_path / "a", expected, source="made up", shard_bytes=260)
    dataset = Dataset(tmp_path / "a")
    assert (dataset.input, dataset.sample_rate, dataset.hours) == ("symbols", 0, 0)
    assert list(dataset) == expected and dataset.lengths.tolist() == [3, 1, 0, 2]
    assert len(list((tmp_path / "a").glob("*.arrow"))) == 2
    dataset.verify()
    write_split(tmp_path / "audio", utterances(2))
    with pytest.raises(ValueError, match=r"audio holds audio and .*a symbols"):
        Dataset(tmp_path / "a", tmp_path / "audio")


def test_a_split_is_written_whole_or_not(tmp_path):
    expected = utterances(9)
    write_split(tmp_path / "a", iter(expected), shard_bytes=20_000, note="hello")
    dataset = Dataset(tmp_path / "a")
    assert len(list((tmp_path / "a").glob("*.arrow"))) > 1 and len(dataset) == 9
    for utterance, other in zip(dataset, expected):
        same(utterance, other)
    assert json.loads((tmp_path / "a" / "dataset.json").read_text())["note"] == "hello"
    with pytest.raises(ValueError, match="a exists; remove it or choose another folder"):
        write_split(tmp_path / "a", expected)
    with pytest.raises(ValueError, match="at least one utterance"):
        write_split(tmp_path / "b", [])

    def broken():
        yield from expected
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_split(tmp_path / "b", broken())
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
