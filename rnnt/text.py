"""Text files in UTF-8, one-line messages, text that is safe to show, and amounts of time in words."""

import errno
import os
import re
from pathlib import Path

# Characters that a terminal obeys instead of showing: control characters, separators of lines, marks that reverse the
# direction of other text, and lone surrogates, which cannot be written as UTF-8.
_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Spreadsheets compute a cell that begins with one of these (OWASP, "CSV Injection"), and remove a quotation mark first.
_COMPUTED = tuple('=+-@"＝＋－＠')


def read_text(path: Path) -> str:
    """Return the contents of a text file. Raises ValueError that names the file if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")  # editors on Windows put a mark at the start
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text (byte {error.start}); convert it to UTF-8") from None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, read by `read_text`.

    Only a line feed ends a line, since a text may hold Unicode's other line separators.
    """
    return read_text(path).split("\n")


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: it holds no lone surrogates.

    These come from file names in another encoding, and from JSON that holds half of a surrogate pair.

    >>> is_unicode("grün"), is_unicode("gr\\udcfcn")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def one_line(text: str) -> str:
    """Return the text with each run of white space replaced by one space, and none at the ends.

    >>> one_line("two\\n  lines ")
    'two lines'
    """
    return " ".join(text.split())


def reason(error: BaseException, limit: int | None = 200) -> str:
    """Return an error's message as one line of at most `limit` characters, or its type if it has no message.

    >>> reason(OSError("cannot\\nread")), reason(ValueError())
    ('cannot read', 'ValueError')
    """
    return one_line(str(error))[:limit] or type(error).__name__


def complaint(error: Exception) -> str:
    """Return an error's message for a user: with the file's name, and with the mend if a disk is full."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) and error.strerror == os.strerror(error.errno)
    where = f"{error.filename}: " if error.filename is not None else ""
    return where + error.strerror + ("; make room and run the same command again" if full else "")


def visible(text: str) -> str:
    r"""Return the text with an escape in place of each character that a terminal would obey instead of show.

    Tabs and line feeds are escaped too, so the result is one line. Use it for texts, names and messages that come from
    files: an escape sequence in them could change the terminal's title or hide a part of the line.

    >>> print(visible("a\tb \x1b[31mred"))
    a\tb \x1b[31mred
    """
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def tsv_line(*cells: str) -> str:
    r"""Return the cells as a line of a .tsv file. A cell that a spreadsheet would compute gets an apostrophe.

    >>> tsv_line("=1+1", "the text\nis empty")
    "'=1+1\tthe text is empty\n"
    """
    shown = [visible(one_line(cell)) for cell in cells]
    return "\t".join(f"'{cell}" if cell.startswith(_COMPUTED) else cell for cell in shown) + "\n"


def duration(hours: float) -> str:
    """Return an amount of audio in words.

    >>> duration(960.25), duration(0.04)
    ('960.25 hours', '2.4 minutes')
    """
    return f"{hours:,.2f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def clock(seconds: float) -> str:
    """Return a time as hours, minutes and seconds.

    >>> clock(3725)
    '1:02:05'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
