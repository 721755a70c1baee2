"""Dialect: how a CSV file is written, as far as its first lines show it, and what to say of it."""

from __future__ import annotations

import codecs
import re
import shlex
from pathlib import Path

import pyarrow as pa

from trainer.data.tables import DataError

BLOCK = 2**20  # bytes decoded in one go
LOOKED_AT = 2**16  # bytes of a file that show how it is written
SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=([^\r\n"])"?(?:\r\n?|\n|$)')  # as Excel writes it
SIGNS = {";": "semicolon", "\t": "tab", "|": "bar", ",": "comma"}
DECIMAL_COMMA = re.compile(r"\s*\"?[+-]?\d+,\d+\"?\s*")
UTF16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def opened(path: Path) -> pa.NativeFile:
    """Return a stream of the file's bytes, unpacked if it ends in `.gz`."""
    packed = path.suffix.lower() == ".gz"
    return pa.input_stream(str(path), compression="gzip" if packed else None)


def first_lines(path: Path, encoding: str) -> str:
    """Return the beginning of a file as text; what does not decode is replaced."""
    with opened(path) as stream:
        start = stream.read(LOOKED_AT)
    return codecs.getincrementaldecoder(encoding)("replace").decode(start)


def refuse_utf16(name: str, path: Path) -> None:
    """Refuse a file that is read as UTF-8 but begins as UTF-16 does.

    Raises:
        DataError: If it begins with UTF-16's mark, or every other of its bytes is a NUL.
    """
    with opened(path) as stream:
        start = stream.read(LOOKED_AT)
    found = UTF16.get(start[:2])
    if found is None and len(start) > 3:
        for encoding, zeros, letters in (
            ("utf-16-le", start[1::2], start[::2]),
            ("utf-16-be", start[::2], start[1::2]),
        ):
            if zeros.count(0) > len(zeros) / 2 and letters.count(0) < len(letters) / 4:
                found = encoding
    if found:
        raise DataError(
            f"{name}: expected text in UTF-8; got what looks like UTF-16; say --encoding {found}, "
            f"or save the file as UTF-8"
        )


def refuse_utf8(name: str, path: Path, encoding: str) -> None:
    """Refuse a file that is said to be of one byte a letter but is UTF-8 throughout.

    Letters that are not ASCII would be read as others, which no error would ever show; by chance a
    text in another encoding is not UTF-8.

    Raises:
        DataError: If it has letters beyond ASCII, all of them in UTF-8.
    """
    if codecs.lookup(encoding).name.startswith("utf"):
        return
    decoder, is_ascii = codecs.getincrementaldecoder("utf-8")(), True
    try:
        with opened(path) as stream:
            while block := stream.read(BLOCK):
                is_ascii &= block.isascii()
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return
    if not is_ascii:
        raise DataError(
            f"{name}: expected text in {encoding}; got a file that is UTF-8 throughout; say "
            f"--encoding utf-8"
        )


def refuse_undecodable(name: str, path: Path, encoding: str) -> None:
    """Refuse a file that is not in its encoding.

    Raises:
        DataError: If a byte does not decode; the message names its line.
    """
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with opened(path) as stream:
        while True:
            block = stream.read(BLOCK)
            try:
                line += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(encoding, "replace")
                raise DataError(
                    f"{name}: expected text in {encoding.upper()}; got an invalid byte in line "
                    f"{line + before.count(chr(10))}; {_other_encoding(error, encoding)}"
                ) from None
            except UnicodeError as error:  # it lacks the mark of its encoding
                raise DataError(
                    f"{name}: expected text in {encoding.upper()}; {error}; say another with "
                    f"--encoding, such as utf-8"
                ) from None
            if not block:
                return


def _other_encoding(error: UnicodeDecodeError, encoding: str) -> str:
    if codecs.lookup(encoding).name != "utf-8":
        return "say another with --encoding, such as utf-8, cp1252 or utf-16"
    # 0x80 to 0x9f are control characters in Latin-1, letters and signs in Windows' code page.
    around = error.object[max(0, error.start - 20) : error.start + 20]
    shown = around.decode("cp1252", "replace")
    place = len(error.object[max(0, error.start - 20) : error.start].decode("cp1252", "replace"))
    left = re.split(r"[\s,;|\"]", shown[:place])[-1]
    right = re.split(r"[\s,;|\"]", shown[place:])[0]
    return (
        f"if it reads {left + right!r}, say --encoding cp1252 (Windows, Western European; latin-1 "
        f"is much the same), or save the file as UTF-8"
    )


def other_delimiter(lines: str, delimiter: str) -> str:
    """Return what to do if the header seems to be separated by another sign; else nothing."""
    shown = [line for line in re.split(r"\r\n?|\n", lines)[:50] if line.strip()]
    for sign, called in SIGNS.items():
        if shown and sign != delimiter and sign in shown[0]:
            cells = [cell for line in shown[1:] for cell in line.split(sign)]
            commas = sign != "," and any(DECIMAL_COMMA.fullmatch(cell) for cell in cells)
            return (
                f"; it seems to be separated by {called}s: say --delimiter {quoted_sign(sign)}"
                f"{' --decimal ,' if commas else ''}"
            )
    return ""


def is_split_by_another(lines: str, header: list[str]) -> bool:
    """Whether a name holds a sign that is as often in every one of the first lines.

    Args:
        lines: The beginning of the file.
        header: Names as the comma separates them.
    """
    shown = [line for line in re.split(r"\r\n?|\n", lines)[:50] if line.strip()][:-1]
    if len(shown) < 3:
        return False
    for sign in (";", "\t", "|"):
        counts = {len(re.sub(r'"[^"]*"', "", line).split(sign)) for line in shown}
        if len(counts) == 1 and counts != {1} and any(sign in name for name in header):
            return True
    return False


def quoted_sign(sign: str) -> str:
    """Return a delimiter as it is said on a command line."""
    return "tab" if sign == "\t" else shlex.quote(sign)
