"""Transducers of NeMo against what NeMo computes, written out; other files are refused with one line."""

import io
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import soundfile
import torch
import yaml
from made_up_nemo import (
    PIECES,
    TOKENIZER,
    nemo_features,
    nemo_greedy,
    nemo_greedy_durations,
    nemo_logits,
    nemo_settings,
    random_weights,
    with_durations,
    write_nemo,
)

import rnnt
from rnnt.loader import collate
from rnnt.nemo import convert_nemo

CASES = {
    "FastConformer": {},
    "128 mel bins, no biases": {"xscaling": False, "use_bias": False, "feat_in": 128},
    "Conformer": {
        "subsampling": "striding", "subsampling_factor": 4, "subsampling_conv_channels": -1, "conv_kernel_size": 15,
    },
    "chunks": {
        "att_context_size": [4, 1], "att_context_style": "chunked_limited", "conv_norm_type": "layer_norm",
        "conv_context_size": "causal",
    },
    "limited on the left": {"att_context_size": [2, -1]},
}  # fmt: skip


def made_up(**encoder):
    settings = nemo_settings(**encoder)
    settings["preprocessor"]["features"] = settings["encoder"]["feat_in"]
    if encoder.get("feat_in") == 128:
        settings["joint"]["jointnet"]["dropout"] = 0.0
    if encoder.get("conv_context_size") == "causal":
        settings["preprocessor"]["normalize"] = "NA"
    return settings, random_weights(settings)


def noise(length, seed):
    rng = np.random.default_rng(seed)
    slow = np.interp(np.arange(length), np.linspace(0, length, 12), rng.random(12))
    return (0.2 * slow * rng.standard_normal(length)).astype(np.float32)


AUDIO = [noise(length, length) for length in (16077, 8000, 9119, 3201)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A .nemo, its settings, weights, and the folder of the converted model."""
    folder = tmp_path_factory.mktemp("nemo")
    settings, weights = made_up()
    path = write_nemo(folder / "plain.nemo", settings, weights)
    convert_nemo(path, folder / "model")
    return path, settings, weights, folder / "model"


@pytest.mark.parametrize("encoder", CASES.values(), ids=CASES)
def test_features_logits_and_symbols_are_those_of_nemo(encoder, tmp_path):
    settings, weights = made_up(**encoder)
    converted = convert_nemo(write_nemo(tmp_path / "a.nemo", settings, weights), tmp_path / "model")
    recognizer = rnnt.load(tmp_path / "model")
    for name, value in converted.state_dict().items():
        assert torch.equal(value, recognizer.state_dict()[name])
    targets = [[3, 7, 0, PIECES - 1], [], [5], [1, 1]]
    batch = collate(AUDIO, targets=targets, ids=list("abcd"))
    with recognizer.inference():
        features_BSF, encoder_BTD, lengths = recognizer.listen(batch)
        joint, model = recognizer.model.joint, recognizer.model
        found = recognizer.decode(batch, encoder_BTD, lengths)
        predicted_BUH = joint.project_predictor(model.predictor(batch.targets))
        logits = joint(joint.project_encoder(encoder_BTD)[:, :, None], predicted_BUH[:, None])
    for i, (samples, tokens) in enumerate(zip(AUDIO, targets)):
        expected = nemo_features(samples, settings)
        torch.testing.assert_close(features_BSF[i, : len(expected)].double(), expected, rtol=1e-4, atol=3e-4)
        expected = nemo_logits(samples, tokens, weights, settings)
        assert lengths[i] == len(expected)
        torch.testing.assert_close(
            logits[i, : len(expected), : len(tokens) + 1].double(), expected, rtol=1e-4, atol=1e-4
        )
        wanted = nemo_greedy(samples, weights, settings)
        assert found[i].tokens == wanted and wanted


@pytest.mark.parametrize("seed", range(3))
def test_symbols_and_times_of_a_token_and_duration_model_are_those_of_nemo(seed, tmp_path):
    settings, _ = made_up(**CASES["128 mel bins, no biases"])
    settings = with_durations(settings, [0, 1, 2, 3, 4])
    weights = random_weights(settings, seed)
    weights["joint.joint_net.1.weight"] *= 2
    weights["joint.joint_net.1.bias"][PIECES] += 6  # more blanks
    convert_nemo(write_nemo(tmp_path / "a.nemo", settings, weights), tmp_path / "model")
    recognizer = rnnt.load(tmp_path / "model")
    assert recognizer.model.joint.durations == (0, 1, 2, 3, 4)
    batch = collate(AUDIO, targets=[[]] * len(AUDIO), ids=list("abcd"))
    with recognizer.inference():
        found = recognizer.decode(batch, *recognizer.encode(batch))
    wanted = [nemo_greedy_durations(samples, weights, settings) for samples in AUDIO]
    assert [(each.tokens, each.frames) for each in found] == [(tokens, frames) for tokens, frames, _ in wanted]
    assert any(tokens for tokens, _, _ in wanted)
    for samples, (tokens, frames, durations) in zip(AUDIO, wanted):
        (transcript,) = recognizer.transcribe([samples])
        words = transcript.words
        spans = recognizer.tokenizer.word_spans(tokens)
        assert len(words) == len(spans)
        begins = [0.08 * frames[first] for first, _ in spans]
        ends = [0.08 * (frames[end - 1] + max(durations[end - 1], 1)) for _, end in spans]
        for word, before, begin, end, after in zip(words, [0, *ends], begins, ends, [*begins[1:], 9]):
            assert 0 < word.confidence < 1
            if before <= begin:  # words that overlap meet in the middle
                assert word.start == pytest.approx(begin, abs=0.002)
            if end <= after:
                assert min(end, transcript.seconds) - 0.007 <= word.end <= end + 0.032  # words fade


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """The folder of a converted token-and-duration model."""
    folder = tmp_path_factory.mktemp("durations")
    settings = with_durations(nemo_settings(), [0, 1, 2, 3, 4])
    weights = random_weights(settings, 1)
    weights["joint.joint_net.2.weight"] *= 2
    convert_nemo(write_nemo(folder / "a.nemo", settings, weights), folder / "model")
    return folder / "model"


def test_what_follows_for_a_token_and_duration_model(lasting, prepared, call, capsys, tmp_path):
    searches = "--decoding", "greedy", "--decoding", "beam:3+hotwords", "--hotwords", tmp_path / "words"
    (tmp_path / "words").write_text("the cat\n")
    assert call("evaluate", lasting, "--data", prepared / "valid", *searches, "--out", tmp_path / "report") == 0
    shown = capsys.readouterr().out
    assert "no loss" in shown and "a token-and-duration model has none" in shown and "beam:3+hotwords" in shown
    recognizer = rnnt.load(lasting, decoding="beam:3")
    together = recognizer.transcribe(AUDIO)
    assert [item.text for item in together] == [recognizer.transcribe([samples])[0].text for samples in AUDIO]
    assert any(item.text for item in together) and all(item.words for item in together if item.text)
    assert call("info", lasting) == 0
    assert "symbols (sentencepiece) and blank; durations of 0, 1, 2, 3, 4 frames" in capsys.readouterr().out


def test_what_a_token_and_duration_model_cannot_do(lasting, prepared, call, capsys, tmp_path):
    sound, text = tmp_path / "a.wav", tmp_path / "a.txt"
    soundfile.write(sound, AUDIO[0], 16000)
    text.write_text("the cat")
    for arguments in (
        ("align", lasting, sound, text),
        ("evaluate", lasting, "--data", prepared / "valid", "--suspicious", "--out", tmp_path / "report"),
        ("train", "small", "--data", prepared, "--out", tmp_path / "run", "model.joint.durations=[0,1]"),
    ):
        assert call(*arguments) == 2
        error = capsys.readouterr().err
        assert "token-and-duration model, which can transcribe, but not be trained" in error
        assert error.count("\n") == 1 and "Traceback" not in error
    with pytest.raises(ValueError, match="is a token-and-duration model, which can only decode alone; leave it out"):
        rnnt.load([shutil.copytree(lasting, tmp_path / "copy"), lasting])
    assert not (tmp_path / "run").exists() and not (tmp_path / "report").exists()


def test_hybrid_models_are_converted_without_their_ctc_layer(plain, tmp_path):
    _, settings, weights, model = plain
    target = "nemo.collections.asr.models.hybrid_rnnt_ctc_bpe_models.EncDecHybridRNNTCTCBPEModel"
    hybrid = weights | {"ctc_decoder.decoder_layers.0.weight": torch.zeros(PIECES + 1, 16, 1)}
    path = write_nemo(tmp_path / "a.nemo", {**settings, "target": target}, hybrid, "w:gz")
    found = convert_nemo(path, tmp_path / "model").state_dict()
    assert all(torch.equal(value, found[name]) for name, value in rnnt.load(model).state_dict().items())


def test_half_precision_weights_become_single(plain, tmp_path):
    _, settings, weights, _ = plain
    halved = {name: value.bfloat16() if value.is_floating_point() else value for name, value in weights.items()}
    found = convert_nemo(write_nemo(tmp_path / "a.nemo", settings, halved), tmp_path / "model").state_dict()
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert torch.equal(found["model.joint.encoder.weight"], halved["joint.enc.weight"].float())


def test_the_command_and_all_that_follows(plain, call, tmp_path, capsys):
    path, _, _, _ = plain
    out = tmp_path / "model"
    assert call("convert", path, "--out", out) == 0
    assert f"{PIECES} symbols" in capsys.readouterr().out
    files = []
    for i, samples in enumerate(AUDIO[:3]):
        files.append(tmp_path / f"{i}.wav")
        soundfile.write(files[-1], samples, 16000)
    recognizer = rnnt.load(out)
    texts = [item.text for item in recognizer.transcribe(files)]
    assert texts == [item.text for file in files for item in recognizer.transcribe([file])] and any(texts)
    assert call("transcribe", out, *files) == 0
    assert all(text in capsys.readouterr().out or not text for text in texts[:1])
    beamed = rnnt.load(out, decoding="beam:3", hotwords=["the cat"])
    alone = [item.text for file in files for item in beamed.transcribe([file])]
    assert [item.text for item in beamed.transcribe(files)] == alone and any(alone)
    words = recognizer.align(files[0], "the cat sat").words
    assert [word.word for word in words] == ["the", "cat", "sat"]
    assert words[0].start <= words[1].start <= words[2].end <= round(len(AUDIO[0]) / 16000, 3)
    assert call("info", out) == 0 and "2 conformer layers of 16" in capsys.readouterr().out


def test_chunked_models_stream(tmp_path):
    settings, weights = made_up(**CASES["chunks"])
    model = convert_nemo(write_nemo(tmp_path / "a.nemo", settings, weights), tmp_path / "model").model
    x_BSF = torch.randn(1, 100, 80, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, lengths = model.encoder(x_BSF, torch.tensor([100]))
        state, parts = model.encoder.start(1), []
        for chunk in x_BSF.split(30, 1):
            part, count, state = model.encoder.step(chunk, torch.tensor([chunk.shape[1]]), state)
            parts.append(part[:, : int(count)])
        parts.append(model.encoder.finish(state)[0])
    torch.testing.assert_close(torch.cat(parts, 1), expected[:, : int(lengths)], rtol=1e-4, atol=1e-5)


# ---- files that are refused ------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def refused(path, tmp_path, message):
    with pytest.raises(ValueError, match=message) as error:
        convert_nemo(path, tmp_path / "model")
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert not (tmp_path / "model").exists()


def test_code_in_the_weights_is_not_run(plain, tmp_path, capsys):
    _, settings, weights, _ = plain
    path = write_nemo(tmp_path / "a.nemo", settings, weights | {"x": Evil()})
    refused(path, tmp_path, "holds .*print in addition to tensors, and reading it could run any program")
    path = write_nemo(tmp_path / "b.nemo", settings, weights, **{"model_weights.ckpt": pickle.dumps(Evil(), 2)})
    refused(path, tmp_path, "could run any program|damaged")
    assert "code ran" not in capsys.readouterr().out


def test_code_in_the_settings_is_not_run(plain, tmp_path):
    _, settings, weights, _ = plain
    text = b"target: !!python/object/apply:os.system ['touch /tmp/never']"
    path = write_nemo(tmp_path / "a.nemo", settings, weights, **{"model_config.yaml": text})
    refused(path, tmp_path, "model_config.yaml is not readable as YAML: .*python/object/apply")
    settings = {**settings, "decoder": {**settings["decoder"], "prednet": {"pred_hidden": "${oc.env:HOME}"}}}
    path = write_nemo(tmp_path / "b.nemo", settings, weights)
    refused(path, tmp_path, "model_config.yaml lacks|oc.env:HOME")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_truncated_file(plain, tmp_path, share, mode):
    _, settings, weights, _ = plain
    content = write_nemo(tmp_path / "whole.nemo", settings, weights, mode).read_bytes()
    path = tmp_path / "a.nemo"
    path.write_bytes(content[: int(share * len(content))])
    refused(path, tmp_path, "fetch it again")


@pytest.mark.parametrize("missing", [TOKENIZER, "model_weights.ckpt", "model_config.yaml"])
def test_a_missing_member(plain, tmp_path, missing):
    _, settings, weights, _ = plain
    path = write_nemo(tmp_path / "a.nemo", settings, weights, **{missing: None})
    refused(path, tmp_path, f"(lacks|holds no) .*{missing}.*; fetch it again")


def test_a_tokenizer_that_is_none(plain, tmp_path):
    _, settings, weights, _ = plain
    path = write_nemo(tmp_path / "a.nemo", settings, weights, **{TOKENIZER: b"no model"})
    refused(path, tmp_path, "not a SentencePiece model")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("joint.enc.weight"), "lacks joint.enc.weight"),
        (lambda w: w.update({"adapter.weight": torch.zeros(2)}), "has no use for adapter.weight"),
        (lambda w: w.update({"joint.enc.weight": torch.zeros(20, 17)}), r"joint.enc.weight is \(20, 17\)"),
        (lambda w: w["joint.enc.bias"].fill_(torch.nan), "joint.enc.bias holds NaN"),
        (lambda w: w["decoder.prediction.embed.weight"].fill_(1), "embedding of the blank is not zero"),
        (lambda w: w["preprocessor.featurizer.fb"].mul_(1.1), "its mel filters are not those"),
        (lambda w: w.update({"preprocessor.featurizer.fb": torch.zeros(1, 64, 257)}), "its mel filters are not those"),
        (lambda w: w.update({3: torch.zeros(2)}), "has no use for 3"),
    ],
)
def test_weights_that_do_not_fit(plain, tmp_path, change, message):
    _, settings, weights, _ = plain
    weights = {name: value.clone() for name, value in weights.items()}
    change(weights)
    refused(write_nemo(tmp_path / "a.nemo", settings, weights), tmp_path, message)


def test_sizes_that_no_machine_has_are_refused_before_they_are_allocated(plain, tmp_path):
    _, settings, weights, _ = plain
    settings = yaml.safe_load(yaml.safe_dump(settings))
    settings["encoder"].update(d_model=65536, n_layers=300)
    settings["decoder"]["prednet"]["pred_hidden"] = 65536
    refused(write_nemo(tmp_path / "a.nemo", settings, weights), tmp_path, "is not of the model that model_config.yaml")


def test_members_that_lead_out_of_the_archive(plain, tmp_path):
    path = tmp_path / "a.nemo"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("../model_config.yaml")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    refused(path, tmp_path, "a path that leads out of it")


def test_a_model_is_not_overwritten(plain):
    path, _, _, model = plain
    with pytest.raises(ValueError, match="holds a model or a run already"):
        convert_nemo(path, model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.pt", "--out", "m"], "a.pt is no .nemo; give the YAML file that it was trained with: --config FILE"),
        (["a.nemo", "--out", "m", "--config", "c.yaml"], "leave out --config, --tokenizer and --weights"),
        (["a.nemo", "--out", "m"], "no file a.nemo"),
    ],
)
def test_mistakes_at_the_command_line(call, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert call("convert", *arguments) == 2
    assert message in capsys.readouterr().err
