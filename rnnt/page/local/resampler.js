// Changes the rate of a stream of samples, by a filter whose coefficients are a windowed sinc function.

// The filter passes 91 % of the lower rate's band and nothing above it, as that of the package does.
const ZEROS = 64; // zero crossings of the sinc function on each side
const PASSED = 0.957; // where it has half its height

/** Float32Arrays at one rate -> Float32Arrays at another. Both rates are whole numbers. */
export class Resampler {
  #up; // #up samples come out for every #down that go in
  #down;
  #half; // samples before a place that count
  #after; // samples after it that do
  #filters; // of each place between two samples
  #past; // samples that are still needed
  #first; // the number in the stream of the first of them
  #count = 0; // samples that came
  #given = 0; // samples that went out

  constructor(from, to) {
    const divisor = gcd(from, to);
    [this.#up, this.#down] = [to / divisor, from / divisor];
    const band = PASSED * Math.min(1, to / from);
    this.#half = from === to ? 0 : Math.ceil(ZEROS / band);
    this.#after = from === to ? 0 : this.#half + 1;
    this.#filters = Array.from({ length: this.#up }, (_, i) => kernel(i / this.#up, band, this.#half, this.#after));
    this.#past = new Float32Array(this.#half); // silence before the stream
    this.#first = -this.#half;
  }

  /** Take samples, and return those that are known by now. */
  convert(samples) {
    this.#count += samples.length;
    return this.#more(samples, this.#count - this.#after);
  }

  /** Return the last samples. */
  finish() {
    return this.#more(new Float32Array(this.#after), this.#count);
  }

  /** Return the samples whose place in the stream is before `limit`. */
  #more(samples, limit) {
    const known = new Float32Array(this.#past.length + samples.length);
    known.set(this.#past);
    known.set(samples, this.#past.length);
    const total = Math.max(this.#given, Math.ceil((limit * this.#up) / this.#down));
    const found = new Float32Array(total - this.#given);
    for (let i = 0; i < found.length; i++, this.#given++) {
      const position = this.#given * this.#down;
      const filter = this.#filters[position % this.#up];
      const start = Math.floor(position / this.#up) - this.#half - this.#first;
      let sum = 0;
      for (let k = 0; k < filter.length; k++) sum += filter[k] * known[start + k];
      found[i] = sum;
    }
    const needed = Math.max(0, Math.floor((this.#given * this.#down) / this.#up) - this.#half - this.#first);
    this.#past = known.slice(needed);
    this.#first += needed;
    return found;
  }
}

/** Return the filter for a place between two samples: coefficients that sum to 1, in Blackman's window. */
function kernel(offset, band, before, after) {
  const filter = Float32Array.from({ length: before + 1 + after }, (_, k) => {
    const x = k - before - offset;
    const angle = (Math.PI * x) / Math.max(after, 1);
    const window = 0.42 + 0.5 * Math.cos(angle) + 0.08 * Math.cos(2 * angle);
    return window * (x ? Math.sin(Math.PI * band * x) / (Math.PI * band * x) : 1);
  });
  const sum = filter.reduce((total, x) => total + x, 0);
  return filter.map((x) => x / sum);
}

function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}
