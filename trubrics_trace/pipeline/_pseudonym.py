"""A user's pseudonym: the same each time, and nobody's without the key."""

from __future__ import annotations

import hashlib
import hmac

_LENGTH = 32  # hexadecimal digits, 128 bits: two users in 2**64 would share one


def pseudonym(user_id: str, key: bytes) -> str:
    """Return the name that stands for a user wherever records go.

    HMAC-SHA-256 (RFC 2104), shortened: under one key a user keeps one name, under another
    it is another one, and without the key it cannot be found by trying all users.

    Example:
        >>> pseudonym("alice", b"secret key")
        '98809842673ec46eeb71e334eb887683'
    """
    told = user_id.encode(errors="surrogatepass")
    return hmac.new(key, told, hashlib.sha256).hexdigest()[:_LENGTH]
