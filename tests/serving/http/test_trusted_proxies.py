"""The path prefix that a trusted proxy removed from the request."""

import pytest

from serving.http.trusted_proxies import TrustedProxies

LOCAL = "127.0.0.1,::1"


def find_prefix(allowed=LOCAL, address="127.0.0.1", script="", **headers):
    environ = {"REMOTE_ADDR": address, "SCRIPT_NAME": script} | headers
    return TrustedProxies(allowed).find_prefix(environ)


def test_find_prefix_script_name_is_used_without_a_trusted_proxy():
    assert find_prefix("", "192.0.2.1", "/api/v1") == "/api/v1"
    assert find_prefix("", "192.0.2.1", "") == ""


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("/api", "/api"),
        ("/api/", "/api"),
        (" /api/v1.2/~team-a_b ", "/api/v1.2/~team-a_b"),
        ("/wrong, /api", "/api"),
        ("/", ""),
        ("", ""),
        ("/" + "a" * 255, "/" + "a" * 255),
        ("/" + "a" * 256, ""),
        ("api", ""),
        ("//evil.example", ""),
        ("/a//b", ""),
        ("https://evil.example", ""),
        ("/../admin", ""),
        ("/a/..", ""),
        ("/a/./b", ""),
        ("/a..b", "/a..b"),
        ('/"><script>alert(1)</script>', ""),
        ("/a b", ""),
        ("/a?b", ""),
        ("/%2e%2e", ""),
        ("/\xe4", ""),
        ("/a\n", "/a"),
        ("/a\nb", ""),
    ],
)
def test_find_prefix_header_is_used_only_if_a_plain_path(header, expected):
    assert find_prefix(HTTP_X_FORWARDED_PREFIX=header) == expected


@pytest.mark.parametrize(
    ("allowed", "address", "trusted"),
    [
        (LOCAL, "127.0.0.1", True),
        (LOCAL, "::1", True),
        (LOCAL, "::ffff:127.0.0.1", True),
        (LOCAL, "127.0.0.2", False),
        (LOCAL, "192.0.2.1", False),
        (LOCAL, "", True),  # the client uses a Unix socket
        (LOCAL, None, False),
        (LOCAL, "proxy", False),
        ("", "127.0.0.1", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8, 192.0.2.1", "192.0.2.1", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("*", "192.0.2.1", True),
        ("2001:db8::/32", "2001:db8::7", True),
    ],
)
def test_find_prefix_header_is_used_only_from_a_trusted_proxy(allowed, address, trusted):
    found = find_prefix(allowed, address, HTTP_X_FORWARDED_PREFIX="/api")
    assert found == ("/api" if trusted else "")


def test_find_prefix_header_and_script_name_are_joined():
    assert find_prefix(script="/v1", HTTP_X_FORWARDED_PREFIX="/api/") == "/api/v1"
