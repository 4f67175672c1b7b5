"""Compares the FastConformer encoder with NeMo's, and the search with durations, for random weights.

NeMo is not among this project's dependencies: install `nemo_toolkit[asr]` and this package into one environment, then

    python benchmarks/compare_nemo.py

Prints, for each configuration, the largest difference over the valid frames of a batch, next to the largest value.
NeMo's causal subsampling has another frame at the end, which mostly sees padding; utterances that end within a chunk
of it are compared up to that chunk.

For token-and-duration models, the symbols and the times of both greedy searches of NeMo (one utterance at a time, and a
batch) are compared with ours, over random encoder frames. NeMo's search of one utterance goes on by a frame too many
after the last symbol that a frame may emit, if this symbol has a duration, so the number of such models is counted.
"""

import sys
from collections.abc import Iterator

import torch
from torch import nn

from rnnt.config import DecodingConfig
from rnnt.decoding.durations import DurationGreedy
from rnnt.model import Transducer
from rnnt.model.conformer import ConformerEncoder
from rnnt.model_config import ConformerConfig, EncoderConfig, JointConfig, LstmConfig, ModelConfig, PredictorConfig

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


def make_searches(seed: int, most: int, durations: list[int]) -> tuple[DurationGreedy, list[nn.Module]]:
    """Make our search and NeMo's two of a random model with V = 31. most: symbols of a frame."""
    from nemo.collections.asr.modules import RNNTDecoder, RNNTJoint
    from nemo.collections.asr.parts.submodules.rnnt_greedy_decoding import GreedyBatchedTDTInfer, GreedyTDTInfer

    torch.manual_seed(seed)
    encoder = EncoderConfig(lstm=LstmConfig(hidden=24, pre_layers=1, post_layers=1))
    parts = PredictorConfig(embedding=16, hidden=16, layers=2), JointConfig(20, durations=durations)
    model = Transducer(3, 31, ModelConfig(encoder, *parts, init_scale=1.0)).eval()
    prednet = {"pred_hidden": 16, "pred_rnn_layers": 2, "dropout": 0.0}
    jointnet = {"encoder_hidden": 24, "pred_hidden": 16, "joint_hidden": 20, "activation": "relu", "dropout": 0.0}
    names = [str(number) for number in range(30)]
    decoder = RNNTDecoder(prednet=prednet, vocab_size=30, blank_as_pad=True).eval()
    joint = RNNTJoint(jointnet=jointnet, num_classes=30, num_extra_outputs=len(durations), vocabulary=names).eval()
    with torch.no_grad():
        for layer in model.joint.children():
            layer.weight.normal_(std=0.8)
        model.joint.output.bias[30] += 5 * torch.rand(()) + 2
        decoder.prediction["embed"].weight[:30] = model.predictor.embedding.weight
        decoder.prediction["embed"].weight[30] = 0
        decoder.prediction["dec_rnn"].lstm.load_state_dict(model.predictor.lstm.state_dict())
        for theirs, ours in ((joint.enc, "encoder"), (joint.pred, "predictor"), (joint.joint_net[-1], "output")):
            theirs.load_state_dict(model.joint.get_submodule(ours).state_dict())
    shared = {"blank_index": 30, "durations": durations, "max_symbols_per_step": most}
    return DurationGreedy(model, DecodingConfig(most, 10_000)), [
        GreedyBatchedTDTInfer(decoder, joint, **shared),
        GreedyTDTInfer(decoder, joint, **shared),
    ]


def compare_searches(models: int, most: int, durations: list[int]) -> Iterator[str]:
    """Yield what was found for each of NeMo's searches."""
    lengths = torch.tensor([120, 1, 57, 88])
    different, utterances, symbols = [0, 0], 0, 0
    for seed in range(models):
        search, references = make_searches(seed, most, durations)
        frames_BTD = torch.randn(4, 120, 24, generator=torch.Generator().manual_seed(seed))
        found = search.best(search.advance(search.start(4), frames_BTD, lengths))
        ours = [(hypothesis.tokens, hypothesis.frames) for hypothesis in found]
        utterances, symbols = utterances + len(ours), symbols + sum(len(tokens) for tokens, _ in ours)
        for number, reference in enumerate(references):
            (theirs,) = reference(encoder_output=frames_BTD.transpose(1, 2), encoded_lengths=lengths)
            pairs = [(list(map(int, each.y_sequence)), list(map(int, each.timestamp))) for each in theirs]
            different[number] += sum(one != other for one, other in zip(ours, pairs))
    for name, count in zip(("a batch", "one utterance"), different):
        yield (
            f"durations {durations}, at most {most:2} symbols a frame, NeMo's search of {name}: "
            f"{count} of {utterances} utterances differ ({symbols} symbols)"
        )


def main() -> None:
    """Print a line for each configuration."""
    for name, config in CASES.items():
        for dtype in (torch.float32, torch.float64):
            worst, highest = compare(config, dtype)
            print(f"{name:36} {str(dtype)[6:]:8} largest difference {worst:.1e}, largest value {highest:.2f}")
            sys.stdout.flush()
    for most in (1, 3, 10):
        for durations in ([0, 1, 2, 3, 4], [0, 2, 8], [1, 2]):
            for line in compare_searches(50, most, durations):
                print(line, flush=True)


if __name__ == "__main__":
    main()
