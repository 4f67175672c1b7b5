"""The beams of a batch at their present frames: the rules of beam search, on the host, for all streams at once.

B streams, K hypotheses that stay, P = 2K places of a beam, W frames of a window, C candidates (the best symbols of a
hypothesis at a frame), R rows (some of the streams), M newcomers. J is 1, or 2 if the scorers weigh blank: index 0 has
the model's log-probability, and the last one that with the weight, by which hypotheses are compared.

A hypothesis is a sequence of symbols, and no two in a beam are the same. Its score is the log-probability of all
alignments that the search has found. A frame is worked through in rounds. In each round the probability that arrived
at a hypothesis in the round before goes on: to the hypothesis with one more symbol if that is in the beam, where it is
added up, and to candidates otherwise. Candidates that beat the K-th best hypothesis enter, at most K in a round, and
compete from the next round on, when the model has scored their blanks too. The best K hypotheses stay. The frame ends
when nothing has arrived, and each hypothesis takes its blank. So every alignment counts once, however often prefixes
meet.
"""

from dataclasses import dataclass, fields

import numpy as np

_ROOT = 1  # the key of the empty sequence
_NOTHING = -np.inf


@dataclass
class Window:
    """What the model says of each hypothesis at W frames of each stream. Frame t of a chunk is at index t modulo W."""

    frame: np.ndarray  # (B,), the present frame
    end: np.ndarray  # (B,), the first frame that is not scored yet
    blank: np.ndarray  # (B, P, W, J), log-probabilities
    shift: np.ndarray  # (B, P, W, J), the weight of "no blank", part of the score of every symbol
    arc: np.ndarray  # (B, P, W, J), log-probability of the hypothesis's last symbol after its prefix
    symbols: np.ndarray  # (B, P, W, C), best first
    log_probs: np.ndarray  # (B, P, W, C)
    values: np.ndarray  # (B, P, W, C), with the scorers' scores
    open: np.ndarray  # (B, P, W, C), those of sequences that are not in the beam; the others are -inf
    lead: np.ndarray  # (B, P, W), the best of `open`

    @classmethod
    def make(cls, batch: int, places: int, width: int, candidates: int, kinds: int, dtype: np.dtype) -> "Window":
        """Return empty windows."""
        counts = (np.zeros(batch, int) for _ in range(2))
        frames = batch, places, width
        blank, arc = (np.full((*frames, kinds), _NOTHING, dtype) for _ in range(2))
        shift, lead = np.zeros((*frames, kinds), dtype), np.full(frames, _NOTHING, dtype)
        log_probs, values, open_ = (np.full((*frames, candidates), _NOTHING, dtype) for _ in range(3))
        return cls(*counts, blank, shift, arc, np.zeros((*frames, candidates), int), log_probs, values, open_, lead)

    @property
    def index(self) -> np.ndarray:
        """Indices of the present frames (B,)."""
        return self.frame % self.blank.shape[2]


@dataclass
class Frontier:
    """The hypotheses of all beams. Empty places have the key 0 and scores of -inf."""

    score: np.ndarray  # (B, P, J), log-probability up to the present frame, with all that has arrived there
    best: np.ndarray  # (B, P), that of the best alignment
    bonus: np.ndarray  # (B, P), sum of the scorers' scores of its symbols
    count: np.ndarray  # (B, P), symbols
    symbol: np.ndarray  # (B, P), the last
    key: np.ndarray  # (B, P), a hash of the sequence
    prefix: np.ndarray  # (B, P), the key of the sequence without its last symbol
    paths: np.ndarray  # (B, P), of the best alignment

    @classmethod
    def start(cls, batch: int, beam: int, kinds: int) -> "Frontier":
        """Return beams that hold the empty sequence."""
        places = batch, 2 * beam
        score, best = np.full((*places, kinds), _NOTHING), np.full(places, _NOTHING)
        count, symbol, key, prefix = (np.zeros(places, np.int64) for _ in range(4))
        paths = np.full(places, None, object)
        score[:, 0] = best[:, 0] = 0.0
        key[:, 0] = _ROOT
        for row in range(batch):
            paths[row, 0] = ()
        return cls(score, best, np.zeros(places), count, symbol, key, prefix, paths)

    def begin(self, window: Window, max_symbols: np.ndarray, max_per_frame: int, received: np.ndarray) -> None:
        """Take up a chunk, of which the first frame has the number `received` (B,)."""
        self.window, self.max_symbols, self.max_per_frame, self.received = window, max_symbols, max_per_frame, received
        self.beam = self.score.shape[1] // 2
        self.arrived = self.score.copy()  # (B, P, J), in the last round
        self.emitted = np.zeros(len(self.score), int)  # (B,), rounds of the present frame
        self.parent = np.full(self.key.shape, -1)  # (B, P), the place of the sequence without its last symbol
        self.find_parents(np.arange(len(self.score)))

    def find_parents(self, rows: np.ndarray) -> None:
        """Find each hypothesis's prefix in the beam."""
        key, prefix, count = self.key[rows], self.prefix[rows], self.count[rows]
        same = (prefix[:, :, None] == key[:, None]) & (count[:, :, None] == count[:, None] + 1)
        self.parent[rows] = np.where(same.any(2), same.argmax(2), -1)

    def families(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the hypotheses of some streams whose prefix is in the beam: stream, place, and place of the prefix."""
        found, place = np.nonzero(self.parent[rows] >= 0)
        return rows[found], place, self.parent[rows[found], place]

    def link(self, rows: np.ndarray, families: tuple[np.ndarray, np.ndarray, np.ndarray], arcs: np.ndarray) -> None:
        """Note the log-probabilities (families, W) of the last symbols of hypotheses whose prefix is in the beam."""
        stream, place, parent = families
        self.window.arc[rows] = _NOTHING
        self.window.arc[stream, place] = arcs[..., None] + self.window.shift[stream, parent]
        self._close(rows)

    def _close(self, rows: np.ndarray) -> None:
        """Find the candidates that are not in the beam."""
        window = self.window
        stream, place, parent = self.families(rows)
        window.open[rows] = window.values[rows]
        taken = window.symbols[stream, parent] == self.symbol[stream, place][:, None, None]
        family, frame, candidate = np.nonzero(taken)
        window.open[stream[family], parent[family], frame, candidate] = _NOTHING
        window.lead[rows] = window.open[rows].max(-1)

    def run(self, rows: np.ndarray) -> "Newcomers":
        """Advance some streams, each until it has newcomers or its window ends. Return the newcomers of all."""
        found = [Newcomers(*(np.zeros(0, int) for _ in fields(Newcomers)))]
        window, done = self.window, np.zeros(len(self.key), bool)
        with np.errstate(invalid="ignore"):  # a NaN of the model enters no beam
            while len(rows):
                if (newcomers := self._round(rows)) is not None:
                    found.append(newcomers)
                    done[newcomers.stream] = True
                rows = rows[~done[rows] & (window.frame[rows] < window.end[rows])]
        return Newcomers.join(found)

    def _round(self, rows: np.ndarray) -> "Newcomers | None":
        """Let what has arrived go on, in some streams. Return the newcomers."""
        window, index = self.window, self.window.index[rows]
        blank, arc, lead = (x[rows, :, index] for x in (window.blank, window.arc, window.lead))
        parent, arrived, bonus = self.parent[rows], self.arrived[rows], self.bonus[rows]
        may_emit = self.emitted[rows] < self.max_per_frame
        score = self.score[rows]
        flows = (parent >= 0) & may_emit[:, None]
        flow = np.full_like(score, _NOTHING)
        better = None
        if flows.any():
            row, place = np.nonzero(flows)
            up = parent[row, place]
            flow[row, place] = arrived[row, up] + arc[row, place]
            score = np.logaddexp(score, flow)
            reached = self.best[rows[row], up] + arc[row, place, 0]
            better = (flow[row, place, 0] > _NOTHING) & (reached > self.best[rows[row], place])
            better = row[better], place[better]
        # A candidate has the probability that arrived in this round alone: what arrived before went on before.
        grows = may_emit[:, None] & (self.count[rows] < self.max_symbols[rows, None])
        leaves = np.where(grows, arrived[..., -1] + bonus, _NOTHING)
        rank = score[..., -1] + blank[..., -1] + bonus
        least = np.partition(rank, -self.beam, 1)[:, -self.beam]  # that stays, if none enters
        enters = (leaves + lead).max(1) > least
        newcomers = entries = None
        if enters.any():
            newcomers, entries = self._choose(rows[enters], leaves[enters], least[enters])
        if better is not None:
            self._improve(rows, *better, parent, arc[..., 0])
        self.score[rows], self.arrived[rows] = score, flow
        self.emitted[rows] += 1
        crowded = (self.key[rows] != 0).sum(1) > self.beam
        if crowded.any():
            self._prune(rows[crowded], rank[crowded])
        if newcomers is not None:
            self._enter(newcomers, entries)
        ends = ~enters & ~(flow[..., 0] > _NOTHING).any(1)
        rows, blank = rows[ends], blank[ends]
        self.score[rows] += blank
        self.best[rows] += blank[..., 0]
        self.arrived[rows] = self.score[rows]
        self.emitted[rows] = 0
        window.frame[rows] += 1
        return newcomers

    def _choose(self, rows: np.ndarray, leaves: np.ndarray, least: np.ndarray) -> tuple["Newcomers", dict]:
        """Return the best K candidates above `least` (R,), and their fields. Their places are not known yet."""
        window, index = self.window, self.window.index[rows]
        values = leaves[:, :, None] + window.open[rows, :, index]
        candidates = values.shape[2]
        values = values.reshape(len(rows), -1)
        order = np.argsort(-values, 1, kind="stable")[:, : self.beam]
        row, at = np.nonzero(np.take_along_axis(values, order, 1) > least[:, None])
        parent, candidate = np.divmod(order[row, at], candidates)
        stream, frame = rows[row], index[row]
        symbol = window.symbols[stream, parent, frame, candidate]
        log_prob = window.log_probs[stream, parent, frame, candidate].astype(float)
        shift = window.shift[stream, parent, frame]
        bonus = window.values[stream, parent, frame, candidate] - log_prob - shift[:, -1]
        numbers = self.received[stream] + window.frame[stream]
        links = zip(self.paths[stream, parent], symbol.tolist(), numbers.tolist(), log_prob.tolist())
        return Newcomers(stream, np.zeros_like(parent), parent, symbol), {
            "score": self.arrived[stream, parent] + (log_prob[:, None] + shift),
            "best": self.best[stream, parent] + log_prob,
            "bonus": self.bonus[stream, parent] + bonus,
            "count": self.count[stream, parent] + 1,
            "symbol": symbol,
            "key": _extend_key(self.key[stream, parent], symbol),
            "prefix": self.key[stream, parent],
            "paths": np.fromiter(links, object, len(stream)),
        }

    def _prune(self, rows: np.ndarray, rank: np.ndarray) -> None:
        """Keep the best K hypotheses."""
        places = np.argsort(-rank, 1, kind="stable")[:, self.beam :]
        where = np.repeat(rows, places.shape[1]), places.ravel()
        self.drop(where)
        self.arrived[where] = _NOTHING
        self.find_parents(rows)
        self._close(rows)

    def drop(self, where: tuple) -> None:
        """Empty some places; `where` has the indices of streams and places."""
        for values, empty in (
            (self.score, _NOTHING), (self.best, _NOTHING), (self.bonus, 0.0), (self.key, 0), (self.prefix, 0),
            (self.count, 0), (self.paths, None),
        ):  # fmt: skip
            values[where] = empty

    def _enter(self, newcomers: "Newcomers", entries: dict[str, np.ndarray]) -> None:
        """Give each newcomer an empty place."""
        counts = np.bincount(newcomers.stream)
        rows = np.flatnonzero(counts)
        free = self.key[rows] == 0
        newcomers.place[:] = np.nonzero(free & (free.cumsum(1) <= counts[rows, None]))[1]
        where = newcomers.stream, newcomers.place
        for name, value in entries.items():
            getattr(self, name)[where] = value
        self.arrived[where] = entries["score"]
        self.find_parents(rows)

    def _improve(
        self, rows: np.ndarray, row: np.ndarray, place: np.ndarray, parent: np.ndarray, arc: np.ndarray
    ) -> None:
        """Give hypotheses a better alignment, through their prefix at the present frame."""
        stream, up, log_prob = rows[row], parent[row, place], arc[row, place].astype(float)
        frame = self.received[stream] + self.window.frame[stream]
        symbol = self.symbol[stream, place]
        best = self.best[stream, up] + log_prob
        links = list(zip(self.paths[stream, up], symbol.tolist(), frame.tolist(), log_prob.tolist()))
        self.best[stream, place] = best
        for each, link in zip(zip(stream, place), links):
            self.paths[each] = link


@dataclass
class Newcomers:
    """Hypotheses that have entered a beam. Each field is (M,)."""

    stream: np.ndarray
    place: np.ndarray
    parent: np.ndarray  # the place at which its prefix was
    symbol: np.ndarray  # the last

    @classmethod
    def join(cls, found: list["Newcomers"]) -> "Newcomers":
        """Put the newcomers of several streams together."""
        return cls(*(np.concatenate([getattr(x, item.name) for x in found]) for item in fields(cls)))


def _extend_key(key: np.ndarray, symbol: np.ndarray) -> np.ndarray:
    """Return the keys of sequences with one more symbol: 64 bits, mixed as in splitmix64."""
    x = key.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + symbol.astype(np.uint64) + np.uint64(1)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))).view(np.int64)
