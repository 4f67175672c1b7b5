import pickle

import pytest

from rnnt.corpora import CORPORA, Utterance, find_corpus, read_splits


def test_every_corpus_is_found_by_name():
    names = {"librispeech", "digits", "synthetic", "folder", "lhotse", "mlperf-json", "timit", "an4", "lexicon"}
    assert set(CORPORA) == names
    for name in CORPORA.keys() - {"synthetic"}:  # that one needs an optional dependency
        assert callable(find_corpus(name))


def test_unknown_corpora_and_options_are_explained(tmp_path):
    with pytest.raises(ValueError, match="unknown corpus 'timmit'; there are librispeech, digits, "):
        find_corpus("timmit")
    with pytest.raises(ValueError, match="'digits' has no option 'leave_outt'; it has leave_out, seed"):
        read_splits("digits", tmp_path, leave_outt="theo")
    with pytest.raises(ValueError, match="'librispeech' has no option 'seed'; it has none"):
        read_splits("librispeech", tmp_path, seed=1)
    for key, value, wanted in (("seed", "one", "int"), ("seed", True, "int"), ("leave_out", 7, r"str \| None")):
        with pytest.raises(ValueError, match=f"option '{key}' of corpus 'digits' must be {wanted}, not {value!r}"):
            read_splits("digits", tmp_path, **{key: value})
    with pytest.raises(ValueError, match=r"write \"leave_out='...'\"$"):  # a speaker that YAML takes for a number
        read_splits("digits", tmp_path, leave_out=7)
    with pytest.raises(ValueError, match="must be float, not 'much'"):
        read_splits("folder", tmp_path, valid="much")
    with pytest.raises(ValueError, match="expected audio"):  # a whole number is a share too
        read_splits("folder", tmp_path, valid=0)


def test_utterances_travel_to_other_processes():
    utterance = Utterance("a", "text", "speaker", int)
    assert pickle.loads(pickle.dumps(utterance)) == utterance
