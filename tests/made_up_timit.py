"""A made-up corpus in TIMIT's layouts and file formats. Each phone is two tones, so a tiny model can learn them."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
TONES = {
    "h#": (), "kcl": (), "aa": (700, 1100), "iy": (300, 2300), "s": (5000, 6500), "sh": (2800, 4200), "m": (250, 900),
    "k": (1800, 3400), "q": (150, 450), "ao": (550, 850), "ix": (400, 1900), "hv": (1300, 3800),
}  # fmt: skip
SENTENCES = ("sa1", "sa2", "si648", "si1027", "sx37", "sx127")
# Speakers of the training part, of `dev` and `test`, and one of the part `test` that belongs to neither.
SPEAKERS = {
    "train": ["dr1/fcjf0", "dr1/mdac0", "dr2/faem0", "dr8/mbcg0"],
    "test": ["dr1/faks0", "dr1/mdab0", "dr7/mgrt0", "dr1/mreb0", "dr4/fadg0", "dr1/mstk0"],
}


def made_up_marks(seed: int) -> list[tuple[int, int, str]]:
    """Return the first sample, the end and the name of each phone of a made-up sentence."""
    rng = np.random.default_rng(seed)
    spoken = rng.choice([name for name in TONES if name != "h#"], rng.integers(4, 8)).tolist()
    marks, start = [], 0
    for name in ["h#", *spoken, "h#"]:
        end = start + int(rng.integers(1000, 2400))
        marks.append((start, end, name))
        start = end
    return marks


def made_up_audio(marks: list[tuple[int, int, str]], seed: int) -> np.ndarray:
    """Return the samples of phones, int16, which end 77 samples after the last one."""
    samples = 30 * np.random.default_rng(seed).standard_normal(marks[-1][1] + 77)
    for start, end, name in marks:
        time = np.arange(end - start) / RATE
        for tone in TONES[name]:
            samples[start:end] += 3000 * np.sin(2 * np.pi * tone * time) * np.hanning(end - start)
    return samples.astype(np.int16)


def sphere(samples: np.ndarray, coding: str = "") -> bytes:
    """Return a NIST SPHERE file as on the LDC's disc; coding: what the header says of it, by default nothing."""
    fields = ["database_id -s5 TIMIT", "database_version -s3 1.0", "channel_count -i 1", "sample_rate -i 16000"]
    fields += [f"sample_count -i {len(samples)}", f"sample_min -i {samples.min()}", "sample_n_bytes -i 2"]
    fields += ["sample_byte_format -s2 01", "sample_sig_bits -i 16"]
    fields += [f"sample_coding -s{len(coding)} {coding}"] if coding else []
    header = "\n".join(["NIST_1A", "   1024", *fields, "end_head", ""])
    return header.encode().ljust(1024) + samples.astype("<i2").tobytes()


def make_timit(
    root: Path, capitals: bool = True, audio: str = "sphere", nltk: bool = False, sentences=SENTENCES
) -> Path:
    """Write a made-up corpus into the folder `root` and return it.

    capitals: of the names. audio: `sphere`, `riff`, or `both`: then the RIFF copy has another suffix, as in
    SI648.WAV.wav. nltk: the layout of NLTK's sample, which has only speakers of the training part.
    """
    root.mkdir(parents=True, exist_ok=True)

    def named(name: str) -> str:
        return name.upper() if capitals else name

    for part in ["train"] if nltk else SPEAKERS:
        for number, speaker in enumerate(SPEAKERS[part]):
            folder = root / speaker.replace("/", "-") if nltk else root / named(f"{part}/{speaker}")
            folder.mkdir(parents=True)
            for place, sentence in enumerate(sentences):
                seed = 1000 * number + 100 * (part == "test") + place
                marks = made_up_marks(seed)
                samples = made_up_audio(marks, seed)
                words = [(marks[1][0], marks[2][1], "she"), (marks[3][0], marks[-2][1], "had")]
                path = folder / named(f"{sentence}.wav")
                if audio == "riff":
                    soundfile.write(path, samples, RATE, format="WAV")
                else:
                    path.write_bytes(sphere(samples))
                if audio == "both":
                    soundfile.write(folder / f"{path.name}.wav", samples, RATE)
                for suffix, rows in (("phn", marks), ("wrd", words), ("txt", [(0, len(samples), "She had.")])):
                    lines = "".join(f"{start} {end} {name}\n" for start, end, name in rows)
                    (folder / named(f"{sentence}.{suffix}")).write_text(lines)
    return root
