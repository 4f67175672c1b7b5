"""The README.md of a folder for sherpa-onnx: the commands of its programs."""

_OFFLINE = """
## Recordings

    sherpa-onnx-offline --model-type=nemo_transducer --tokens=tokens.txt --encoder=encoder{end} \\
        --decoder=decoder{end} --joiner=joiner{end} --feat-dim={mels} recording.wav

In Python:

    import sherpa_onnx, soundfile
    recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
        encoder="encoder{end}", decoder="decoder{end}", joiner="joiner{end}", tokens="tokens.txt",
        model_type="nemo_transducer", feature_dim={mels})
    samples, rate = soundfile.read("recording.wav", dtype="float32")
    stream = recognizer.create_stream()
    stream.accept_waveform(rate, samples)
    recognizer.decode_stream(stream)
    print(stream.result.text)

On Android, copy these files into `assets/` of SherpaOnnxVadAsr (or SherpaOnnxSimulateStreamingAsr), and let
`getOfflineModelConfig` return an `OfflineModelConfig` whose `transducer` has these three names,
`modelType = "nemo_transducer"` and `tokens`.
"""
_ONLINE = """
## Streams

    sherpa-onnx --tokens=tokens.txt --encoder=encoder{end} \\
        --decoder=decoder{end} --joiner=joiner{end} recording.wav

`sherpa-onnx-microphone` takes the same options. In Python:

    import sherpa_onnx
    recognizer = sherpa_onnx.OnlineRecognizer.from_transducer(
        encoder="encoder{end}", decoder="decoder{end}", joiner="joiner{end}",
        tokens="tokens.txt", feature_dim={mels})

At the end of a stream, give half a second of silence before `input_finished()`: sherpa-onnx decodes whole chunks, and
would leave the last words out.

On Android, copy `` into `assets/` of SherpaOnnx, and let `getModelConfig` return an `OnlineModelConfig` whose
`transducer` has these three names and `tokens`.
"""


def readme(streams: bool, end: str, mels: int) -> str:
    """Return the text. streams: for the online recognizer. end: of the names of graphs. mels: mel bins."""
    text = "# A transducer for sherpa-onnx\n\nsherpa-onnx emits at most 10 symbols a frame.\n"
    return text + (_ONLINE if streams else _OFFLINE).format(end=end, mels=mels)
