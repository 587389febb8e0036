"""Passwords in database URLs, as people write them.

In a URL the characters @ : / ? # of a password must be written as %40 and so on. One that is not
splits the URL in the wrong place: the tail of the password becomes a part of the host, which is
shown in messages and written to files.
"""

from __future__ import annotations

import re
from urllib.parse import quote

QUERY = re.compile(r"[\w.-]+=[^&]*(&[\w.-]+=[^&]*)*")
ESCAPED = "!$%&'()*+,;=-._~"  # left as they are; % begins what is escaped already


def escaped_url(storage: str) -> str:
    """The URL with user and password escaped: they end at the last @ before a query.

    URLs without @, and those of sqlite, which are paths, stay as they are.
    """
    scheme, separator, rest = storage.partition("://")
    if not separator or scheme.startswith("sqlite") or "@" not in rest:
        return storage
    before, mark, query = rest.rpartition("?")
    if not QUERY.fullmatch(query) or "@" not in before:
        before, mark, query = rest, "", ""  # without query; a question mark is the password's
    login, _, place = before.rpartition("@")
    user, colon, password = login.partition(":")
    return (
        f"{scheme}://{quote(user, ESCAPED)}{colon}{quote(password, ESCAPED)}@{place}{mark}{query}"
    )


def without_password(storage: str) -> str:
    """The URL as it may be written to a file that others can read."""
    from sqlalchemy.engine import make_url

    url = make_url(escaped_url(storage))
    query = {name: value for name, value in url.query.items() if "password" not in name.lower()}
    # not by `set`, which takes None for "as it is"
    bare = url.set(query=query)._replace(password=None)
    return bare.render_as_string(hide_password=False)
