"""Files as NeMo writes them, with random weights, and what NeMo computes with them, written out."""

import io
import math
import tarfile
from pathlib import Path

import numpy as np
import sentencepiece
import torch
import yaml
from torch.nn import functional as F

TEXTS = [
    "the cat sat on the mat", "a dog ran over the hill", "the cat was there", "it is what it was", "the hat",
    "over the mat ran a cat",
]  # fmt: skip
PIECES = 40
TOKENIZER = "0a1b2c_tokenizer.model"
_ASR = "nemo.collections.asr.modules"


def nemo_settings(**encoder) -> dict:
    """The settings of a small FastConformer transducer; some of the encoder's are changed."""
    return {
        "sample_rate": 16000,
        "model_defaults": {"enc_hidden": 16, "pred_hidden": 12, "joint_hidden": 20},
        "tokenizer": {"dir": "tok", "type": "bpe", "model_path": f"nemo:{TOKENIZER}", "vocab_path": "nemo:0_vocab.txt"},
        "preprocessor": {
            "_target_": f"{_ASR}.AudioToMelSpectrogramPreprocessor", "sample_rate": 16000, "normalize": "per_feature",
            "window_size": 0.025, "window_stride": 0.01, "window": "hann", "features": 80, "n_fft": 512,
            "frame_splicing": 1, "dither": 1e-5, "pad_to": 0, "log": True,
        },
        "spec_augment": {"_target_": f"{_ASR}.SpectrogramAugmentation", "freq_masks": 2},
        "encoder": {
            "_target_": f"{_ASR}.ConformerEncoder", "feat_in": 80, "feat_out": -1, "n_layers": 2, "d_model": 16,
            "subsampling": "dw_striding", "subsampling_factor": 8, "subsampling_conv_channels": 6,
            "causal_downsampling": False, "reduction": None, "reduction_position": None, "reduction_factor": 1,
            "ff_expansion_factor": 4, "self_attention_model": "rel_pos", "n_heads": 2, "att_context_size": [-1, -1],
            "att_context_style": "regular", "xscaling": True, "untie_biases": True, "pos_emb_max_len": 5000,
            "conv_kernel_size": 9, "conv_norm_type": "batch_norm", "conv_context_size": None, "dropout": 0.1,
            "dropout_pre_encoder": 0.1, "dropout_emb": 0.0, "dropout_att": 0.1, **encoder,
        },
        "decoder": {
            "_target_": f"{_ASR}.RNNTDecoder", "normalization_mode": None, "random_state_sampling": False,
            "blank_as_pad": True, "prednet": {"pred_hidden": 12, "pred_rnn_layers": 2, "t_max": None, "dropout": 0.2},
            "vocab_size": PIECES,
        },
        "joint": {
            "_target_": f"{_ASR}.RNNTJoint", "log_softmax": None, "fuse_loss_wer": True, "fused_batch_size": 4,
            "jointnet": {
                "joint_hidden": 20, "activation": "relu", "dropout": 0.2, "encoder_hidden": 16, "pred_hidden": 12,
            },
            "num_classes": PIECES, "vocabulary": ["<unk>", "at"],
        },
        "decoding": {"strategy": "greedy_batch", "greedy": {"max_symbols": 5}},
        "loss": {"loss_name": "default", "warprnnt_numba_kwargs": {"fastemit_lambda": 0.0}},
        "labels": ["<unk>", "at"],
        "target": "nemo.collections.asr.models.rnnt_bpe_models.EncDecRNNTBPEModel",
        "nemo_version": "1.20.0",
    }  # fmt: skip


def with_durations(settings: dict, durations: list[int]) -> dict:
    """The settings as NeMo writes them for a token-and-duration model."""
    return {
        **settings,
        "model_defaults": {**settings["model_defaults"], "tdt_durations": [*durations]},
        "joint": {**settings["joint"], "num_extra_outputs": len(durations)},
        "decoding": {**settings["decoding"], "model_type": "tdt", "durations": [*durations]},
        "loss": {"loss_name": "tdt", "tdt_kwargs": {"durations": [*durations], "sigma": 0.02, "omega": 0.1}},
    }


def tokenizer_model() -> bytes:
    """A SentencePiece model as NeMo's script trains it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4), model_writer=model, vocab_size=PIECES, model_type="bpe", bos_id=-1,
        eos_id=-1, minloglevel=2,
    )  # fmt: skip
    return model.getvalue()


def mel_filters(mels: int) -> torch.Tensor:
    """Slaney's filters (F, 257) for 16 kHz, as librosa.filters.mel makes them."""
    mel = np.linspace(0, 15 + 27 * math.log(8) / math.log(6.4), mels + 2)
    corners = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * math.log(6.4) / 27))
    hz = np.arange(257) * 16000 / 512
    rising = (hz - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - hz) / np.diff(corners)[1:, None]
    return torch.tensor(np.clip(np.minimum(rising, falling), 0, None) * (2 / (corners[2:] - corners[:-2]))[:, None])


def random_weights(settings: dict, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights under NeMo's names, and of its shapes."""
    e, width = settings["encoder"], settings["encoder"]["d_model"]
    channels = e["subsampling_conv_channels"] if e["subsampling_conv_channels"] > 0 else width
    mels, hidden, joint = settings["preprocessor"]["features"], 12, 20
    shapes = {"encoder.pre_encode.conv.0": (channels, 1, 3, 3)}
    stages = int(math.log2(e["subsampling_factor"])) - 1
    for stage in range(stages):
        if e["subsampling"] == "striding":
            shapes[f"encoder.pre_encode.conv.{2 + 2 * stage}"] = (channels, channels, 3, 3)
        else:
            shapes[f"encoder.pre_encode.conv.{2 + 3 * stage}"] = (channels, 1, 3, 3)
            shapes[f"encoder.pre_encode.conv.{3 + 3 * stage}"] = (channels, channels, 1, 1)
    shapes["encoder.pre_encode.out"] = (width, channels * math.ceil(mels / e["subsampling_factor"]))
    bare = set()
    for i in range(e["n_layers"]):
        layer = f"encoder.layers.{i}"
        inner = {
            "feed_forward1.linear1": (4 * width, width), "feed_forward1.linear2": (width, 4 * width),
            "conv.pointwise_conv1": (2 * width, width, 1), "conv.depthwise_conv": (width, 1, e["conv_kernel_size"]),
            "conv.pointwise_conv2": (width, width, 1),
            **{f"self_attn.linear_{x}": (width, width) for x in ("q", "k", "v", "out", "pos")},
            "feed_forward2.linear1": (4 * width, width), "feed_forward2.linear2": (width, 4 * width),
        }  # fmt: skip
        shapes |= {f"{layer}.{name}": shape for name, shape in inner.items()}
        bare |= {f"{layer}.self_attn.linear_pos"} | ({f"{layer}.{name}" for name in inner} if not_biased(e) else set())
        for name in ("norm_feed_forward1", "norm_conv", "norm_self_att", "norm_feed_forward2", "norm_out"):
            shapes[f"{layer}.{name}"] = (width,)
        shapes[f"{layer}.conv.batch_norm"] = (width,)
    shapes |= {"joint.pred": (joint, hidden), "joint.enc": (joint, width)}
    shapes[f"joint.joint_net.{2 if settings['joint']['jointnet']['dropout'] else 1}"] = (
        PIECES + 1 + settings["joint"].get("num_extra_outputs", 0),
        joint,
    )
    random = torch.Generator().manual_seed(seed)
    weights = {
        "preprocessor.featurizer.window": torch.hann_window(400, periodic=False),
        "preprocessor.featurizer.fb": mel_filters(mels)[None].float(),
    }
    for name, shape in shapes.items():
        scale = 1.5 / math.prod(shape[1:]) ** 0.5
        norm = len(shape) == 1
        weights[f"{name}.weight"] = 1 + 0.2 * draw(random, shape) if norm else scale * draw(random, shape)
        if name not in bare:
            weights[f"{name}.bias"] = 0.2 * draw(random, shape[:1])
        if norm and name.endswith("batch_norm") and e["conv_norm_type"] == "batch_norm":
            weights[f"{name}.running_mean"] = 0.2 * draw(random, shape)
            weights[f"{name}.running_var"] = 1 + torch.rand(shape, generator=random)
            weights[f"{name}.num_batches_tracked"] = torch.tensor(7)
    for i in range(e["n_layers"]):
        for bias in ("u", "v"):
            size = (e["n_heads"], width // e["n_heads"])
            weights[f"encoder.layers.{i}.self_attn.pos_bias_{bias}"] = 0.3 * draw(random, size)
    weights["decoder.prediction.embed.weight"] = draw(random, (PIECES + 1, hidden))
    weights["decoder.prediction.embed.weight"][-1] = 0
    for layer in range(settings["decoder"]["prednet"]["pred_rnn_layers"]):
        for name, shape in {
            "weight_ih": (4 * hidden, hidden), "weight_hh": (4 * hidden, hidden), "bias_ih": (4 * hidden,),
            "bias_hh": (4 * hidden,),
        }.items():  # fmt: skip
            weights[f"decoder.prediction.dec_rnn.lstm.{name}_l{layer}"] = 0.4 * draw(random, shape)
    return weights


def not_biased(encoder: dict) -> bool:
    return not encoder.get("use_bias", True)


def draw(random: torch.Generator, shape: tuple) -> torch.Tensor:
    return torch.randn(shape, generator=random)


def write_nemo(path: Path, settings: dict, weights: dict, mode: str = "w", **others: bytes | None) -> Path:
    """Write a .nemo. others: members to add or replace (_ stands for a dot), or to leave out if None."""
    checkpoint = io.BytesIO()
    torch.save(weights, checkpoint)
    members = {
        TOKENIZER: tokenizer_model(),
        "model_config.yaml": yaml.safe_dump(settings, allow_unicode=True).encode(),
        "model_weights.ckpt": checkpoint.getvalue(),
    }
    members |= others
    with tarfile.open(path, mode) as tar:
        folder = tarfile.TarInfo("./")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in members.items():
            if content is not None:
                member = tarfile.TarInfo(f"./{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


# ---- what NeMo computes, for one utterance, in float64 ---------------------------------------------------------------


def nemo_features(samples: np.ndarray, settings: dict) -> torch.Tensor:
    """The features (S, F) of samples (N,) by numpy's transform."""
    x = samples.astype(np.float64)
    x = np.concatenate([x[:1], x[1:] - 0.97 * x[:-1]])
    x = np.pad(x, 256)
    window = np.zeros(512)
    window[56:456] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    frames = np.stack([x[s * 160 : s * 160 + 512] * window for s in range(len(samples) // 160)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    log = np.log(power @ mel_filters(settings["preprocessor"]["features"]).numpy().T + 2**-24)
    if settings["preprocessor"]["normalize"] == "per_feature":
        log = (log - log.mean(0)) / (log.std(0, ddof=1) + 1e-5)
    return torch.tensor(log)


def nemo_encode(features_SF: torch.Tensor, w: dict, e: dict) -> torch.Tensor:
    """The encoder's frames (T, D)."""
    image, width = features_SF[None, None], e["d_model"]
    for place in sorted({int(name.split(".")[3]) for name in w if name.startswith("encoder.pre_encode.conv")}):
        weight, bias = w[f"encoder.pre_encode.conv.{place}.weight"], w[f"encoder.pre_encode.conv.{place}.bias"]
        if weight.shape[2] == 1:
            image = F.conv2d(image, weight, bias).relu()
        else:
            image = F.conv2d(image, weight, bias, 2, 1, groups=image.shape[1] // weight.shape[1])
            image = image if e["subsampling"] == "dw_striding" and place else image.relu()
    x = linear(image[0].transpose(0, 1).flatten(1), w, "encoder.pre_encode.out")
    x = x * math.sqrt(width) if e.get("xscaling", True) else x
    for i in range(e["n_layers"]):
        p = f"encoder.layers.{i}"
        x = x + 0.5 * feed_forward(norm(x, w, f"{p}.norm_feed_forward1"), w, f"{p}.feed_forward1")
        x = x + attend(norm(x, w, f"{p}.norm_self_att"), w, f"{p}.self_attn", e)
        x = x + convolve(norm(x, w, f"{p}.norm_conv"), w, f"{p}.conv", e)
        x = x + 0.5 * feed_forward(norm(x, w, f"{p}.norm_feed_forward2"), w, f"{p}.feed_forward2")
        x = norm(x, w, f"{p}.norm_out")
    return x


def linear(x, w, name):
    return F.linear(x, w[f"{name}.weight"].flatten(1), w.get(f"{name}.bias"))


def norm(x, w, name):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def feed_forward(x, w, p):
    return linear(F.silu(linear(x, w, f"{p}.linear1")), w, f"{p}.linear2")


def attend(x, w, p, e):
    count, width, heads = len(x), e["d_model"], e["n_heads"]
    size = width // heads
    distance = torch.arange(count)[:, None] - torch.arange(count)  # of key j from query i
    angles = distance[..., None] / 10_000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    sinusoids = torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)
    relative = linear(sinusoids, w, f"{p}.linear_pos").unflatten(-1, (heads, size))
    q, k, v = (linear(x, w, f"{p}.linear_{name}").unflatten(-1, (heads, size)) for name in "qkv")
    scores = torch.einsum("ihd,jhd->hij", q + w[f"{p}.pos_bias_u"], k)
    scores = scores + torch.einsum("ihd,ijhd->hij", q + w[f"{p}.pos_bias_v"], relative)
    left, right = e["att_context_size"]
    if e["att_context_style"] == "chunked_limited":
        chunk = torch.arange(count) // (right + 1)
        behind = chunk[:, None] - chunk
        seen = (behind >= 0) & (behind <= left // (right + 1))
    else:
        seen = distance <= left if left >= 0 else torch.ones_like(distance, dtype=torch.bool)
    attention = (scores / math.sqrt(size)).masked_fill(~seen, -math.inf).softmax(-1)
    return linear(torch.einsum("hij,jhd->ihd", attention, v).flatten(1), w, f"{p}.linear_out")


def convolve(x, w, p, e):
    kernel = e["conv_kernel_size"]
    sides = (kernel - 1, 0) if e["conv_context_size"] == "causal" else (kernel // 2, kernel // 2)
    x = F.pad(F.glu(linear(x, w, f"{p}.pointwise_conv1")).T, sides)
    x = F.conv1d(x[None], w[f"{p}.depthwise_conv.weight"], w.get(f"{p}.depthwise_conv.bias"), groups=len(x))[0].T
    if e["conv_norm_type"] == "batch_norm":
        x = (x - w[f"{p}.batch_norm.running_mean"]) / (w[f"{p}.batch_norm.running_var"] + 1e-5).sqrt()
        x = x * w[f"{p}.batch_norm.weight"] + w[f"{p}.batch_norm.bias"]
    else:
        x = norm(x, w, f"{p}.batch_norm")
    return linear(F.silu(x), w, f"{p}.pointwise_conv2")


def nemo_predict(last: int | None, state: list, w: dict) -> tuple[torch.Tensor, list]:
    """The predictor's output after one more symbol, None for the start. state: [h, c] of each layer."""
    embedding = w["decoder.prediction.embed.weight"]
    x = torch.zeros_like(embedding[0]) if last is None else embedding[last]
    after = []
    for layer, (h, c) in enumerate(state):
        lstm = {name: w[f"decoder.prediction.dec_rnn.lstm.{name}_l{layer}"] for name in ("weight_ih", "weight_hh")}
        bias = sum(w[f"decoder.prediction.dec_rnn.lstm.bias_{name}_l{layer}"] for name in ("ih", "hh"))
        i, f, g, o = (lstm["weight_ih"] @ x + lstm["weight_hh"] @ h + bias).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        x = h = o.sigmoid() * c.tanh()
        after.append((h, c))
    return x, after


def nemo_start(w: dict, settings: dict) -> list:
    zeros = torch.zeros(12, dtype=torch.float64)
    return [(zeros, zeros)] * settings["decoder"]["prednet"]["pred_rnn_layers"]


def nemo_join(frame: torch.Tensor, predicted: torch.Tensor, w: dict) -> torch.Tensor:
    """The logits (V,)."""
    output = (
        next(name for name in w if name.startswith("joint.joint_net")).removesuffix(".weight").removesuffix(".bias")
    )
    return linear((linear(frame, w, "joint.enc") + linear(predicted, w, "joint.pred")).relu(), w, output)


def nemo_logits(samples: np.ndarray, targets: list[int], weights: dict, settings: dict) -> torch.Tensor:
    """Logits (T, U+1, V) of samples and a text."""
    w = {name: value.double() for name, value in weights.items()}
    frames = nemo_encode(nemo_features(samples, settings), w, settings["encoder"])
    state, rows = nemo_start(w, settings), []
    for last in [None, *targets]:
        predicted, state = nemo_predict(last, state, w)
        rows.append(torch.stack([nemo_join(frame, predicted, w) for frame in frames]))
    return torch.stack(rows, 1)


def nemo_greedy(samples: np.ndarray, weights: dict, settings: dict) -> list[int]:
    """The best symbol after another, at most `max_symbols` at a frame."""
    w = {name: value.double() for name, value in weights.items()}
    tokens: list[int] = []
    predicted, state = nemo_predict(None, nemo_start(w, settings), w)
    for frame in nemo_encode(nemo_features(samples, settings), w, settings["encoder"]):
        for _ in range(settings["decoding"]["greedy"]["max_symbols"]):
            best = int(nemo_join(frame, predicted, w).argmax())
            if best == PIECES:
                break
            tokens.append(best)
            predicted, state = nemo_predict(best, state, w)
    return tokens


def nemo_greedy_durations(samples: np.ndarray, weights: dict, settings: dict) -> tuple[list[int], list[int], list[int]]:
    """The symbols of a token-and-duration model, their frames, and their durations."""
    w = {name: value.double() for name, value in weights.items()}
    frames = nemo_encode(nemo_features(samples, settings), w, settings["encoder"])
    tokens, places, lasting = [], [], []
    predicted, state = nemo_predict(None, nemo_start(w, settings), w)
    t = 0
    while t < len(frames):
        logits = nemo_join(frames[t], predicted, w)
        best = int(logits[: PIECES + 1].argmax())
        duration = settings["decoding"]["durations"][int(logits[PIECES + 1 :].argmax())]
        if best == PIECES:
            t += max(duration, 1)
            continue
        tokens.append(best)
        places.append(t)
        lasting.append(duration)
        predicted, state = nemo_predict(best, state, w)
        full = places.count(t) == settings["decoding"]["greedy"]["max_symbols"]
        t += max(duration, 1) if full else duration
    return tokens, places, lasting
