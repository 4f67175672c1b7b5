"""Transcribe audio files with a trained model and say when each token was heard.

python examples/transcribe.py runs/demo/run recording.wav another.flac
"""

import sys

import rnnt


def main(model_path: str, *audio_paths: str) -> None:
    model = rnnt.load(model_path, device="auto")
    # One call decodes all files together; a waveform, int16 or float in [-1, 1], may stand in place of a path.
    for path, transcript in zip(audio_paths, model.transcribe(audio_paths)):
        print(f"{path} ({transcript.seconds:.1f} s): {transcript.text}")
        for token, seconds, log_prob in zip(transcript.tokens, transcript.times, transcript.log_probs):
            print(f"  {seconds:7.2f} s  {model.tokenizer.decode([token])!r}  log P {log_prob:.2f}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
