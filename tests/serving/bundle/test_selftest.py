"""Self-tests that would unpack to more than the limit, or whose headers are wrong, are refused."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from serving.bundle import BundleError, SelfTest


def make_npz(**arrays: bytes) -> bytes:
    """Return an .npz file. `__` in a name becomes a slash."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name.replace('__', '/')}.npy", content)
    return file.getvalue()


def make_npy(array, **claims) -> bytes:
    """Return an .npy file with an array and a header in which some fields are replaced."""
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | claims
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + array.tobytes()


def assert_refused_without_allocating(content: bytes, match: str, **limits) -> None:
    tracemalloc.start()
    with pytest.raises(BundleError, match=match):
        SelfTest.from_bytes(content, **limits)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_from_bytes_content_above_the_limit_once_unpacked_is_refused():
    zeros = make_npy(np.zeros(2**22, np.float32))
    content = make_npz(input__features=zeros)
    assert len(content) < 2**15
    assert_refused_without_allocating(
        content, "at most 1048576 bytes once unpacked; got 1677.*--max-selftest-bytes", limit=2**20
    )


def test_from_bytes_members_that_exceed_the_limit_together_are_refused():
    member = make_npy(np.zeros(2**17, np.float32))
    content = make_npz(**{f"input__{number}": member for number in range(3)})
    assert_refused_without_allocating(content, "once unpacked", limit=2**20)


@pytest.mark.parametrize(
    "claims",
    [
        {"shape": (2**40,)},
        {"shape": (2**40, 0, 3)},
        {"shape": (-1, -4)},
        {"shape": (1,), "descr": "<U1000000000"},
        {"shape": (2,)},
        {"shape": ()},
    ],
)
def test_from_bytes_header_that_does_not_match_the_content_is_refused(claims):
    assert_refused_without_allocating(
        make_npz(input__features=make_npy(np.zeros(4, np.float32), **claims)),
        "expected plain arrays",
    )


def test_from_bytes_member_larger_than_in_the_zip_directory_is_refused():
    content = bytearray(make_npz(input__features=make_npy(np.zeros(2**20, np.float32))))
    at = content.rindex(b"PK\x01\x02") + 24  # the size in the central directory
    content[at : at + 4] = (1000).to_bytes(4, "little")
    assert_refused_without_allocating(bytes(content), "expected plain arrays")


def test_from_bytes_round_trip_keeps_every_array(rng):
    inputs = {"x": rng.normal(size=(9, 3)).astype(np.float32), "city": np.array([["a"], ["bc"]])}
    found = SelfTest.from_bytes(SelfTest(inputs, {}).to_bytes())
    for name, array in inputs.items():
        assert found.inputs[name].dtype == array.dtype
        np.testing.assert_array_equal(found.inputs[name], array)
