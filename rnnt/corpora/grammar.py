"""Sentences of spoken commands, from a context-free grammar.

It has 254 words and over a million sentences of 3 to 10 words. A sentence is drawn from the top down. The alternatives
of each symbol are dealt like a pack of cards that is shuffled when it runs out, so that all are used equally often:
3,000 sentences hold each word about thirty times or more.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

START = "command"
_DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")

# Symbol -> alternatives, each of words and <symbols>. "for" and "four", "to" and "two" sound alike, but their place in
# the sentence tells which is meant. Words whose sound depends on their sense ("read", "live", "close") are left out.
RULES: dict[str, tuple[str, ...]] = {
    START: (
        "<remind> at <clock>",
        "<remind> on <date>",
        "set <alarm> for <time> in the <daypart>",
        "set <alarm> for <date>",
        "<contact> <name> <when>",
        "<contact> <name> on <weekday> <daypart>",
        "<contact> <name> on <date>",
        "<plan> with <name> on <date>",
        "<plan> with <name> <when> at <clock>",
        "show <the> calendar for <date>",
        "<travel> to <place> <landmark>",
        "<travel> to <direction> <place> <landmark>",
        "<book> from <place> to <place>",
        "<book> to <place> on <date>",
        "<book> from <place> <when> at <clock>",
        "<forecast> in <place> <when>",
        "<forecast> in <direction> <place>",
        "<switch> the <room> <device> <when>",
        "<adjust> the <room> <device> to <number> percent",
        "<adjust> the <warmer> to <number> degrees",
        "<play> <music> in the <room> <when>",
        "show channel <number> <when>",
        "<play> <music> by <name> <when>",
        "<order> <few> <fruit> and <few> <fruit>",
        "<order> <food> and <food> for <name>",
        "<cook> the <dish> for <number> minutes",
        "dial <digit> <digit> <digit> <digit>",
        "<pay> <amount> <currency> to <name>",
        "find the <superlative> <landmark> in <place>",
        "find <a> <adjective> <landmark> in <place>",
        "visit room <number> on the <ordinal> floor",
    ),
    "remind": ("remind me", "wake me up", "wake <name>"),
    "contact": ("call", "text", "invite"),
    "plan": ("plan lunch", "plan dinner", "move lunch", "cancel dinner"),
    "travel": ("drive", "walk", "take the bus", "take a taxi"),
    "book": ("book trains", "book flights", "show trains", "show flights"),
    "forecast": ("what is the weather", "is there rain", "is there snow"),
    "switch": ("turn on", "turn off", "check"),
    "adjust": ("raise", "lower", "change"),
    "play": ("play", "stop", "repeat"),
    "order": ("order", "add", "get"),
    "cook": ("cook", "boil", "warm"),
    "pay": ("send", "pay", "lend"),
    "a": ("a", "another"),
    "the": ("the", "my"),
    "alarm": ("an alarm", "another alarm", "a timer", "my timer"),
    "when": ("today", "tonight", "tomorrow", "this weekend", "next <weekday>", "next <weekday>"),
    "weekday": ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    "daypart": ("morning", "afternoon", "evening"),
    "clock": ("<time>", "<time>", "<time>", "noon", "midnight"),
    "time": ("<hour> <minute>", "<hour> <minute>", "<hour>", "half past <hour>", "quarter to <hour>"),
    "hour": (*_DIGITS, "ten", "eleven", "twelve"),
    "minute": ("<teen>", "thirty", "<tens>", "<tens> <unit>"),
    "date": ("the <ordinal> of <month>", "the <ordinal> of <month>", "<month> <ordinal>"),
    "month": (
        *("january", "february", "march", "april", "may", "june"),
        *("july", "august", "september", "october", "november", "december"),
    ),
    "ordinal": (
        *_ORDINALS,
        *("tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth"),
        *("sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth", "thirtieth"),
        *("twenty <ordinal-unit>",) * 3,
    ),
    "ordinal-unit": _ORDINALS,
    "digit": (*_DIGITS, "zero") * 4,  # four packs in one: the same digit may come twice in a row
    "unit": _DIGITS,
    "few": _DIGITS[1:],
    "teen": (
        *("ten", "eleven", "twelve", "thirteen", "fourteen"),
        *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
    ),
    "tens": ("twenty", "thirty", "forty", "fifty"),
    "number": ("<teen>", "<teen>", "<teen>", "<round>", "<round> <unit>"),
    "round": ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
    "amount": ("<few> hundred", "<number>"),
    "currency": ("dollars", "euros", "pounds"),
    "name": (
        *("maria", "peter", "anna", "david", "laura", "thomas", "sophie", "daniel", "emma", "oliver"),
        *("george", "julia", "martin", "nina", "victor", "alice", "robert", "clara", "simon", "patrick"),
    ),
    "place": (
        *("london", "paris", "berlin", "madrid", "boston", "chicago", "dublin", "oxford", "glasgow", "toronto"),
        *("sydney", "vienna", "lisbon", "denver", "dallas", "bristol", "cambridge", "cairo", "tokyo", "athens"),
    ),
    "direction": ("north", "south", "east", "west", "central"),
    "landmark": (
        *("station", "airport", "hotel", "hospital", "museum"),
        *("library", "market", "bridge", "park", "church"),
    ),
    "superlative": ("nearest", "cheapest", "oldest"),
    "adjective": ("quiet", "modern", "famous"),
    "room": ("kitchen", "bedroom", "bathroom", "garden", "office", "garage"),
    "device": ("light", "radio", "television", "fan", "speaker"),
    "warmer": ("heating", "oven"),
    "music": ("jazz", "rock music", "piano music", "folk songs"),
    "fruit": ("apples", "eggs", "lemons", "onions", "carrots", "mushrooms"),
    "food": ("milk", "bread", "butter", "coffee", "cheese", "sugar"),
    "dish": ("soup", "pasta", "chicken"),
}


def sentences(seed: int) -> Iterator[str]:
    """Yield sentences without end, the same ones for the same `seed`. A sentence may occur again."""
    rng = np.random.default_rng([seed, 0])
    packs = {symbol: deal(alternatives, rng) for symbol, alternatives in RULES.items()}

    def expand(symbol: str) -> str:
        return " ".join(expand(part[1:-1]) if part[0] == "<" else part for part in next(packs[symbol]).split())

    while True:
        yield expand(START)


@lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """Return every word that a sentence can hold."""
    parts = {part for alternatives in RULES.values() for text in alternatives for part in text.split()}
    return frozenset(part for part in parts if part[0] != "<")


def deal(alternatives: tuple[str, ...], rng: np.random.Generator) -> Iterator[str]:
    """Yield alternatives without end, dealt like a pack of cards that is shuffled when it runs out.

    Two in a row are different if the alternatives are.
    """
    last = None
    while True:
        pack = [alternatives[index] for index in rng.permutation(len(alternatives))]
        if pack[0] == last:  # no sentence should ask for a train from a place to itself
            pack.append(pack.pop(0))
        yield from pack
        last = pack[-1]
