// The microphone: samples as the sound card gives them.

/** Open the microphone. onSamples gets an Int16Array every 50 ms. Gives {rate, stop}; stop() waits for the last samples. */
export async function openMicrophone(onSamples) {
  if (!navigator.mediaDevices)
    throw new Error("Browsers give a page the microphone only over https, or from this computer (localhost).");
  const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const media = await navigator.mediaDevices.getUserMedia({ audio: raw }).catch((error) => {
    throw new Error(PROBLEMS[error.name] ?? `The microphone did not open: ${error.message}`);
  });
  const context = new AudioContext();
  await context.resume();
  await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
  const recorder = new AudioWorkletNode(context, "recorder");
  recorder.connect(context.destination); // silence; some browsers run only what leads there
  const ended = new Promise((resolve) => {
    recorder.port.onmessage = ({ data }) => (data ? onSamples(toInt16(data)) : resolve());
  });
  context.createMediaStreamSource(media).connect(recorder);
  return {
    rate: context.sampleRate,
    stop: async () => {
      recorder.port.postMessage(null);
      await ended;
      media.getTracks().forEach((track) => track.stop());
      await context.close();
    },
  };
}

const PROBLEMS = {
  NotAllowedError: "This page may not use the microphone. Allow it in the browser's settings for the page.",
  NotFoundError: "No microphone was found.",
  NotReadableError: "Another program holds the microphone.",
};

function toInt16(samples) {
  return Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
}

/** Return the loudness of samples in dB below the loudest possible: the root of the mean square, at least -60. */
export function loudness(samples) {
  let sum = 0;
  for (const x of samples) sum += x * x;
  return Math.max(-60, 20 * Math.log10(Math.sqrt(sum / Math.max(1, samples.length)) / 32768));
}

/** Return a WAV file of 16-bit samples, which come as a list of Int16Arrays. */
export function toWav(chunks, rate) {
  const bytes = 2 * chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const header = new DataView(new ArrayBuffer(44));
  const write = (at, text) => [...text].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  header.setUint32(4, 36 + bytes, true);
  write(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // channels
  header.setUint32(24, rate, true);
  header.setUint32(28, 2 * rate, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  write(36, "data");
  header.setUint32(40, bytes, true);
  return new Blob([header, ...chunks], { type: "audio/wav" });
}
