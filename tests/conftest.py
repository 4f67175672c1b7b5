"""Fixtures that several test files use."""

import os
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import soundfile

sys.path.append(str(Path(__file__).parent))  # for made_up_timit

# Examples have no time limit: a slow machine must not make a correct one fail.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Read when torch is imported. The tests' tensors are tiny: several threads gain nothing on them. If another
# process keeps a core busy, threads wait for each other, which made the tests eight times as slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402

# Read when Triton is imported, which parts of torch do: without a GPU its kernels are interpreted.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data next to the checkout. Tests that need it are skipped if it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


def make_recognizer(blank=2.0, **changes):
    """A random model that emits a symbol now and then; the lower the bias of its blank, the more. changes: sections."""
    from rnnt.config import TokenizerConfig
    from rnnt.recognizer import Recognizer
    from rnnt.settings import from_tree
    from rnnt.tokenizer import train_tokenizer

    config = from_tree(
        {
            "features": {"mels": 20, **changes.pop("features", {})},
            "model": {
                "encoder": {"hidden": 16, "pre_layers": 1, "post_layers": 1},
                "predictor": {"embedding": 8, "hidden": 8, "layers": 1},
                "joint": {"hidden": 16},
                "init_scale": 1.0,
            },
            "tokenizer": {"kind": "words"},
            "decoding": {"max_symbols_per_frame": 3},
            **changes,
        },
        "test",
    )
    torch.manual_seed(0)
    recognizer = Recognizer(config, train_tokenizer(["a b c"], TokenizerConfig("words")))
    with torch.no_grad():
        joint = recognizer.model.joint
        for layer in filter(None, (joint.encoder, joint.predictor, joint.output)):  # an additive joint has no output
            layer.weight.mul_(6)
        (joint.output or joint.encoder).bias[-1] += blank
    return recognizer.eval()


def make_speller(symbols=("a", "b", "c"), unicode="nfd", **changes):
    """A random model from the input symbols to the output symbols A, B and C."""
    from rnnt.alphabet import Alphabet
    from rnnt.config import TokenizerConfig
    from rnnt.recognizer import Recognizer
    from rnnt.settings import from_tree
    from rnnt.tokenizer import train_tokenizer

    lstm = {"hidden": 8, "pre_layers": 1, "post_layers": 1, "time_stack": 1, "bidirectional": True}
    config = from_tree(
        {
            "input": "symbols",
            "symbols": {"embedding": 8, "unicode": unicode},
            "model": {
                "encoder": {"lstm": lstm},
                "predictor": {"embedding": 8, "hidden": 8, "layers": 1},
                "joint": {"hidden": 16},
                "init_scale": 1.0,
            },
            "tokenizer": {"kind": "words"},
            "decoding": {"method": "beam", "beam": 4, "max_symbols_per_frame": 3, "batch": 8},
            "scoring": {"measure": "sequences"},
            **changes,
        },
        "test",
    )
    torch.manual_seed(0)
    recognizer = Recognizer(
        config, train_tokenizer(["A B C"], TokenizerConfig("words")), Alphabet(sorted(symbols), unicode)
    )
    with torch.no_grad():
        joint = recognizer.model.joint
        for layer in (joint.encoder, joint.predictor, joint.output):
            layer.weight.mul_(4)
        joint.output.bias[-1] += 1
    return recognizer.eval()


def noise_in_bursts(seconds, seed):
    """Noise in bursts, int16."""
    rng = np.random.default_rng(seed)
    n = int(seconds * 16000)
    loudness = np.repeat(rng.random(n // 2000 + 1) ** 2, 2000)[:n]
    return (8000 * loudness * rng.standard_normal(n)).clip(-32768, 32767).astype(np.int16)


@pytest.fixture(scope="session")
def make():
    """A function that makes a random recognizer of the words a, b and c, as `make_recognizer`."""
    return make_recognizer


@pytest.fixture(scope="session")
def spell():
    """A function that makes a random recognizer of symbols; its arguments are sections of settings."""
    return make_speller


@pytest.fixture(scope="session")
def speller():
    """A model that was trained for a moment to write the letters a, b and c in capitals."""
    model = make_speller()
    optimizer = torch.optim.Adam(model.model.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(1)
    for _ in range(100):
        letters, lengths = (torch.randint(*of, generator=generator) for of in ((3, (32, 6)), (1, 7, (32,))))
        optimizer.zero_grad()
        model.model(letters, lengths, letters, lengths).mean().backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def speech():
    """A function of seconds and a seed that makes noise in bursts, int16 at 16 kHz."""
    return noise_in_bursts


@pytest.fixture(scope="session")
def utterances():
    """Seven waveforms, int16 at 16 kHz."""
    return [noise_in_bursts(seconds, i) for i, seconds in enumerate((1.3, 0.2, 2.9, 0.05, 1.0, 0.7, 2.0))]


@pytest.fixture(scope="session")
def recognizer():
    return make_recognizer()


@pytest.fixture(scope="session")
def expected(recognizer, utterances):
    """The transcript of each of the utterances, decoded alone."""
    transcripts = [recognizer.transcribe([samples])[0] for samples in utterances]
    assert sum(len(t.tokens) for t in transcripts) > 15 and len({t.text for t in transcripts}) > 4
    return transcripts


@pytest.fixture(scope="session")
def same():
    """A function that asserts that two transcripts are the same."""

    def check(a, b):
        assert (a.text, a.tokens, a.frames, a.times, a.seconds) == (b.text, b.tokens, b.frames, b.times, b.seconds)
        np.testing.assert_allclose(a.log_probs, b.log_probs, rtol=1e-3, atol=1e-3)
        assert [word.word for word in a.words] == [word.word for word in b.words]
        assert [symbol.symbol for symbol in a.symbols] == [symbol.symbol for symbol in b.symbols]
        for one, other in zip([*a.words, *a.symbols], [*b.words, *b.symbols]):
            values = ([x.start, x.end, x.confidence] for x in (one, other))
            np.testing.assert_allclose(*values, rtol=1e-3, atol=2e-3)

    return check


_PITCH = {"low": 300.0, "mid": 900.0, "high": 2700.0}
_SMALL = [
    "model.encoder.hidden=24", "model.predictor.hidden=16", "model.predictor.embedding=8", "model.joint.hidden=24",
    "model.encoder.lstm.time_stack=2", "model.encoder.lstm.dropout=0.2", "model.predictor.dropout=0.2",
    "model.predictor.masking=0", "model.joint.dropout=0.1", "features.mels=80",
    "augment.tempo_min=1", "augment.tempo_max=1",
    "data.valid=[valid]", "train.batch=8", "train.ctc_weight=0.3", "train.curriculum_epochs=0", "optim.lr=0.0015",
]  # fmt: skip


@pytest.fixture(scope="session")
def call():
    """A function that runs the command in this process and returns its exit code."""
    from rnnt import cli

    def run(*arguments):
        before = sys.argv
        sys.argv = ["rnnt", *map(str, arguments)]
        try:
            cli.main()
        except SystemExit as stop:
            return stop.code or 0
        finally:
            sys.argv = before
        return 0

    return run


@pytest.fixture(scope="session")
def recordings(tmp_path_factory) -> Path:
    """Tones of three pitches with their names as text; one file has no text and one is truncated."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for i in range(40):
        words = rng.choice(list(_PITCH), size=rng.integers(1, 4))
        t = np.arange(3200) / 16000
        audio = np.concatenate([np.concatenate([np.sin(2 * np.pi * _PITCH[w] * t), np.zeros(1600)]) for w in words])
        soundfile.write(folder / f"{i:02d}.wav", 0.3 * audio + 0.001 * rng.standard_normal(len(audio)), 16000)
        (folder / f"{i:02d}.txt").write_text(" ".join(words))
    soundfile.write(folder / "silent.wav", np.zeros(8000), 16000)
    (folder / "cut.wav").write_bytes((folder / "00.wav").read_bytes()[:5000])
    (folder / "cut.txt").write_text("low")
    return folder


@pytest.fixture(scope="session")
def prepared(call, recordings, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data")
    assert call("prepare", "folder", recordings, "--out", out, "valid=0.2", "--workers", "2") == 0
    return out


@pytest.fixture(scope="session")
def small():
    """Settings that make the preset `small` tiny."""
    return _SMALL


@pytest.fixture(scope="session")
def run(call, small, prepared, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert call("train", "small", *small, "--data", prepared, "--out", out, "train.epochs=2") == 0
    return out


@pytest.fixture(scope="session")
def others(run, tmp_path_factory) -> list[Path]:
    """Two models like that of `run`, with slightly other weights."""
    import rnnt

    folders = []
    for seed in (1, 2):
        recognizer, generator = rnnt.load(run), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in recognizer.model.parameters():
                parameter += 0.1 * parameter.std() * torch.randn(parameter.shape, generator=generator)
        folders.append(tmp_path_factory.mktemp("models") / f"other-{seed}")
        recognizer.save(folders[-1])
    return folders
