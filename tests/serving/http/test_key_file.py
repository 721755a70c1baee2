"""Reading the key file, and generating keys for it."""

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
    ("line", "message"),
    [
        ("ops admin", "expected NAME predict|admin sha256:HEX in .*, line 2"),
        ("ops root sha256:" + "0" * 64, "line 2"),
        ("a/b admin sha256:" + "0" * 64, "line 2"),
        ("ops2 admin sha256:" + "0" * 63, "line 2"),
        ("ops2 admin sha256:" + "G" * 64, "line 2"),
        ("ops2 admin md5:" + "0" * 64, "line 2"),
        ("ops2 admin my-secret-key", "line 2"),
        (f"{GOOD} more", "line 2"),
        (GOOD, "expected each name once; got ops again in .*, line 2"),
        (
            GOOD.replace("ops", "app").replace("admin", "predict"),
            "expected each key once; got the key of ops again, under the name app, in .*, line 2",
        ),
    ],
)
def test_read_keys_malformed_line_is_located_and_not_quoted(line, message, tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(KeyFileError, match=message) as caught:
        read_keys(path)
    assert "my-secret-key" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"# none yet\n", b"\xff\xfe", None])
def test_require_keys_file_without_keys_raises(content, tmp_path):
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeyFileError, match="key"):
        require_keys(path)


def test_generate_key_keys_are_long_and_all_different():
    generated = {generate_key("a", "predict")[0] for _ in range(100)}
    assert len(generated) == 100
    assert min(map(len, generated)) >= 43  # characters of 6 bits each: 256 bits
    with pytest.raises(KeyFileError, match="expected a name"):
        generate_key("a b", "predict")


OTHER = "app predict sha256:" + "1" * 64


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n  \t\n"])
@pytest.mark.parametrize("last", ["", "\n"])
def test_read_keys_line_ends_and_byte_order_mark_of_any_editor_are_accepted(
    mark, end, last, tmp_path
):
    path = tmp_path / "keys"
    path.write_bytes(f"{mark}# who{end}{GOOD}{end}\t{OTHER}  # mine{last}".encode())
    found = [(key.name, key.scope, key.digest[0]) for key in read_keys(path)]
    assert found == [("ops", "admin", 0x00), ("app", "predict", 0x11)]


def test_read_keys_comment_ends_only_at_the_line_end(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"{GOOD}\n# old\u2028{OTHER}\x0c{OTHER}\x85{OTHER}\n")
    assert [key.name for key in read_keys(path)] == ["ops"]


def test_read_keys_utf_16_file_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "keys"
    path.write_text(GOOD, encoding="utf-16")
    with pytest.raises(KeyFileError, match="expected a key file in UTF-8; got"):
        read_keys(path)


def test_read_keys_huge_file_is_refused_without_reading_all_of_it(tmp_path):
    path = tmp_path / "keys"
    with path.open("wb") as file:
        file.truncate(2**40)  # bytes; a sparse file takes no space
    with pytest.raises(KeyFileError, match=f"of at most {MAX_KEY_FILE_BYTES} bytes"):
        read_keys(path)


def test_read_keys_unavailable_file_tells_missing_from_unreadable(tmp_path):
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
