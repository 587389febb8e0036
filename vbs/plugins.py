"""Code of the user's own, named on a command line: "package.module:Name" or "path/to/file.py:Name".

Naming it is what runs it: the module is imported, as `python -m` would, and nothing else of the
text is evaluated. What a file defines can be sent to other processes by reference, as the module's
name holds the file's path: `vbs.plugins.STEM_HEX`, imported by the finder below. Processes on other
machines need the same file at the same path, or an installed package.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, TypeVar

from vbs.failures import is_infrastructure, is_out_of_memory, reason_of
from vbs.paths import absolute
from vbs.text import one_of, quoted, shortened

T = TypeVar("T")

__path__: list[str] = []  # so that modules of files can be imported below this one


class FileFinder:
    """Finds the modules of files by their names; see `module_name`."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As `sys.meta_path` has it."""
        if not name.startswith(f"{__name__}."):
            return None
        try:
            file = os.fsdecode(bytes.fromhex(name.rpartition("_")[2]))
        except ValueError:
            return None
        return importlib.util.spec_from_file_location(name, file) if file else None


if FileFinder not in sys.meta_path:
    sys.meta_path.append(FileFinder)


def is_reference(text: str, catalog: Collection[str] = ()) -> bool:
    """Whether a text names code, and not a member of a catalog, such as "optuna:tpe"."""
    place, colon, _ = text.rpartition(":")
    families = {name.partition(":")[0] for name in catalog if ":" in name}
    return bool(colon) and text not in catalog and place not in families


def absolute_reference(text: str, *, what: str = "plugin") -> str:
    """The text as it names the same file from every folder."""
    place, _, name = text.rpartition(":")
    return f"{absolute(place, what=what)}:{name}" if place.endswith(".py") else text


def catalog_name(text: str, catalog: Collection[str], *, what: str) -> str:
    """A name of a catalog, or an absolute reference; ValueError, with the nearest names, for
    anything else. Nothing is imported."""
    if is_reference(text, catalog):
        return absolute_reference(text, what=what)
    return one_of(what, text, catalog)


def module_name(file: Path) -> str:
    """The name of a file's module: the same in all processes, another one for each path."""
    stem = re.sub(r"\W", "_", file.stem)
    return f"{__name__}.{stem}_{os.fsencode(file).hex()}"


def load_object(text: str, *, what: str = "plugin") -> Any:
    """The object that "package.module:Name" or "path/to/file.py:Name" names.

    Raises ValueError, in one line, where there is no such module, file or name, and where
    importing it fails.
    """
    place, _, name = text.rpartition(":")
    shown = shortened(place)
    if not name.isidentifier():
        raise ValueError(f"{what}: {quoted(text)} has no name behind the colon; write {shown}:Name")
    if place.endswith(".py"):
        file = absolute(place, what=what)
        if not file.is_file():
            why = "is not a file" if file.exists() else "does not exist"
            raise ValueError(f"{what}: {shown} {why}")
        module = _imported(module_name(file), shown, what)
    elif all(part.isidentifier() for part in place.split(".")):
        module = _imported(place, shown, what)
    else:
        raise ValueError(
            f"{what}: {quoted(text)} is not understood; write package.module:Name or "
            "path/to/file.py:Name"
        )
    if not hasattr(module, name):
        own = [each for each in vars(module) if not each.startswith("_")]
        if not own:
            raise ValueError(f"{what}: {shown} defines nothing, so no {name!r}")
        try:
            one_of(what, name, own)
        except ValueError as error:
            hint = str(error).rpartition("; ")[2]
            raise ValueError(f"{what}: {shown} has no {name!r}; {hint}") from None
    return getattr(module, name)


def _imported(module: str, shown: str, what: str) -> Any:
    """The module; an error while it is imported is a ValueError of one line."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise ValueError(
                f"{what}: there is no module {error.name!r}; install it, or name its file, as "
                "path/to/file.py:Name"
            ) from None
        raise ValueError(f"{what}: importing {shown} failed: {reason_of(error)}") from error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # whatever the user's module raises
        raise ValueError(f"{what}: importing {shown} failed: {reason_of(error)}") from error


def call_with(factory: Callable[..., T], *, what: str, **offered: Any) -> T:
    """The result of `called`; what the user's own code raises is a ValueError of one line."""
    call = _bound(factory, offered, what)
    with blamed(what, getattr(factory, "__name__", "it")):
        return factory(*call.args, **call.kwargs)


def called(factory: Callable[..., T], *, what: str, **offered: Any) -> T:
    """The result of a class or function that takes all, some or none of the offered arguments.

    They are passed in their order for its required parameters, whatever these are called, and by
    name for optional ones. ValueError where it requires others.
    """
    call = _bound(factory, offered, what)
    return factory(*call.args, **call.kwargs)


def _bound(
    factory: Callable[..., Any], offered: Mapping[str, Any], what: str
) -> inspect.BoundArguments:
    try:
        signature = inspect.signature(factory)
    except ValueError:
        raise ValueError(f"{what}: {quoted(factory, 60)} cannot be called with arguments") from None
    parameters = list(signature.parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [each for each in parameters if each.default is each.empty and each.kind in kinds]
    names = list(offered)[: len(required)]
    optional = {
        each.name: offered[each.name]
        for each in parameters
        if each not in required and each.name in offered and each.name not in names
    }
    try:
        return signature.bind(*(offered[name] for name in names), **optional)
    except TypeError as error:
        known = " and ".join(offered) or "no arguments"
        raise ValueError(f"{what}: {factory.__name__} is called with {known}; {error}") from None


@contextlib.contextmanager
def blamed(what: str, name: str) -> Iterator[None]:
    """Report what the user's own code raises inside as a ValueError of one line: the option, the
    name of the code, the reason, and the line of the file."""
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if is_out_of_memory(error) or is_infrastructure(error):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        raise ValueError(f"{what}: {shortened(name)} failed: {reason_of(error)}{where}") from error


def reference_to(function: Callable[..., Any], *, what: str) -> str:
    """The text that names a function or class; ValueError for one that cannot be imported."""
    text = f"{function.__module__}:{function.__qualname__}"
    if getattr(sys.modules.get(function.__module__), function.__qualname__, None) is not function:
        raise ValueError(f"{what}: {function.__qualname__} is not defined at the top of a module")
    return text
