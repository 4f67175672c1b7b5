"""Text <-> symbols 0 .. V-2: SentencePiece pieces, characters or words."""

import io
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from rnnt.config import TokenizerConfig
from rnnt.files import write_file


class UnknownSymbolError(ValueError):
    """A text holds something that the tokenizer has no symbol for."""


class Symbols:
    """Characters or words, one symbol each.

    kind: "characters" (the space is one of them) or "words"; symbols: in the order of their numbers.
    """

    def __init__(self, kind: str, symbols: Sequence[str]):
        self.kind = kind
        self.symbols = list(symbols)
        self._index = {symbol: i for i, symbol in enumerate(self.symbols)}
        if kind not in ("characters", "words") or not all(isinstance(symbol, str) for symbol in self.symbols):
            raise ValueError("a tokenizer of symbols holds characters or words")
        if len(self._index) != len(self.symbols) or not self.symbols:
            raise ValueError("a tokenizer's symbols must be distinct, and there must be one")

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def learned(self) -> int:
        """Symbols that the training text gave."""
        return len(self.symbols)

    def encode(self, text: str) -> list[int]:
        parts = _split(text, self.kind)
        unknown = sorted({part for part in parts if part not in self._index})
        if unknown:
            raise UnknownSymbolError(f"unknown to the tokenizer: {' '.join(map(repr, unknown))}")
        return [self._index[part] for part in parts]

    def decode(self, tokens: Sequence[int]) -> str:
        return ("" if self.kind == "characters" else " ").join(self.symbols[token] for token in tokens)

    def covers(self, character: str) -> bool:
        return self.kind == "characters" and character in self._index

    def save(self, folder: Path) -> None:
        content = {"kind": self.kind, "symbols": self.symbols}
        write_file(folder / "tokenizer.json", json.dumps(content, ensure_ascii=False, indent=1))


class SentencePiece:
    """A SentencePiece model. size: symbols, at least the model's pieces; what is over is never seen nor decoded."""

    kind = "sentencepiece"

    def __init__(self, model: bytes, size: int = 0):
        if not model:
            raise ValueError("not a SentencePiece model: it is empty")
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError(f"not a SentencePiece model: {str(error).splitlines()[0]}") from None
        self._model = model
        self._size = max(size, self._processor.get_piece_size())

    def __len__(self) -> int:
        return self._size

    @property
    def learned(self) -> int:
        """Pieces that the training text gave."""
        return self._processor.get_piece_size()

    def encode(self, text: str) -> list[int]:
        text = " ".join(text.split())  # as the texts that it was learned from
        tokens = self._processor.encode(text)
        unknown = self._processor.unk_id()
        if unknown in tokens:
            pieces = self._processor.encode(text, out_type=str)
            missing = sorted({piece for piece, token in zip(pieces, tokens) if token == unknown})
            raise UnknownSymbolError(f"unknown to the tokenizer: {' '.join(map(repr, missing))}")
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        pieces, unknown = self._processor.get_piece_size(), self._processor.unk_id()
        return self._processor.decode([token for token in tokens if token < pieces and token != unknown])

    def covers(self, character: str) -> bool:
        if any(map(unicodedata.combining, unicodedata.normalize("NFKC", character))):
            return False
        return self._processor.unk_id() not in self._processor.encode(character)

    def save(self, folder: Path) -> None:
        write_file(folder / "tokenizer.model", self._model)


Tokenizer = Symbols | SentencePiece


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Learn a tokenizer of the configured kind from the training texts.

    A SentencePiece unigram model covers every character; a text too small for `size` pieces gives fewer. Raises
    ValueError where the texts are empty or `size` is less than the number of characters.
    """
    texts = [" ".join(text.split()) for text in texts]
    if not any(texts):
        raise ValueError("the training texts are empty: there is nothing to learn a tokenizer from")
    if config.kind != "sentencepiece":
        return Symbols(config.kind, sorted(set().union(*(_split(text, config.kind) for text in texts))))
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
            max_sentence_length=1 << 20,  # bytes: longer texts are left out, and with them their characters
            num_threads=1,  # the result depends on the number of threads
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).split("] ")[-1].split(". ")[0]
        raise ValueError(
            f"cannot learn a tokenizer of tokenizer.size={config.size} pieces from texts of "
            f"{len(set().union(*texts))} different characters: {reason}"
        ) from None
    return SentencePiece(model.getvalue(), config.size)


def load_tokenizer(path: str | Path, config: TokenizerConfig) -> Tokenizer:
    """Open a tokenizer file, or the one in a folder. Raises ValueError where there is none or it is damaged."""
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in ("tokenizer.model", "tokenizer.json") if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path} holds no tokenizer.model and no tokenizer.json")
        path = found[0]
    if not path.is_file():
        raise ValueError(f"no tokenizer file {path}")
    if path.suffix == ".model":
        try:
            return SentencePiece(path.read_bytes(), config.size)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Symbols(content["kind"], content["symbols"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no tokenizer file; it should be a .model of SentencePiece or our .json") from None


def _split(text: str, kind: str) -> list[str]:
    words = text.split()
    return words if kind == "words" else list(" ".join(words))
