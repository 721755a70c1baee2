"""Files that are not regular or are too large, and symbolic links that leave the repository."""

import os
import tracemalloc

import pytest

from serving.bundle import Bundle, BundleError, BundleLimits
from serving.bundle.files import read_regular_file


@pytest.fixture
def folder(only_digits):
    return only_digits / "digits" / "1"


def test_read_graph_link_out_of_the_repository_is_refused(folder, only_digits, tmp_path):
    (folder / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(BundleError, match=r"model.onnx inside the repository; got a link that"):
        Bundle.open(folder, root=only_digits).read_graph("fp32")
    assert Bundle.open(folder).read_graph("fp32")  # a folder named on the command line is trusted


def test_open_version_that_links_out_of_the_repository_is_refused(folder, only_digits, tmp_path):
    folder.rename(tmp_path / "1")
    folder.symlink_to(tmp_path / "1")
    with pytest.raises(BundleError, match=r"bundle.json inside the repository; got a link that"):
        Bundle.open(folder, root=only_digits)


def test_read_graph_links_inside_the_repository_as_in_kubernetes_are_followed(folder, only_digits):
    data = folder / "..2026_01_01"
    data.mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        path.rename(data / path.name)
        path.symlink_to(f"..data/{path.name}")
    (folder / "..data").symlink_to(data.name)
    assert Bundle.open(folder, root=only_digits).read_graph("fp32")


def test_read_graph_repository_that_is_itself_a_link_is_read(only_digits, tmp_path):
    (tmp_path / "current").symlink_to(only_digits)
    path = tmp_path / "current"
    assert Bundle.open(path / "digits" / "1", root=path).read_graph("fp32")


@pytest.mark.parametrize("file", ["bundle.json", "model.onnx"])
def test_read_graph_pipe_instead_of_a_file_is_refused_without_waiting(file, folder):
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises(BundleError, match=f"expected {file} as a regular file; got another kind"):
        Bundle.open(folder).read_graph("fp32")


def test_open_folder_instead_of_the_manifest_is_refused(folder):
    (folder / "bundle.json").unlink()
    (folder / "bundle.json").mkdir()
    with pytest.raises(BundleError, match=r"expected bundle.json as a regular file|Is a directory"):
        Bundle.open(folder)


@pytest.mark.parametrize("target", ["bundle.json", "missing"])
def test_open_circular_or_broken_link_is_refused(target, folder):
    (folder / "bundle.json").unlink()
    (folder / "bundle.json").symlink_to(target)
    with pytest.raises(BundleError, match=r"expected a readable bundle.json; "):
        Bundle.open(folder)


LIMITS = [
    ("bundle.json", BundleLimits(manifest_bytes=1000), "--max-manifest-bytes"),
    ("reference.json", BundleLimits(manifest_bytes=19_500), "--max-manifest-bytes"),
    ("selftest.npz", BundleLimits(selftest_bytes=1000), "--max-selftest-bytes"),
    ("model.onnx", BundleLimits(graph_bytes=1000), "--max-graph-bytes"),
]


@pytest.mark.parametrize(("file", "limits", "option"), LIMITS)
def test_read_file_above_its_limit_is_refused_unread(file, limits, option, folder):
    (folder / "reference.json").write_bytes(b"{" + b" " * 20_000 + b"}")
    with pytest.raises(
        BundleError, match=rf"expected {file} of at most \d+ bytes; got \d+.*larger {option}"
    ):
        Bundle.open(folder, limits=limits).read_file(file)


@pytest.mark.parametrize("file", ["bundle.json", "reference.json", "selftest.npz", "model.onnx"])
def test_read_regular_file_exactly_as_large_as_its_limit_is_read(file, folder):
    content = (folder / file).read_bytes()
    assert read_regular_file(folder, file, None, len(content), "--option") == content
    limit = len(content) - 1
    with pytest.raises(BundleError, match=f"at most {limit} bytes; got {limit + 1}; .* --option"):
        read_regular_file(folder, file, None, limit, "--option")


@pytest.mark.parametrize("file", [file for file, _, _ in LIMITS])
def test_read_file_sparse_file_of_a_gigabyte_is_refused_unread(file, folder):
    with (folder / file).open("r+b") as opened:
        opened.truncate(2**30)
    tracemalloc.start()
    with pytest.raises(BundleError, match=f"expected {file} of at most"):
        Bundle.open(folder).read_file(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
