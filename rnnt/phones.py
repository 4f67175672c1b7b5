"""Phones of TIMIT: the 61 that its transcripts hold, and the smaller sets of 48 and 39 for training and scoring.

The sets are those of Lee and Hon (1989), Speaker-independent phone recognition using hidden Markov models, IEEE
Transactions on Acoustics, Speech, and Signal Processing 37(11), as Kaldi's recipe has them (egs/timit/s5/conf/
phones.60-48-39.map). Phones that sound alike become one. The glottal stop `q` belongs to neither small set and is
left out. Results on TIMIT are usually phone error rates in the set of 39.
"""

FOLDS = ("none", "timit-48", "timit-39")

# A phone of the 61 that is not listed has the same name in the set of 48.
_TO_48 = {
    "sil": "h# pau",  # before and after the utterance; a pause
    "cl": "kcl pcl tcl",  # closures of unvoiced stops
    "vcl": "bcl dcl gcl",  # closures of voiced stops
    "ax": "ax-h",
    "er": "axr",
    "hh": "hv",
    "m": "em",
    "n": "nx",
    "ng": "eng",
    "uw": "ux",
    "": "q",
}
# A phone of the 48 that is not listed has the same name in the set of 39.
_TO_39 = {"sil": "cl vcl epi", "aa": "ao", "ah": "ax", "ih": "ix", "l": "el", "n": "en", "sh": "zh"}
_KEPT = (
    "aa ae ah ao aw ax ay b ch d dh dx eh el en epi er ey f g hh ih ix iy jh k l m n ng ow oy p r s sh t th uh uw v w "
    "y z zh"
)


def _table(groups: dict[str, str]) -> dict[str, str]:
    return {phone: target for target, phones in groups.items() for phone in phones.split()}


_FOLD_48 = _table(_TO_48)
_FOLD_39 = _table(_TO_39)
PHONES_61 = frozenset(_KEPT.split()) | set(_FOLD_48)
PHONES_48 = frozenset(_KEPT.split()) | {"sil", "cl", "vcl"}
PHONES_39 = (PHONES_48 - set(_FOLD_39)) | {"sil"}


def fold_phone(phone: str, phones: str) -> str:
    """Return the name of a phone in the set `phones`, or "" if that set leaves the phone out.

    phones: one of `FOLDS`; `none` changes nothing. A phone that is folded already keeps its name, as does a symbol
    that is in none of the sets. Raises ValueError for an unknown set.
    """
    if phones not in FOLDS:
        raise ValueError(f"phones can be folded by {', '.join(FOLDS)}, not {phones!r}")
    if phones == "none":
        return phone
    phone = _FOLD_48.get(phone, phone)
    return _FOLD_39.get(phone, phone) if phones == "timit-39" else phone


def fold_phones(text: str, phones: str) -> str:
    """Fold a text of space-separated phones to the set `phones`, one of `FOLDS`.

    `none` returns the text unchanged. A folded text can be folded again, also from 48 to 39. Raises ValueError for an
    unknown set.

    >>> fold_phones("h# q ao l ix kcl k h#", "timit-39")
    'sil aa l ih sil k sil'
    """
    folded = [fold_phone(phone, phones) for phone in text.split() or [""]]
    return text if phones == "none" else " ".join(filter(None, folded))
