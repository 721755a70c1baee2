"""Who may ask for what."""

import hashlib
import logging
import timeit

import pytest

from serving.errors import AdministrationOffError, ForbiddenError, UnauthorizedError
from serving.guard import Keys, KeysError, new_key, read_keys
from serving.guard import keys as module


@pytest.fixture
def keys(tmp_path):
    """Three keys by name, and what a server knows of them."""
    made = {name: new_key(name, scope) for name, scope in
            (("app", "predict"), ("other", "predict"), ("ops", "admin"))}  # fmt: skip
    path = tmp_path / "keys"
    path.write_text("# who\n\n" + "".join(f"{line}  # mine\n" for _, line in made.values()))
    return {name: key for name, (key, _) in made.items()}, Keys(path)


def bearer(key):
    return {"HTTP_AUTHORIZATION": f"Bearer {key}"}


@pytest.mark.parametrize("name", ["app", "other", "ops"])
def test_each_key_opens_prediction_by_either_header(name, keys):
    made, known = keys
    known.check(bearer(made[name]), "predict")
    known.check({"HTTP_AUTHORIZATION": f"bearer  {made[name]} "}, "predict")
    known.check({"HTTP_X_API_KEY": made[name]}, "predict")


def test_administration_needs_its_own_scope(keys):
    made, known = keys
    known.check(bearer(made["ops"]), "admin")
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
            keys[1].check(environ, scope)
    assert UnauthorizedError.headers == {"WWW-Authenticate": 'Bearer realm="forwardpass"'}


def test_a_hash_is_no_key(keys):
    made, known = keys
    with pytest.raises(UnauthorizedError):
        known.check(bearer(hashlib.sha256(made["app"].encode()).hexdigest()), "predict")


def test_every_key_is_compared_with_every_request(keys, monkeypatch):
    compared = []

    def compare(given, known):
        compared.append(known)
        return given == known

    monkeypatch.setattr("serving.guard.keys.compare_digest", compare)
    made, known = keys
    for key in made.values():
        compared.clear()
        known.check(bearer(key), "predict")
        assert compared == [hashlib.sha256(k.encode()).digest() for k in made.values()]


def test_without_keys_prediction_is_open_and_administration_off():
    known = Keys(None)
    known.check({}, "predict")
    with pytest.raises(AdministrationOffError, match="serving run --keys FILE"):
        known.check(bearer("anything"), "admin")


GOOD = "ops admin sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("ops admin", "expected NAME predict|admin sha256:HEX in .*, line 2"),
        ("ops root sha256:" + "0" * 64, "line 2"),
        ("a/b admin sha256:" + "0" * 64, "line 2"),
        ("ops2 admin sha256:" + "0" * 63, "line 2"),
        ("ops2 admin sha256:" + "G" * 64, "line 2"),
        ("ops2 admin md5:" + "0" * 64, "line 2"),
        ("ops2 admin my-secret-key", "line 2"),
        (f"{GOOD} more", "line 2"),
        (GOOD, "expected every name once; got ops again in .*, line 2"),
    ],
)
def test_a_line_that_is_not_understood_is_named_and_not_shown(line, fault, tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(KeysError, match=fault) as caught:
        read_keys(path)
    assert "my-secret-key" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"# none yet\n", b"\xff\xfe", None])
def test_a_file_without_keys_does_not_leave_the_server_open(content, tmp_path):
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeysError, match="keys"):
        read_keys(path)


def test_new_keys_are_long_and_all_different():
    made = {new_key("a", "predict")[0] for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 43  # of 64 signs each: 256 bits
    with pytest.raises(KeysError, match="expected a name"):
        new_key("a b", "predict")


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
    return [new_key(name, "predict") for name in ("one", "two")]


def opens(known, key):
    try:
        known.check(bearer(key), "predict")
    except UnauthorizedError:
        return False
    return True


@pytest.mark.parametrize("replaced", [False, True])
def test_keys_come_and_go_with_their_lines(replaced, made, clock, tmp_path):
    (one, first), (two, second) = made
    path = tmp_path / "keys"

    def write(text):
        target = tmp_path / "new" if replaced else path
        target.write_text(text)
        target.replace(path)

    write(first)
    known = Keys(path)
    for text, expected in ((f"{first}\n{second}", (1, 1)), (second, (0, 1)), (first, (1, 0))):
        before = opens(known, one), opens(known, two)
        write(text)
        assert (opens(known, one), opens(known, two)) == before  # not looked at yet
        clock()
        assert (opens(known, one), opens(known, two)) == expected


def test_a_change_within_one_tick_of_the_file_systems_clock_is_seen(
    made, clock, tmp_path, monkeypatch
):
    (one, first), (two, second) = made
    path = tmp_path / "keys"
    path.write_text(first)
    young = path.stat()
    monkeypatch.setattr(type(path), "stat", lambda *_, **__: young)
    known = Keys(path)
    path.write_text(second)
    clock()
    assert (opens(known, one), opens(known, two)) == (False, True)


def test_a_file_that_stays_as_it_is_is_not_read_again(made, clock, tmp_path, monkeypatch):
    path = tmp_path / "keys"
    path.write_text(made[0][1])
    monkeypatch.setattr(module.time, "time", lambda: path.stat().st_ctime + 60)
    read = []
    monkeypatch.setattr(module, "read_keys", lambda path: read.append(path) or read_keys(path))
    known = Keys(path)
    for _ in range(5):
        clock()
        assert opens(known, made[0][0])
    assert len(read) == 1
    path.write_text(made[1][1])
    for _ in range(5):
        clock()
        assert not opens(known, made[0][0])
    assert len(read) == 2


def errors(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]


@pytest.mark.parametrize("content", [b"one predict my-secret-key", b"", b"\xff", None])
def test_a_file_that_goes_bad_changes_nothing_and_is_told_once(
    content, made, clock, tmp_path, caplog
):
    (one, first), (two, second) = made
    path = tmp_path / "keys"
    path.write_text(first)
    known = Keys(path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    for _ in range(4):
        clock()
        assert (opens(known, one), opens(known, two)) == (True, False)
    (told,) = errors(caplog)
    assert str(path) in told
    assert told.endswith("1 keys are known as before")
    assert "my-secret-key" not in told
    path.write_text(second)
    clock()
    assert (opens(known, one), opens(known, two)) == (False, True)
    path.write_text("again")
    clock()
    opens(known, one)
    assert len(errors(caplog)) == 2


@pytest.mark.parametrize("content", [b"", b"one", None])
def test_a_file_that_was_never_good_opens_nothing(content, made, clock, tmp_path, caplog):
    (one, first), _ = made
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    known = Keys(path)
    assert len(errors(caplog)) == 1
    for scope in ("predict", "admin"):
        with pytest.raises(UnauthorizedError):
            known.check(bearer(one), scope)
    path.write_text(first)
    clock()
    assert opens(known, one)


def test_following_costs_a_request_next_to_nothing(made, tmp_path):
    path = tmp_path / "keys"
    path.write_text(made[0][1])
    known, environ = Keys(path), bearer(made[0][0])
    many = 2000
    times = timeit.repeat(lambda: known.check(environ, "predict"), number=many, repeat=5)
    assert min(times) / many < 20e-6  # seconds; reading the file would take more
