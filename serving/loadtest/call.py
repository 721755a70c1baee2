"""A request that is ready to leave, and what an answer to it has to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Attributes:
        host: name or number.
        port: of TCP.
        tls: whether it speaks HTTPS.
        ca: a file of certificates to trust instead of the system's; None for the system's.
    """

    host: str
    port: int
    tls: bool = False
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        wire: head and body, as they go over the wire; HTTP/1.1, kept alive.
        rows: instances it asks about.
        expected: the body of a right answer, byte for byte, if one is known: it is compared first,
            for that costs next to nothing.
        fault: what is wrong with the body of an answer with status 200, None if nothing; asked
            where the bytes differ from the expected ones.
    """

    wire: bytes
    rows: int
    expected: bytes | None
    fault: Callable[[bytes], str | None]
