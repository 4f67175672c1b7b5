// The encoder's graphs: waveform -> encoder frames, each a Float32Array. ort: ONNX Runtime.

/** Return the zeros that a graph's states begin with. They follow its first two inputs. */
export function zeroStates(ort, session) {
  const states = {};
  for (const { name, type, shape } of session.inputMetadata.slice(2)) {
    const sizes = [1, ...shape.slice(1)];
    const count = sizes.reduce((product, size) => product * size, 1);
    states[name] = new ort.Tensor(type, type === "int64" ? new BigInt64Array(count) : new Float32Array(count), sizes);
  }
  return states;
}

/** Return the rows of a tensor (1, T, D), from `first` to `end`. */
function rowsOf(tensor, first, end) {
  const width = tensor.dims[2];
  return Array.from({ length: Math.max(0, end - first) }, (_, i) =>
    tensor.data.slice((first + i) * width, (first + i + 1) * width),
  );
}

/** Encode a whole recording with encoder.onnx. */
export async function wholeFrames(ort, session, samples) {
  const audio = new ort.Tensor("float32", samples, [1, samples.length]);
  const num_samples = new ort.Tensor("int64", BigInt64Array.of(BigInt(samples.length)), [1]);
  const { encoder, lengths } = await session.run({ audio, num_samples });
  return rowsOf(encoder, 0, Number(lengths.data[0]));
}

/** Encodes a stream with encoder-stream.onnx, chunk by chunk. */
export class ChunkedEncoder {
  #ort;
  #session;
  #sizes; // of config.stream: step, prefix, late
  #size; // samples of a chunk
  #rate;
  #states;
  #begun = false;
  #samples = []; // that wait
  #waiting = 0; // how many they are
  #total = 0; // samples that came
  #end = 0; // the sample after the last chunk

  constructor(ort, { config, encoder }, seconds) {
    [this.#ort, this.#session, this.#sizes, this.#rate] = [ort, encoder, config.stream, config.sample_rate];
    this.#size = Math.max(1, Math.round((seconds * this.#rate) / this.#sizes.step)) * this.#sizes.step;
    this.#states = zeroStates(ort, encoder);
  }

  /** How much of the stream has been encoded. */
  get seconds() {
    return Math.min(this.#total, this.#end) / this.#rate;
  }

  /** Take samples, and yield lists of new frames. */
  async *push(samples) {
    this.#samples.push(samples);
    this.#waiting += samples.length;
    this.#total += samples.length;
    if (!this.#begun && this.#waiting < this.#sizes.prefix) return;
    this.#begin();
    while (this.#waiting >= this.#size) yield await this.#run(-1);
  }

  /** End the stream: yield the frames that are left. */
  async *finish() {
    this.#begin();
    const last = this.#total + this.#sizes.prefix + this.#sizes.late * this.#sizes.step;
    while (this.#end < last) yield await this.#run(this.#total);
  }

  /** Put the first samples into the state that holds the past. */
  #begin() {
    if (this.#begun) return;
    this.#begun = true;
    const { prefix } = this.#sizes;
    const past = this.#states.past.data;
    past.set(this.#take(prefix), past.length - prefix);
    this.#end = prefix;
  }

  async #run(total) {
    const { Tensor } = this.#ort;
    const audio = new Tensor("float32", this.#take(this.#size), [1, this.#size]);
    const num_samples = new Tensor("int64", BigInt64Array.of(BigInt(total)), [1]);
    const found = await this.#session.run({ audio, num_samples, ...this.#states });
    for (const name of Object.keys(this.#states)) this.#states[name] = found[`next_${name}`];
    this.#end += this.#size;
    return rowsOf(found.encoder, Number(found.first.data[0]), Number(found.end.data[0]));
  }

  /** Return the next samples, and zeros if there are not enough. */
  #take(count) {
    const taken = new Float32Array(count);
    let place = 0;
    while (place < count && this.#samples.length) {
      const part = this.#samples[0].subarray(0, count - place);
      taken.set(part, place);
      place += part.length;
      if (part.length === this.#samples[0].length) this.#samples.shift();
      else this.#samples[0] = this.#samples[0].subarray(part.length);
    }
    this.#waiting -= place;
    return taken;
  }
}

/** Divide a long recording at its quietest places: [start, end] in samples of each stretch, of 20 s at most. */
export function stretches(samples, rate) {
  const found = [];
  const [hop, window] = [Math.round(rate / 100), Math.round(rate / 10)];
  let start = 0;
  while (samples.length - start > 30 * rate) {
    let [best, least] = [0, Infinity];
    for (let place = start + 10 * rate; place < start + 20 * rate; place += hop) {
      let power = 0;
      for (let i = place; i < place + window; i++) power += samples[i] * samples[i];
      if (power < least) [best, least] = [place + Math.round(window / 2), power];
    }
    found.push([start, best]);
    start = best;
  }
  return [...found, [start, samples.length]];
}
