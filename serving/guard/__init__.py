"""The guard: what is refused before it costs anything, by what is read and by who asks."""

from serving.guard.bodies import read_body
from serving.guard.forwarded import TrustedProxies
from serving.guard.key_file import SCOPES, KeysError, Scope, new_key, require_keys
from serving.guard.keys import Keys
from serving.guard.scopes import scope_of

__all__ = [
    "SCOPES",
    "Keys",
    "KeysError",
    "Scope",
    "TrustedProxies",
    "new_key",
    "read_body",
    "require_keys",
    "scope_of",
]
