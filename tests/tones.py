"""Words that are tones of three pitches, and a model that streams and tells them apart."""

from functools import partial

import numpy as np
import torch

_PITCH = (300.0, 900.0, 2700.0)  # of the words a, b and c


def tones(words, rng):
    """Return words, 0 to 2, as tones with silence between them, int16 at 16 kHz."""
    t = np.arange(4000) / 16000
    parts = []
    for word in words:
        parts += [np.sin(2 * np.pi * _PITCH[word] * t), np.zeros(rng.integers(3000, 6000))]
    clean = 0.3 * np.concatenate(parts)
    return (32767 * (clean + 0.002 * rng.standard_normal(len(clean)))).astype(np.int16)


def train_listener(make):
    """Return a model that was trained for a moment. make: makes a random model."""
    from rnnt.recognizer import Recognizer

    encoder = {"hidden": 32, "pre_layers": 1, "post_layers": 1, "time_stack": 2}
    sections = {"encoder": encoder, "predictor": {"embedding": 8, "hidden": 8, "layers": 1}, "joint": {"hidden": 32}}
    made = make(features={"normalization": "running", "stack": 10}, model={**sections, "init_scale": 1.0})
    torch.manual_seed(0)
    model, rng = Recognizer(made.config, made.tokenizer), np.random.default_rng(0)
    model.features.mean.fill_(-12.0)
    model.features.std.fill_(3.0)
    optimizer = torch.optim.Adam(model.model.parameters(), lr=0.02)
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    batches = []
    for _ in range(12):
        texts = [torch.from_numpy(rng.integers(0, 3, size=rng.integers(1, 8))) for _ in range(8)]
        audio = [torch.from_numpy(tones(text, rng)) for text in texts]
        features = model.features(pad(audio), torch.tensor(list(map(len, audio))))
        batches.append((*features, pad(texts), torch.tensor(list(map(len, texts)))))
    for _ in range(10):
        for batch in batches:
            optimizer.zero_grad()
            model.model(*batch).mean().backward()
            optimizer.step()
    return model.eval()
