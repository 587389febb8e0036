"""Ray's token authentication (https://docs.ray.io/en/latest/ray-security/token-auth.html).

By default, whether Ray uses tokens depends on files: `ray.init()` writes a token to
~/.ray/auth_token; `ray start --head` requires this token if it finds the file, but nodes and
drivers do not send it. Therefore the mode is always set explicitly here while a connection lasts: a
Ray on this machine has a new token in its environment, and a driver follows the head of its
cluster.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from train.cluster.probe import OK, UNAUTHENTICATED, NotRay, head_status

MODE, TOKEN, TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
KUBERNETES = "RAY_ENABLE_K8S_TOKEN_AUTH"
HOW = "`ray get-auth-token` on the head prints the token of a cluster"

Settings = Mapping[str, str | None]  # environment variables; None: not set


def own_token() -> Settings:
    """Return the settings of a Ray that is started here: a new token that is in no file."""
    return {MODE: "token", TOKEN: secrets.token_hex(32), TOKEN_FILE: None, KUBERNETES: None}


def settings_for(host: str, port: int, *, seconds: float) -> Settings:
    """Return the settings of a driver of the cluster with that head, with or without a token.

    Raises ValueError if the head and the user's environment do not match, `NotRay` if something
    other than a head answers, and OSError if nothing answers.
    """
    where = f"address: {host}:{port}"
    mode = os.environ.get(MODE, "").lower()
    if _status(host, port, None, seconds) == OK:
        if mode == "token":
            raise ValueError(
                f"{where} does not check tokens, but {MODE} is token; unset {MODE}, or start "
                "all nodes of the cluster with a token"
            )
        return {MODE: "disabled"}
    if mode == "disabled":
        raise ValueError(
            f"{where} requires a token, but {MODE} is disabled; unset {MODE} and set {TOKEN} or "
            f"{TOKEN_FILE} ({HOW})"
        )
    token, source = _known_token()
    if not token:
        raise ValueError(
            f"{where} requires a token, and none is set; set {TOKEN}, or {TOKEN_FILE} to a file "
            f"with it ({HOW})"
        )
    if _status(host, port, token, seconds) != OK:
        raise ValueError(
            f"{where} rejects the token from {source}; set {TOKEN}, or {TOKEN_FILE} to a file "
            f"with the right one ({HOW})"
        )
    return {MODE: "token", TOKEN: token, TOKEN_FILE: None}


def _status(host: str, port: int, token: str | None, seconds: float) -> int:
    status = head_status(host, port, token, seconds)
    if status not in (OK, UNAUTHENTICATED):
        raise NotRay(f"gRPC status {status}")
    return status


def _known_token() -> tuple[str, str]:
    """Return the user's token and its source, in Ray's order of precedence; "" if there is none."""
    token = os.environ.get(TOKEN, "").strip()
    if token:
        return token, TOKEN
    if path := os.environ.get(TOKEN_FILE, ""):
        source = f"{path} ({TOKEN_FILE})"
    else:
        path = source = os.path.expanduser("~/.ray/auth_token")
    try:
        return Path(path).read_text(encoding="ascii").strip(), source
    except (OSError, ValueError) as error:
        if source != path:
            reason = getattr(error, "strerror", None) or "it is not plain text"
            raise ValueError(f"{TOKEN_FILE}: {path} cannot be read ({reason})") from None
        return "", source


@contextlib.contextmanager
def environment(settings: Settings) -> Iterator[None]:
    """Set environment variables inside the block, also for processes that are started there."""
    before = {name: os.environ.get(name) for name in settings}
    _set(settings)
    try:
        yield
    finally:
        _set(before)


def _set(settings: Settings) -> None:
    for name, value in settings.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def authentication(settings: Settings) -> Iterator[None]:
    """Set environment variables inside the block, also in the cache of Ray in this process."""
    with contextlib.ExitStack() as stack:
        stack.callback(_read_again)  # after the variables are restored
        stack.enter_context(environment(settings))
        _read_again()
        yield


def _read_again() -> None:
    import ray

    raylet: Any = ray._raylet  # a compiled module whose stubs lack these attributes
    # the mode first, because a thread that is still ending may request a token
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
