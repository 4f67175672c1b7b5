// An engine without a server: a worker of this page runs the exported model (../server/server.js says what an engine has).

// Browsers resample roughly. A recording whose rate is known is decoded at this rate, and the worker resamples it better,
// if it is so small that the memory does not matter.
const MOST_BYTES = 64e6;

export class Local {
  #worker = null;
  #waiting = new Map(); // what to do with the answers to a request, by its number
  #number = 0;

  async open() {
    if (location.protocol === "file:") throw new Error("Serve this folder, for example with: python -m http.server");
    this.#worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#waiting.get(data.number)?.(data);
    this.#worker.onerror = (event) => {
      const error = new Error(`The model stopped: ${event.message || "a file of the page is missing"}`);
      for (const answer of this.#waiting.values()) answer({ error });
    };
    const about = await this.#ask("open");
    this.rate = about.rate;
    return about;
  }

  start(rate, onText, onEnd) {
    const number = this.#send("start", { rate });
    this.#waiting.set(number, ({ update, error, done }) => {
      if (update) onText(update);
      if (!done && !error) return;
      this.#waiting.delete(number);
      onEnd(error ?? null);
    });
    return {
      feed: (samples) => this.#worker.postMessage({ number, kind: "feed", samples }),
      finish: () => this.#worker.postMessage({ number, kind: "finish" }),
    };
  }

  async file(blob, name, signal) {
    const { samples, rate } = await decode(blob, name, this.rate);
    signal.throwIfAborted();
    const work = this.#ask("file", { samples, rate }, [samples.buffer]);
    signal.onabort = () => this.#worker.postMessage({ kind: "cancel" });
    const transcript = await work;
    signal.throwIfAborted();
    return transcript;
  }

  /** Send a request, and wait for its answer. */
  #ask(kind, content = {}, moved = []) {
    return new Promise((resolve, reject) => {
      const number = this.#send(kind, content, moved);
      this.#waiting.set(number, ({ result, error }) => {
        this.#waiting.delete(number);
        if (error) reject(error);
        else resolve(result);
      });
    });
  }

  #send(kind, content, moved = []) {
    this.#number += 1;
    this.#worker.postMessage({ number: this.#number, kind, ...content }, moved);
    return this.#number;
  }
}

/** Return the samples of a recording, all channels together, and their rate: its own, or else the wanted one. */
async function decode(blob, name, wanted) {
  try {
    const file = await blob.arrayBuffer();
    const rate = (file.byteLength < MOST_BYTES && rateOf(new DataView(file))) || wanted;
    const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(file);
    const samples = new Float32Array(sound.length);
    for (let channel = 0; channel < sound.numberOfChannels; channel++) {
      const values = sound.getChannelData(channel);
      for (let i = 0; i < samples.length; i++) samples[i] += values[i] / sound.numberOfChannels;
    }
    return { samples, rate };
  } catch {
    throw new Error(`${name}: this browser cannot read the recording. Convert it to WAV, FLAC or MP3.`);
  }
}

/** Return the rate in the header of a WAV or FLAC file; 0 for other files. */
function rateOf(file) {
  const letters = (at) => String.fromCharCode(...[0, 1, 2, 3].map((i) => file.getUint8(at + i)));
  if (file.byteLength < 44) return 0;
  if (letters(0) === "RIFF" && letters(8) === "WAVE" && letters(12) === "fmt ") return file.getUint32(24, true);
  if (letters(0) === "fLaC") return file.getUint32(18) >>> 12;
  return 0;
}
