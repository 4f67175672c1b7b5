"""Features against plain numpy, written from the definition, and invariances: batch, order, padding, chunks."""

import math

import numpy as np
import pytest
import soxr
import torch

from rnnt.audio import read_audio
from rnnt.augment import Augmentation
from rnnt.config import AugmentConfig, FeaturesConfig
from rnnt.features import Features
from rnnt.frames import stack_frames


def slaney_hz_to_mel(hz):
    return hz / (200 / 3) if hz < 1000 else 15 + math.log(hz / 1000) / (math.log(6.4) / 27)


def slaney_mel_to_hz(mel):
    return mel * (200 / 3) if mel < 15 else 1000 * math.exp((mel - 15) * (math.log(6.4) / 27))


def numpy_filters(config):
    low, high = slaney_hz_to_mel(config.low_hz), slaney_hz_to_mel(config.high_hz)
    edges = [slaney_mel_to_hz(low + (high - low) * i / (config.mels + 1)) for i in range(config.mels + 2)]
    filters = np.zeros((config.mels, config.n_fft // 2 + 1))
    for m in range(config.mels):
        left, centre, right = edges[m : m + 3]
        for k in range(config.n_fft // 2 + 1):
            hz = k * config.sample_rate / config.n_fft
            if left < hz <= centre:
                filters[m, k] = (hz - left) / (centre - left)
            elif centre < hz < right:
                filters[m, k] = (right - hz) / (right - centre)
        filters[m] *= 2 / (right - left)
    return filters


def numpy_log_mel(samples, config):
    """DESIGN section 6 without the dither, for one utterance longer than half a Fourier window: (S, F)."""
    x = samples.astype(np.float64)
    x = np.concatenate([x[:1], x[1:] - config.preemphasis * x[:-1]])
    x = np.pad(x, config.n_fft // 2, mode={"reflect": "reflect", "zeros": "constant"}[config.padding])
    window = np.zeros(config.n_fft)
    left = (config.n_fft - config.window) // 2
    for i in range(config.window):
        window[left + i] = 0.5 - 0.5 * math.cos(2 * math.pi * i / (config.window - 1))
    filters = numpy_filters(config)
    rows = []
    for s in range(len(samples) // config.hop if config.whole_hops else math.ceil(len(samples) / config.hop)):
        frame = x[s * config.hop : s * config.hop + config.n_fft] * window
        power = np.abs(np.fft.rfft(frame)) ** 2
        rows.append(filters @ power)
    mel = np.array(rows)
    if config.peak_floor:
        mel += max(row.mean() for row in rows) / 10 ** (config.peak_floor / 10)
    return np.log(mel + config.log_floor)


def numpy_features(samples, config):
    mel = numpy_log_mel(samples, config)
    if config.normalization == "utterance":
        mel = (mel - mel.mean(0)) / ((mel.std(0, ddof=1) if len(mel) > 1 else 0) + 1e-5)
    if config.normalization == "shape":
        mel = mel - mel.mean(0)
        mel /= math.sqrt((mel**2).sum() / (len(mel) - 1) / config.mels) + 1e-5
    if config.normalization == "loud":
        level = 10 * np.log10(np.exp(mel).sum(1))
        loud = 1 / (1 + np.exp(-4 * math.log(10) / 10 * (level - level.max() + 20)))
        weight = np.array([loud[max(s - 20, 0) : s + 21].max() for s in range(len(loud))])
        mel = mel - np.average(mel, 0, weight)
        mel /= max(math.sqrt((weight @ mel**2).sum() / max(weight.sum() - 1, 1) / config.mels), 1.5)
    rows = []
    for start in range(0, len(mel), config.stack):
        row = np.zeros(config.stack * config.mels)
        piece = mel[start : start + config.stack].reshape(-1)
        row[: len(piece)] = piece
        rows.append(row)
    return np.array(rows)


def noise(length, seed=0):
    rng = np.random.default_rng(seed)
    slow = np.interp(np.arange(length), np.linspace(0, length, 20), rng.random(20))
    return (0.2 * slow * rng.standard_normal(length)).astype(np.float32)


def run(features, *utterances, augmentation=None):
    """The features of each utterance, computed as one padded batch whose padding is NaN."""
    batch = torch.full((len(utterances), max(map(len, utterances))), torch.nan)
    for row, samples in zip(batch, utterances):
        row[: len(samples)] = torch.from_numpy(np.asarray(samples, np.float32))
    x, lengths = features(batch, torch.tensor([len(samples) for samples in utterances]), augmentation)
    assert not x.isnan().any()
    for row, length in zip(x, lengths):
        assert row[length:].abs().sum() == 0
    return [row[:length].numpy() for row, length in zip(x, lengths)]


CONFIGS = [
    FeaturesConfig(dither=0.0),
    FeaturesConfig(dither=0.0, normalization="none", stack=1),
    FeaturesConfig(
        dither=0.0, n_fft=256, window=200, hop=80, sample_rate=8000, mels=40, low_hz=60, high_hz=3800, stack=4,
        preemphasis=0.9, log_floor=1e-6,
    ),
    FeaturesConfig(dither=0.0, n_fft=400, window=400, mels=23, low_hz=20, high_hz=7600),
    FeaturesConfig(dither=0.0, window=319, preemphasis=0.0),
    FeaturesConfig(dither=0.0, peak_floor=30, normalization="shape"),
    FeaturesConfig(dither=0.0, peak_floor=50, normalization="none", mels=23),
    FeaturesConfig(dither=0.0, peak_floor=40, normalization="loud"),
    FeaturesConfig(dither=0.0, padding="zeros", normalization="none", stack=1),
    FeaturesConfig(dither=0.0, whole_hops=True, stack=2),
    FeaturesConfig(dither=0.0, window=400, mels=128, log_floor=2**-24, padding="zeros", whole_hops=True, stack=1),
]  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS)
def test_equals_plain_numpy(config):
    utterances = [noise(length, length) for length in (16000, 300, 4799, 4800, 4801)]
    for samples, x in zip(utterances, run(Features(config), *utterances)):
        # Float32 leaves about 1e-6 of the largest power in each bin.
        np.testing.assert_allclose(x, numpy_features(samples, config), rtol=1e-4, atol=2e-4)


def test_real_speech_equals_plain_numpy(shared_data):
    paths = sorted((shared_data / "librispeech-sample").rglob("*.flac"))
    utterances = [read_audio(path) for path in paths]
    config = FeaturesConfig(dither=0.0)
    batch = torch.zeros(len(utterances), max(map(len, utterances)), dtype=torch.int16)
    for row, samples in zip(batch, utterances):
        row[: len(samples)] = torch.from_numpy(samples)
    x, lengths = Features(config)(batch, torch.tensor([len(samples) for samples in utterances]))
    for samples, row, length in zip(utterances, x, lengths):
        assert length == math.ceil(math.ceil(len(samples) / 160) / 3)
        np.testing.assert_allclose(row[:length].numpy(), numpy_features(samples / 32768, config), rtol=0, atol=5e-4)


@pytest.mark.parametrize("length", [1, 2, 100, 159, 160, 161, 255, 256, 257, 479, 480, 481])
def test_short_utterances_give_finite_frames_whatever_their_batch(length):
    features = Features(FeaturesConfig())
    (alone,) = run(features, noise(length))
    assert alone.shape == (math.ceil(math.ceil(length / 160) / 3), 240)
    assert np.isfinite(alone).all()
    _, together, _ = run(features, noise(5000, 1), noise(length), noise(700, 2))
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


def test_one_frame_is_its_own_mean():
    (x,) = run(Features(FeaturesConfig()), noise(150))
    np.testing.assert_allclose(x, 0, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [{}, {"peak_floor": 30, "normalization": "shape"}, {"normalization": "loud"}],
)
@pytest.mark.parametrize("augmented", [False, True])
def test_batch_and_order_do_not_matter(augmented, settings):
    features = Features(FeaturesConfig(**settings))
    utterances = [noise(length, length) for length in (4000, 16001, 160, 333, 9999)]
    tempo = torch.tensor([1.1, 0.9, 1.3, 0.8, 1.0])

    def draw(*rows):
        if not augmented:
            return None
        augmentation = Augmentation(AugmentConfig(), len(rows), torch.Generator())
        augmentation.speed = augmentation.tempo = augmentation.warp = tempo[list(rows)]
        return augmentation

    together = run(features, *utterances, augmentation=draw(0, 1, 2, 3, 4))
    order = [3, 0, 4, 2, 1]
    shuffled = run(features, *[utterances[i] for i in order], augmentation=draw(*order))
    for i, samples in enumerate(utterances):
        (alone,) = run(features, samples, augmentation=draw(i))
        np.testing.assert_allclose(together[i], alone, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(shuffled[order.index(i)], alone, rtol=1e-4, atol=1e-4)


def test_int16_samples_equal_floats():
    samples = torch.from_numpy((noise(8000) * 32768).astype(np.int16))[None]
    lengths = torch.tensor([8000])
    features = Features(FeaturesConfig())
    assert torch.equal(features(samples, lengths)[0], features(samples.float() / 32768, lengths)[0])


def test_dither_is_small_repeats_and_hides_digital_silence():
    samples = noise(8000)
    samples[2000:4000] = 0
    features = Features(FeaturesConfig(normalization="none", stack=1))
    first, second = run(features, samples)[0], run(features, samples)[0]
    assert np.array_equal(first, second)
    plain = run(Features(FeaturesConfig(normalization="none", stack=1, dither=0.0)), samples)[0]
    assert plain[15:22].max() < -40 < -30 < first[15:22].min() and first[15:22].max() < -10
    assert np.abs(first - plain)[30:].max() < 0.05


def augmentation(tempo, warp, batch=1):
    draw = Augmentation(AugmentConfig(), batch, torch.Generator())
    draw.speed = draw.tempo = torch.full((batch,), tempo)
    draw.warp = torch.full((batch,), warp)
    return draw


def test_tempo_and_warp_of_one_change_nothing():
    features = Features(FeaturesConfig())
    utterances = [noise(length, length) for length in (4000, 16001, 100)]
    plain = run(features, *utterances)
    for x, y in zip(plain, run(features, *utterances, augmentation=augmentation(1.0, 1.0, 3))):
        np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-4)


def speech_or_chirp(request):
    """Real speech if there is any next to the checkout, else rising tones over noise."""
    folder = request.config.rootpath.parent / "shared" / "data" / "librispeech-sample"
    paths = sorted(folder.rglob("*.flac"))
    if paths:
        return read_audio(paths[0])[: 5 * 16000].astype(np.float32) / 32768
    t = np.arange(4 * 16000) / 16000
    return (0.2 * np.sin(2 * np.pi * (300 * t + 300 * t**2)) * (np.sin(5 * t) > 0) + 0.2 * noise(len(t))).astype(
        np.float32
    )


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.15, 1.25])
def test_speed_equals_playing_the_samples_faster(request, factor):
    """Against soxr, which resamples the waveform: same number of frames, nearly the same log-mel power.

    Without pre-emphasis, which here comes before the change of speed: that shifts each bin by a constant, which the
    normalization takes away.
    """
    samples = speech_or_chirp(request)
    features = Features(FeaturesConfig(normalization="none", stack=1, preemphasis=0.0))
    resampled = soxr.resample(samples, 16000 * factor, 16000, quality="VHQ")
    (expected,) = run(features, resampled)
    (x,) = run(features, samples, augmentation=augmentation(factor, factor))
    assert abs(len(x) - len(expected)) <= 1
    frames = min(len(x), len(expected))
    below = slice(0, 70)  # bins above 6 kHz: a slower tape has nothing there
    x, expected = x[:frames, below], expected[:frames, below]
    loud = expected > expected.max() - 14  # 60 dB: below lie the dither and the resampler's own noise
    difference = (x - expected)[loud]
    assert abs(np.median(difference)) < 0.05
    assert np.abs(difference).mean() < 0.25
    assert np.corrcoef(x[loud], expected[loud])[0, 1] > 0.98


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_speed_with_all_settings_of_the_reference(request, factor):
    samples = speech_or_chirp(request)
    features = Features(FeaturesConfig(stack=1))
    (expected,) = run(features, soxr.resample(samples, 16000 * factor, 16000, quality="VHQ"))
    (x,) = run(features, samples, augmentation=augmentation(factor, factor))
    frames = min(len(x), len(expected))
    assert np.corrcoef(x[:frames, :65].ravel(), expected[:frames, :65].ravel())[0, 1] > 0.95


def test_warp_alone_moves_frequencies_and_keeps_time():
    t = np.arange(16000) / 16000
    samples = (0.5 * np.sin(2 * np.pi * 1500 * t)).astype(np.float32)
    features = Features(FeaturesConfig(normalization="none", stack=1))
    centres = features.corners[1:-1].numpy()
    for warp in (0.8, 1.0, 1.25):
        (x,) = run(features, samples, augmentation=augmentation(1.0, warp))
        assert len(x) == 100
        assert abs(centres[x[50].argmax()] / (1500 * warp) - 1) < 0.03


def test_tempo_alone_keeps_frequencies_and_moves_time():
    t = np.arange(32000) / 16000
    samples = (np.where(t < 1, 0.5, 0.0) * np.sin(2 * np.pi * 1500 * t)).astype(np.float32)
    features = Features(FeaturesConfig(normalization="none", stack=1))
    centres = features.corners[1:-1].numpy()
    for tempo in (0.8, 1.25):
        (x,) = run(features, samples, augmentation=augmentation(tempo, 1.0))
        assert len(x) == round(200 / tempo)
        assert abs(centres[x[40].argmax()] / 1500 - 1) < 0.03
        loud = x.max(1) > x.max() - 5
        assert abs(loud.sum() - 100 / tempo) <= 2


def test_under_a_peak_floor_a_background_far_below_it_does_not_matter():
    speech = noise(16000)
    speech[5000:9000] = 0  # a pause: frames 32 to 55 touch nothing else
    hiss = (1e-4 * np.random.default_rng(1).standard_normal(16000)).astype(np.float32)  # 60 dB below the speech
    difference = {}
    for floor in (0, 30):
        features = Features(FeaturesConfig(normalization="none", peak_floor=floor, stack=1))
        clean, noisy = run(features, speech, speech + hiss)
        difference[floor] = np.abs(clean - noisy)[35:53].mean()
    assert difference[30] < 0.02 and difference[0] > 4  # the dither is 20 dB below the hiss: 4.6 nepers


def test_loudness_does_not_matter_under_a_peak_floor():
    features = Features(FeaturesConfig(dither=0.0, normalization="none", peak_floor=30, log_floor=0.0, stack=1))
    loud, soft = run(features, noise(8000), noise(8000) / 100)
    np.testing.assert_allclose(loud - soft, math.log(100**2), atol=1e-3)


def test_silence_at_the_ends_does_not_change_the_frames_of_words_in_loud_normalization():
    """With another normalization, two seconds of silence change them by more than their deviation."""
    words = np.pad(noise(16000), 4800) + 1e-5 * np.random.default_rng(0).standard_normal(25600)
    silence = 1e-5 * np.random.default_rng(1).standard_normal(32000)
    change = {}
    for normalization in ("loud", "utterance"):
        features = Features(FeaturesConfig(normalization=normalization, peak_floor=40, stack=1))
        alone, between = run(features, words, np.concatenate([silence, words, silence]))
        change[normalization] = abs(between[200:360] - alone)[5:-5].max()  # a frame at the edge sees the silence
    assert change["loud"] < 0.1 and change["utterance"] > 1


def test_global_normalization_takes_the_stored_statistics():
    samples = noise(8000)
    features = Features(FeaturesConfig(normalization="global", stack=1, dither=0.0))
    assert {"mean", "std"} <= set(features.state_dict())
    features.mean.copy_(torch.linspace(-3, 3, 80))
    features.std.copy_(torch.linspace(1, 2, 80))
    expected = (numpy_log_mel(samples, features.config) - np.linspace(-3, 3, 80)) / (np.linspace(1, 2, 80) + 1e-5)
    np.testing.assert_allclose(run(features, samples)[0], expected, rtol=1e-4, atol=2e-4)


def test_stacking_pads_with_zeros():
    x = torch.arange(1.0, 11).reshape(1, 5, 2).repeat(2, 1, 1)
    x[1, 2:] = 0
    stacked, lengths = stack_frames(x, torch.tensor([5, 2]), 3)
    assert lengths.tolist() == [2, 1]
    assert stacked[0].tolist() == [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 0, 0]]
    assert stacked[1].tolist() == [[1, 2, 3, 4, 0, 0], [0] * 6]


def test_sizes_follow_from_the_settings():
    features = Features(FeaturesConfig())
    assert (features.width, features.frame_seconds) == (240, 0.03)


def test_autocast_does_not_touch_the_features():
    batch, lengths = torch.from_numpy(noise(4000))[None], torch.tensor([4000])
    features = Features(FeaturesConfig())
    with torch.autocast("cpu", torch.bfloat16):
        x, _ = features(batch, lengths)
    assert x.dtype == torch.float32 and torch.equal(x, features(batch, lengths)[0])


# ---- stages on chunks ------------------------------------------------------------------------------------------------


def stream(features, chunks):
    """The stacked frames of one stream, computed stage by stage. Carries what each chunk (1, n) leaves over."""
    config, half = features.config, features.config.n_fft // 2
    before, position = torch.zeros(1, 1, dtype=chunks[0].dtype), 0
    recent, padded, started = torch.zeros(1, 0), torch.zeros(1, 0), False
    start, done = 0, 0  # where in `padded` the next frame starts; frames computed
    unstacked, stacked = torch.zeros(1, 0, config.mels), []
    for chunk, end in zip(chunks, [False] * (len(chunks) - 1) + [True]):
        samples = features.emphasize(chunk, before, torch.tensor([position]))
        before, position = torch.cat([before, chunk], 1)[:, -1:], position + chunk.shape[1]
        recent, padded = torch.cat([recent, samples], 1)[:, -half - 1 :], torch.cat([padded, samples], 1)
        if not started and (end or padded.shape[1] > half):
            reflected = features.reflect_start(padded, torch.tensor([padded.shape[1]]))
            padded, started = torch.cat([reflected, padded], 1), True
        if end:
            padded = torch.cat([padded, features.reflect_end(recent, torch.tensor([recent.shape[1]]))], 1)
        count = (padded.shape[1] - start - config.n_fft) // config.hop + 1
        if end:
            count = features.num_frames(torch.tensor([position])).item() - done
        if started and count > 0:
            power = features.power(padded, start + config.hop * torch.arange(count)[None])
            mel = features.log(features.mel_power(power), torch.tensor([count]))
            unstacked = torch.cat([unstacked, features.normalize(mel, torch.tensor([count]))], 1)
            start, done = start + count * config.hop, done + count
            padded, start = padded[:, start:], max(start - padded.shape[1], 0)
        whole = unstacked.shape[1] if end else unstacked.shape[1] // config.stack * config.stack
        if whole:
            stacked.append(features.stack(unstacked[:, :whole], torch.tensor([whole]))[0])
            unstacked = unstacked[:, whole:]
    return torch.cat(stacked, 1)[0]


def streaming_features(normalization, **settings):
    features = Features(FeaturesConfig(normalization=normalization, **settings))
    if normalization == "global":
        features.mean.copy_(torch.linspace(-9, -3, features.config.mels))
        features.std.copy_(torch.linspace(1, 3, features.config.mels))
    return features


def check_stream(features, samples, sizes):
    expected, lengths = features(samples[None], torch.tensor([len(samples)]))
    x = stream(features, samples[None].split(sizes, 1))
    assert len(x) == lengths
    torch.testing.assert_close(x, expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalization", ["none", "global"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_fft": 401, "hop": 133, "mels": 40, "stack": 4},
        {"n_fft": 320, "hop": 480, "stack": 1},
        {"padding": "zeros", "whole_hops": True, "stack": 1},
    ],
)
@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_random_chunks_give_the_frames_of_the_whole(normalization, settings, dtype):
    features = streaming_features(normalization, **settings)
    rng = np.random.default_rng(0)
    for length, most in ((40000, 5000), (17000, 300), (3000, 3000), (480, 100)):
        samples = torch.from_numpy(noise(length, length))
        samples = (samples * 32768).to(dtype) if dtype == torch.int16 else samples
        ends = np.sort(rng.integers(0, length + 1, 2 * length // most))  # equal ends give empty chunks
        check_stream(features, samples, np.diff(ends, prepend=0, append=length).tolist())


@pytest.mark.parametrize("normalization", ["none", "global"])
@pytest.mark.parametrize("length", [1, 2, 100, 160, 255, 256, 257, 258, 481, 1500])
def test_single_samples_give_the_frames_of_the_whole(normalization, length):
    check_stream(streaming_features(normalization), torch.from_numpy(noise(length)), [1] * length)


def test_each_stream_of_a_batch_has_its_own_position():
    features = Features(FeaturesConfig(dither=0.01))
    samples = torch.from_numpy(noise(40000))[None]
    whole = features.emphasize(samples, torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))[0]
    position = torch.tensor([0, 1, 15999, 16000, 16001, 32000])
    chunks = torch.stack([samples[0, p : p + 700] for p in position])
    before = torch.stack([samples[0, p - 1 : p] if p else torch.tensor([torch.nan]) for p in position])
    for row, p in zip(features.emphasize(chunks, before, position), position):
        assert torch.equal(row, whole[p : p + 700])


def test_the_samples_given_to_emphasize_are_left_as_they_are():
    features = Features(FeaturesConfig())
    samples, before = torch.ones(2, 100), torch.full((2, 1), 0.5)
    features.emphasize(samples, before, torch.tensor([0, 7]))
    assert (samples == 1).all() and (before == 0.5).all()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "features.normalization=utterance"),
        ({"normalization": "shape"}, "features.normalization=shape"),
        ({"normalization": "loud"}, "features.normalization=loud"),
        ({"normalization": "none", "peak_floor": 30}, "features.peak_floor=30"),
        ({"normalization": "global", "trim_silence": True}, "features.trim_silence=true"),
        ({"normalization": "none"}, ""),
        ({"normalization": "global"}, ""),
        ({"normalization": "running"}, ""),
    ],
)
def test_features_say_which_setting_needs_whole_utterances(settings, reason):
    features = Features(FeaturesConfig(**settings))
    assert features.streams == (not reason)
    assert features.why_not_streaming.startswith(reason) and bool(reason) == bool(features.why_not_streaming)


@pytest.mark.parametrize("settings", [{}, {"peak_floor": 30, "normalization": "shape"}, {"normalization": "global"}])
def test_with_lengths_on_the_cpu_nothing_is_read_from_the_device(settings):
    """On the meta device tensors have no values, so reading one is an error. On a GPU it would mean waiting."""
    features = Features(FeaturesConfig(**settings)).to("meta")
    audio, num_samples = torch.zeros(2, 9000, dtype=torch.int16, device="meta"), torch.tensor([9000, 100])
    mel, num_frames = features.log_mel(audio, num_samples)
    x, lengths = features.stack(features.normalize(mel, num_frames), num_frames)
    assert x.shape == (2, 19, 240)
    assert x.device.type == num_frames.device.type == lengths.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_with_lengths_on_the_cpu_nothing_waits_for_a_gpu():
    features = Features(FeaturesConfig()).cuda()
    audio, num_samples = torch.from_numpy(noise(9000)).cuda()[None], torch.tensor([9000])
    expected = features(audio, num_samples.cuda())
    torch.cuda.set_sync_debug_mode("error")
    try:
        x, lengths = features(audio, num_samples)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(x, expected[0]) and torch.equal(lengths, expected[1]) and lengths.is_cuda
