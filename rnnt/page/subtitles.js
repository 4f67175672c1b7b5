// Subtitles of a transcript: the cues and files that `rnnt transcribe --format srt` and `vtt` make (rnnt/subtitles.py).

const MOST_CHARACTERS = 42; // of a line; of at most two lines
const MOST_SECONDS = 7; // that a cue is shown
const LEAST_SECONDS = 1; // that a cue is shown, if the next one does not begin earlier
const PAUSE_SECONDS = 1; // a cue ends at a pause of this length
const LATE_SHARE = 0.4; // a cue that must end before the text does keeps at least this share of the words that fit

/** Return a transcript as SubRip. */
export function toSrt(transcript) {
  // The format has no escapes. U+2060, the word joiner, has no width, and no line is broken at it.
  const guard = /<(?=[\s/a-zA-Z])|\{(?=\\)|--(?=>)|\d:\d\d?:(?=\d\d?[.,]\d)/g;
  return written(transcript, ",", (line) => line.replace(guard, "$&\u2060"));
}

/** Return a transcript as WebVTT. */
export function toVtt(transcript) {
  const escape = (x) => x.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return `WEBVTT\n\n${written(transcript, ".", escape)}`;
}

function written(transcript, point, escape) {
  const texts = cuesOf(transcript).map((cue, i) => {
    const start = round(1000 * cue.start);
    const end = Math.max(round(1000 * cue.end), start + 1);
    return `${i + 1}\n${clock(start, point)} --> ${clock(end, point)}\n${cue.lines.map(escape).join("\n")}\n\n`;
  });
  return texts.join("");
}

/** Return the cues of a transcript in order, {start, end, lines}; no two overlap. */
export function cuesOf({ words, duration }) {
  const pieces = words.flatMap(piecesOf);
  const cues = [];
  for (let start = 0; start < pieces.length; ) {
    let end = fitting(pieces, start);
    if (end < pieces.length && pieces[end].start - pieces[end - 1].end < PAUSE_SECONDS) {
      const first = start + Math.max(1, round(LATE_SHARE * (end - start)));
      let best = first;
      for (let i = first; i <= end; i++) if (pause(pieces, i) >= pause(pieces, best)) best = i;
      end = best;
    }
    const shown = pieces.slice(start, end);
    cues.push({ start: shown[0].start, end: shown.at(-1).end, lines: linesOf(shown) });
    start = end;
  }
  cues.forEach((cue, i) => {
    const limit = i + 1 < cues.length ? cues[i + 1].start : Math.max(duration, cue.end);
    const longest = Math.min(Math.max(cue.end, cue.start + LEAST_SECONDS), Math.max(cue.end, limit));
    cue.end = Math.min(longest, cue.start + MOST_SECONDS);
  });
  return cues;
}

/** Divide a word that is too long for a line or a cue. joined: no space comes before the piece. */
function piecesOf({ word, start, end }) {
  const letters = [...word];
  const wanted = Math.max(Math.ceil(letters.length / MOST_CHARACTERS), Math.floor((end - start) / MOST_SECONDS) + 1);
  const count = Math.min(wanted, letters.length);
  const places = Array.from({ length: count + 1 }, (_, i) => round((i * letters.length) / count));
  const time = (place) => start + ((end - start) * place) / letters.length;
  return places.slice(0, -1).map((place, i) => {
    const text = letters.slice(place, places[i + 1]).join("");
    return { text, start: time(place), end: time(places[i + 1]), joined: place > 0 };
  });
}

/** Return the pause before a piece, in hundredths of a second. Within a word it is less than nothing. */
function pause(pieces, i) {
  return pieces[i].joined ? -1 : round(100 * (pieces[i].start - pieces[i - 1].end));
}

/** Return the place after the last piece that fits into a cue which begins with piece `start`. */
function fitting(pieces, start) {
  let [lines, line] = [1, 0];
  for (let i = start; i < pieces.length; i++) {
    const piece = pieces[i];
    const late = i > start && piece.end - pieces[start].start > MOST_SECONDS;
    if (late || (i > start && piece.start - pieces[i - 1].end >= PAUSE_SECONDS)) return i;
    const length = [...piece.text].length;
    let longer = line + length + (line > 0 && !piece.joined ? 1 : 0);
    if (longer > MOST_CHARACTERS) [lines, longer] = [lines + 1, length];
    if (lines > 2) return i;
    line = longer;
  }
  return pieces.length;
}

/** Return the text of pieces on one line if it fits, or on two whose lengths differ as little as possible. */
function linesOf(pieces) {
  const whole = textOf(pieces);
  if ([...whole].length <= MOST_CHARACTERS) return [whole];
  const longest = (lines) => Math.max(...lines.map((line) => [...line].length));
  const halves = pieces.slice(1).map((_, i) => [textOf(pieces.slice(0, i + 1)), textOf(pieces.slice(i + 1))]);
  return halves.reduce((best, lines) => (longest(lines) < longest(best) ? lines : best));
}

function textOf(pieces) {
  return pieces.map(({ text, joined }) => (joined ? text : ` ${text}`)).join("").replace(/^ /, "");
}

/** Round as Python does: halves to the even number. */
function round(x) {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor % 2) : Math.round(x);
}

function clock(milliseconds, point) {
  const two = (x) => String(Math.floor(x)).padStart(2, "0");
  const [hours, minutes, rest] = [3600000, 60000, 1000].map((unit) => milliseconds / unit);
  return `${two(hours)}:${two(minutes % 60)}:${two(rest % 60)}${point}${String(milliseconds % 1000).padStart(3, "0")}`;
}
