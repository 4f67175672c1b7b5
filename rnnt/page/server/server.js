// The engine of `rnnt serve`: recordings over OpenAI's endpoint, live speech over Vosk's WebSocket protocol.
//
// What every engine has:
//   open()                     -> {name, streams}: of the model. Throws TokenError if a token is needed.
//   start(rate, onText, onEnd) -> a stream of samples of this rate. onText({finals, partial, seconds}): finals are
//                                 transcripts of utterances that ended, partial is the text of the present one, and
//                                 seconds is how much audio it knows. onEnd(error): no more text comes.
//       feed(samples)             takes an Int16Array
//       finish()                  after the last samples; onEnd follows
//   file(blob, name, signal)   -> the transcript of a recording. signal: ends the work.
// A transcript is {text, duration, words: [{word, start, end, confidence}], segments: [{start, end, text}]}.

const TOKEN = "rnnt.token";

/** The server wants a token, or another one. */
export class TokenError extends Error {
  name = "TokenError";
}

export class Server {
  #token = sessionStorage.getItem(TOKEN) ?? "";

  /** Use a token from now on. */
  authorize(token) {
    this.#token = token;
    sessionStorage.setItem(TOKEN, token);
  }

  async open() {
    const { data } = await (await this.#fetch("v1/models")).json();
    return { name: data[0].id, streams: data[0].streams };
  }

  start(rate, onText, onEnd) {
    const url = new URL("vosk", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    return new Stream(new WebSocket(url, this.#protocols()), rate, onText, onEnd);
  }

  async file(blob, name, signal) {
    const form = new FormData();
    form.append("file", blob, name);
    form.append("response_format", "verbose_json");
    for (const kind of ["word", "segment"]) form.append("timestamp_granularities[]", kind);
    return (await this.#fetch("v1/audio/transcriptions", { method: "POST", body: form, signal })).json();
  }

  async #fetch(path, options = {}) {
    const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
    const answer = await fetch(new URL(path, document.baseURI), { ...options, headers });
    if (answer.status === 401) throw new TokenError("The token is missing or wrong.");
    if (!answer.ok) throw new Error(await reason(answer));
    return answer;
  }

  // A page cannot set a header of a WebSocket, so the token goes with the names of protocols.
  #protocols() {
    if (!this.#token) return [];
    const encoded = btoa(this.#token).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
    return ["vosk", `base64url.bearer.${encoded}`];
  }
}

class Stream {
  #socket;
  #waiting = [];
  #error = null;

  constructor(socket, rate, onText, onEnd) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    this.#send(JSON.stringify({ config: { sample_rate: rate, words: true } }));
    socket.onopen = () => this.#waiting.splice(0).forEach((message) => socket.send(message));
    socket.onmessage = ({ data }) => this.#read(JSON.parse(data), onText);
    socket.onclose = ({ code, reason: why }) => {
      if (code !== 1000) this.#error ??= new Error(why || "The connection to the server broke.");
      onEnd(this.#error);
    };
  }

  feed(samples) {
    this.#send(samples);
  }

  finish() {
    this.#send('{"eof": 1}');
  }

  #send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(message);
    else this.#waiting.push(message);
  }

  #read(answer, onText) {
    if (answer.error) this.#error = new Error(answer.error.message);
    else if ("partial" in answer) onText({ finals: [], partial: answer.partial, seconds: answer.seconds });
    else onText({ finals: answer.text ? [utterance(answer)] : [], partial: "" });
  }
}

function utterance({ text, result }) {
  const words = result.map(({ word, start, end, conf }) => ({ word, start, end, confidence: conf }));
  const [start, end] = words.length ? [words[0].start, words.at(-1).end] : [0, 0];
  return { text, duration: end, words, segments: [{ start, end, text }] };
}

async function reason(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return `The server answered ${answer.status}. ${text.slice(0, 200)}`;
  }
}
