"""Live speech: a stream of samples -> the text so far, and the text that will not change any more.

The transcript is that of the whole recording decoded at once, whatever the chunks in which it comes: features, encoder
and search carry their states on. An endpoint divides the text alone, and none of these states begins anew. After it,
beam search goes on from the one hypothesis that was given out, and what is known of earlier symbols is forgotten, so
that the memory of a long stream is bounded.

Many streams can advance together, at different places each. B streams, N samples, T encoder frames, D values of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from rnnt.audio.sample_stream import SampleStream, check_samples
from rnnt.decoding.decoder import Decoder, configured_decoder
from rnnt.decoding.endpoint import EndpointRules, endpoint_rule, frames_until
from rnnt.decoding.hypothesis import Hypothesis
from rnnt.feature_stream import FeatureState, finish_features, start_features, step_features
from rnnt.latency import streaming_settings, why_not_streaming
from rnnt.live_segment import Heard, final_transcript, partial_transcript
from rnnt.stream_states import join_states, split_state
from rnnt.transcript import Transcript
from rnnt.voice import Voice

if TYPE_CHECKING:
    from rnnt.recognizer import Recognizer

_BLOCK_SECONDS = 10  # of audio that is worked through at once, so that memory is bounded
_DEFAULT_RULES = EndpointRules()
_NO_LIMIT = 1 << 62  # symbols of a stream: one that never ends has no number of them that is too large


class _State(NamedTuple):
    """The state of streams before the search."""

    features: FeatureState
    encoder: tuple


class Stream:
    """Speech that is transcribed while it comes. Not for use from several threads at once.

    `open_stream` makes it and explains the arguments.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        sample_rate: int,
        decoder: Decoder | None,
        rules: EndpointRules | None,
        voice: bool,
    ):
        recognizer.require_input("audio")
        model, features = recognizer.model, recognizer.features
        if reasons := why_not_streaming(features, model.encoder):
            settings = " ".join(streaming_settings(features, model.encoder))
            raise ValueError(f"this model cannot stream, because {reasons}; train one with {settings}")
        self.recognizer = recognizer
        self._rate = features.config.sample_rate
        self._audio = SampleStream(sample_rate, self._rate)
        self._rules = None if rules is None else rules.in_frames(recognizer.frame_seconds)
        self._step = round(recognizer.frame_seconds * self._rate)  # samples of an encoder frame
        self._voice = Voice(self._rate, self._step) if voice and rules is not None else None
        decoder = decoder or configured_decoder(recognizer.config.decoding, recognizer.scorers)
        self.search = decoder.make_search(recognizer.model)
        self.kind = decoder.config, tuple(map(id, decoder.scorers))  # streams of one kind can share a search
        with recognizer.inference():
            self._state = _State(start_features(features, 1), model.encoder.start(1))
            self._hypotheses = self.search.start(1, torch.full((1,), _NO_LIMIT))
            self._heard = Heard(model.predictor.start(1))
        self._received = 0  # encoder frames
        self._num_samples = 0  # at the model's rate
        self._finals: list[Transcript] = []
        self._given = 0
        self._result: Transcript | None = None

    def accept(self, samples: np.ndarray | torch.Tensor) -> None:
        """Take any number of samples (N,), int16, or float in [-1, 1].

        Raises ValueError, and takes none of them, if they are something else, or if the stream is finished.
        """
        accept_together([self], [samples])

    @property
    def partial(self) -> Transcript:
        """The text since the last final one. It may still change.

        The times of its words are estimated from the frames that emit their symbols, more roughly than those of
        finals, and a word's confidence is the probability with which its symbols were emitted.
        """
        return self._partial(words=True)

    @property
    def partial_text(self) -> Transcript:
        """The same as `partial` without its words and symbols, which take most of the time."""
        return self._partial(words=False)

    def _partial(self, words: bool) -> Transcript:
        if self._result is not None:
            return Transcript("", [], [], [], [], self._result.seconds)
        (best,) = self.search.best(self._hypotheses)
        return partial_transcript(self.recognizer, best, self._heard.start, self._num_samples, words)

    def finals(self) -> list[Transcript]:
        """Return the utterances that have ended since the last call, with text, in order. They will not change.

        Their times are seconds of the stream. The segment of each says from where to where it goes.
        """
        new, self._given = self._finals[self._given :], len(self._finals)
        return new

    def finish(self) -> Transcript:
        """End the stream, and return the transcript of the whole. No silence is needed after the last word."""
        return finish_together([self])[0]

    def _check(self, samples: np.ndarray | torch.Tensor) -> np.ndarray:
        if self._result is not None:
            raise ValueError("the stream is finished; start another one")
        return check_samples(samples)

    def _hear(self, encoder_TD: torch.Tensor, features_TF: torch.Tensor, samples: np.ndarray) -> None:
        self._num_samples += len(samples)
        if self._voice:
            self._voice.accept(samples)
        found = [(self._heard.encoder, encoder_TD)]
        if self.recognizer.calibration.sounds:
            found += [(self._heard.features, features_TF), (self._heard.samples, samples)]
        for chunks, new in found:
            if len(new):
                chunks.append(new.clone() if isinstance(new, torch.Tensor) else new)

    def _room(self) -> int:
        """Return how many encoder frames can come before the utterance may end."""
        if self._rules is None:
            return _NO_LIMIT
        (lasts,) = self.search.last_frames(self._hypotheses)
        return frames_until(self._rules, self._heard.start, self._received, lasts, self._voiced())

    def _voiced(self) -> int:
        """Return the last encoder frame in which speech was heard; -1 without any, or without a detector."""
        return self._voice.last_frame(self._received) if self._voice else -1

    def _advanced(self, hypotheses: tuple, frames: int) -> None:
        """Take the state of the search after more encoder frames, and end the utterances that are over."""
        self._hypotheses, self._received = hypotheses, self._received + frames
        while self._rules is not None:
            (lasts,) = self.search.last_frames(self._hypotheses)
            rule = endpoint_rule(self._rules, self._heard.start, self._received, lasts[0], self._voiced())
            if not rule:
                return
            ((best, *_),) = self.search.finish(self._hypotheses)
            words = self.recognizer.tokenizer.word_spans(best.tokens)
            if rule == 3 and len(words) > 1:  # the last word may not be complete
                self._end(best, words[-1][0])
            else:
                self._end(best, len(best.tokens))

    def _end(self, best: Hypothesis, count: int) -> None:
        """End the utterance after so many symbols of a hypothesis."""
        whole = count == len(best.tokens)
        following = self._received if whole else best.frames[count]  # the first frame of the next one
        tokens, frames, log_probs = (x[:count] for x in (best.tokens, best.frames, best.log_probs))
        if tokens:
            done = replace(best, tokens=tokens, frames=frames, log_probs=log_probs)
            until = max(following, frames[-1] + 1) - self._heard.start
            end = min(following * self.recognizer.frame_seconds, self._num_samples / self._rate)
            self._finals.append(final_transcript(self.recognizer, self._heard, done, until, round(end, 3)))
        self._hypotheses = self.search.settle(self._hypotheses, tokens, whole)
        self._heard.cut(following - self._heard.start, self.recognizer.model.encoder.stride, self._step)

    def _conclude(self) -> Transcript:
        """End the last utterance, and put all together."""
        ((best, *_),) = self.search.finish(self._hypotheses)
        seconds = self._num_samples / self._rate
        if best.tokens:
            frames = self._received - self._heard.start
            self._finals.append(final_transcript(self.recognizer, self._heard, best, frames, seconds))
        self._result = _joined(self.recognizer, self._finals, seconds)
        self._state = self._hypotheses = self._heard = self._audio = self._voice = None
        return self._result


def open_stream(
    recognizer: Recognizer,
    sample_rate: int = 16000,
    decoder: Decoder | None = None,
    rules: EndpointRules | None = _DEFAULT_RULES,
    voice: bool = False,
) -> Stream:
    """Return a stream of speech that the model transcribes while it comes.

    sample_rate: of the samples that `accept` gets. decoder: the model's configured one by default. rules: when an
    utterance ends; None for never, then nothing is final before the end, and memory grows with the stream. voice:
    frames in which a detector hears speech are no silence for the rules (see `rnnt.voice`). Raises ValueError for a
    rate that no recorder has, and for a model that cannot stream, with the settings to train one.

    >>> import numpy as np
    >>> from rnnt.recognizer import load
    >>> stream = load("runs/live").stream(sample_rate=8000)
    >>> for chunk in np.split(np.zeros(8000, np.int16), 10):
    ...     stream.accept(chunk)
    >>> stream.finish().seconds
    1.0
    """
    return Stream(recognizer, sample_rate, decoder, rules, voice)


def accept_together(streams: Sequence[Stream], chunks: Sequence[np.ndarray | torch.Tensor]) -> None:
    """Give each of several different streams of one model a chunk of samples, and let them advance in one batch.

    Each has the same result as alone. Raises ValueError as `Stream.accept`, before any stream takes a sample.
    """
    _check_together(streams)
    checked = [stream._check(samples) for stream, samples in zip(streams, chunks, strict=True)]
    _run(streams, [stream._audio.convert(samples) for stream, samples in zip(streams, checked)])


def finish_together(streams: Sequence[Stream]) -> list[Transcript]:
    """End several different streams of one model in one batch. Return the transcript of each. May be repeated."""
    _check_together(streams)
    going = [stream for stream in streams if stream._result is None]
    empty = np.zeros(0, np.float32)
    _run(going, [stream._audio.convert(empty, last=True) for stream in going], last=True)
    for stream in going:
        with stream.recognizer.inference():
            stream._conclude()
    return [stream._result for stream in streams]


def _check_together(streams: Sequence[Stream]) -> None:
    if len(set(map(id, streams))) < len(streams):
        raise ValueError("a stream is named twice; give it both chunks as one")
    if len({id(stream.recognizer) for stream in streams}) > 1:
        raise ValueError("streams of different models cannot advance together; give those of each model alone")


def _run(streams: Sequence[Stream], audio: Sequence[np.ndarray], last: bool = False) -> None:
    """Let streams advance by int16 samples at the model's rate, to their ends if they are the last."""
    if not streams:
        return
    size = _BLOCK_SECONDS * streams[0]._rate
    for place in range(0, max(map(len, audio)), size):
        blocks = [samples[place : place + size] for samples in audio]
        rows = [row for row, block in enumerate(blocks) if len(block)]
        _advance([streams[row] for row in rows], [blocks[row] for row in rows])
    if last:
        _advance(streams, [np.zeros(0, np.int16)] * len(streams), last=True)


def _advance(streams: Sequence[Stream], blocks: Sequence[np.ndarray], last: bool = False) -> None:
    recognizer = streams[0].recognizer
    features, encoder, device = recognizer.features, recognizer.model.encoder, recognizer.device
    with recognizer.inference():
        state = join_states([stream._state for stream in streams])
        if last:
            features_BTF, lengths = finish_features(features, state.features)
            encoder_BTD, counts, after = encoder.step(features_BTF, lengths, state.encoder)
            frames = [_rows(encoder_BTD, counts), _rows(*encoder.finish(after))]
            frames = [torch.cat(parts) for parts in zip(*frames)]
        else:
            audio_BN = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(x) for x in blocks], batch_first=True)
            lengths = torch.tensor([len(block) for block in blocks], device=device)
            features_BTF, lengths, after = step_features(features, audio_BN.to(device), lengths, state.features)
            encoder_BTD, counts, encoder_state = encoder.step(features_BTF, lengths, state.encoder)
            frames = _rows(encoder_BTD, counts)
            for stream, own in zip(streams, split_state(_State(after, encoder_state), len(streams))):
                stream._state = own
        for stream, *heard in zip(streams, frames, _rows(features_BTF, lengths), blocks):
            stream._hear(*heard)
        groups: dict[tuple, list[tuple[Stream, torch.Tensor]]] = {}
        for stream, frames_TD in zip(streams, frames):
            groups.setdefault(stream.kind, []).append((stream, frames_TD))
        for group in groups.values():
            _decode(*map(list, zip(*group)))


def _decode(streams: list[Stream], frames: list[torch.Tensor]) -> None:
    """Let the search of streams advance by encoder frames (T, D) of each, and stop wherever an utterance may end."""
    while rows := [row for row, left in enumerate(frames) if len(left)]:
        chunks = [frames[row][: streams[row]._room()] for row in rows]
        lengths = torch.tensor([len(chunk) for chunk in chunks])
        before = join_states([streams[row]._hypotheses for row in rows])
        chunk_BTD = torch.nn.utils.rnn.pad_sequence(chunks, batch_first=True)
        after = streams[rows[0]].search.advance(before, chunk_BTD, lengths)
        for row, own, chunk in zip(rows, split_state(after, len(rows)), chunks):
            frames[row] = frames[row][len(chunk) :]
            streams[row]._advanced(own, len(chunk))


def _rows(x_BTD: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
    return [x[:length] for x, length in zip(x_BTD, lengths.tolist())]


def _joined(recognizer: Recognizer, finals: Sequence[Transcript], seconds: float) -> Transcript:
    """Return the transcript of a stream, given those of its utterances."""
    lists = {
        name: [item for final in finals for item in getattr(final, name)]
        for name in ("tokens", "frames", "times", "log_probs", "words", "symbols", "segments")
    }
    bounds = [0.0, *(x for segment in lists["segments"] for x in (segment.start, segment.end)), seconds]
    left_out = [[start, end] for start, end in zip(bounds[::2], bounds[1::2]) if start < end]
    return Transcript(recognizer.tokenizer.decode(lists["tokens"]), seconds=seconds, left_out=left_out, **lists)
