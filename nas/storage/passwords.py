"""Escaping and removal of passwords in database URLs.

In a URL, the characters @ : / ? # of a password must be escaped as %40 and so on. Without escaping,
the URL is split in the wrong place, and the end of the password becomes a part of the host, which
is shown in messages and written to files.
"""

from __future__ import annotations

import re
from urllib.parse import quote

QUERY = re.compile(r"[\w.-]+=[^&]*(&[\w.-]+=[^&]*)*")
ESCAPED = "!$%&'()*+,;=-._~"  # characters that are not escaped; % starts an existing escape


def escaped_url(storage: str) -> str:
    """Return the URL with user and password escaped; they end at the last @ before a query.

    URLs without @ and those of sqlite, which contain paths, are returned unchanged.
    """
    scheme, separator, rest = storage.partition("://")
    if not separator or scheme.startswith("sqlite") or "@" not in rest:
        return storage
    before, mark, query = rest.rpartition("?")
    if not QUERY.fullmatch(query) or "@" not in before:
        before, mark, query = rest, "", ""  # no query; a question mark belongs to the password
    login, _, place = before.rpartition("@")
    user, colon, password = login.partition(":")
    return (
        f"{scheme}://{quote(user, ESCAPED)}{colon}{quote(password, ESCAPED)}@{place}{mark}{query}"
    )


def without_password(storage: str) -> str:
    """Return the URL without passwords, for files that others can read."""
    from sqlalchemy.engine import make_url

    url = make_url(escaped_url(storage))
    query = {name: value for name, value in url.query.items() if "password" not in name.lower()}
    # `set` would keep the password, because it ignores None
    bare = url.set(query=query)._replace(password=None)
    return bare.render_as_string(hide_password=False)
