import pytest
import torch

from rnnt.config import SymbolsConfig
from rnnt.model.symbols import SymbolEmbedding, SymbolEncoder
from rnnt.model.transducer import make_encoder
from rnnt.model_config import EncoderConfig, LstmConfig, ModelConfig

LENGTHS = torch.tensor([7, 1, 12, 2, 11])


def make(bidirectional=False, **settings):
    torch.manual_seed(0)
    config = EncoderConfig(lstm=LstmConfig(5, 1, 2, 1, 0.1, bidirectional))
    embedding = SymbolEmbedding(9, SymbolsConfig(embedding=4, **settings))
    encoder = SymbolEncoder(embedding, make_encoder(4, config)).double()
    encoder.reset(ModelConfig(config, init_scale=2.0))
    return encoder


def numbers(seed=0):
    return torch.randint(0, 9, (5, 12), generator=torch.Generator().manual_seed(seed), dtype=torch.int32)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_batch_and_order_do_not_matter(bidirectional):
    encoder, symbols = make(bidirectional).eval(), numbers()
    output, counts = encoder(symbols, LENGTHS)
    assert counts.tolist() == [4, 1, 6, 1, 6] and output.shape == (5, 6, encoder.width)
    order = [3, 1, 4, 0, 2]
    shuffled, _ = encoder(symbols[order], LENGTHS[order])
    for i, (length, count) in enumerate(zip(LENGTHS, counts)):
        alone, _ = encoder(symbols[i : i + 1, :length], LENGTHS[i : i + 1])
        torch.testing.assert_close(output[i, :count], alone[0], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(shuffled[order.index(i), :count], alone[0], rtol=1e-12, atol=1e-14)


def test_it_is_the_inner_encoder_on_rows_of_the_table():
    encoder, symbols = make().eval(), numbers()
    vectors = encoder.embedding.table.weight[symbols.long()]
    torch.testing.assert_close(encoder(symbols, LENGTHS)[0], encoder.encoder(vectors, LENGTHS)[0], rtol=0, atol=0)


def test_chunks_give_the_whole():
    encoder, symbols = make().eval(), numbers()
    whole, counts = encoder(symbols, LENGTHS)
    state, parts = encoder.start(5), []
    for start in range(0, 12, 5):
        chunk = symbols[:, start : start + 5]
        frames, lengths, state = encoder.step(chunk, (LENGTHS - start).clamp(0, chunk.shape[1]), state)
        parts.append((frames, lengths))
    parts.append(encoder.finish(state))
    for i, count in enumerate(counts):
        found = torch.cat([frames[i, : lengths[i]] for frames, lengths in parts])
        torch.testing.assert_close(found, whole[i, :count], rtol=1e-12, atol=1e-14)


def test_training_replaces_the_asked_share_by_the_last_symbol():
    embedding = SymbolEmbedding(9, SymbolsConfig(embedding=4, unknown=0.2)).train()
    symbols = torch.randint(0, 8, (100, 100))
    torch.manual_seed(1)
    vectors = embedding(symbols)
    replaced = (vectors == embedding.table.weight[8]).all(-1)
    assert replaced.float().mean() == pytest.approx(0.2, abs=0.02)
    kept = embedding.table.weight[symbols]
    torch.testing.assert_close(vectors[~replaced], kept[~replaced], rtol=0, atol=0)
    torch.testing.assert_close(embedding.eval()(symbols), kept, rtol=0, atol=0)  # not in evaluation
    torch.manual_seed(1)
    torch.testing.assert_close(embedding.train()(symbols), vectors, rtol=0, atol=0)  # the seed decides


def test_dropout_follows_the_embedding():
    embedding = SymbolEmbedding(9, SymbolsConfig(embedding=50, unknown=0.0, dropout=0.3)).train()
    assert (embedding(torch.zeros(100, 10, dtype=torch.long)) == 0).float().mean() == pytest.approx(0.3, abs=0.02)
