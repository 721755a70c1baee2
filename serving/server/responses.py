"""Parts of responses that this server writes itself instead of gunicorn."""

from __future__ import annotations

from time import time
from typing import NoReturn

from gunicorn import util


class ResponseBuffer(bytearray):
    """Replaces the socket in gunicorn's response object, and collects the bytes to send.

    The connection then has the request counted, and sends the response as a whole.
    """

    sendall = bytearray.extend


class DateHeader:
    """The value of the `Date` header of responses.

    HTTP dates have a resolution of one second, so the text is made at most once a second.
    """

    def __init__(self) -> None:
        self._second, self._text = 0, ""

    def format(self) -> str:
        """Return the current time as HTTP writes it."""
        second = int(time())
        if self._second != second:
            self._second, self._text = second, util.http_date(second)
        return self._text


def refuse_write(_data: bytes) -> NoReturn:
    """Refuse to write: this stands in for the function that WSGI's `start_response` returns."""
    raise NotImplementedError(
        "expected an application that returns its body; it called the write function of "
        "start_response; return the body instead"
    )
