// Runs an exported model in ONNX Runtime on one thread, apart from the page. Messages: see local.js.
import * as ort from "../../ort/ort.wasm.bundle.min.mjs";
import { LiveText, Search, Symbols, transcriptOf } from "./search.js";
import { Resampler } from "./resampler.js";
import { ChunkedEncoder, stretches, wholeFrames } from "./encoders.js";

ort.env.wasm.numThreads = 1; // several would need headers that few static servers send
ort.env.wasm.wasmPaths = { wasm: new URL("../../ort/ort-wasm-simd-threaded.wasm", import.meta.url).href };

const LIVE_SECONDS = 0.12; // of a chunk
const FILE_SECONDS = 2;
const WHOLE_SECONDS = 40; // config.max_symbols is for recordings of so many seconds; longer ones may have more

let model = null; // {config, encoder, decoder, symbols}
let stream = null;
let cancelled = false;
let queue = Promise.resolve(); // one message after the other

onmessage = ({ data }) => {
  if (data.kind === "cancel" || data.kind === "file") cancelled = data.kind === "cancel";
  if (data.kind !== "cancel") queue = queue.then(() => answer(data));
};

async function answer({ number, kind, ...content }) {
  const tell = (message) => postMessage({ number, ...message });
  try {
    if (kind === "open") tell({ result: await open() });
    else if (kind === "file") tell({ result: await transcribe(atRate(content.samples, content.rate, model.config.sample_rate)) });
    else if (kind === "start") stream = new Stream(content.rate);
    else if (kind === "feed") await stream?.feed(content.samples, tell);
    else await stream?.finish(tell);
  } catch (error) {
    stream = null;
    tell({ error: new Error(`The model failed: ${error.message ?? error}`) });
  }
}

async function open() {
  const load = async (name) => {
    const answer = await fetch(new URL(`../../model/${name}`, import.meta.url));
    if (!answer.ok) throw new Error(`${name} is missing (${answer.status})`);
    return answer;
  };
  const config = await (await load("config.json")).json();
  const symbols = new Symbols(await (await load("tokens.txt")).text(), config);
  const session = async (name) => ort.InferenceSession.create(new Uint8Array(await (await load(name)).arrayBuffer()));
  const encoder = await session(config.stream ? "encoder-stream.onnx" : "encoder.onnx");
  model = { config, symbols, encoder, decoder: await session("decoder_joint.onnx") };
  return { name: "Runs in this browser. No sound leaves this device.", streams: Boolean(config.stream), rate: config.sample_rate };
}

class Stream {
  #encoder = new ChunkedEncoder(ort, model, LIVE_SECONDS);
  #search = new Search(ort, model);
  #text = new LiveText(model);
  #resampler;

  constructor(rate) {
    this.#resampler = new Resampler(rate, model.config.sample_rate);
  }

  async feed(samples, tell) {
    const heard = this.#resampler.convert(Float32Array.from(samples, (x) => x / 32768));
    for await (const frames of this.#encoder.push(heard)) await this.#hear(frames, tell);
  }

  async finish(tell) {
    for await (const frames of this.#encoder.push(this.#resampler.finish())) await this.#hear(frames, tell);
    for await (const frames of this.#encoder.finish()) await this.#hear(frames, tell);
    tell({ update: { finals: this.#text.finish(), partial: "" }, done: true });
    stream = null;
  }

  async #hear(frames, tell) {
    const finals = this.#text.add(await this.#search.advance(frames), this.#search.frames);
    tell({ update: { finals, partial: this.#text.partial, seconds: this.#encoder.seconds } });
  }
}

async function transcribe(samples) {
  const { config, encoder } = model;
  const duration = samples.length / config.sample_rate;
  const finals = [];
  if (config.stream) {
    const [chunks, search, text] = [new ChunkedEncoder(ort, model, FILE_SECONDS), new Search(ort, model), new LiveText(model)];
    const hear = async (frames) => finals.push(...text.add(await search.advance(frames), search.frames));
    for await (const frames of chunks.push(samples)) if (!(await stopped())) await hear(frames);
    for await (const frames of chunks.finish()) await hear(frames);
    finals.push(...text.finish());
  } else {
    for (const [start, end] of stretches(samples, config.sample_rate)) {
      if (await stopped()) break;
      const seconds = (end - start) / config.sample_rate;
      const search = new Search(ort, model, Math.ceil(config.max_symbols * Math.max(1, seconds / WHOLE_SECONDS)));
      const found = await search.advance(await wholeFrames(ort, encoder, samples.subarray(start, end)));
      if (found.length) finals.push(model.symbols.utterance(found, start / config.sample_rate));
    }
  }
  return transcriptOf(finals, duration);
}

function atRate(samples, from, to) {
  if (from === to) return samples;
  const resampler = new Resampler(from, to);
  const [most, rest] = [resampler.convert(samples), resampler.finish()];
  const whole = new Float32Array(most.length + rest.length);
  whole.set(most);
  whole.set(rest, most.length);
  return whole;
}

/** Let a message come in that cancels the work, and tell whether one did. */
async function stopped() {
  await new Promise((resolve) => setTimeout(resolve));
  return cancelled;
}
