"""Stream addresses, and how to show them without the passwords in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)

_USER = re.compile(r"://(?:[^/?#]*|[^/?#@\s:]*:(?!\d+(?:/[^@\s]*)?/@)\S*)@")
"""User and password; a password may hold `/`, `?`, `#` or `@`, which an address should not. In
`host:8080/@home` there is none."""

_SECRET = re.compile(
    r"(?i)((?:user|login|pass|pw|psw|token|jwt|secret|auth|cred|sign?|code(?!c)|key|session)"
    r"[\w.-]*=)(?:[^&;?/#\s'\":]|:(?!\s|$)|['\"](?![:;,.)\s]|$))+"
)
"""Secret values by their keys; a colon or quote is part of one unless a sentence goes on there."""


def is_address(source: str) -> bool:
    """Tell whether `source` is written as `scheme://...`."""
    return _SCHEME.match(source) is not None


def redact(source: str) -> str:
    """Return `source` fit for names, messages and logs: no user, password, token or key.

    It may be any text with an address in it.

    >>> redact("rtsp://admin:s3cret@10.0.0.7:554/cam?channel=1&password=s3cret")
    'rtsp://10.0.0.7:554/cam?channel=1&password=***'
    """
    nameless = _USER.sub("://", source)
    return _ADDRESS.sub(lambda address: _SECRET.sub(r"\1***", address[0]), nameless)


def address_name(address: str) -> str:
    """Return host and last part of the path, for names of folders and files."""
    try:
        parts = urlsplit(redact(address))
    except ValueError:  # as of `http://[::1`
        return address.partition("://")[0]
    path = [part for part in parts.path.split("/") if part]
    return "-".join([parts.hostname or parts.scheme, *path[-1:]])
