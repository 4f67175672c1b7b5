import pytest

from rnnt.corpora.marks import check_phones, read_marks


def test_marks_are_read_in_order(tmp_path):
    path = tmp_path / "a.phn"
    path.write_bytes(b"\xef\xbb\xbf0 2400 h#\r\n2400\t3000  AA\r\n\r\n3000 4000 ax-h")
    marks = read_marks(path)
    assert marks == [("h#", 0, 2400), ("aa", 2400, 3000), ("ax-h", 3000, 4000)]
    check_phones(path, marks)


def test_words_may_overlap_but_not_change_places(tmp_path):
    path = tmp_path / "a.wrd"
    path.write_text("0 300 she\n200 400 had\n200 500 your\n")
    assert [name for name, _, _ in read_marks(path)] == ["she", "had", "your"]
    path.write_text("200 300 she\n100 400 had\n")
    with pytest.raises(ValueError, match=f"^{path}: line 2: 'had' begins before 'she' of the line above$"):
        read_marks(path)


def test_a_link_to_nothing(tmp_path):
    (tmp_path / "a.phn").symlink_to(tmp_path / "missing")
    with pytest.raises(ValueError, match="is not a file, or a link to nothing"):
        read_marks(tmp_path / "a.phn")


@pytest.mark.parametrize("step", [-160, -1, 0, 1, 160])
def test_phones_follow_each_other_within_ten_milliseconds(tmp_path, step):
    check_phones(tmp_path, [("h#", 0, 1000), ("aa", 1000 + step, 2000)])
    with pytest.raises(ValueError, match=r"'aa' at sample \d+ (overlaps with|does not follow) 'h#'"):
        check_phones(tmp_path, [("h#", 0, 1000), ("aa", 1000 + (step + 161 if step >= 0 else step - 161), 2000)])
