// Greedy search over encoder frames, and the text of what it finds. A found symbol is {symbol, frame, probability}.
import { zeroStates } from "./encoders.js";

const WINDOW = 8; // frames whose logits are computed at once
const RULES = { nothing: 2.4, pause: 1.2, longest: 20 }; // seconds after which an utterance ends, as in rnnt.decoding.endpoint
const SPOKEN_SECONDS = 0.3; // that a symbol lasts at most

/** Greedy search that goes on from chunk to chunk. most: symbols in all. */
export class Search {
  frames = 0; // that it has seen
  #ort;
  #decoder;
  #config;
  #left;
  #symbol;
  #states;
  #next = null; // the states after the last symbol

  constructor(ort, { config, decoder }, most = Infinity) {
    [this.#ort, this.#decoder, this.#config, this.#left] = [ort, decoder, config, most];
    [this.#symbol, this.#states] = [config.blank, zeroStates(ort, decoder)];
  }

  /** Take more frames, and return the symbols that they emit. */
  async advance(frames) {
    const { blank, vocabulary, max_symbols_per_frame: perFrame } = this.#config;
    const found = [];
    let [place, atFrame, first, logits] = [0, 0, 0, new Float32Array(0)];
    while (place < frames.length && this.#left > 0) {
      if ((place - first) * vocabulary >= logits.length) {
        first = place;
        logits = await this.#logits(frames.slice(place, place + WINDOW));
      }
      const row = logits.subarray((place - first) * vocabulary, (place - first + 1) * vocabulary);
      const best = row.reduce((top, x, i) => (x > row[top] ? i : top), 0);
      if (best === blank) {
        [place, atFrame] = [place + 1, 0];
        continue;
      }
      found.push({ symbol: best, frame: this.frames + place, probability: probability(row, best) });
      [this.#symbol, this.#states] = [best, this.#next];
      [first, logits] = [place, new Float32Array(0)];
      this.#left -= 1;
      atFrame += 1;
      if (atFrame === perFrame) [place, atFrame, first] = [place + 1, 0, place + 1];
    }
    this.frames += frames.length;
    return found;
  }

  async #logits(frames) {
    const { Tensor } = this.#ort;
    const width = frames[0].length;
    const data = new Float32Array(frames.length * width);
    frames.forEach((frame, i) => data.set(frame, i * width));
    const encoder = new Tensor("float32", data, [1, frames.length, width]);
    const symbols = new Tensor("int64", BigInt64Array.of(BigInt(this.#symbol)), [1]);
    const found = await this.#decoder.run({ encoder, symbols, ...this.#states });
    this.#next = Object.fromEntries(Object.keys(this.#states).map((name) => [name, found[`next_${name}`]]));
    return found.logits.data;
  }
}

function probability(logits, i) {
  return 1 / logits.reduce((sum, x) => sum + Math.exp(x - logits[i]), 0);
}

/** The symbols of tokens.txt, and the texts that they form. */
export class Symbols {
  #names;
  #seconds;
  #spaces; // whether a text may begin with a space

  constructor(text, config) {
    const encoder = new TextEncoder();
    const names = text.split("\n").filter(Boolean).map((line) => line.slice(0, line.lastIndexOf(" ")));
    this.#names = names.map((name) => {
      if (/^<0x[0-9A-F]{2}>$/.test(name)) return Uint8Array.of(parseInt(name.slice(3, 5), 16));
      return encoder.encode(name.replaceAll("▁", " "));
    });
    [this.#seconds, this.#spaces] = [config.frame_seconds, config.tokenizer === "characters"];
  }

  text(found) {
    const bytes = found.flatMap(({ symbol }) => [...this.#names[symbol]]);
    const text = new TextDecoder().decode(Uint8Array.from(bytes));
    return this.#spaces ? text : text.replace(/^ /, "");
  }

  /** Return the symbols of each word. A space begins one; symbols that are a space alone are left out. */
  words(found) {
    const words = [];
    let waiting = true;
    for (const each of found) {
      const name = this.#names[each.symbol];
      const spoken = name.some((byte) => byte !== 32);
      if (spoken && (waiting || name[0] === 32)) words.push([each]);
      else if (spoken) words.at(-1).push(each);
      waiting = name.at(-1) === 32 || (waiting && !spoken);
    }
    return words;
  }

  /** Return the transcript of an utterance. start: its seconds before frame 0. */
  utterance(found, start = 0) {
    const time = (frames) => Math.round(1000 * (start + frames * this.#seconds)) / 1000;
    const longest = SPOKEN_SECONDS / this.#seconds;
    const begins = new Map(); // a symbol is said before the frame that emits it, and after the symbol before it
    found.forEach((each, i) => {
      const after = i ? Math.min(found[i - 1].frame + 1, each.frame) : 0;
      begins.set(each, Math.max(0, after, each.frame + 1 - longest));
    });
    const words = this.words(found).map((symbols) => ({
      word: this.text(symbols).trim(),
      start: time(begins.get(symbols[0])),
      end: time(symbols.at(-1).frame + 1),
      confidence: symbols.reduce((product, symbol) => product * symbol.probability, 1),
    }));
    const text = this.text(found);
    const [first, last] = [words[0]?.start ?? time(found[0].frame), words.at(-1)?.end ?? time(found.at(-1).frame + 1)];
    return { text, words, duration: last, segments: [{ start: first, end: last, text }] };
  }
}

/** Divides the symbols of a stream into utterances. The search itself goes on. */
export class LiveText {
  #symbols;
  #limits;
  #open = []; // the symbols of the present utterance
  #start = 0; // its first frame
  #later = false; // whether another one came before

  constructor({ config, symbols }) {
    this.#symbols = symbols;
    const frames = (seconds) => Math.max(1, Math.ceil(Number((seconds / config.frame_seconds).toFixed(6))));
    this.#limits = Object.fromEntries(Object.entries(RULES).map(([name, seconds]) => [name, frames(seconds)]));
  }

  get partial() {
    return this.#open.length ? this.#trimmed(this.#symbols.text(this.#open)) : "";
  }

  /** Take new symbols, and return the utterances that have ended. frames: of the stream so far. */
  add(found, frames) {
    const finals = [];
    const after = [...found.map(({ frame }) => frame), frames]; // an utterance may end before each symbol
    found.forEach((each, i) => {
      finals.push(...this.#ends(after[i]));
      this.#open.push(each);
    });
    return [...finals, ...this.#ends(frames)];
  }

  finish() {
    return this.#open.length ? [this.#end(this.#open.length)] : [];
  }

  #ends(frames) {
    const finals = [];
    for (;;) {
      const last = this.#open.at(-1)?.frame;
      const quiet = last === undefined ? this.#start + this.#limits.nothing : last + 1 + this.#limits.pause;
      const longest = this.#start + this.#limits.longest;
      if (Math.min(quiet, longest) > frames) return finals;
      if (quiet <= longest) {
        if (this.#open.length) finals.push(this.#end(this.#open.length));
        this.#start = quiet;
      } else {
        const words = this.#symbols.words(this.#open); // the last one may not be complete
        finals.push(this.#end(words.length > 1 ? this.#open.indexOf(words.at(-1)[0]) : this.#open.length));
        this.#start = this.#open[0]?.frame ?? longest;
      }
    }
  }

  #end(count) {
    const final = this.#symbols.utterance(this.#open.splice(0, count));
    final.text = final.segments[0].text = this.#trimmed(final.text);
    this.#later = true;
    return final;
  }

  #trimmed(text) {
    return this.#later ? text.trimStart() : text; // the space between two utterances belongs to neither
  }
}

/** Join the transcripts of utterances. */
export function transcriptOf(finals, duration) {
  const segments = finals.flatMap((final) => final.segments);
  const words = finals.flatMap((final) => final.words);
  return { text: segments.map(({ text }) => text).filter(Boolean).join(" "), duration, words, segments };
}
