"""`/docs` in a real browser, without a key, with a wrong key and with a valid key."""

import base64
import json

import pytest

from serving.http.key_file import generate_key
from tests.chromium import open_browser
from tests.processes import wait_until

pytestmark = pytest.mark.browser

FORM = "document.querySelector('form:not([hidden]) input')"
MESSAGE = "document.getElementById('message').textContent"
OPERATIONS = "document.querySelectorAll('.opblock').length"
IS_OPEN = "Boolean(document.querySelector('#operations-{}.is-open .opblock-body'))"
PREDICT = "forwardpass-post_predict"
INFER = "inference_v2-post_v2_models_name_infer"
LOAD = "administration-post_v2_repository_models_name_load"


@pytest.fixture
def page(tmp_path):
    with open_browser(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Return the path of a key file, and its one key, whose scope is predict."""
    path = tmp_path_factory.mktemp("keys") / "keys.txt"
    key, line = generate_key("reader", "predict")
    path.write_text(line)
    return path, key


@pytest.fixture(scope="module")
def server_with_keys(shared_server, shipped, keys):
    """Return a running server with keys."""
    return shared_server(shipped, "--workers", "1", "--keys", str(keys[0]))


def test_docs_page_without_keys_shows_the_operations_at_once(page, live):
    page.open(f"{live.url}/docs")
    assert page.wait_for(OPERATIONS) > 20
    assert page.evaluate("document.querySelector('form#key-form')") is None
    assert page.evaluate(MESSAGE) == ""
    assert page.complaints() == []


def test_docs_page_with_keys_asks_in_a_form_and_keeps_the_key_only_in_memory(
    page, server_with_keys, keys
):
    page.open(f"{server_with_keys.url}/docs")
    page.wait_for(f"Boolean({FORM})")
    assert page.evaluate(f"{FORM}.type") == "password"
    assert page.evaluate(f"{FORM}.labels[0].textContent") == "API key"
    assert page.evaluate(f"{FORM} === document.activeElement")
    assert page.evaluate(OPERATIONS) == 0
    page.type(f" {keys[1]}\t")  # with white space that was pasted, too
    assert page.wait_for(OPERATIONS) > 20
    assert page.evaluate(f"{FORM}") is None
    assert keys[1] not in page.evaluate("document.documentElement.outerHTML + location.href")
    assert (
        page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    )
    assert page.complaints() == []
    page.open(f"{server_with_keys.url}/docs")
    page.wait_for(f"Boolean({FORM})")  # the new page does not know the key


def test_docs_page_wrong_key_shows_a_message_and_then_accepts_the_right_one(
    page, server_with_keys, keys
):
    page.open(f"{server_with_keys.url}/docs")
    page.wait_for(f"Boolean({FORM})")
    for wrong, message in (
        ("wrong", "does not know this key"),
        ("schlüssel €", "ASCII characters"),
    ):
        page.type(wrong)
        page.wait_for(f"{MESSAGE}.includes({json.dumps(message)})")
        assert page.evaluate(f"Boolean({FORM})")
        page.wait_for(
            f"{FORM} === document.activeElement && !document.querySelector('button').disabled"
        )
    page.type(keys[1])
    assert page.wait_for(OPERATIONS) > 20
    assert page.evaluate(MESSAGE) == ""
    assert page.complaints() == []


@pytest.mark.parametrize(
    ("fragment", "operation", "has_keys"),
    [
        ("forwardpass/post_predict", PREDICT, True),
        ("forwardpass/post_predict", PREDICT, False),
        ("inference%20v2/post_v2_models_name_infer", INFER, False),
    ],
)
def test_docs_page_deep_link_opens_that_operation(
    page, live, server_with_keys, keys, fragment, operation, has_keys
):
    server = server_with_keys if has_keys else live
    page.open(f"{server.url}/docs#/{fragment}")
    if has_keys:
        page.wait_for(f"Boolean({FORM})")
        page.type(keys[1])
    page.wait_for(IS_OPEN.format(operation))
    assert page.evaluate("document.querySelectorAll('.opblock.is-open').length") == 1


def test_docs_page_requests_carry_the_key_and_a_refused_scope_is_shown(
    page, server_with_keys, keys
):
    page.open(f"{server_with_keys.url}/docs#/{LOAD.replace('-', '/')}")
    page.wait_for(f"Boolean({FORM})")
    page.type(keys[1])
    page.wait_for(IS_OPEN.format(LOAD))
    page.click(f"#operations-{LOAD} .try-out__btn")
    page.wait_for(f"Boolean(document.querySelector('#operations-{LOAD} .parameters select'))")
    page.click(f"#operations-{LOAD} .execute")
    answered = (
        f"document.querySelector('#operations-{LOAD} .live-responses-table')?.innerText || ''"
    )
    page.wait_for(f"({answered}).includes('expected a key with the scope admin')")
    assert "403" in page.evaluate(answered)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            403,
            '{"error":"expected a key of another scope"}',
            "403: expected a key of another scope",
        ),
        (502, "<html>Bad gateway</html>", "The server answered with status 502"),
    ],
)
def test_docs_page_proxy_refuses_the_key_its_message_is_shown(
    page, server_with_keys, keys, status, body, message
):
    """A proxy in front of the server may refuse a key, too."""
    page.open(f"{server_with_keys.url}/docs")
    page.wait_for(f"Boolean({FORM})")
    page.call("Fetch.enable", patterns=[{"urlPattern": "*/openapi.json"}])
    page.type(keys[1])

    def paused():
        page.evaluate("0")
        return [e["params"] for e in page.events if e["method"] == "Fetch.requestPaused"]

    (request,) = wait_until(paused)
    assert request["request"]["headers"]["X-API-Key"] == keys[1]
    page.call(
        "Fetch.fulfillRequest",
        requestId=request["requestId"],
        responseCode=status,
        body=base64.b64encode(body.encode()).decode(),
    )
    page.wait_for(f"{MESSAGE}.includes({json.dumps(message)})")
    assert page.evaluate(f"Boolean({FORM})")
    page.call("Fetch.disable")
    page.wait_for("!document.querySelector('button').disabled")
    page.type(keys[1])
    assert page.wait_for(OPERATIONS) > 20


@pytest.fixture(scope="module")
def server_with_models(shared_server, zoo):
    """Return a running server with several models, none of which is the default."""
    return shared_server(zoo, "--workers", "1")


SELECT = """(() => {{
    const select = document.querySelector({selector});
    const option = [...select.options].find(o => o.text.endsWith({text}));
    Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, "value")
        .set.call(select, option.value);
    select.dispatchEvent(new Event("change", {{bubbles: true}}));
}})()"""


@pytest.mark.parametrize("name", ["flowers", "digits"])
@pytest.mark.parametrize(
    ("fragment", "operation"),
    [("forwardpass/post_predict", PREDICT), ("inference%20v2/post_v2_models_name_infer", INFER)],
)
def test_docs_page_example_of_each_model_is_answered(
    page, server_with_models, fragment, operation, name
):
    block = f"#operations-{operation}"
    page.open(f"{server_with_models.url}/docs#/{fragment}")
    page.click(f"{block} .try-out__btn")
    body = f"{block} .opblock-section-request-body"
    page.wait_for(f"Boolean(document.querySelector('{body} textarea'))")
    for selector in (f"{block} .parameters select", f"{body} .examples-select select"):
        page.evaluate(SELECT.format(selector=json.dumps(selector), text=json.dumps(name)))
        page.wait_for(
            f"document.querySelector('{selector}').selectedOptions[0].text.endsWith('{name}')"
        )
    page.click(f"{block} .execute")
    answered = f"document.querySelector('{block} .live-responses-table tbody .response-col_status')"
    page.wait_for(f"({answered}?.innerText || '').startsWith('200')")


def test_docs_page_begins_with_models_and_first_steps(page, server_with_models):
    page.open(f"{server_with_models.url}/docs")
    page.wait_for(OPERATIONS)
    words = page.evaluate("document.querySelector('#api').innerText")
    places = [
        words.index(text) for text in ("Served models", "flowers", "How to begin", "/healthz")
    ]
    assert places == sorted(places)


def test_docs_page_on_a_phone_is_not_wider_than_the_screen(page, live):
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=400,
        height=800,
        deviceScaleFactor=1,
        mobile=True,
    )
    page.open(f"{live.url}/docs#/forwardpass/post_predict")
    page.wait_for(IS_OPEN.format(PREDICT))
    page.wait_for("document.querySelectorAll('.responses-table .response').length > 5")
    assert page.evaluate("document.documentElement.scrollWidth") == 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_docs_page_follows_the_colour_scheme_of_the_browser(page, live, scheme):
    page.call(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    page.open(f"{live.url}/docs")
    page.wait_for(OPERATIONS)
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (background == "rgb(28, 32, 34)") == (scheme == "dark")


def test_docs_page_stopped_server_is_reported(page, serve, shipped, keys):
    server = serve(shipped, "--workers", "1", "--keys", str(keys[0]))
    page.open(f"{server.url}/docs")
    page.wait_for(f"Boolean({FORM})")
    server.stop()
    page.type(keys[1])
    page.wait_for(f"{MESSAGE}.includes('The server could not be reached')")
    assert page.evaluate(f"Boolean({FORM})")
