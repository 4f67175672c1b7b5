"""The folding of TIMIT's phones, compared with the table of the literature in another form."""

import pytest

from rnnt.phones import PHONES_39, PHONES_48, PHONES_61, fold_phone, fold_phones

# Each phone of the 61 with its names in the sets of 48 and 39, as Kaldi's phones.60-48-39.map lists them.
TABLE = """aa aa aa|ae ae ae|ah ah ah|ao ao aa|aw aw aw|ax ax ah|ax-h ax ah|axr er er|ay ay ay|b b b|bcl vcl sil|
ch ch ch|d d d|dcl vcl sil|dh dh dh|dx dx dx|eh eh eh|el el l|em m m|en en n|eng ng ng|epi epi sil|
er er er|ey ey ey|f f f|g g g|gcl vcl sil|h# sil sil|hh hh hh|hv hh hh|ih ih ih|ix ix ih|iy iy iy|
jh jh jh|k k k|kcl cl sil|l l l|m m m|n n n|ng ng ng|nx n n|ow ow ow|oy oy oy|p p p|pau sil sil|
pcl cl sil|q|r r r|s s s|sh sh sh|t t t|tcl cl sil|th th th|uh uh uh|uw uw uw|ux uw uw|v v v|w w w|y y y|
z z z|zh zh sh"""
ROWS = [[*row.split(), "", ""][:3] for row in TABLE.replace("\n", "").split("|")]


@pytest.mark.parametrize("phone, in_48, in_39", ROWS)
def test_each_phone_folds_as_the_table_says(phone, in_48, in_39):
    assert fold_phone(phone, "none") == phone
    assert fold_phone(phone, "timit-48") == in_48
    assert fold_phone(phone, "timit-39") == in_39


def test_the_sets_have_the_sizes_in_their_names():
    assert {row[0] for row in ROWS} == PHONES_61 and len(PHONES_61) == 61
    assert {row[1] for row in ROWS} - {""} == PHONES_48 and len(PHONES_48) == 48
    assert {row[2] for row in ROWS} - {""} == PHONES_39 and len(PHONES_39) == 39


def test_a_folded_text_can_be_folded_again():
    text = " ".join(sorted(PHONES_61))
    in_48, in_39 = (fold_phones(text, phones) for phones in ("timit-48", "timit-39"))
    assert fold_phones(in_48, "timit-48") == in_48 and fold_phones(in_39, "timit-39") == in_39
    assert fold_phones(in_48, "timit-39") == in_39
    assert set(in_48.split()) == PHONES_48 and set(in_39.split()) == PHONES_39


def test_glottal_stops_leave_no_gap():
    assert fold_phones("q h# q q iy q", "timit-39") == "sil iy"
    assert fold_phones("q", "timit-48") == "" == fold_phones("", "timit-48")
    assert fold_phones(" q  as it  is ", "none") == " q  as it  is "


def test_other_symbols_keep_their_names():
    assert fold_phones("h# ?? xx", "timit-39") == "sil ?? xx"


def test_an_unknown_set_is_refused():
    for text in ("", "aa"):
        with pytest.raises(ValueError, match="none, timit-48, timit-39, not 'timit-40'"):
            fold_phones(text, "timit-40")
