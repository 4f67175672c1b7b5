"""The validation data of a run."""

from rnnt.dataset import Dataset
from rnnt.export.validation import find_validation


def test_validation_data_is_found_by_its_fingerprint(run, prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(prepared)
    assert find_validation(run, ["valid"]).fingerprint == Dataset(prepared / "valid").fingerprint
    assert find_validation(run / "best", ["valid"]) is not None
    assert find_validation(run, ["train"]) is None
