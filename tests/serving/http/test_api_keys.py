"""API keys: which requests they allow, and how changes of the key file take effect."""

import hashlib
import logging
import os
import timeit
import weakref

import pytest

from serving.call_context import get_context
from serving.errors import AdministrationOffError, ForbiddenError, UnauthorizedError
from serving.http import api_keys as module
from serving.http.api_keys import ApiKeys
from serving.http.key_file import generate_key, read_keys
from tests.processes import wait_until


def read_api_keys(path):
    """Return the `ApiKeys` of a file that has been read once, as when a server has started."""
    api_keys = ApiKeys(path)
    api_keys.reload_if_changed()
    return api_keys


@pytest.fixture
def keys(tmp_path):
    """Return three keys by name, and the `ApiKeys` of a file with their lines."""
    generated = {
        name: generate_key(name, scope)
        for name, scope in (("app", "predict"), ("other", "predict"), ("ops", "admin"))
    }
    path = tmp_path / "keys"
    path.write_text("# who\n\n" + "".join(f"{line}  # mine\n" for _, line in generated.values()))
    return {name: key for name, (key, _) in generated.items()}, read_api_keys(path)


def bearer(key):
    return {"HTTP_AUTHORIZATION": f"Bearer {key}"}


@pytest.mark.parametrize("name", ["app", "other", "ops"])
def test_authorize_valid_key_in_either_header_allows_prediction(name, keys):
    generated, api_keys = keys
    api_keys.authorize(bearer(generated[name]), "predict")
    api_keys.authorize({"HTTP_AUTHORIZATION": f"bearer  {generated[name]} "}, "predict")
    api_keys.authorize({"HTTP_X_API_KEY": generated[name]}, "predict")


def test_authorize_administration_needs_scope_admin(keys):
    generated, api_keys = keys
    api_keys.authorize(bearer(generated["ops"]), "admin")
    with pytest.raises(ForbiddenError, match="expected a key with the scope admin; got one"):
        api_keys.authorize(bearer(generated["app"]), "admin")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"HTTP_AUTHORIZATION": ""},
        {"HTTP_AUTHORIZATION": "Bearer"},
        {"HTTP_AUTHORIZATION": "Bearer "},
        {"HTTP_AUTHORIZATION": "Basic YTpi"},
        bearer("x"),
        bearer("é" * 43),
        bearer("\ud800"),
        bearer("x" * 100_000),
        {"HTTP_X_API_KEY": "sha256:00"},
    ],
)
def test_authorize_missing_or_unknown_key_is_refused_with_advice(environ, keys):
    for scope in ("predict", "admin"):
        with pytest.raises(UnauthorizedError, match="expected a key, as Authorization: Bearer"):
            keys[1].authorize(environ, scope)
    assert UnauthorizedError.headers == {"WWW-Authenticate": 'Bearer realm="forwardpass"'}


def test_authorize_hash_of_a_key_is_refused(keys):
    generated, api_keys = keys
    with pytest.raises(UnauthorizedError):
        api_keys.authorize(bearer(hashlib.sha256(generated["app"].encode()).hexdigest()), "predict")


def test_authorize_compares_with_all_keys_in_constant_time(keys, monkeypatch):
    compared = []

    def compare(given, expected):
        compared.append(expected)
        return given == expected

    monkeypatch.setattr("serving.http.api_keys.compare_digest", compare)
    generated, api_keys = keys
    for key in generated.values():
        compared.clear()
        api_keys.authorize(bearer(key), "predict")
        assert compared == [hashlib.sha256(k.encode()).digest() for k in generated.values()]


def test_authorize_server_without_keys_allows_prediction_and_refuses_administration():
    api_keys = ApiKeys(None)
    api_keys.authorize({}, "predict")
    with pytest.raises(AdministrationOffError, match="serving run --keys FILE"):
        api_keys.authorize(bearer("anything"), "admin")


@pytest.fixture
def clock(monkeypatch):
    """Return a function that moves the clock of the checks of the key file forward."""
    now = [1000.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])

    def move(seconds=1.0):
        now[0] += seconds

    return move


@pytest.fixture
def generated():
    """Return two keys, each with its line of the key file."""
    return [generate_key(name, "predict") for name in ("one", "two")]


def is_accepted(api_keys, key):
    try:
        api_keys.authorize(bearer(key), "predict")
    except UnauthorizedError:
        return False
    return True


def logged(caplog, level=logging.ERROR):
    return [r.getMessage() for r in caplog.records if r.levelno == level]


@pytest.fixture
def watched(generated, tmp_path, clock):
    """Return the path of a file with the first key, and its `ApiKeys`."""
    path = tmp_path / "keys"
    path.write_text(generated[0][1] + "\n")
    return path, read_api_keys(path)


def settle(clock):
    """Let a second pass in four steps; the caller sends requests at each."""
    for _ in range(4):
        clock(0.25)
        yield


@pytest.mark.parametrize("replaced", [False, True])
def test_key_file_line_added_or_removed_key_accepted_or_refused(
    replaced, generated, clock, tmp_path
):
    (one, first), (two, second) = generated
    path = tmp_path / "keys"

    def write(text):
        target = tmp_path / "new" if replaced else path
        target.write_text(text)
        target.replace(path)

    write(first)
    api_keys = read_api_keys(path)
    for text, expected in ((f"{first}\n{second}", (1, 1)), (second, (0, 1)), (first, (1, 0))):
        before = is_accepted(api_keys, one), is_accepted(api_keys, two)
        write(text)
        assert (is_accepted(api_keys, one), is_accepted(api_keys, two)) == before  # no check is due
        for _ in settle(clock):
            found = is_accepted(api_keys, one), is_accepted(api_keys, two)
        assert found == expected


def test_key_file_changed_within_one_tick_of_the_file_system_clock_is_read_again(
    generated, clock, tmp_path, monkeypatch
):
    (one, first), (two, second) = generated
    path = tmp_path / "keys"
    path.write_text(first)
    young = path.stat()
    monkeypatch.setattr(type(path), "stat", lambda *_, **__: young)
    api_keys = read_api_keys(path)
    path.write_text(second)
    for _ in settle(clock):
        found = is_accepted(api_keys, one), is_accepted(api_keys, two)
    assert found == (False, True)


def test_key_file_unchanged_is_not_read_again(generated, clock, tmp_path, monkeypatch):
    path = tmp_path / "keys"
    path.write_text(generated[0][1])
    monkeypatch.setattr(module.time, "time", lambda: path.stat().st_ctime + 60)
    read = []
    monkeypatch.setattr(module, "read_keys", lambda path: read.append(path) or read_keys(path))
    api_keys = read_api_keys(path)
    for _ in range(5):
        clock()
        assert is_accepted(api_keys, generated[0][0])
    assert len(read) == 1
    path.write_text(generated[1][1])
    for _ in range(5):
        clock()
        assert not is_accepted(api_keys, generated[0][0])
    assert len(read) == 2


def empty(path):
    path.write_bytes(b"")


def only_comments(path):
    path.write_text("# none\r\n\n  # left\n")


def only_a_byte_order_mark(path):
    path.write_bytes(b"\xef\xbb\xbf")


def replaced_by_an_empty_file(path):
    (path.parent / "new").touch()
    (path.parent / "new").replace(path)


def replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()


def replaced_by_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def replaced_by_a_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def swapped_link(path):
    (path.parent / "empty").touch()
    (path.parent / "link").symlink_to("empty")
    (path.parent / "link").replace(path)


NO_KEY_LEFT = [
    empty,
    only_comments,
    only_a_byte_order_mark,
    replaced_by_an_empty_file,
    replaced_by_a_folder,
    replaced_by_a_pipe,
    replaced_by_a_device,
    swapped_link,
]


@pytest.mark.parametrize("change", NO_KEY_LEFT)
def test_key_file_without_keys_all_are_refused_within_a_second(
    change, watched, generated, clock, caplog
):
    path, api_keys = watched
    assert is_accepted(api_keys, generated[0][0])
    change(path)
    found = [is_accepted(api_keys, generated[0][0]) for _ in settle(clock)]
    assert found[-1] is False
    for scope in ("predict", "admin"):
        with pytest.raises(UnauthorizedError):
            api_keys.authorize(bearer(generated[0][0]), scope)
    for _ in range(12):
        clock()
        assert not is_accepted(api_keys, generated[0][0])
    (message,) = logged(caplog)
    assert str(path) in message
    assert message.endswith("every request that needs a key is refused")


def test_key_file_unreadable_all_are_refused(watched, generated, clock, monkeypatch, caplog):
    path, api_keys = watched

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(
        "serving.http.key_file._open_without_blocking", refuse
    )  # root could read it
    os.utime(path)
    assert [is_accepted(api_keys, generated[0][0]) for _ in settle(clock)][-1] is False
    (message,) = logged(caplog)
    assert "Permission denied; every request that needs a key is refused" in message


def test_key_file_emptied_and_rewritten_keeps_its_keys(watched, generated, clock, caplog):
    path, api_keys = watched
    text = path.read_text()
    for step in (0.1, 0.25) * 3:  # with and without a check between two saves
        path.write_bytes(b"")
        clock(0.25)
        assert is_accepted(api_keys, generated[0][0])
        path.write_text(text)
        clock(step)
        assert is_accepted(api_keys, generated[0][0])
    assert logged(caplog) == []


def test_key_file_removed_and_rewritten_in_steps_keeps_its_keys(watched, generated, clock):
    path, api_keys = watched
    text = path.read_text()
    for change in (path.unlink, path.touch, lambda: path.write_text(text)):
        change()
        for _ in range(6 if change == path.unlink else 1):
            clock(0.25)
            assert is_accepted(api_keys, generated[0][0])


def test_key_file_emptied_again_and_again_all_are_refused_in_the_end(watched, generated, clock):
    path, api_keys = watched
    for _ in range(10):
        path.write_bytes(b"")
        clock(0.25)
        found = is_accepted(api_keys, generated[0][0])
    assert not found


def test_key_file_emptied_long_before_a_check_all_are_refused_at_once(
    watched, generated, clock, monkeypatch
):
    path, api_keys = watched
    path.write_bytes(b"")
    monkeypatch.setattr(module.time, "time", lambda: path.stat().st_ctime + 1)
    clock(60)
    assert not is_accepted(api_keys, generated[0][0])


def test_key_file_missing_keeps_its_keys_for_two_seconds(watched, generated, clock, caplog):
    caplog.set_level(logging.INFO)
    path, api_keys = watched
    text = path.read_text()
    for seconds, expected in ((1.9, True), (2.1, False)):
        path.unlink()
        caplog.clear()
        clock(0.25)
        assert is_accepted(
            api_keys, generated[0][0]
        )  # this check is the first that misses the file
        for _ in range(round(seconds / 0.1)):
            clock(0.1)
            found = is_accepted(api_keys, generated[0][0])
        assert found is expected
        assert len(logged(caplog)) == 1 + (not expected)
        assert "1 key is accepted for 2 seconds more" in logged(caplog)[0]
        path.write_text(text)
        clock()
        assert is_accepted(api_keys, generated[0][0])
    assert logged(caplog)[1] == (
        f"expected a key file; got nothing at {path}; every request that needs a key is refused"
    )
    assert logged(caplog, logging.INFO)[-1] == f"1 key is accepted, read from {path}"


@pytest.mark.parametrize(
    "content", [b"one predict my-secret-key", b"\xff\xfeo\0n\0e\0", b"\0" * 100, b"# \n" * 2**20]
)
def test_key_file_malformed_changes_nothing_and_is_logged_once(
    content, watched, generated, clock, caplog
):
    (one, _), (two, second) = generated
    path, api_keys = watched
    path.write_bytes(content)
    for _ in range(8):
        clock()
        assert (is_accepted(api_keys, one), is_accepted(api_keys, two)) == (True, False)
    (message,) = logged(caplog)
    assert str(path) in message
    assert message.endswith("1 key is accepted, as before")
    assert "my-secret-key" not in message
    path.write_text(second)
    for _ in settle(clock):
        found = is_accepted(api_keys, one), is_accepted(api_keys, two)
    assert found == (False, True)
    path.write_text("again")
    clock()
    is_accepted(api_keys, one)
    assert len(logged(caplog)) == 2


def test_key_file_temporary_read_error_is_read_again(
    watched, generated, clock, monkeypatch, caplog
):
    (one, _), (two, second) = generated
    path, api_keys = watched
    path.write_text(second)
    monkeypatch.setattr(module.time, "time", lambda: path.stat().st_ctime + 60)

    def fail(*_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("serving.http.key_file._open_without_blocking", fail)
        for _ in settle(clock):
            assert is_accepted(api_keys, one)
    assert "Too many open files; 1 key is accepted, as before" in logged(caplog)[0]
    for _ in settle(clock):
        found = is_accepted(api_keys, one), is_accepted(api_keys, two)
    assert found == (False, True)


def test_key_file_changed_number_of_keys_is_logged(watched, generated, clock, caplog):
    caplog.set_level(logging.INFO)
    path, api_keys = watched
    caplog.clear()
    for text, expected in (
        (generated[1][1], "1 key is accepted"),
        (f"{generated[1][1]}\n{generated[0][1]}", "2 keys are accepted"),
    ):
        path.write_text(text)
        for _ in settle(clock):
            is_accepted(api_keys, "")
        assert [record.getMessage() for record in caplog.records] == [
            f"{expected}, read from {path}"
        ]
        caplog.clear()
    path.write_text(f"# the same\n{generated[1][1]}\n{generated[0][1]}")
    for _ in settle(clock):
        is_accepted(api_keys, "")
    assert caplog.records == []


@pytest.mark.parametrize("content", [b"", b"one", None])
def test_key_file_invalid_from_the_start_all_are_refused_until_it_is_valid(
    content, generated, clock, tmp_path, caplog
):
    (one, first), _ = generated
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    api_keys = read_api_keys(path)
    assert len(logged(caplog)) == 1
    for scope in ("predict", "admin"):
        with pytest.raises(UnauthorizedError):
            api_keys.authorize(bearer(one), scope)
    path.write_text(first)
    clock()
    assert is_accepted(api_keys, one)


def test_api_keys_constructed_reads_nothing_until_a_request_needs_a_key(
    generated, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    path = tmp_path / "keys"
    path.write_text(generated[0][1])
    api_keys = ApiKeys(path)
    assert (api_keys._keys, caplog.text) == ((), "")
    assert is_accepted(api_keys, generated[0][0])
    assert "1 key is accepted" in caplog.text


def test_start_watching_file_is_checked_without_requests_until_object_is_collected(
    generated, tmp_path
):
    path = tmp_path / "keys"
    path.write_text(generated[0][1])
    held = [ApiKeys(path)]
    held[0].start_watching()
    path.write_text(generated[1][1])
    wait_until(lambda: [key.name for key in held[0]._keys] == ["two"])
    gone = weakref.ref(held.pop())
    wait_until(lambda: gone() is None)


def test_authorize_key_name_is_recorded_in_the_context(keys):
    generated, api_keys = keys
    for name, key in generated.items():
        environ = bearer(key)
        api_keys.authorize(environ, "predict")
        assert get_context(environ).key_name == name
    refused = bearer(generated["app"])
    with pytest.raises(ForbiddenError):
        api_keys.authorize(refused, "admin")
    assert get_context(refused).key_name == "app"
    unknown = bearer("x")
    with pytest.raises(UnauthorizedError):
        api_keys.authorize(unknown, "predict")
    assert get_context(unknown).key_name == ""


def test_authorize_takes_less_than_20_microseconds(generated, tmp_path):
    path = tmp_path / "keys"
    path.write_text(generated[0][1])
    api_keys, environ = read_api_keys(path), bearer(generated[0][0])
    many = 2000
    times = timeit.repeat(lambda: api_keys.authorize(environ, "predict"), number=many, repeat=5)
    assert min(times) / many < 20e-6  # seconds; reading the file would take more
