"""The guard: what is refused before it costs anything, by what is read and by who asks."""

from serving.guard.bodies import read_body
from serving.guard.keys import SCOPES, Keys, KeysError, Scope, new_key, read_keys
from serving.guard.scopes import scope_of

__all__ = ["SCOPES", "Keys", "KeysError", "Scope", "new_key", "read_body", "read_keys", "scope_of"]
