"""Ray's token authentication (https://docs.ray.io/en/latest/ray-security/token-auth.html).

Left alone, Ray decides by what it finds: `ray.init()` writes a token to ~/.ray/auth_token,
`ray start --head` in that home demands it, and nodes and drivers do not send it. So the mode is
always set explicitly here, for as long as a connection lasts: a Ray on this machine has a token of
its own in its environment, and a driver does what the head of its cluster demands.
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
HOW = "the token of a cluster is what `ray get-auth-token` prints on its head"

Settings = Mapping[str, str | None]  # of environment variables; None: not set


def own_token() -> Settings:
    """For a Ray that is started here: a new token, which nobody else gets and no file holds."""
    return {MODE: "token", TOKEN: secrets.token_hex(32), TOKEN_FILE: None, KUBERNETES: None}


def settings_for(host: str, port: int, *, seconds: float) -> Settings:
    """For a driver of the cluster with that head: with the user's token, or without one.

    Raises ValueError where the head and the user's environment do not go together, `NotRay`
    where no head answers, and OSError where nobody does.
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
    """The user's token and where it comes from, in Ray's order; "" where there is none."""
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
    """The environment variables hold meanwhile, for this process and those that it starts."""
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
    """The environment variables hold meanwhile, also for Ray in this process, which keeps them."""
    with contextlib.ExitStack() as stack:
        stack.callback(_read_again)  # once the variables are those from before
        stack.enter_context(environment(settings))
        _read_again()
        yield


def _read_again() -> None:
    import ray

    raylet: Any = ray._raylet  # compiled: its stubs do not have these
    # the mode first: a thread that is still ending may ask for a token
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
