"""Train a model further on prepared utterances, in a loop that you can change.

rnnt prepare folder RECORDINGS --out data/mine
python examples/fine_tune.py runs/small data/mine/train models/mine
"""

import sys
from pathlib import Path

import torch

import rnnt
from rnnt.dataset import Dataset
from rnnt.loader import Loader
from rnnt.sampler import Sampler


def main(model_path: str, data: str, out: str, epochs: int = 3, lr: float = 1e-4) -> None:
    model = rnnt.load(model_path, device="auto").train()
    dataset = Dataset(data)
    loader = Loader(dataset, model.tokenizer, model.device)  # leaves out texts that the tokenizer cannot encode
    sampler = Sampler(dataset.lengths, loader.usable, batch=8, buckets=4, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    for epoch in range(epochs):
        losses = []
        for batch in loader.batches(sampler.batches(epoch)):
            encoder_BTD, lengths = model.encode(batch)
            loss = model.model.loss(encoder_BTD, lengths, batch.targets, batch.target_lengths).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}")
    model.eval().save(Path(out))  # rnnt transcribe and rnnt evaluate take this folder


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
