"""Helpers of the load test's tests: requests for the digit classifier, addresses and targets."""

from urllib.parse import urlsplit

from serving.loadtest.http_client import ServerAddress
from serving.loadtest.run_record import PreparedRequest
from serving.loadtest.target import LoadTarget, SchemaColumn

BODY = b'{"instances":[[' + b",".join([b"0"] * 64) + b"]]}"
HEAD = b"POST %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n"

# Columns of every kind, and a record of them: those of the model in the fixture `adults`.
MIXED_COLUMNS = (
    SchemaColumn("age", "number", True, True, 17.0, 90.0),
    SchemaColumn("hours/week", "number", False, False, 1.25, 99.0),
    SchemaColumn("member", "boolean", True),
    SchemaColumn(
        "work",
        "category",
        True,
        categories=("Private", "Self-employed", "State"),
        accepts_unseen=True,
    ),
    SchemaColumn("grade", "category", False, categories=("1", "2", "3")),
    SchemaColumn("since", "date", True, False, "2000-01-01", "2024-12-31"),
)
MIXED_RECORD = {
    "age": 39,
    "hours/week": 40.5,
    "member": True,
    "work": "Private",
    "grade": "2",
    "since": "2012-06-01",
}


def make_request(
    body=BODY, path=b"/predict", headers=b"", expected_body=None, find_fault=lambda _: None
):
    """A prepared request, by default of one instance of zeros; all its answers are correct."""
    head = HEAD % (path, b"Content-Type: application/json\r\n" + headers, len(body))
    return PreparedRequest(head + body, 1, expected_body, find_fault)


def make_address(url, **options):
    """The address of a server at a URL."""
    parts = urlsplit(url)
    return ServerAddress(parts.hostname, parts.port, **options)


def make_target(*, model="people", version=1, classes=("no", "yes"), targets=("t",), columns=()):
    """A target that is never asked; `model` is the only model of its server."""
    return LoadTarget(
        address=ServerAddress("127.0.0.1", 1),
        base_path="",
        model=model,
        is_only_model=True,
        version=version,
        task="binary",
        classes=classes,
        targets=targets,
        columns=columns,
        example={},
        headers={},
        has_metrics=False,
    )
