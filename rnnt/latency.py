"""Latency of a model: whether it can transcribe a stream, and how long it waits for the samples that a frame needs."""

from rnnt.model.conformer import ConformerEncoder
from rnnt.model.encoder import Encoder
from rnnt.symbol_input import Input

_LIMITS = ("attention_left=28", "attention_right=6", "causal=true")


def why_not_streaming(features: Input, encoder: Encoder) -> str:
    """Return every reason why a model cannot encode a stream before its end, joined by "and"; empty if it can."""
    reasons = [] if encoder.lookahead is not None else ["the encoder needs the whole utterance"]
    reasons += [features.why_not_streaming] if features.why_not_streaming else []
    return " and ".join(reasons)


def streaming_settings(features: Input, encoder: Encoder) -> list[str]:
    """Return the settings that a model needs instead of its own, so that it can stream."""
    config, found = features.config, []
    if encoder.lookahead is None and isinstance(encoder, ConformerEncoder):
        found += [f"model.encoder.conformer.{limit}" for limit in _LIMITS]
    elif encoder.lookahead is None:
        found.append("model.encoder.lstm.bidirectional=false")
    if features.why_not_streaming:
        wanted = {"kind": "mel", "peak_floor": 0, "trim_silence": False}
        differ = {key: value for key, value in wanted.items() if getattr(config, key) != value}
        found += [f"features.{key}={str(value).lower()}" for key, value in differ.items()]
        if config.normalization not in ("global", "running", "none"):
            found.append("features.normalization=running")
    return found


def algorithmic_latency(features: Input, encoder: Encoder) -> tuple[float, float, float]:
    """Return the parts of the latency of a model that streams, in seconds, for a sound at the start of a frame.

    The parts are the frames that are joined to one, the half of a Fourier window after the last of these, and the
    look-ahead of the encoder. A faster machine does not shorten them.
    """
    config = features.config
    hop = config.hop / config.sample_rate
    joined = features.joined * encoder.stride
    return (joined - 1) * hop, config.n_fft // 2 / config.sample_rate, encoder.lookahead * features.joined * hop
