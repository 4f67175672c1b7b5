"""TIMIT (LDC93S1; Garofolo et al. 1993): sentences read in American English, with their phones and the phones' times.

<part>/<dialect>/<speaker>/ holds the audio of each sentence, its phones (.phn) and its words (.wrd), as in
train/dr1/fcjf0/si648.wav. Names are in lower case or in capitals, and the audio is NIST SPHERE, RIFF or another format
that `read_audio` knows. A copy such as SI648.WAV.wav is taken in place of SI648.WAV. NLTK's sample has folders such as
dr1-fvmh0 in one folder. The two sentences that all speakers read (SA1, SA2) are left out.

The split `test` is the core test set of TIMIT's documentation (testset.doc): 24 speakers, 192 utterances. The split
`dev` has the 50 speakers that Halberstadt (1998, Heterogeneous acoustic measurements and multiple classifiers for
speech recognition, MIT) chose from the other speakers of the part `test`, as Kaldi (egs/timit/s5/conf/dev_spk.list) and
SpeechBrain (recipes/TIMIT/timit_prepare.py) list them. The other 94 speakers of that part are left out. The split
`train` has the 462 speakers of the part `train`.
"""

import os
import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnnt.audio import AUDIO_SUFFIXES, read_audio
from rnnt.corpora import Split, Utterance
from rnnt.corpora.marks import RATE, check_phones, read_marks
from rnnt.phones import fold_phone
from rnnt.progress import Display
from rnnt.text import reason
from rnnt.tree import find_files

TEST_SPEAKERS = """
mdab0 mwbt0 felc0 mtas1 mwew0 fpas0 mjmp0 mlnt0 fpkt0 mlll0 mtls0 fjlm0
mbpm0 mklt0 fnlp0 mcmj0 mjdh0 fmgd0 mgrt0 mnjm0 fdhc0 mjln0 mpam0 fmld0
"""
DEV_SPEAKERS = """
faks0 fdac1 fjem0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 fadg0 fdms0 fedw0 mgjf0
mglb0 mrtk0 mtaa0 mtdt0 mthc0 mwjg0 fnmr0 frew0 fsem0 mbns0 mmjr0 mdls0 mdlf0 mdvc0 mers0 fmah0 fdrw0
mrcs0 mrjm4 fcal1 mmwh0 fjsj0 majc0 mjsw0 mreb0 fgjd0 fjmg0 mroa0 mteb0 mjfc0 mrjr0 fmml0 mrws1
"""
UTTERANCES = {"train": 3696, "dev": 400, "test": 192}  # 8 of each speaker

_SPEAKER = re.compile(r"(?:(dr[1-8])-)?([fm][a-z]{3}[0-9])")
_DIALECT = re.compile(r"dr[1-8]")
_SENTENCE = re.compile(r"s[aix][0-9]{1,4}")
_READ_BY_ALL = ("sa1", "sa2")
_FOLDS = {61: "none", 48: "timit-48", 39: "timit-39"}
_TRANSCRIPTS = {"phones": ".phn", "words": ".wrd"}
# TIMIT's own transcripts differ from the audio by some samples.
_MOST_AFTER = 0.1  # seconds that a transcript may end after the audio
_MOST_UNMARKED = 0.5  # seconds at either end of the audio without a phone


class _Sentence(NamedTuple):
    """A sentence by a speaker."""

    split: str
    speaker: str
    name: str


_Files = dict[str, list[Path]]  # of a sentence in one folder, by suffix; that of audio is "audio"
_Problems = list[tuple[str, str]]


def splits(source: Path, text: str = "phones", phones: int = 61) -> dict[str, Split]:
    """Find TIMIT in `source`, or in a folder in it such as `timit/data`.

    text: `phones`, separated by spaces, or `words`. phones: the set that they are folded to, 61, 48 or 39; the smaller
    sets leave out the glottal stop. Each utterance has the times of its phones or words. Utterances without audio or
    transcript, or with a transcript that cannot be right, are listed as problems. A line on standard error says if
    there are fewer utterances than in TIMIT. Raises ValueError for another layout, for a part that is missing, and for
    values of the options that make no sense.
    """
    if text not in _TRANSCRIPTS:
        raise ValueError(f"text is 'phones' or 'words', not {text!r}")
    if phones not in _FOLDS:
        raise ValueError(f"phones is the size of a set of phones, 61, 48 or 39, not {phones}")
    if text == "words" and phones != 61:
        raise ValueError(f"phones={phones} has no effect on words; leave it out")
    if not source.is_dir():
        raise ValueError(f"{source}: {'is not a folder; unpack it' if source.exists() else 'no such folder'}")
    found: dict[str, tuple[list[Utterance], _Problems]] = {split: ([], []) for split in UTTERANCES}
    for sentence, folders in sorted(_scan(source, found).items()):
        utterances, problems = found[sentence.split]
        identity = f"{sentence.speaker}-{sentence.name}"
        try:
            files = _choose(folders, _TRANSCRIPTS[text], identity, problems)
            utterances.append(_utterance(identity, sentence.speaker, *files, text, _FOLDS[phones]))
        except (ValueError, OSError) as error:
            problems.append((identity, reason(error, limit=None)))
    _say_if_incomplete(source, {split: len(utterances) for split, (utterances, _) in found.items()})
    return {split: Split(*parts) for split, parts in found.items() if any(parts)}


def _scan(source: Path, found: dict[str, tuple[list, _Problems]]) -> dict[_Sentence, dict[Path, _Files]]:
    """Return the files of each sentence by their folders. Add problems to the splits in `found`."""
    tree = find_files(source)
    sentences: dict[_Sentence, dict[Path, _Files]] = {}
    parts: set[str] = set()
    for path in tree.files:
        *_, part, dialect, folder, name = ["", "", "", *(x.lower() for x in Path(os.path.abspath(path)).parts)]
        speaker = _SPEAKER.fullmatch(folder)
        if not speaker or not (speaker[1] or _DIALECT.fullmatch(dialect)):
            continue
        part = "" if speaker[1] else part
        parts.add(part)
        split, sentence = _split(speaker[2], part), name.split(".")[0]
        if split is None or sentence in _READ_BY_ALL:
            continue
        kind = "audio" if path.suffix.lower() in AUDIO_SUFFIXES else path.suffix.lower()
        if _SENTENCE.fullmatch(sentence):
            files = sentences.setdefault(_Sentence(split, speaker[2], sentence), {}).setdefault(path.parent, {})
            files.setdefault(kind, []).append(path)
        elif kind == "audio":
            problem = f"{path}: is not named as TIMIT's sentences are, such as SI648.WAV"
            found[split][1].append((f"{speaker[2]}-{path.name}", problem))
    for missing, present in (("TEST", "train"), ("TRAIN", "test")):
        if present in parts and missing.lower() not in parts:
            raise ValueError(f"{source}: lacks TIMIT's part {missing}; name the folder that holds TRAIN and TEST")
    if not sentences:
        raise ValueError(
            f"{source}: expected TIMIT's layout, <part>/<dialect>/<speaker>/<sentence>, as in "
            "TRAIN/DR1/FCJF0/SI648.WAV and SI648.PHN, or NLTK's, as in dr1-fvmh0/si836.wav and si836.phn"
        )
    for path, why in {**tree.unreadable, **tree.repeated}.items():
        found["train"][1].append((path.relative_to(source).as_posix(), why))
    return sentences


def _split(speaker: str, part: str) -> str | None:
    """Return the split of a speaker, if any. A speaker of `dev` or `test` is never in `train`.

    part: the folder above the dialects, such as `train`; "" in NLTK's sample.
    """
    if speaker in TEST_SPEAKERS.split():
        return "test"
    if speaker in DEV_SPEAKERS.split():
        return "dev"
    return None if part == "test" else "train"


def _choose(folders: dict[Path, _Files], suffix: str, identity: str, problems: _Problems) -> tuple[Path, Path]:
    """Return the audio and the transcript of a sentence. The first folder that has both counts, others are problems.

    Raises ValueError if no folder has both.
    """
    whole = [folder for folder, files in folders.items() if "audio" in files and suffix in files]
    if not whole:
        files = folders[min(folders)]
        (path, *_) = files.get("audio") or files.get(suffix) or next(iter(files.values()))
        raise ValueError(f"{path}: has no {f'transcript ({suffix})' if 'audio' in files else 'audio'} in its folder")
    for folder in folders:
        if folder != whole[0]:
            problems.append((identity, f"{folder}: holds {identity} too, which is taken from {whole[0]}"))
    files = folders[whole[0]]
    # The copy SI648.WAV.wav is RIFF, and SI648.WAV may be compressed. The names of copies have more dots.
    audio = max(files["audio"], key=lambda path: path.name.count("."))
    return audio, files[suffix][0]


def _utterance(identity: str, speaker: str, audio: Path, transcript: Path, text: str, fold: str) -> Utterance:
    marks = read_marks(transcript)
    if text == "phones":
        check_phones(transcript, marks)
        if marks[0][1] > _MOST_UNMARKED * RATE:
            raise ValueError(f"{transcript}: has no phone before {marks[0][1] / RATE:.2f} s; correct the file")
        marks = [(fold_phone(name, fold), start, end) for name, start, end in marks]
    end = max(end for _, _, end in marks) / RATE
    times = tuple((name, start / RATE, end / RATE) for name, start, end in marks if name)
    read = partial(_read, audio, end=end, to_the_end=text == "phones")
    return Utterance(identity, " ".join(name for name, _, _ in times), speaker, read, times)


def _read(audio: Path, sample_rate: int, end: float, to_the_end: bool) -> np.ndarray:
    """Read the audio and compare its length with the end of its transcript, in seconds."""
    samples = read_audio(audio, sample_rate)
    seconds = len(samples) / sample_rate
    if end > seconds + _MOST_AFTER:
        raise ValueError(f"{audio}: is {seconds:.2f} s long, but its transcript goes on to {end:.2f} s")
    if to_the_end and end < seconds - _MOST_UNMARKED:
        raise ValueError(f"{audio}: is {seconds:.2f} s long, but its transcript ends at {end:.2f} s")
    return samples


def _say_if_incomplete(source: Path, counts: dict[str, int]) -> None:
    """Print a line on standard error if a split has fewer utterances than in TIMIT."""
    fewer = [
        f"{count} of {UTTERANCES[split]} in {split}" for split, count in counts.items() if count < UTTERANCES[split]
    ]
    if fewer:
        how = f"utterances: {', '.join(fewer)}"
        with Display() as display:
            display.note(f"{source}: is not all of TIMIT, so results on it cannot be compared with others' ({how})")
