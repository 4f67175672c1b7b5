"""The recognizer: training mode is refused, several threads share a model, batches are encoded and decoded."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

import rnnt
from rnnt.decoding import beam
from rnnt.loader import collate


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
