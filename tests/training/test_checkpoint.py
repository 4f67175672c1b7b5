"""Checkpoints: what is there is whole, and what is not whole does no harm."""

import errno
import hashlib
import os
import pickle

import pytest
import torch

from rnnt.training import checkpoint


def state(step):
    generator = torch.Generator().manual_seed(step)
    return {
        "weights": {"a": torch.randn(3, 4, generator=generator), "b": torch.zeros(0, dtype=torch.int64)},
        "position": {"step": step, "name": "run"},
        "best": float("inf"),
        "list": [1, 2.5, None],
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def save_all(folder, steps, keep=2):
    for step in steps:
        checkpoint.save(folder, step, state(step), keep)


def step_of(folder):
    loaded, problems = checkpoint.load_newest(folder)
    return (loaded and loaded["position"]["step"]), problems


def test_gives_back_what_was_saved(tmp_path):
    path = checkpoint.save(tmp_path / "checkpoints", 7, state(7), 2)
    assert path == tmp_path / "checkpoints" / "step-00000007"
    loaded, problems = checkpoint.load_newest(tmp_path / "checkpoints")
    expected = state(7)
    assert problems == [] and loaded.keys() == expected.keys()
    for name, value in expected["weights"].items():
        assert torch.equal(loaded["weights"][name], value) and loaded["weights"][name].dtype == value.dtype
    for name in ("position", "best", "list"):
        assert loaded[name] == expected[name]


def test_only_the_newest_are_kept_in_the_order_of_their_steps(tmp_path):
    save_all(tmp_path, [5, 90, 1000, 123456789], keep=3)
    assert names(tmp_path) == ["step-00000090", "step-00001000", "step-123456789"]
    assert [path.name for path in checkpoint.steps(tmp_path)] == names(tmp_path)
    assert step_of(tmp_path) == (123456789, [])
    save_all(tmp_path, [123456790], keep=1)
    assert names(tmp_path) == ["step-123456790"]


def test_without_checkpoints_there_is_no_state(tmp_path):
    assert checkpoint.load_newest(tmp_path) == (None, [])
    assert checkpoint.load_newest(tmp_path / "nowhere") == (None, [])


def cut(data):
    return data[: len(data) // 2]


def flip_a_bit(data):
    return data[:300] + bytes([data[300] ^ 4]) + data[301:]


@pytest.mark.parametrize("damage", [cut, flip_a_bit, lambda data: b"", lambda data: data + b"\0"])
@pytest.mark.parametrize("file", ["state.pt", "state.sha256"])
def test_a_damaged_one_is_passed_over_with_a_line(tmp_path, damage, file):
    save_all(tmp_path, [10, 20])
    path = tmp_path / "step-00000020" / file
    data = path.read_bytes()
    changed = damage(data) if file == "state.pt" else b"0" + data[1:-1]
    path.write_bytes(changed)
    step, problems = step_of(tmp_path)
    assert step == 10
    (line,) = problems
    assert line.startswith(f"{tmp_path}/step-00000020 is damaged") and "\n" not in line


def test_one_without_its_files_is_passed_over(tmp_path):
    save_all(tmp_path, [10, 20, 30], keep=3)
    (tmp_path / "step-00000030" / "state.pt").unlink()
    (tmp_path / "step-00000020" / "state.sha256").unlink()
    step, problems = step_of(tmp_path)
    assert step == 10 and len(problems) == 2


def test_where_all_are_damaged_there_is_no_state(tmp_path):
    save_all(tmp_path, [10, 20])
    for path in checkpoint.steps(tmp_path):
        (path / "state.pt").write_bytes(b"nothing")
    loaded, problems = checkpoint.load_newest(tmp_path)
    assert loaded is None and len(problems) == 2


def test_one_saved_after_a_damaged_one_was_passed_over_stays(tmp_path):
    """A resumed run may save at other steps than before: what it saves is never the one that is removed."""
    save_all(tmp_path, [10, 20], keep=1)
    save_all(tmp_path, [15], keep=1)
    assert names(tmp_path) == ["step-00000015"]


def test_the_same_step_is_replaced(tmp_path):
    save_all(tmp_path, [10])
    checkpoint.save(tmp_path, 10, {"position": {"step": 11}}, 2)
    assert step_of(tmp_path) == (11, [])
    assert names(tmp_path) == ["step-00000010"]


@pytest.mark.parametrize("place", ["torch.save", "os.fsync", "os.replace"])
def test_a_full_disk_leaves_the_others_and_nothing_else(tmp_path, monkeypatch, place):
    save_all(tmp_path, [10, 20])

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr({"torch": torch, "os": os}[place.split(".")[0]], place.split(".")[1], fail)
        with pytest.raises(OSError, match=r"cannot save .*step-00000030: .*No space left on device"):
            checkpoint.save(tmp_path, 30, state(30), 2)
    assert names(tmp_path) == ["step-00000010", "step-00000020"]
    assert step_of(tmp_path) == (20, [])


def test_torchs_own_report_of_a_full_disk_is_an_oserror(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match=r"cannot save .* unexpected pos"):
        checkpoint.save(tmp_path, 30, state(30), 2)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("stopped_by", "raises", "says"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            OSError,
            r"cannot save .*: \[Errno 28\] No space left on device",
        ),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_what_stops_torch_while_it_writes_is_not_hidden(tmp_path, monkeypatch, stopped_by, raises, says):
    class StopAfter100:
        def __init__(self, file):
            self.file, self.left = file, 100

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise stopped_by
            return self.file.write(data)

    save = torch.save
    monkeypatch.setattr(torch, "save", lambda state, file: save(state, StopAfter100(file)))
    with pytest.raises(raises, match=says):
        checkpoint.save(tmp_path, 30, state(30), 2)
    assert names(tmp_path) == []


def test_what_a_killed_save_left_is_not_taken_and_gone_after_the_next(tmp_path):
    save_all(tmp_path, [10])
    left = tmp_path / ".step-00000020.tmp"
    left.mkdir()
    (left / "state.pt").write_bytes(b"half")
    assert step_of(tmp_path) == (10, [])
    save_all(tmp_path, [20])
    assert names(tmp_path) == ["step-00000010", "step-00000020"]


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_nothing_in_a_checkpoint_is_run(tmp_path, form):
    save_all(tmp_path / "checkpoints", [10, 20])
    victim = tmp_path / "victim"
    path = tmp_path / "checkpoints" / "step-00000020"
    if form == "torch":
        torch.save({"weights": Attack(str(victim))}, path / "state.pt")
    else:
        (path / "state.pt").write_bytes(pickle.dumps(Attack(str(victim)), protocol=2))
    (path / "state.sha256").write_text(hashlib.sha256((path / "state.pt").read_bytes()).hexdigest())
    step, problems = step_of(tmp_path / "checkpoints")
    assert step == 10 and len(problems) == 1
    assert not victim.exists()


def refuse(*bad):
    def check(loaded):
        if loaded["position"]["step"] in bad:
            raise KeyError("weights")

    return check


def test_one_with_wrong_contents_is_passed_over_with_a_line(tmp_path):
    save_all(tmp_path, [10, 20])
    loaded, problems = checkpoint.load_newest(tmp_path, refuse(20))
    assert loaded["position"]["step"] == 10
    assert problems == [f"{tmp_path}/step-00000020 is damaged (KeyError: 'weights'); passed over"]


def test_a_run_with_whole_checkpoints_of_wrong_contents_alone_is_not_begun_anew(tmp_path):
    save_all(tmp_path, [10, 20, 30], keep=3)
    (tmp_path / "step-00000030" / "state.pt").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"no checkpoint in .* can be used \(.*step-00000020: KeyError: 'weights'\); ch"
    ):
        checkpoint.load_newest(tmp_path, refuse(10, 20))


def test_what_killed_processes_left_is_removed(tmp_path):
    save_all(tmp_path, [10, 20, 30], keep=3)
    (tmp_path / ".step-00000040.tmp").mkdir()
    (tmp_path / ".step-00000040.tmp" / "state.pt").write_bytes(b"half")
    checkpoint.clean(tmp_path, 30, 2)
    assert names(tmp_path) == ["step-00000020", "step-00000030"]
    checkpoint.clean(tmp_path, 20, 1)  # the newest one was passed over: the next save decides on it
    assert names(tmp_path) == ["step-00000020", "step-00000030"]
    checkpoint.clean(tmp_path / "nowhere", 30, 2)


LIKE = {"a": [1, 2.5, True], "b": {"c": torch.zeros(2)}, "d": "x"}


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ([], "state is not a dictionary"),
        ({**LIKE, "e": 1}, "state has e"),
        ({"a": LIKE["a"], "b": LIKE["b"]}, "state lacks d"),
        ({**LIKE, "a": [1, 2.5]}, r"state.a is not a list of 3"),
        ({**LIKE, "a": 7}, r"state.a is not a list of 3"),
        ({**LIKE, "a": [True, 2.5, True]}, r"state.a\[0\] is not of type int"),
        ({**LIKE, "a": [1, float("nan"), True]}, r"state.a\[1\] is not a finite number"),
        ({**LIKE, "a": [1, "2.5", True]}, r"state.a\[1\] is not a finite number"),
        ({**LIKE, "d": None}, "state.d is not of type str"),
        ({**LIKE, "b": {"c": [0.0, 0.0]}}, r"state.b.c is not a tensor of shape \(2,\) of torch.float32"),
        ({**LIKE, "b": {"c": torch.zeros(3)}}, "state.b.c is not a tensor of shape"),
        ({**LIKE, "b": {"c": torch.zeros(2, dtype=torch.float64)}}, "state.b.c is not a tensor of shape"),
        ({**LIKE, "b": {"c": torch.tensor([0.0, torch.inf])}}, "state.b.c holds NaN or infinity"),
    ],
)
def test_a_state_that_is_not_like_the_expected_one_is_refused_by_the_place(found, complaint):
    checkpoint.check_like(LIKE, LIKE, "state")
    with pytest.raises(ValueError, match=complaint):
        checkpoint.check_like(found, LIKE, "state")
