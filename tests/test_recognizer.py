"""The recognizer: training mode is refused, several threads share a model, batches are encoded and decoded."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

import rnnt
from rnnt.alphabet import Alphabet
from rnnt.config import TokenizerConfig
from rnnt.decoding import beam
from rnnt.loader import collate
from rnnt.recognizer import EnsembleRecognizer, Recognizer
from rnnt.settings import from_tree
from rnnt.tokenizer import train_tokenizer


def test_training_mode_is_refused(make, utterances):
    recognizer = make().train()
    with pytest.raises(ValueError, match=r"training mode, .*; call model\.eval\(\)"):
        recognizer.transcribe([utterances[2]])
    assert all(module.training for module in recognizer.modules())


def test_several_threads_share_a_model(recognizer, utterances, expected, same):
    """Each thread decodes the utterances in another order and in other batches, all at the same time."""

    def work(number):
        order = [(3 * i + number) % len(utterances) for i in range(len(utterances))]
        return order, recognizer.transcribe([utterances[i] for i in order], 1 + number % 3)

    with ThreadPoolExecutor(8) as pool:
        for order, transcripts in pool.map(work, range(24)):
            for i, transcript in zip(order, transcripts):
                same(transcript, expected[i])
    assert not recognizer.training


def test_a_batch_is_encoded_and_decoded(recognizer, utterances, expected):
    batch = collate(utterances, [[]] * len(utterances), [""] * len(utterances))
    with recognizer.inference():
        encoder_BTD, lengths = recognizer.encode(batch)
        hypotheses = recognizer.decode(batch, encoder_BTD, lengths)
    assert encoder_BTD.shape == (7, int(lengths.max()), recognizer.model.encoder.width)
    assert lengths.tolist() == [-(-len(samples) // 960) for samples in utterances]  # one frame in 60 ms
    assert not encoder_BTD.requires_grad and encoder_BTD.dtype == torch.float32
    assert [hypothesis.tokens for hypothesis in hypotheses] == [transcript.tokens for transcript in expected]


def test_the_search_is_that_of_the_settings(make, utterances):
    recognizer = make(decoding={"max_symbols_per_frame": 3, "method": "beam", "beam": 2})
    batch = collate(utterances, [[]] * len(utterances), [""] * len(utterances))
    with recognizer.inference():
        encoder_BTD, lengths = recognizer.encode(batch)
        hypotheses = recognizer.decode(batch, encoder_BTD, lengths)
        expected = [best for best, *_ in beam(recognizer.model, encoder_BTD, lengths, recognizer.config.decoding)]
    assert [h.tokens for h in hypotheses] == [h.tokens for h in expected]
    assert all(h.total is not None for h in hypotheses)


def test_a_model_is_loaded_with_another_search(recognizer, tmp_path):
    recognizer.save(tmp_path)
    assert rnnt.load(tmp_path, decoding="beam:7").config.decoding == replace(
        recognizer.config.decoding, method="beam", beam=7
    )
    assert rnnt.load(tmp_path).config == recognizer.config
    with pytest.raises(ValueError, match="no decoding 'beams'; give greedy, beam, or beam:8"):
        rnnt.load(tmp_path, decoding="beams")


def perturbed(recognizer, seed):
    """The same model with other weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in recognizer.model.parameters():
            parameter += 0.3 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    return recognizer


@pytest.fixture(scope="module")
def members(make):
    """Models with other features and networks, but one distance of encoder frames (60 ms) and one vocabulary."""
    lstm = {"hidden": 16, "pre_layers": 1, "post_layers": 1}
    networks = {"predictor": {"embedding": 8, "hidden": 8, "layers": 1}, "joint": {"hidden": 12}, "init_scale": 1.0}
    six = make(
        features={"mels": 13, "normalization": "shape", "stack": 6},
        model={"encoder": {"lstm": {**lstm, "hidden": 10, "bidirectional": True, "time_stack": 1}}, **networks},
    )
    one = make(features={"stack": 1, "hop": 240}, model={"encoder": {"lstm": {**lstm, "time_stack": 4}}, **networks})
    return [make(), perturbed(six, 1), perturbed(one, 2)]


def ensemble_of(members):
    return EnsembleRecognizer(members, [f"model {i}" for i in range(len(members))]).eval()


def test_an_ensemble_of_one_model_transcribes_like_it(recognizer, utterances, expected, same):
    for count in (1, 2):
        for transcript, wanted in zip(ensemble_of([recognizer] * count).transcribe(utterances), expected, strict=True):
            same(transcript, wanted)
            assert transcript.log_probs == pytest.approx(wanted.log_probs, abs=1e-5)


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_members_hear_with_features_of_their_own(members, utterances, same, method):
    ensemble = ensemble_of(members)
    ensemble.config = replace(ensemble.config, decoding=replace(ensemble.config.decoding, method=method))
    batch = collate(utterances, [[]] * len(utterances), [""] * len(utterances))
    with ensemble.inference():
        encoder_BTD, lengths = ensemble.encode(batch)
        parts = [member.encode(batch) for member in members]
        found = ensemble.decode(batch, encoder_BTD, lengths)
    assert all(torch.equal(each, lengths) for _, each in parts)
    torch.testing.assert_close(encoder_BTD, torch.cat([part for part, _ in parts], -1))
    together = ensemble.transcribe(utterances, batch_size=7)
    assert [transcript.tokens for transcript in together] == [hypothesis.tokens for hypothesis in found]
    assert sum(len(transcript.tokens) for transcript in together) > 10
    for samples, transcript in zip(utterances, together):
        same(ensemble.transcribe(samples)[0], transcript)
        assert len(transcript.words) == len(transcript.text.split())
        assert all(0 <= word.start <= word.end and 0 < word.confidence < 1 for word in transcript.words)


def test_an_ensemble_aligns_with_the_settings_of_its_first_member(members, utterances):
    ensemble = ensemble_of(members)
    transcript = ensemble.align(utterances[2], "a b c a")
    assert [word.word for word in transcript.words] == ["a", "b", "c", "a"]
    starts = [word.start for word in transcript.words]
    assert starts == sorted(starts) and transcript.seconds == pytest.approx(2.9)
    assert ensemble.config == members[0].config and ensemble.calibration == members[0].calibration
    assert ensemble.frame_seconds == members[0].frame_seconds == 0.06
    assert ensemble_of(members[::-1]).align(utterances[2], "a b c a").frames == transcript.frames


def test_an_ensemble_is_not_saved(members, tmp_path):
    with pytest.raises(ValueError, match="an ensemble cannot be saved as a model; save its members one by one"):
        ensemble_of(members).save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_several_models_are_loaded_as_one(members, utterances, tmp_path, same):
    folders = [tmp_path / name for name in "abc"]
    for member, folder in zip(members, folders):
        member.save(folder)
    ensemble = rnnt.load(folders, decoding="beam:2", hotwords=["b a"])
    assert ensemble.config.decoding.beam == 2 and set(ensemble.scorers) == {"hotwords"} and not ensemble.training
    expected = ensemble_of(members).transcribe(utterances)
    for paths in (folders, map(str, folders)):
        for one, other in zip(rnnt.load(paths).transcribe(utterances), expected, strict=True):
            same(one, other)
    (alone,) = rnnt.load([folders[0]]).transcribe(utterances[0])
    same(alone, members[0].transcribe(utterances[0])[0])
    assert type(rnnt.load([folders[0]])) is type(rnnt.load(folders[0]))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"features": {"sample_rate": 8000, "high_hz": 4000}},
            "they hear 8000 and 16000 Hz; take models of one sample",
        ),
        ({"features": {"trim_silence": True}}, "only one has features.trim_silence=true; take models that agree"),
        ({"features": {"stack": 2}}, "their encoder frames are 40 and 60 ms apart; take models with the same distance"),
    ],
)
def test_models_that_do_not_fit_together_are_refused(make, recognizer, tmp_path, changes, problem):
    recognizer.save(tmp_path / "a")
    make(**changes).save(tmp_path / "b")
    with pytest.raises(ValueError) as error:
        rnnt.load([tmp_path / "a", tmp_path / "b"])
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'b'} and {tmp_path / 'a'} cannot decode together: {problem}")
    assert "\n" not in message


def test_models_of_other_vocabularies_are_refused(recognizer, tmp_path):
    recognizer.save(tmp_path / "a")
    other = Recognizer(recognizer.config, train_tokenizer(["a b d"], TokenizerConfig("words")))
    other.save(tmp_path / "b")
    with pytest.raises(ValueError, match="cannot decode together: their tokenizers differ; take models that were"):
        rnnt.load([tmp_path / "a", tmp_path / "b"])


def test_a_model_counts_once_in_an_ensemble(recognizer, tmp_path):
    run = tmp_path / "run"
    recognizer.save(run / "best")
    (tmp_path / "link").symlink_to(run)
    for again in (run, run / "best", tmp_path / "link", tmp_path / "link" / "best"):
        with pytest.raises(
            ValueError, match=r"best (is named twice|is the same model as .*best); an ensemble takes each"
        ):
            rnnt.load([run, again])
    with pytest.raises(ValueError, match="no model is named; give a model's folder or a run's"):
        rnnt.load([])
    with pytest.raises(ValueError, match=r"gone does not exist; give a model's folder"):
        rnnt.load([run, tmp_path / "gone"])


def speller(seed, letters="abc", unicode="nfd", hidden=12, time_stack=1):
    """A random model that reads letters and emits the words a, b and c."""
    tree = {
        "input": "symbols",
        "symbols": {"embedding": 6, "unicode": unicode},
        "model": {
            "encoder": {"lstm": {"hidden": hidden, "pre_layers": 1, "post_layers": 1, "time_stack": time_stack}},
            "predictor": {"embedding": 8, "hidden": 8, "layers": 1},
            "joint": {"hidden": hidden},
            "init_scale": 1.0,
        },
        "tokenizer": {"kind": "words"},
    }
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(["a b c"], TokenizerConfig("words"))
    return Recognizer(from_tree(tree, "test"), tokenizer, Alphabet(list(letters), unicode)).eval()


def test_models_that_read_symbols_decode_together():
    members = [speller(seed, hidden=hidden) for seed, hidden in ((0, 12), (1, 7))]
    inputs = [list("cab"), list("b"), list("acxab")]

    def found(recognizer):
        batch = collate([recognizer.numbers(each) for each in inputs], [[0]] * 3, [""] * 3)
        with recognizer.inference():
            encoder_BTD, lengths = recognizer.encode(batch)
            decoded = recognizer.decode(batch, encoder_BTD, lengths)
            return decoded, recognizer.model.loss(encoder_BTD, lengths, batch.targets, batch.target_lengths)

    (alone, loss), (twice, same_loss), (together, other_loss) = map(
        found, (members[0], ensemble_of([members[0]] * 2), ensemble_of(members))
    )
    assert [(h.tokens, h.frames) for h in twice] == [(h.tokens, h.frames) for h in alone]
    assert [h.score for h in twice] == pytest.approx([h.score for h in alone], abs=1e-5)
    torch.testing.assert_close(same_loss, loss, atol=1e-5, rtol=0)
    assert len(together) == 3 and bool((other_loss != loss).all())
    assert ensemble_of(members).frame_seconds == 0


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"letters": "abd"}, "their input symbols differ; take models of the same training data and symbols.unicode"),
        ({"unicode": "nfc"}, "their input symbols differ; take models of the same training data and symbols.unicode"),
        ({"time_stack": 2}, "their encoder frames are 2 and 1 symbols apart; take models that agree in this"),
    ],
)
def test_models_of_other_symbols_are_refused(recognizer, other, problem):
    with pytest.raises(ValueError, match=f"model 1 and model 0 cannot decode together: {problem}"):
        ensemble_of([speller(0), speller(1, **other)])
    with pytest.raises(ValueError, match="one reads audio and the other symbols; take models of one input"):
        ensemble_of([recognizer, speller(0)])
