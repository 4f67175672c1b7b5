"""Exact scores of hypotheses: against the loss in float64, with shared prefixes and streams of any length."""

import pytest
import torch

from rnnt.decoding.rescoring import MARGIN, Emission, rescore
from rnnt.decoding.scorer import Scorers
from rnnt.model import Transducer
from rnnt.model_config import EncoderConfig, JointConfig, LstmConfig, ModelConfig, PredictorConfig

SEQUENCES = [[[], [0], [0, 1], [0, 1, 1], [2, 1]], [[3] * 9, [3] * 8 + [1]], [[1, 2, 0, 3]]]


def make_model(kind="network"):
    torch.manual_seed(0)
    config = ModelConfig(
        EncoderConfig(lstm=LstmConfig(hidden=6, pre_layers=1, post_layers=1)),
        PredictorConfig(embedding=4, hidden=5, layers=2),
        JointConfig(8, "tanh", 0.5, kind),
        init_scale=1.0,
    )
    return Transducer(3, 5, config).double().eval()


def emissions(model, tokens, length, seed):
    """A path at random frames. All its alignments are within the margin if the stream is short."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(length, (len(tokens),), generator=generator).sort().values.tolist()
    outputs = model.predictor(torch.tensor([tokens], dtype=torch.long))[0]
    return Emission(tokens, frames, [0.0] * len(tokens), list(model.joint.project_predictor(outputs)))


@torch.no_grad()
def scored(model, encoders, sequences):
    found = [[emissions(model, tokens, len(x), 1) for tokens in y] for x, y in zip(encoders, sequences)]
    return rescore(model.joint, [model.joint.project_encoder(x) for x in encoders], found, Scorers(()))


@pytest.mark.parametrize("kind", ["network", "additive"])
def test_scores_are_minus_the_loss_of_each_sequence(kind):
    model = make_model(kind)
    encoders = [torch.randn(n, 6, dtype=torch.float64) for n in (MARGIN, 4, 1)]
    for x, sequences, scores in zip(encoders, SEQUENCES, scored(model, encoders, SEQUENCES)):
        for tokens, (plain, steered) in zip(sequences, scores):
            targets, lengths = torch.tensor([tokens], dtype=torch.long), torch.tensor([len(x)])
            with torch.no_grad():
                loss = model.loss(x[None], lengths, targets, torch.tensor([len(tokens)]))
            assert plain == steered == pytest.approx(-float(loss), abs=1e-5)


def test_neither_the_batch_nor_the_other_hypotheses_nor_a_stream_without_frames_matter():
    model = make_model()
    encoders = [torch.randn(n, 6, dtype=torch.float64) for n in (40, 0, 7, 19)]
    found = [
        [emissions(model, y, len(x), i) for i, y in enumerate(sequences)] if len(x) else [Emission([], [], [], [])]
        for x, sequences in zip(encoders, [SEQUENCES[0], [[]], SEQUENCES[1], SEQUENCES[2]])
    ]
    with torch.no_grad():
        frames = [model.joint.project_encoder(x) if len(x) else None for x in encoders]
        together = rescore(model.joint, frames, found, Scorers(()))
        assert together[1] == [(0.0, 0.0)]
        for stream, entries, expected in zip(frames, found, together):
            alone = [rescore(model.joint, [stream], [[entry]], Scorers(()))[0][0] for entry in entries]
            assert [plain for plain, _ in alone] == pytest.approx([plain for plain, _ in expected], abs=1e-5)


def log_sum(values):
    return torch.tensor(values, dtype=torch.float64).logsumexp(0).item()


def sum_in_band(model, x, entry):
    """The sum over all paths that stay within the margin of the entry's path, node by node."""
    with torch.no_grad():
        outputs = torch.stack(entry.outputs)
        scores = model.joint(model.joint.project_encoder(x)[:, None], outputs[None]).log_softmax(-1).tolist()
    entered, left = [0, *entry.frames], [*entry.frames, len(x) - 1]
    alpha = {}
    for t in range(len(x)):
        for u in range(len(outputs)):
            if entered[u] - MARGIN <= t <= left[u] + MARGIN:
                ways = [0.0] if t == u == 0 else []
                if (t - 1, u) in alpha:
                    ways.append(alpha[t - 1, u] + scores[t - 1][u][-1])
                if (t, u - 1) in alpha:
                    ways.append(alpha[t, u - 1] + scores[t][u - 1][entry.tokens[u - 1]])
                if ways:
                    alpha[t, u] = log_sum(ways)
    last = len(x) - 1, len(outputs) - 1
    return alpha[last] + scores[last[0]][last[1]][-1]


def test_alignments_within_the_margin_count_and_no_others():
    model = make_model()
    x = torch.randn(60, 6, dtype=torch.float64)
    tokens = [1, 2, 0, 3]
    entry = emissions(model, tokens, len(x), 1)
    ((plain, _),), *_ = scored(model, [x], [[tokens]])
    with torch.no_grad():
        loss = float(model.loss(x[None], torch.tensor([60]), torch.tensor([tokens]), torch.tensor([4])))
    assert plain == pytest.approx(sum_in_band(model, x, entry), abs=1e-5) and plain < -loss - 0.1
