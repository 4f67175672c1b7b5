"""Rooms: their reverberation time and the energy of the direct sound; measured responses keep their direct sound."""

import numpy as np
import pytest
import soundfile

from rnnt.rooms import MeasuredRooms, SimulatedRooms, open_rooms, simulate_room
from rnnt.sound_folder import open_sound_folder


def rng(seed=0):
    return np.random.default_rng(seed)


def reverberation_time(response, sample_rate):
    """Schroeder's backward integration (1965), and a straight line through a part of the decay, in double precision."""
    energy = np.cumsum(response[::-1].astype(float) ** 2)[::-1]
    db, seconds = 10 * np.log10(energy / energy[0]), np.arange(len(response)) / sample_rate
    # After the early reflections, and before the end of the response bends the curve.
    part = slice(int(0.12 * len(response)), int(0.6 * len(response)))
    return -60 / np.polyfit(seconds[part], db[part], 1)[0]


@pytest.mark.parametrize("sample_rate", [8000, 16000])
@pytest.mark.parametrize("rt60", [0.2, 0.5, 1.2])
def test_a_simulated_room_has_the_reverberation_time_that_was_asked_for(rt60, sample_rate):
    found = [reverberation_time(simulate_room(rt60, 0, sample_rate, rng(i))[1000:], sample_rate) for i in range(20)]
    assert np.mean(found) == pytest.approx(rt60, rel=0.06) and np.std(found) < 0.1 * rt60


@pytest.mark.parametrize("direct_db", [-3.0, 0.0, 12.0])
def test_the_direct_sound_comes_first_and_has_its_share_of_the_energy(direct_db):
    for seed in range(30):
        response = simulate_room(0.4, direct_db, 16000, rng(seed)).astype(float)
        assert response.argmax() == 0 and response[0] == 1 and len(response) == 6400
        assert -10 * np.log10(np.sum(response[1:] ** 2)) == pytest.approx(direct_db, abs=0.001)


def test_there_are_early_reflections():
    """Some samples of the first 50 ms stand out of the diffuse sound, more than Gaussian noise ever would."""
    response = np.array([simulate_room(0.8, 0, 16000, rng(seed)) for seed in range(50)])
    early, late = (np.abs(part).max(1) / part.std(1) for part in (response[:, 1:800], response[:, 3200:4000]))
    assert (early > 6).mean() > 0.9 and (late < 6).all()


@pytest.mark.parametrize("rt60", [0.01, 1e-5])
def test_a_tiny_room_is_a_response_too(rt60):
    response = simulate_room(rt60, 3, 8000, rng())
    assert np.isfinite(response).all() and response[0] == 1 and len(response) >= 2


def test_simulated_rooms_differ_within_their_range():
    rooms = SimulatedRooms(16000, (0.2, 0.6))
    lengths = [len(rooms.draw(rng(seed))[0]) / 16000 for seed in range(200)]
    assert 0.2 <= min(lengths) < 0.22 and 0.58 < max(lengths) <= 0.6
    (a, place), (b, _) = rooms.draw(rng(5)), rooms.draw(rng(5))
    assert place == 0 and a.dtype == np.float32 and np.array_equal(a, b)


def test_a_measured_response_keeps_its_direct_sound_and_loses_an_inaudible_end(tmp_path):
    response = np.zeros(16000)
    response[4000], response[3995], response[4800], response[12000] = 20000, 3000, -8000, 1
    soundfile.write(tmp_path / "hall.wav", response.astype(np.int16), 16000)
    rooms = open_rooms(str(tmp_path), 16000, (0.2, 0.6), tmp_path / "run")
    found, place = rooms.draw(rng())
    assert isinstance(rooms, MeasuredRooms) and rooms.fingerprint and place == 800 and len(found) == 1601
    assert found.argmax() == place and found[place] == 20000 and found[place - 5] == 3000 and found[-1] == -8000


def test_a_response_longer_than_10_seconds_is_no_response(tmp_path):
    for seconds in (9.9, 10.2):
        soundfile.write(tmp_path / f"{seconds}.wav", 0.1 * rng().standard_normal(int(8000 * seconds)), 8000)
    rooms = open_rooms(str(tmp_path), 8000, (0.2, 0.6), tmp_path / "run")
    assert rooms.note == f"{tmp_path}: 1 of 2 recordings are left out (10.2.wav: lasts 10.2 s, more than 10 s)"
    (tmp_path / "9.9.wav").unlink()
    with pytest.raises(ValueError, match=r"none of its 1 recordings can be used \(10.2.wav: lasts 10.2 s, more than"):
        open_rooms(str(tmp_path), 8000, (0.2, 0.6), tmp_path / "run")


def test_each_response_of_a_folder_is_drawn(tmp_path):
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", np.int16([1000 * (i + 1), 100]), 16000)
    rooms = MeasuredRooms(open_sound_folder(tmp_path, 16000, "rooms", tmp_path / "run"), 16000)
    counts = np.bincount([int(rooms.draw(rng(seed))[0][0]) // 1000 for seed in range(400)], minlength=5)[1:]
    assert counts.min() > 60
