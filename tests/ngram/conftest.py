"""Plain oracles: modified Kneser-Ney estimation, and scoring with an ARPA file, both on dictionaries."""

import math
import random
from collections import Counter, defaultdict

import pytest


def plain_kneser_ney(sentences, order, limits=()):
    """Modified Kneser-Ney (Chen and Goodman, 1998) by its definition: {n-gram: probability}, {context: weight}."""
    limits = [*limits, *[limits[-1] if limits else 0] * order][:order]
    raw = [Counter() for _ in range(order + 1)]
    left = [defaultdict(set) for _ in range(order + 1)]
    for sentence in sentences:
        text = ["<s>", *sentence, "</s>"]
        for n in range(1, order + 1):
            for i in range(len(text) - n + 1):
                gram = tuple(text[i : i + n])
                raw[n][gram] += 1
                if i:
                    left[n][gram].add(text[i - 1])
    vocabulary = {word for (word,) in raw[1]} - {"<s>"} | {"<unk>"}
    counts = [Counter() for _ in range(order + 1)]
    for n in range(1, order + 1):
        for gram, count in raw[n].items():
            if gram != ("<s>",):
                counts[n][gram] = count if n == order or gram[0] == "<s>" else len(left[n][gram])

    def discount(n, count):
        of = Counter(counts[n].values())
        if not all(of[i] for i in (1, 2, 3)):
            found = (0.5, 1.0, 1.5)
        else:
            y = of[1] / (of[1] + 2 * of[2])
            found = [i - (i + 1) * y * of[i + 1] / of[i] for i in (1, 2, 3)]
            if not all(0 < d <= i for i, d in enumerate(found, 1)):
                found = (0.5, 1.0, 1.5)
        return found[min(count, 3) - 1]

    def lost(n, gram):
        count = counts[n][gram]
        return discount(n, count) if n == 1 or raw[n][gram] > limits[n - 1] else count

    total = sum(counts[1].values())
    spare = sum(lost(1, gram) for gram in counts[1]) / total / len(vocabulary)
    probs = {(word,): spare for word in vocabulary}
    for gram, count in counts[1].items():
        probs[gram] += (count - lost(1, gram)) / total
    weights = {}
    for n in range(2, order + 1):
        following, losses = Counter(), Counter()
        for gram, count in counts[n].items():
            following[gram[:-1]] += count
            losses[gram[:-1]] += lost(n, gram)
        weights |= {context: losses[context] / following[context] for context in following}
        for gram, count in counts[n].items():
            probs[gram] = (count - discount(n, count)) / following[gram[:-1]] + weights[gram[:-1]] * probs[gram[1:]]
    kept = {
        gram: prob for gram, prob in probs.items() if len(gram) == 1 or raw[len(gram)][gram] > limits[len(gram) - 1]
    }
    return kept, weights


class PlainArpa:
    """Scores words by the recursion that ARPA files are defined by."""

    def __init__(self, path):
        self.grams, order = {}, 0
        for line in path.read_text().split("\n"):
            if line.endswith("-grams:"):
                order = int(line[1])
            elif "\t" in line:
                prob, gram, *backoff = line.split("\t")
                assert len(gram.split(" ")) == order
                self.grams[tuple(gram.split(" "))] = float(prob), float(backoff[0]) if backoff else 0.0
        self.order = order

    def log10(self, context, word):
        """log10 P(word | context), where an unknown word is <unk>."""
        if (word,) not in self.grams:
            word = "<unk>"
            if (word,) not in self.grams:
                return self.log10_backoffs(context) - 100
        context = (
            tuple(x if (x,) in self.grams else "<unk>" for x in context)[-(self.order - 1) :] if self.order > 1 else ()
        )
        if (*context, word) in self.grams:
            return self.grams[(*context, word)][0]
        return self.grams.get(context, (0, 0.0))[1] + self.log10(context[1:], word)

    def log10_backoffs(self, context):
        context = (
            tuple(x if (x,) in self.grams else "<unk>" for x in context)[-(self.order - 1) :] if self.order > 1 else ()
        )
        return sum(self.grams.get(context[i:], (0, 0.0))[1] for i in range(len(context)))

    def log(self, words, word):
        """The natural logarithm of P(word | beginning of the sentence, words)."""
        return math.log(10) * self.log10(("<s>", *words), word)


def random_sentences(count, words="abcdefg", seed=0, longest=9):
    """Sentences with some structure: a word is often followed by the same one."""
    rng = random.Random(seed)
    sentences = []
    for _ in range(count):
        sentence = []
        for _ in range(rng.randrange(longest + 1)):
            after = words.index(sentence[-1]) if sentence else 0
            sentence.append(words[min(int(rng.expovariate(0.7)) + after * rng.randrange(2), len(words) - 1)])
        sentences.append(sentence)
    return sentences


@pytest.fixture(scope="session")
def kneser_ney():
    return plain_kneser_ney


@pytest.fixture(scope="session")
def plain_arpa():
    return PlainArpa


@pytest.fixture(scope="session")
def sentences():
    return random_sentences
