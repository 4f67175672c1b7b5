"""Tokenizers turn text into symbols, 0 .. V-2, and back. Symbols are SentencePiece pieces, characters or words."""

import hashlib
import io
import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import sentencepiece

from rnnt.config import TokenizerConfig
from rnnt.files import write_file
from rnnt.text import one_line, read_text, reason

FILES = {"sentencepiece": "tokenizer.model", "characters": "tokenizer.json", "words": "tokenizer.json"}  # by kind
_MOST_BYTES = 64 << 20  # of a tokenizer's file
LONGEST_SYMBOL = 1000  # characters of a symbol
SPACE_PIECE = "▁"  # U+2581: a space in SentencePiece's pieces


class UnknownSymbolError(ValueError):
    """Raised for a text with a character or word that the tokenizer has no symbol for."""


class Symbols:
    """A tokenizer with one symbol for each character, or for each word.

    kind: "characters" (the space is one of them) or "words". symbols: the list of them; symbol i has the number i.
    Raises ValueError if they are not distinct, or there are none.
    """

    def __init__(self, kind: str, symbols: Sequence[str]):
        self.kind = kind
        self.symbols = list(symbols)
        self._index = {symbol: i for i, symbol in enumerate(self.symbols)}
        if kind not in ("characters", "words") or not all(isinstance(symbol, str) for symbol in self.symbols):
            raise ValueError("a tokenizer of symbols holds characters or words")
        if len(self._index) != len(self.symbols) or not self.symbols:
            raise ValueError("a tokenizer's symbols must be distinct, and there must be one")
        if max(map(len, self.symbols)) > LONGEST_SYMBOL:
            raise ValueError(f"a tokenizer's symbols must have at most {LONGEST_SYMBOL} characters")

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def learned(self) -> int:
        """Number of symbols that occur in the training texts: all."""
        return len(self.symbols)

    @property
    def spellings(self) -> list[bytes]:
        """The text of each symbol in UTF-8, words with a space before them."""
        before = " " if self.kind == "words" else ""
        return [(before + symbol).encode() for symbol in self.symbols]

    def covers(self, character: str) -> bool:
        """Return whether the tokenizer can encode this character in any text of covered characters.

        False for every character if symbols are words, because characters do not tell which words a text holds.
        """
        return self.kind == "characters" and (" " if character.isspace() else character) in self._index

    def encode(self, text: str) -> list[int]:
        """Return the symbols of a text. Raises UnknownSymbolError if it has none for a part of the text."""
        parts = _split(text, self.kind)
        unknown = sorted({part for part in parts if part not in self._index})
        if unknown:
            raise UnknownSymbolError(f"unknown to the tokenizer: {' '.join(map(repr, unknown))}")
        return [self._index[part] for part in parts]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of symbols."""
        return ("" if self.kind == "characters" else " ").join(self.symbols[token] for token in tokens)

    def word_spans(self, tokens: Sequence[int]) -> list[tuple[int, int]]:
        """Return the first place and the place after the last of each word that the symbols form.

        Spaces belong to no word. Symbols that are words form one each.
        """
        texts = [self.symbols[token] for token in tokens]
        return _spans([(text != " ", self.kind == "words") for text in texts])

    @property
    def fingerprint(self) -> str:
        """Digest of the kind and the symbols: tokenizers with the same one encode every text alike."""
        return hashlib.sha256(json.dumps([self.kind, self.symbols]).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into a folder."""
        content = {"kind": self.kind, "symbols": self.symbols}
        write_file(folder / "tokenizer.json", json.dumps(content, ensure_ascii=False, indent=1))


class SentencePiece:
    """A tokenizer that runs a SentencePiece model.

    model: the contents of the model's file. size: number of symbols. If the model has fewer pieces, the other symbols
    have no text: no text is encoded to them, and `decode` ignores them. symbols: the piece of each, in which U+2581
    stands for a space, and "" for those without a piece. Raises ValueError if the model cannot be read.
    """

    kind = "sentencepiece"

    def __init__(self, model: bytes, size: int = 0):
        if not model:
            raise ValueError("not a SentencePiece model: it is empty")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError(f"not a SentencePiece model: {reason(error)}") from None
        pieces = [self._processor.id_to_piece(piece) for piece in range(self.learned)]
        if any(len(piece) > LONGEST_SYMBOL for piece in pieces):
            raise ValueError(f"a tokenizer's symbols must have at most {LONGEST_SYMBOL} characters")
        self._model = model
        self._size = max(size, self.learned)
        self.symbols = pieces + [""] * (self._size - self.learned)

    def __len__(self) -> int:
        return self._size

    @property
    def learned(self) -> int:
        """Number of symbols that have a piece."""
        return self._processor.get_piece_size()

    @property
    def spellings(self) -> list[bytes]:
        """The text of each symbol in UTF-8, with the spaces that it stands for; empty for symbols without text.

        A symbol may be one byte of a character.
        """
        return [self._spelling(token) for token in range(self._size)]

    @property
    def scores(self) -> list[tuple[str, float]]:
        """The pieces of the model with their scores, as SentencePiece's own .vocab files list them."""
        return [(piece, self._processor.get_score(i)) for i, piece in enumerate(self.symbols[: self.learned])]

    def _spelling(self, token: int) -> bytes:
        pieces = self._processor
        if token >= self.learned or any(x(token) for x in (pieces.is_unknown, pieces.is_control, pieces.is_unused)):
            return b""
        piece = pieces.id_to_piece(token)
        return bytes([int(piece[1:-1], 16)]) if pieces.is_byte(token) else piece.replace(SPACE_PIECE, " ").encode()

    def covers(self, character: str) -> bool:
        """Return whether the tokenizer can encode this character in any text of covered characters.

        False for combining accents and other marks: normalisation may merge one with the preceding letter into a
        different character, so the answer depends on the text.
        """
        if any(map(_combines, unicodedata.normalize("NFKC", character))):
            return False
        # A text can be encoded if each of its normalised characters is a piece. A space becomes SPACE_PIECE.
        normalised = SPACE_PIECE if character.isspace() else self._processor.normalize(character)
        unknown = self._processor.unk_id()
        return all(self._processor.piece_to_id(part) != unknown for part in normalised)

    def encode(self, text: str) -> list[int]:
        """Return the symbols of a text. Raises UnknownSymbolError if it has none for a part of the text."""
        text = one_line(text)  # as in training
        tokens = self._processor.encode(text)
        unknown = self._processor.unk_id()
        if unknown in tokens:
            pieces = self._processor.encode(text, out_type=str)
            missing = sorted({piece for piece, token in zip(pieces, tokens) if token == unknown})
            raise UnknownSymbolError(f"unknown to the tokenizer: {' '.join(map(repr, missing))}")
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of symbols, without those that have none."""
        pieces, unknown = self._processor.get_piece_size(), self._processor.unk_id()
        return self._processor.decode([token for token in tokens if token < pieces and token != unknown])

    def word_spans(self, tokens: Sequence[int]) -> list[tuple[int, int]]:
        """Return the first place and the place after the last of each word that the symbols form.

        A piece that begins with a space begins a word. Pieces that are a space alone, and symbols without a piece, are
        left out at the ends of words.
        """
        unknown = self._processor.unk_id()
        texts = [self.symbols[token] if token < self.learned and token != unknown else "" for token in tokens]
        kinds, waiting = [], True  # whether the next text begins a word
        for text in texts:
            spoken = bool(text.strip(SPACE_PIECE))
            kinds.append((spoken or (not waiting and not text), spoken and (waiting or text.startswith(SPACE_PIECE))))
            waiting = text.endswith(SPACE_PIECE) or (waiting and not spoken)
        return _spans(kinds)

    @property
    def fingerprint(self) -> str:
        """Digest of the model and the number of symbols: tokenizers with the same one encode every text alike."""
        return hashlib.sha256(b"%d %s" % (self._size, self._model)).hexdigest()

    def save(self, folder: Path) -> None:
        """Write `tokenizer.model` into a folder."""
        write_file(folder / "tokenizer.model", self._model)


Tokenizer = Symbols | SentencePiece


def train_tokenizer(
    texts: Iterable[str], config: TokenizerConfig, say: Callable[[str], None] = lambda line: None
) -> Tokenizer:
    """Learn a tokenizer of the configured kind from the training texts.

    A SentencePiece unigram model covers every character of the texts. It has fewer than `size` pieces if the texts do
    not suffice for more. say(line): is called before SentencePiece learns, which takes minutes with many texts. Raises
    ValueError if the texts are empty or `size` is less than the number of characters.
    """
    texts = [one_line(text) for text in texts]
    if not any(texts):
        raise ValueError("the training texts are empty: there is nothing to learn a tokenizer from")
    if config.kind != "sentencepiece":
        return Symbols(config.kind, sorted(set().union(*(_split(text, config.kind) for text in texts))))
    say(f"learning a tokenizer of {config.size:,} pieces from {len(texts):,} texts")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=config.size,
            model_type="unigram",
            character_coverage=1.0,
            normalization_rule_name="identity",
            bos_id=-1,
            eos_id=-1,
            hard_vocab_limit=False,
            max_sentence_length=1 << 20,  # in bytes; longer texts are ignored, and characters that only they hold
            num_threads=1,  # the result depends on the number of threads
            minloglevel=2,
        )
    except RuntimeError as error:
        complaint = str(error).split("] ")[-1].split(". ")[0]
        raise ValueError(
            f"cannot learn a tokenizer of tokenizer.size={config.size} pieces from texts of "
            f"{len(set().union(*texts))} different characters: {complaint}"
        ) from None
    return SentencePiece(model.getvalue(), config.size)


def load_tokenizer(path: str | Path, config: TokenizerConfig) -> Tokenizer:
    """Open a tokenizer file, or the one in a folder. Raises ValueError if there is none or it is damaged.

    If a folder holds two, the one of the configured kind is taken. One that is alone is taken whatever its kind is,
    because earlier versions let `tokenizer.kind` differ from the tokenizer.
    """
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in (FILES[config.kind], *FILES.values()) if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} holds no tokenizer.model and no tokenizer.json")
        path = found[0]
    if not path.is_file():
        raise ValueError(f"no tokenizer file {path}")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} is too large for a tokenizer: more than {_MOST_BYTES >> 20} MiB")
    if path.suffix == ".model":
        try:
            return SentencePiece(path.read_bytes(), config.size)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    try:
        content = json.loads(read_text(path))
        return Symbols(content["kind"], content["symbols"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} is no tokenizer file; it should be a .model of SentencePiece or our .json") from None


def load_chosen_tokenizer(config: TokenizerConfig) -> Tokenizer:
    """Open the tokenizer that `tokenizer.path` names.

    Raises ValueError as `load_tokenizer` does, or if `tokenizer.kind` is another one: config.yaml would be wrong.
    """
    tokenizer = load_tokenizer(config.path, config)
    if tokenizer.kind != config.kind:
        raise ValueError(
            f"{config.path} holds a tokenizer of kind {tokenizer.kind}, but tokenizer.kind is {config.kind}; "
            f"set tokenizer.kind={tokenizer.kind} or give another tokenizer.path"
        )
    return tokenizer


def _split(text: str, kind: str) -> list[str]:
    return text.split() if kind == "words" else list(one_line(text))


def _spans(kinds: list[tuple[bool, bool]]) -> list[tuple[int, int]]:
    """Return the spans of words, by whether each symbol belongs to a word and whether it begins one in any case."""
    spans, start = [], None
    for place, (spoken, begins) in enumerate(kinds):
        if start is not None and (begins or not spoken):
            spans.append((start, place))
            start = None
        if spoken and start is None:
            start = place
    return spans if start is None else [*spans, (start, len(kinds))]


def _combines(character: str) -> bool:
    """Return whether Unicode normalisation may merge the character with the one before it.

    These are marks (accents, vowel signs) and the vowels and final consonants of a Korean syllable.
    """
    return unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff"
