"""A model as bytes: the same on a machine that lacks its folder, and told apart from every other."""

import shutil

import pytest

from rnnt.cluster.model_files import LoadOptions, ModelFiles


@pytest.fixture(scope="module")
def folder(make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    make().save(folder)
    return folder


def test_the_model_works_without_its_folder(folder, utterances, expected, same, tmp_path):
    copy, hot = tmp_path / "model", tmp_path / "hot.txt"
    shutil.copytree(folder, copy)
    hot.write_text("a b :3\n")
    plain, steered = ModelFiles.read([copy], LoadOptions()), ModelFiles.read([copy], LoadOptions("beam:2", hot))
    wanted = LoadOptions("beam:2", hot).load([copy], "cpu").transcribe(utterances)
    shutil.rmtree(copy)
    hot.unlink()
    for a, b in zip(plain.open("cpu").transcribe(utterances), expected):
        same(a, b)
    found = steered.open("cpu").transcribe(utterances)
    for a, b in zip(found, wanted):
        same(a, b)
    assert [x.text for x in found] != [x.text for x in expected]


def test_digests_tell_models_apart_and_settings_name_no_files(folder, tmp_path):
    hot = tmp_path / "hot.txt"
    hot.write_text("a b\n")
    files = ModelFiles.read([folder], LoadOptions(hotwords=hot))
    assert files.digest == ModelFiles.read([folder], LoadOptions()).digest
    assert files.settings.keys() == {"hotwords"} and len(files.settings["hotwords"]) == 64
    hot.write_text("a c\n")
    assert ModelFiles.read([folder], LoadOptions(hotwords=hot)).settings != files.settings
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config + "\n")
    assert ModelFiles.read([other], LoadOptions()).digest != files.digest
    assert (
        ModelFiles.read([folder, other], LoadOptions()).digest != ModelFiles.read([other, folder], LoadOptions()).digest
    )
    with pytest.raises(ValueError, match="does not exist"):
        ModelFiles.read([tmp_path / "none"], LoadOptions())
