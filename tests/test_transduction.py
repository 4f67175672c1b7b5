"""Outputs of symbols, and their probabilities against a sum over all alignments."""

from itertools import combinations, product

import pytest
import torch

from rnnt import transduction
from rnnt.alphabet import Alphabet
from rnnt.transduction import log_probabilities, split_text

WORDS = ["ab", "c", "cabbac", "aa", "bacab", "ab", "abcabcabc", "b"]


def brute_force(recognizer, word, tokens):
    """The probability of symbols in float64: the sum over all orders of blanks and symbols."""
    model = recognizer.model.double()
    try:
        with torch.inference_mode():
            numbers = torch.from_numpy(recognizer.numbers(word))[None]
            encoder = model.encoder(numbers, torch.tensor([numbers.shape[1]]))[0][0]
            predicted = model.predictor(torch.tensor([tokens], dtype=torch.long))[0]
            joint = model.joint
            nodes = joint(joint.encoder(encoder)[:, None], joint.predictor(predicted)).softmax(-1)
    finally:
        recognizer.model.float()
    frames, total = len(encoder), 0.0
    for places in combinations(range(frames - 1 + len(tokens)), len(tokens)):  # the last arc is a blank
        t = u = 0
        path = 1.0
        for step in range(frames + len(tokens)):
            if step in places:
                path, u = path * nodes[t, u, tokens[u]].item(), u + 1
            else:
                path, t = path * nodes[t, u, -1].item(), t + 1
        total += path
    return total


@pytest.mark.parametrize("word", ["a", "cb", "bca"])
def test_probabilities_are_sums_over_all_alignments(spell, word):
    recognizer = spell()
    (found,) = recognizer.transduce(word, nbest=6)
    assert len(found.candidates) == 6 and found.input == word
    for each in found.candidates:
        assert each.probability == pytest.approx(brute_force(recognizer, word, each.tokens), rel=1e-5)
        assert each.text == recognizer.tokenizer.decode(each.tokens)
    assert found.text == found.candidates[0].text and found.probability == found.candidates[0].probability


def test_probabilities_of_all_outputs_sum_to_at_most_one(spell):
    recognizer = spell(decoding={"method": "beam", "beam": 200, "max_symbols_per_frame": 30})
    for found in recognizer.transduce(["ab", "b"], nbest=200):
        assert len({tuple(each.tokens) for each in found.candidates}) == len(found.candidates) == 200
        probabilities = [each.probability for each in found.candidates]
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0.7 < sum(probabilities) <= 1  # the others are longer
    outputs = [list(each) for length in range(5) for each in product(range(3), repeat=length)]
    assert sum(brute_force(recognizer, "b", each) for each in outputs) <= 1


def test_greedy_search_has_the_same_probability(spell):
    recognizer = spell(decoding={"method": "greedy"})
    for found in recognizer.transduce(["a", "cb", "bca"]):
        (best,) = found.candidates
        assert best.probability == pytest.approx(brute_force(recognizer, found.input, best.tokens), rel=1e-5)
    with pytest.raises(ValueError, match="greedy search finds one output, not 2; choose the decoding beam or beam:2"):
        recognizer.transduce("a", nbest=2)


def test_no_result_depends_on_its_batch(spell, monkeypatch):
    recognizer = spell()
    alone = [recognizer.transduce(word, nbest=3)[0] for word in WORDS]
    assert len({found.text for found in alone}) > 3

    def check(results, expected):
        assert [found.input for found in results] == [found.input for found in expected]
        for found, wanted in zip(results, expected):
            assert [each.tokens for each in found.candidates] == [each.tokens for each in wanted.candidates]
            for each, other in zip(found.candidates, wanted.candidates):
                assert each.probability == pytest.approx(other.probability, rel=1e-4)

    for size in (None, 1, 3, 100):
        check(recognizer.transduce(WORDS, nbest=3, batch_size=size), alone)
    check(recognizer.transduce(reversed(WORDS), nbest=3), alone[::-1])
    check(recognizer.transduce(WORDS), [transduction.Transduction(x.input, x.candidates[:1], []) for x in alone])
    monkeypatch.setattr(transduction, "_NODES", 30)
    check(recognizer.transduce(WORDS, nbest=3), alone)


@pytest.mark.parametrize("decoding", [{"method": "greedy"}, {"method": "beam"}], ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_without_probabilities_are_the_same(spell, speller, decoding, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for recognizer in (spell(decoding=decoding), speller):  # hardly sure of anything, and of nearly all
            wanted = recognizer.transduce(WORDS)
            for size in (None, 2):
                found = recognizer.transduce(WORDS, batch_size=size, probabilities=False)
                assert [(x.input, x.text) for x in found] == [(x.input, x.text) for x in wanted]
                assert all(x.probability is None for x in found)
    finally:
        torch.set_num_threads(before)


def test_a_trained_model_is_sure(speller):
    (found,) = speller.transduce("cab", nbest=3)
    assert found.text == "C A B" and found.probability > 0.8 and not found.unknown


def test_unknown_symbols_are_named(speller):
    results = speller.transduce(["ab", "axb", "zax", "\x00", "🙂", "\udcff"])
    assert [found.unknown for found in results] == [[], ["x"], ["x", "z"], ["\x00"], ["🙂"], ["\udcff"]]


@pytest.mark.parametrize("unicode", ["nfd", "nfc"])
def test_both_forms_of_a_letter_are_one(spell, unicode):
    recognizer = spell(("a", "b", "e", "\u0301", "\u00e9"), unicode)
    one, other = recognizer.transduce(["b\u00e9", "be\u0301"])
    assert one.candidates == other.candidates and not one.unknown and not other.unknown


def test_texts_are_split_at_spaces_if_a_symbol_has_several_characters(spell):
    letters, tags = Alphabet(["a", "b", " "], "nfc"), Alphabet(["a", "b", "<PL>"], "nfc")
    assert split_text(letters, " a b\r\n") == ["a", " ", "b"]
    assert split_text(tags, " a  b <PL>\r\n") == ["a", "b", "<PL>"]
    recognizer = spell(("a", "b", "<PL>"))
    one, other = recognizer.transduce(["b a <PL>", ["b", "a", "<PL>"]])
    assert one.candidates == other.candidates and one.input == other.input and not one.unknown
    assert recognizer.transduce(["ab"])[0].unknown == ["ab"]


def test_long_words(spell):
    recognizer = spell()
    short, long = recognizer.transduce(["ab", "abc" * 170])
    assert long.candidates and 0 <= long.probability < 1e-6 and short.text == recognizer.transduce("ab")[0].text
    few = spell(decoding={"method": "greedy", "max_symbols": 2})
    assert [found.candidates[0].truncated for found in few.transduce(["b", "abc" * 30])] == [False, True]
    assert len(few.transduce("abc" * 170)[0].candidates[0].tokens) <= 11  # 2 for each hundred symbols


def test_mistakes_are_explained(spell, recognizer):
    model = spell()
    for given, why in (
        (["ab", " "], "input 2 is empty"),
        ([[]], "input 1 is empty"),
        (["ab", 3], "input 2 is neither a text nor a list of symbols"),
        ([["a", 1]], "input 1 is neither"),
        (["ab" * 1001], r"input 1 \(abababababababababab...\) has 2002 symbols, more than 2000; split it"),
    ):
        with pytest.raises(ValueError, match=why):
            model.transduce(given)
    with pytest.raises(ValueError, match="nbest is 0; it must be at least 1"):
        model.transduce("ab", nbest=0)
    assert model.transduce([]) == []
    with pytest.raises(ValueError, match="this model reads audio, not symbols"):
        recognizer.transduce("ab")
    with pytest.raises(ValueError, match="this model reads symbols, such as the letters of words, not audio"):
        model.transcribe("a.wav")


def test_scorers_steer_the_order_but_not_the_probabilities(spell):
    class LikesB:
        """Adds 3 nats to each B."""

        blank_weight = 0.0

        def start(self, batch):
            return torch.zeros(batch)

        def scores(self, state):
            return state[:, None] + torch.tensor([0.0, 3.0, 0.0])

        def advance(self, state, symbols):
            return state

        def finish(self, state):
            return torch.zeros(len(state))

    plain, steered = spell(), spell()
    steered.scorers["lm"] = LikesB()
    for word in ("a", "cb"):
        found = steered.transduce(word, nbest=4)[0].candidates
        assert all(each.probability == pytest.approx(brute_force(plain, word, each.tokens), rel=1e-5) for each in found)
        gains = [torch.tensor(each.probability).log().item() + 3 * each.tokens.count(1) for each in found]
        assert gains == sorted(gains, reverse=True)
        assert found[0].text != plain.transduce(word)[0].text


def test_log_probabilities_of_given_outputs(spell):
    recognizer = spell()
    from rnnt.loader import collate

    batch = collate([recognizer.numbers(word) for word in ("ab", "cab")], [[]] * 2, [""] * 2)
    rows, tokens = [1, 0, 1, 1], [[0, 1], [2], [], [2, 2, 2]]
    with recognizer.inference():
        found = log_probabilities(recognizer, *recognizer.encode(batch), rows, tokens)
    expected = [brute_force(recognizer, ("ab", "cab")[row], each) for row, each in zip(rows, tokens)]
    assert torch.tensor(found).exp().tolist() == pytest.approx(expected, rel=1e-5)
