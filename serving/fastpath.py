"""The fast path: a WSGI callable before Flask that answers the well-formed `POST /predict`.

It calls what the Flask view calls, and gives byte for byte what that gives; everything that is in
any way out of the ordinary it hands on. Without it only speed changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from serving.call import call_in, call_of
from serving.errors import InternalError, ServingError
from serving.guard import Keys, read_body
from serving.observe.request_log import ROUTE
from serving.predict import Predictor
from serving.repository import Repository
from serving.settings import Settings
from serving.wire import JSON, STATUS_LINES, Message

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

PATH = "/predict"


class FastPath:
    """Answers some requests, and hands the others on.

    Args:
        rest: answers those.
        repository: of the models.
        predict: the prediction path.
        settings: of the server.
        keys: that it knows.
    """

    def __init__(
        self,
        rest: WSGI,
        repository: Repository,
        predict: Predictor,
        settings: Settings,
        keys: Keys,
    ) -> None:
        self._rest, self._repository, self._predict = rest, repository, predict
        self._settings, self._keys = settings, keys

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """WSGI."""
        if environ["PATH_INFO"] != PATH or not _is_plain(environ):
            return self._rest(environ, start_response)
        environ[ROUTE] = PATH
        call = call_in(environ)
        call.protocol = "rows"  # whatever becomes of it
        try:
            self._keys.check(environ, "predict")
            model = self._repository.find(None)
            call_of(environ, self._settings.timeout)
            self._predict.batcher.require_room()  # before the body costs anything
            message = Message(read_body(environ, self._settings.max_body))
            reply = self._predict("rows", model, message, call)
        except ServingError as error:
            reply = error.reply()
        except Exception as error:  # noqa: BLE001 - as Flask does, whatever it is
            reply = InternalError(error, call.request_id).reply()
        start_response(
            STATUS_LINES[reply.status],
            [
                ("Content-Type", reply.media),
                *reply.headers,
                ("Content-Length", str(len(reply.content))),
            ],
        )
        return (reply.content,)


def _is_plain(environ: dict[str, Any]) -> bool:
    get = environ.get
    return (
        environ["REQUEST_METHOD"] == "POST"
        and get("CONTENT_TYPE") == JSON
        and not get("QUERY_STRING")
        and "HTTP_CONTENT_ENCODING" not in environ
        and "CONTENT_LENGTH" in environ
        and "HTTP_TRANSFER_ENCODING" not in environ
        and get("HTTP_ACCEPT", "*/*") in ("*/*", JSON)
    )
