"""What a file of keys says."""

import pytest

from serving.http.key_file import (
    MAX_KEY_FILE_BYTES,
    KeyFileError,
    KeyFileUnavailableError,
    generate_key,
    read_keys,
    require_keys,
)

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
        (
            GOOD.replace("ops", "app").replace("admin", "predict"),
            "expected every key once; got the one of ops again, as app, in .*, line 2",
        ),
    ],
)
def test_a_line_that_is_not_understood_is_named_and_not_shown(line, fault, tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(KeyFileError, match=fault) as caught:
        read_keys(path)
    assert "my-secret-key" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"# none yet\n", b"\xff\xfe", None])
def test_a_file_without_keys_does_not_leave_the_server_open(content, tmp_path):
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeyFileError, match="key"):
        require_keys(path)


def test_new_keys_are_long_and_all_different():
    made = {generate_key("a", "predict")[0] for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 43  # of 64 signs each: 256 bits
    with pytest.raises(KeyFileError, match="expected a name"):
        generate_key("a b", "predict")


OTHER = "app predict sha256:" + "1" * 64


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n  \t\n"])
@pytest.mark.parametrize("last", ["", "\n"])
def test_lines_end_and_begin_as_any_editor_writes_them(mark, end, last, tmp_path):
    path = tmp_path / "keys"
    path.write_bytes(f"{mark}# who{end}{GOOD}{end}\t{OTHER}  # mine{last}".encode())
    found = [(key.name, key.scope, key.digest[0]) for key in read_keys(path)]
    assert found == [("ops", "admin", 0x00), ("app", "predict", 0x11)]


def test_a_comment_ends_with_its_line_and_nowhere_else(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"{GOOD}\n# old\u2028{OTHER}\x0c{OTHER}\x85{OTHER}\n")
    assert [key.name for key in read_keys(path)] == ["ops"]


def test_a_file_of_utf_16_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "keys"
    path.write_text(GOOD, encoding="utf-16")
    with pytest.raises(KeyFileError, match="expected a file of keys, in UTF-8; got"):
        read_keys(path)


def test_a_file_without_end_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "keys"
    with path.open("wb") as file:
        file.truncate(2**40)  # bytes, none of which take room
    with pytest.raises(KeyFileError, match=f"of at most {MAX_KEY_FILE_BYTES} bytes"):
        read_keys(path)


def test_a_path_without_a_file_is_told_apart_from_one_of_something_else(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "file").touch()
    for path, is_missing in (
        ("nothing", True),
        ("dangling", True),
        ("file/keys", True),
        ("folder", False),
    ):
        with pytest.raises(KeyFileUnavailableError) as caught:
            read_keys(tmp_path / path)
        assert caught.value.is_missing is is_missing
