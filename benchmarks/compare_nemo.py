"""Compares the FastConformer encoder with NeMo's, for random weights in float32 and float64.

NeMo is not among this project's dependencies: install `nemo_toolkit[asr]` and this package into one environment, then

    python benchmarks/compare_nemo.py

Prints, for each configuration, the largest difference over the valid frames of a batch, next to the largest value.
NeMo's causal subsampling has another frame at the end, which mostly sees padding; utterances that end within a chunk
of it are compared up to that chunk.
"""

import sys

import torch
from torch import nn

from rnnt.model.conformer import ConformerEncoder
from rnnt.model_config import ConformerConfig

FEATURES = 80
LENGTHS = [403, 57, 320, 1, 200]
CASES = {
    "offline, 8x": ConformerConfig(width=144, layers=4, heads=4, channels=64),
    "offline, 4x, no biases, no scaling": ConformerConfig(
        width=96, layers=3, heads=4, channels=32, subsampling=4, bias=False, scale_input=False, kernel=5
    ),
    "chunks of 7": ConformerConfig(width=96, layers=3, heads=4, channels=32, attention_left=14, attention_right=6),
    "chunks of 7, causal, layer norm": ConformerConfig(
        width=96, layers=3, heads=4, channels=32, attention_left=14, attention_right=6, causal=True, norm="layer",
        causal_subsampling=True,
    ),
    "large, 8x": ConformerConfig(),
}  # fmt: skip


def make_reference(config: ConformerConfig) -> nn.Module:
    """Make NeMo's encoder with the same settings."""
    from nemo.collections.asr.modules.conformer_encoder import ConformerEncoder as Reference

    return Reference(
        feat_in=FEATURES,
        n_layers=config.layers,
        d_model=config.width,
        subsampling="dw_striding",
        subsampling_factor=config.subsampling,
        subsampling_conv_channels=config.channels,
        causal_downsampling=config.causal_subsampling,
        ff_expansion_factor=config.feed_forward,
        n_heads=config.heads,
        att_context_size=[config.attention_left, config.attention_right],
        att_context_style="regular" if config.attention_right < 0 else "chunked_limited",
        xscaling=config.scale_input,
        conv_kernel_size=config.kernel,
        conv_norm_type=f"{config.norm}_norm",
        conv_context_size="causal" if config.causal else None,
        use_bias=config.bias,
    )


def copy_weights(reference: nn.Module, encoder: ConformerEncoder) -> None:
    """Copy all weights of NeMo's encoder. The names are the same."""
    own = encoder.state_dict()
    weights = {name: value for name, value in reference.state_dict().items() if "num_batches_tracked" not in name}
    encoder.load_state_dict({name: value.reshape(own[name].shape) for name, value in weights.items()})


def randomize(module: nn.Module) -> None:
    """Give biases, norms and running statistics values that matter."""
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if "pos_bias" in name or "running_mean" in name or name.endswith("bias"):
                value.normal_(0, 0.3)
            elif "running_var" in name or ("norm" in name and name.endswith("weight")):
                value.uniform_(0.5, 2)


def compare(config: ConformerConfig, dtype: torch.dtype) -> tuple[float, float]:
    """Return the largest difference and the largest value over the frames that must be equal."""
    torch.manual_seed(0)
    reference = make_reference(config).eval()
    randomize(reference)
    encoder = ConformerEncoder(FEATURES, config).eval()
    copy_weights(reference, encoder)
    reference, encoder = reference.to(dtype), encoder.to(dtype)
    reference.pos_enc.create_pe(torch.arange(4999, -5000, -1, dtype=torch.float32)[:, None], dtype)
    lengths = torch.tensor(LENGTHS)
    x_BSF = torch.randn(len(lengths), max(LENGTHS), FEATURES, dtype=dtype)
    with torch.no_grad():
        output_BTD, counts = encoder(x_BSF, lengths)
        expected_BDT, expected_counts = reference(audio_signal=x_BSF.transpose(1, 2), length=lengths)
    worst = highest = 0.0
    for ours, theirs, count, wanted in zip(output_BTD, expected_BDT.transpose(1, 2), counts, expected_counts):
        same = int(count)
        if config.causal_subsampling:
            same -= same % (config.attention_right + 1)
        elif count != wanted:
            raise ValueError(f"{int(count)} frames, but NeMo has {int(wanted)}")
        if same:
            worst = max(worst, float((ours[:same] - theirs[:same]).abs().max()))
            highest = max(highest, float(theirs[:same].abs().max()))
    return worst, highest


def main() -> None:
    """Print a line for each configuration."""
    for name, config in CASES.items():
        for dtype in (torch.float32, torch.float64):
            worst, highest = compare(config, dtype)
            print(f"{name:36} {str(dtype)[6:]:8} largest difference {worst:.1e}, largest value {highest:.2f}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
