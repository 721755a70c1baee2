"""Who may ask for what."""

import hashlib

import pytest

from serving.errors import AdministrationOffError, ForbiddenError, UnauthorizedError
from serving.guard import Keys, KeysError, new_key


@pytest.fixture
def keys(tmp_path):
    """Three keys by name, and what a server knows of them."""
    made = {name: new_key(name, scope) for name, scope in
            (("app", "predict"), ("other", "predict"), ("ops", "admin"))}  # fmt: skip
    path = tmp_path / "keys"
    path.write_text("# who\n\n" + "".join(f"{line}  # mine\n" for _, line in made.values()))
    return {name: key for name, (key, _) in made.items()}, Keys.read(path)


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
    known = Keys.read(None)
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
        Keys.read(path)
    assert "my-secret-key" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"# none yet\n", b"\xff\xfe", None])
def test_a_file_without_keys_does_not_leave_the_server_open(content, tmp_path):
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeysError, match="keys"):
        Keys.read(path)


def test_new_keys_are_long_and_all_different():
    made = {new_key("a", "predict")[0] for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 43  # of 64 signs each: 256 bits
    with pytest.raises(KeysError, match="expected a name"):
        new_key("a b", "predict")
