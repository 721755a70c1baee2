"""A connection that is kept open, with one request on its way at a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

import httptools

from serving.loadtest.run_record import CONNECTION_FAILED, WRONG_ANSWER, PreparedRequest

if TYPE_CHECKING:
    from serving.loadtest.run import LoadRun

FIRST_FINAL_STATUS = OK_STATUS = 200
MAX_QUOTED_BYTES = 300  # bytes of a refusal


class ClientConnection(asyncio.Protocol):
    """A connection, and the request it is busy with, if any (`number`, else -1)."""

    __slots__ = ("complete", "keep", "number", "parser", "parts", "run", "since", "transport")

    def __init__(self, run: LoadRun) -> None:
        self.run = run
        self.number = -1
        self.since = 0.0  # seconds of the run since which it is free
        self.complete = self.keep = False
        self.parts: list[bytes] = []
        self.transport: asyncio.Transport
        self.parser: httptools.HttpResponseParser

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop's: it is open."""
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpResponseParser(self)
        self.run.came(self)

    def send(self, number: int, now: float) -> None:
        """Let a request leave, at this second of the run."""
        run = self.run
        self.number = number
        run.sent[number] = now
        self.transport.write(run.calls[run.which[number]].wire)

    def on_body(self, part: bytes) -> None:
        """Called by the parser."""
        self.parts.append(part)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if (
            self.parser.get_status_code() < FIRST_FINAL_STATUS
        ):  # of HTTP's 1xx, the answer is still to come
            self.parts = []
            return
        self.complete, self.keep = True, self.parser.should_keep_alive()

    def data_received(self, data: bytes) -> None:
        """The loop's: part of an answer is here."""
        begun = time.perf_counter()
        self.take(data)
        self.run.busy += time.perf_counter() - begun

    def take(self, data: bytes) -> None:
        """Read part of an answer; at its end, write it down and go on."""
        run = self.run
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            run.note(f"not an answer of HTTP/1.1: {error}")
            if self.number >= 0:
                run.end(self.number, run.now(), CONNECTION_FAILED)
                self.number = -1
            self.leave()
            return
        if not self.complete:
            return
        now = time.perf_counter() - run.start
        body = b"".join(self.parts)
        self.complete, self.parts = False, []
        number, self.number = self.number, -1
        if number < 0:  # no one asked for this
            self.leave()
            return
        run.end(number, now, self.judge(run.calls[run.which[number]], body))
        if self.keep:
            self.since = now
            run.free.append(self)
            run.proceed()
        else:
            self.leave()

    def judge(self, call: PreparedRequest, body: bytes) -> int:
        """The status of an answer, or that it is wrong."""
        status: int = self.parser.get_status_code()
        if status != OK_STATUS:
            self.run.note(f"{status}: {body[:MAX_QUOTED_BYTES].decode(errors='replace')}")
        elif body != call.expected and (fault := call.fault(body)) is not None:
            self.run.note(fault)
            return WRONG_ANSWER
        return status

    def leave(self) -> None:
        """Close it at once."""
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The loop's: it is closed."""
        self.run.gone(self, f"connection closed: {error or 'by the server'}")
