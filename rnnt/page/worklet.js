// Runs beside the sound card: gathers samples, and posts them in chunks. A message asks for the last chunk.
class Recorder extends AudioWorkletProcessor {
  #chunk = new Float32Array(Math.round(sampleRate * 0.05));
  #count = 0;
  #running = true;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.#running = false;
      this.#post();
      this.port.postMessage(null);
    };
  }

  process([channels]) {
    if (!this.#running) return false;
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.#chunk[this.#count++] = sum / channels.length;
      if (this.#count === this.#chunk.length) this.#post();
    }
    return true;
  }

  #post() {
    this.port.postMessage(this.#chunk.slice(0, this.#count));
    this.#count = 0;
  }
}

registerProcessor("recorder", Recorder);
