// The page: controls, and what they do with an engine (server/server.js says what an engine has).
import { loudness, openMicrophone, toWav } from "./microphone.js";
import { toSrt, toVtt } from "./subtitles.js";
import { Words } from "./words.js";

const $ = (id) => document.getElementById(id);

export function openPage(engine) {
  new Page(engine).open();
}

class Page {
  #engine;
  #words = new Words($("transcript"), $("partial"), $("audio"));
  #streams = false; // whether the model transcribes while one speaks
  #transcript = null;
  #recording = null; // {microphone, chunks, count, sent, stream}
  #work = null; // an AbortController, while a recording is transcribed
  #links = []; // addresses of the blobs of the last result

  constructor(engine) {
    this.#engine = engine;
    $("access").onsubmit = (event) => {
      event.preventDefault();
      engine.authorize($("token").value.trim());
      this.open();
    };
    $("microphone").onclick = () => this.#attempt(() => (this.#recording ? this.#stop() : this.#record()));
    $("file").onchange = ({ target }) => {
      const file = target.files[0];
      target.value = ""; // so that the same file can be chosen again
      if (file) this.#attempt(() => this.#transcribe(file, file.name));
    };
    $("cancel").onclick = () => this.#work?.abort();
    $("copy").onclick = () => this.#attempt(() => this.#copy());
    document.addEventListener("dragover", (event) => this.#drag(event, true));
    document.addEventListener("dragleave", (event) => this.#drag(event, event.relatedTarget !== null));
    document.addEventListener("drop", (event) => {
      this.#drag(event, false);
      const file = event.dataTransfer.files[0];
      if (file && !$("file").disabled) this.#attempt(() => this.#transcribe(file, file.name));
    });
  }

  /** Ask the engine for its model; until there is one, nothing works. */
  async open() {
    await this.#attempt(async () => {
      this.#say("Opening…");
      const { name, streams } = await this.#engine.open();
      $("access").hidden = true;
      $("model").textContent = name;
      this.#streams = streams;
      this.#ready(true);
      this.#say(streams ? "" : "This model needs whole recordings: the text comes when you stop the microphone.");
    });
  }

  async #record() {
    this.#reset();
    this.#ready(false);
    const recording = { chunks: [], count: 0, sent: [], stream: null };
    recording.microphone = await openMicrophone((samples) => this.#hear(recording, samples));
    this.#recording = recording;
    if (this.#streams) {
      const done = (error) => this.#ended(recording, error);
      recording.stream = this.#engine.start(recording.microphone.rate, (update) => this.#show(recording, update), done);
      recording.chunks.forEach((samples) => recording.stream.feed(samples)); // that came before the stream
    }
    $("microphone").setAttribute("aria-pressed", "true");
    $("microphone-label").textContent = "Stop";
    $("microphone").disabled = false;
    $("signal").hidden = false;
    this.#say(this.#streams ? "Speak." : "Recording. The text comes when you stop.");
  }

  #hear(recording, samples) {
    recording.chunks.push(samples);
    recording.count += samples.length;
    recording.stream?.feed(samples);
    if (!recording.microphone) return;
    const seconds = recording.count / recording.microphone.rate;
    recording.sent.push({ seconds, at: performance.now() });
    const level = loudness(samples);
    $("level").setAttribute("aria-valuenow", level.toFixed(0));
    $("level").style.setProperty("--level", (1 + level / 60).toFixed(3));
    $("clock").textContent = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  }

  #show(recording, { finals, partial, seconds }) {
    for (const final of finals) {
      this.#words.add(final.text, final.words);
      this.#transcript.words.push(...final.words);
      this.#transcript.segments.push(...final.segments);
    }
    this.#words.showPartial(partial);
    if (seconds === undefined || this.#recording !== recording) return;
    let known = null; // the last chunk whose sound the text knows
    while (recording.sent.length && recording.sent[0].seconds <= seconds + 1e-3) known = recording.sent.shift();
    if (known) $("latency").textContent = `${((performance.now() - known.at) / 1000).toFixed(2)} s behind`;
  }

  async #stop() {
    const recording = this.#recording;
    $("microphone").disabled = true;
    await recording.microphone.stop();
    this.#say("Waiting for the last words…");
    if (recording.stream) recording.stream.finish();
    else {
      this.#recording = null;
      this.#quiet();
      await this.#transcribe(toWav(recording.chunks, recording.microphone.rate), "microphone.wav");
    }
  }

  /** Keep what a stream has given, whether it ended well or not. */
  async #ended(recording, error) {
    this.#recording = null;
    this.#quiet();
    if (!$("microphone").disabled) await recording.microphone.stop(); // the engine ended first
    const [{ segments }, rest] = [this.#transcript, $("partial").textContent];
    this.#words.showPartial("");
    this.#transcript.duration = recording.count / recording.microphone.rate;
    if (rest) { // the engine did not come to make it final
      segments.push({ start: segments.at(-1)?.end ?? 0, end: this.#transcript.duration, text: rest });
      this.#words.add(rest, []);
    }
    this.#transcript.text = segments.map(({ text }) => text).join(" ");
    this.#finish(toWav(recording.chunks, recording.microphone.rate), "microphone", error);
    this.#ready(true);
  }

  #quiet() {
    $("signal").hidden = true;
    $("latency").textContent = "";
    $("microphone").setAttribute("aria-pressed", "false");
    $("microphone-label").textContent = "Start the microphone";
  }

  async #transcribe(blob, name) {
    this.#reset();
    this.#ready(false);
    this.#say(`Transcribing ${name}…`);
    this.#work = new AbortController();
    $("cancel").hidden = false;
    const began = performance.now();
    try {
      this.#transcript = await this.#engine.file(blob, name, this.#work.signal);
    } finally {
      this.#work = null;
      $("cancel").hidden = true;
    }
    const { segments, words } = this.#transcript;
    const rest = [...words];
    for (const [i, segment] of segments.entries()) {
      const limit = segments[i + 1] ? segments[i + 1].start - 1e-3 : Infinity;
      const count = rest.findIndex((word) => word.start >= limit);
      this.#words.add(segment.text, rest.splice(0, count < 0 ? rest.length : count));
    }
    const seconds = (performance.now() - began) / 1000;
    this.#finish(blob, name.replace(/\.[^.]*$/, "") || "recording");
    this.#say(`${name}: ${this.#transcript.duration.toFixed(1)} s, transcribed in ${seconds.toFixed(1)} s.`);
    this.#ready(true);
  }

  #finish(blob, name, error = null) {
    const json = JSON.stringify({ task: "transcribe", ...this.#transcript }, null, 2);
    const files = {
      srt: new Blob([toSrt(this.#transcript)], { type: "application/x-subrip" }),
      vtt: new Blob([toVtt(this.#transcript)], { type: "text/vtt" }),
      json: new Blob([json], { type: "application/json" }),
      wav: blob,
    };
    for (const link of document.querySelectorAll("#downloads a")) {
      link.href = this.#link(files[link.dataset.kind]);
      link.download = `${name}.${link.dataset.kind}`;
      link.hidden = link.dataset.kind === "wav" && blob instanceof File; // the user has the file
    }
    $("audio").src = this.#link(blob);
    $("result").hidden = false;
    if (error) this.#say(error.message, true);
    else this.#say(this.#transcript.text ? "" : "No words were recognized.");
  }

  #link(blob) {
    this.#links.push(URL.createObjectURL(blob));
    return this.#links.at(-1);
  }

  #reset() {
    $("audio").pause();
    $("audio").removeAttribute("src");
    this.#links.splice(0).forEach((link) => URL.revokeObjectURL(link));
    $("result").hidden = true;
    this.#words.clear();
    this.#transcript = { text: "", duration: 0, words: [], segments: [] };
  }

  async #copy() {
    await navigator.clipboard.writeText(this.#transcript.segments.map(({ text }) => text).join("\n"));
    this.#say("Copied.");
  }

  /** Do something, and show why it failed. */
  async #attempt(action) {
    try {
      await action();
    } catch (error) {
      if (error.name === "TokenError") {
        this.#ready(false);
        $("access").hidden = false;
        $("token").focus();
        this.#say($("token").value ? error.message : "");
        return;
      }
      this.#recording?.microphone.stop().catch(() => {});
      this.#recording = null;
      this.#quiet();
      this.#ready($("model").textContent !== "");
      this.#say(error.name === "AbortError" ? "Cancelled." : error.message, error.name !== "AbortError");
    }
  }

  #ready(ready) {
    $("microphone").disabled = $("file").disabled = !ready;
  }

  #say(text, isError = false) {
    $("status").textContent = text;
    $("status").classList.toggle("error", isError);
  }

  #drag(event, over) {
    event.preventDefault();
    document.body.classList.toggle("drop", over && !$("file").disabled);
  }
}
