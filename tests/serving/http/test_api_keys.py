"""Who may ask for what."""

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


@pytest.fixture
def keys(tmp_path):
    """Three keys by name, and what a server knows of them."""
    made = {
        name: generate_key(name, scope)
        for name, scope in (("app", "predict"), ("other", "predict"), ("ops", "admin"))
    }
    path = tmp_path / "keys"
    path.write_text("# who\n\n" + "".join(f"{line}  # mine\n" for _, line in made.values()))
    return {name: key for name, (key, _) in made.items()}, ApiKeys(path)


def bearer(key):
    return {"HTTP_AUTHORIZATION": f"Bearer {key}"}


@pytest.mark.parametrize("name", ["app", "other", "ops"])
def test_each_key_opens_prediction_by_either_header(name, keys):
    made, known = keys
    known.authorize(bearer(made[name]), "predict")
    known.authorize({"HTTP_AUTHORIZATION": f"bearer  {made[name]} "}, "predict")
    known.authorize({"HTTP_X_API_KEY": made[name]}, "predict")


def test_administration_needs_its_own_scope(keys):
    made, known = keys
    known.authorize(bearer(made["ops"]), "admin")
    with pytest.raises(ForbiddenError, match="expected a key with the scope admin; got one"):
        known.check(bearer(made["app"]), "admin")


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
def test_anything_else_is_refused_and_told_how(environ, keys):
    for scope in ("predict", "admin"):
        with pytest.raises(UnauthorizedError, match="expected a key, as Authorization: Bearer"):
            keys[1].authorize(environ, scope)
    assert UnauthorizedError.headers == {"WWW-Authenticate": 'Bearer realm="forwardpass"'}


def test_a_hash_is_no_key(keys):
    made, known = keys
    with pytest.raises(UnauthorizedError):
        known.authorize(bearer(hashlib.sha256(made["app"].encode()).hexdigest()), "predict")


def test_every_key_is_compared_with_every_request(keys, monkeypatch):
    compared = []

    def compare(given, known):
        compared.append(known)
        return given == known

    monkeypatch.setattr("serving.http.api_keys.compare_digest", compare)
    made, known = keys
    for key in made.values():
        compared.clear()
        known.authorize(bearer(key), "predict")
        assert compared == [hashlib.sha256(k.encode()).digest() for k in made.values()]


def test_without_keys_prediction_is_open_and_administration_off():
    known = ApiKeys(None)
    known.authorize({}, "predict")
    with pytest.raises(AdministrationOffError, match="serving run --keys FILE"):
        known.check(bearer("anything"), "admin")


@pytest.fixture
def clock(monkeypatch):
    """Moves the clock by which the file is looked at."""
    now = [1000.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])

    def move(seconds=1.0):
        now[0] += seconds

    return move


@pytest.fixture
def made():
    """Two keys, each with its line."""
    return [generate_key(name, "predict") for name in ("one", "two")]


def opens(known, key):
    try:
        known.check(bearer(key), "predict")
    except UnauthorizedError:
        return False
    return True


def logged(caplog, level=logging.ERROR):
    return [r.getMessage() for r in caplog.records if r.levelno == level]


@pytest.fixture
def followed(made, tmp_path, clock):
    """The path of a file with the first key, and what a server knows of it."""
    path = tmp_path / "keys"
    path.write_text(made[0][1] + "\n")
    return path, ApiKeys(path)


def settle(clock):
    """A second passes, in which there are requests all the time."""
    for _ in range(4):
        clock(0.25)
        yield


@pytest.mark.parametrize("replaced", [False, True])
def test_keys_come_and_go_with_their_lines(replaced, made, clock, tmp_path):
    (one, first), (two, second) = made
    path = tmp_path / "keys"

    def write(text):
        target = tmp_path / "new" if replaced else path
        target.write_text(text)
        target.replace(path)

    write(first)
    known = ApiKeys(path)
    for text, expected in ((f"{first}\n{second}", (1, 1)), (second, (0, 1)), (first, (1, 0))):
        before = opens(known, one), opens(known, two)
        write(text)
        assert (opens(known, one), opens(known, two)) == before  # not looked at yet
        for _ in settle(clock):
            found = opens(known, one), opens(known, two)
        assert found == expected


def test_a_change_within_one_tick_of_the_file_systems_clock_is_seen(
    made, clock, tmp_path, monkeypatch
):
    (one, first), (two, second) = made
    path = tmp_path / "keys"
    path.write_text(first)
    young = path.stat()
    monkeypatch.setattr(type(path), "stat", lambda *_, **__: young)
    known = ApiKeys(path)
    path.write_text(second)
    for _ in settle(clock):
        found = opens(known, one), opens(known, two)
    assert found == (False, True)


def test_a_file_that_stays_as_it_is_is_not_read_again(made, clock, tmp_path, monkeypatch):
    path = tmp_path / "keys"
    path.write_text(made[0][1])
    monkeypatch.setattr(module.time, "time", lambda: path.stat().st_ctime + 60)
    read = []
    monkeypatch.setattr(module, "read_keys", lambda path: read.append(path) or read_keys(path))
    known = ApiKeys(path)
    for _ in range(5):
        clock()
        assert opens(known, made[0][0])
    assert len(read) == 1
    path.write_text(made[1][1])
    for _ in range(5):
        clock()
        assert not opens(known, made[0][0])
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
def test_where_no_key_is_left_all_are_refused_within_a_second(
    change, followed, made, clock, caplog
):
    path, known = followed
    assert opens(known, made[0][0])
    change(path)
    found = [opens(known, made[0][0]) for _ in settle(clock)]
    assert found[-1] is False
    for scope in ("predict", "admin"):
        with pytest.raises(UnauthorizedError):
            known.check(bearer(made[0][0]), scope)
    for _ in range(12):
        clock()
        assert not opens(known, made[0][0])
    (told,) = logged(caplog)
    assert str(path) in told
    assert told.endswith("every request that needs a key is refused")


def test_a_file_that_may_not_be_read_gives_no_keys(followed, made, clock, monkeypatch, caplog):
    path, known = followed

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("serving.http.key_file._open_without_blocking", refuse)  # root may read all
    os.utime(path)
    assert [opens(known, made[0][0]) for _ in settle(clock)][-1] is False
    (told,) = logged(caplog)
    assert "Permission denied; every request that needs a key is refused" in told


def test_a_file_that_an_editor_empties_and_writes_keeps_its_keys_all_the_while(
    followed, made, clock, caplog
):
    path, known = followed
    text = path.read_text()
    for step in (0.1, 0.25) * 3:  # whether or not anyone looks while it is whole
        path.write_bytes(b"")
        clock(0.25)
        assert opens(known, made[0][0])
        path.write_text(text)
        clock(step)
        assert opens(known, made[0][0])
    assert logged(caplog) == []


def test_a_file_that_is_removed_and_then_written_in_steps_keeps_its_keys(followed, made, clock):
    path, known = followed
    text = path.read_text()
    for change in (path.unlink, path.touch, lambda: path.write_text(text)):
        change()
        for _ in range(6 if change == path.unlink else 1):
            clock(0.25)
            assert opens(known, made[0][0])


def test_a_file_that_is_emptied_again_and_again_gives_no_keys_in_the_end(followed, made, clock):
    path, known = followed
    for _ in range(10):
        path.write_bytes(b"")
        clock(0.25)
        found = opens(known, made[0][0])
    assert not found


def test_a_file_that_was_emptied_while_no_one_looked_gives_no_keys_at_once(
    followed, made, clock, monkeypatch
):
    path, known = followed
    path.write_bytes(b"")
    monkeypatch.setattr(module.time, "time", lambda: path.stat().st_ctime + 1)
    clock(60)
    assert not opens(known, made[0][0])


def test_a_file_that_is_missing_keeps_its_keys_for_two_seconds(followed, made, clock, caplog):
    caplog.set_level(logging.INFO)
    path, known = followed
    text = path.read_text()
    for seconds, expected in ((1.9, True), (2.1, False)):
        path.unlink()
        caplog.clear()
        clock(0.25)
        assert opens(known, made[0][0])  # it is missed for the first time
        for _ in range(round(seconds / 0.1)):
            clock(0.1)
            found = opens(known, made[0][0])
        assert found is expected
        assert len(logged(caplog)) == 1 + (not expected)
        assert "1 key is known for 2 seconds more" in logged(caplog)[0]
        path.write_text(text)
        clock()
        assert opens(known, made[0][0])
    assert logged(caplog)[1] == (
        f"expected a file of keys; got none at {path}; every request that needs a key is refused"
    )
    assert logged(caplog, logging.INFO)[-1] == f"1 key is known from {path}"


@pytest.mark.parametrize(
    "content", [b"one predict my-secret-key", b"\xff\xfeo\0n\0e\0", b"\0" * 100, b"# \n" * 2**20]
)
def test_a_file_that_is_damaged_changes_nothing_and_is_told_once(
    content, followed, made, clock, caplog
):
    (one, _), (two, second) = made
    path, known = followed
    path.write_bytes(content)
    for _ in range(8):
        clock()
        assert (opens(known, one), opens(known, two)) == (True, False)
    (told,) = logged(caplog)
    assert str(path) in told
    assert told.endswith("1 key is known as before")
    assert "my-secret-key" not in told
    path.write_text(second)
    for _ in settle(clock):
        found = opens(known, one), opens(known, two)
    assert found == (False, True)
    path.write_text("again")
    clock()
    opens(known, one)
    assert len(logged(caplog)) == 2


def test_a_file_that_cannot_be_read_just_now_is_read_again(
    followed, made, clock, monkeypatch, caplog
):
    (one, _), (two, second) = made
    path, known = followed
    path.write_text(second)
    monkeypatch.setattr(module.time, "time", lambda: path.stat().st_ctime + 60)

    def fail(*_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("serving.http.key_file._open_without_blocking", fail)
        for _ in settle(clock):
            assert opens(known, one)
    assert "Too many open files; 1 key is known as before" in logged(caplog)[0]
    for _ in settle(clock):
        found = opens(known, one), opens(known, two)
    assert found == (False, True)


def test_the_log_says_how_many_keys_are_known(followed, made, clock, caplog):
    caplog.set_level(logging.INFO)
    path, known = followed
    caplog.clear()
    for text, expected in (
        (made[1][1], "1 key is known"),
        (f"{made[1][1]}\n{made[0][1]}", "2 keys are known"),
    ):
        path.write_text(text)
        for _ in settle(clock):
            opens(known, "")
        assert [record.getMessage() for record in caplog.records] == [f"{expected} from {path}"]
        caplog.clear()
    path.write_text(f"# the same\n{made[1][1]}\n{made[0][1]}")
    for _ in settle(clock):
        opens(known, "")
    assert caplog.records == []


@pytest.mark.parametrize("content", [b"", b"one", None])
def test_a_file_that_was_never_good_opens_nothing(content, made, clock, tmp_path, caplog):
    (one, first), _ = made
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    known = ApiKeys(path)
    assert len(logged(caplog)) == 1
    for scope in ("predict", "admin"):
        with pytest.raises(UnauthorizedError):
            known.check(bearer(one), scope)
    path.write_text(first)
    clock()
    assert opens(known, one)


def test_a_file_is_followed_where_no_one_asks_as_long_as_someone_may(made, tmp_path):
    path = tmp_path / "keys"
    path.write_text(made[0][1])
    held = [ApiKeys(path)]
    held[0].watch()
    path.write_text(made[1][1])
    wait_until(lambda: [key.name for key in held[0]._known] == ["two"])
    gone = weakref.ref(held.pop())
    wait_until(lambda: gone() is None)


def test_the_name_of_a_key_is_noted_of_whoever_brings_one(keys):
    made, known = keys
    for name, key in made.items():
        environ = bearer(key)
        known.authorize(environ, "predict")
        assert get_context(environ).key_name == name
    refused = bearer(made["app"])
    with pytest.raises(ForbiddenError):
        known.check(refused, "admin")
    assert get_context(refused).key_name == "app"
    unknown = bearer("x")
    with pytest.raises(UnauthorizedError):
        known.check(unknown, "predict")
    assert get_context(unknown).key_name == ""


def test_following_costs_a_request_next_to_nothing(made, tmp_path):
    path = tmp_path / "keys"
    path.write_text(made[0][1])
    known, environ = ApiKeys(path), bearer(made[0][0])
    many = 2000
    times = timeit.repeat(lambda: known.check(environ, "predict"), number=many, repeat=5)
    assert min(times) / many < 20e-6  # seconds; reading the file would take more
