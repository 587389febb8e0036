"""User code named on a command line: "package.module:Name" or "path/to/file.py:Name".

The named module is imported, as by `python -m`; nothing else of the text is evaluated. Objects
defined in a file can be pickled by reference, because the name of the module contains the path of
the file: `vbs.plugins.STEM_HEX`, which the finder below imports. Processes on other machines need
the same file at the same path, or an installed package.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
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

__path__: list[str] = []  # makes this module a package, so that files can be imported below it


class FileFinder:
    """Import finder for the modules of files; see `module_name`."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of a module, as `sys.meta_path` requires."""
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
    """Return whether a text names code rather than a member of a catalog, such as "optuna:tpe"."""
    place, colon, _ = text.rpartition(":")
    families = {name.partition(":")[0] for name in catalog if ":" in name}
    return bool(colon) and text not in catalog and place not in families


def absolute_reference(text: str, *, what: str = "plugin") -> str:
    """Return the reference with the absolute path of its file."""
    place, _, name = text.rpartition(":")
    return f"{absolute(place, what=what)}:{name}" if place.endswith(".py") else text


def code_file(text: str) -> Path | None:
    """Return the file of the code that a reference names; None if it is unknown.

    The packages around a module are imported, but not the module.
    """
    place, _, _ = text.rpartition(":")
    if place.endswith(".py"):
        return absolute(place, what="plugin")
    try:
        spec = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def catalog_name(text: str, catalog: Collection[str], *, what: str) -> str:
    """Return a name of a catalog or an absolute reference, without importing anything.

    Raises ValueError, with the most similar names, for anything else.
    """
    if is_reference(text, catalog):
        return absolute_reference(text, what=what)
    if text.endswith(".py"):
        raise ValueError(f"{what}: {_without_name(text)}")
    return one_of(what, text, catalog)


def _without_name(file: str) -> str:
    """Return what is wrong with a file without a name, with the names that it defines."""
    names: list[str] = []
    with contextlib.suppress(OSError, ValueError, SyntaxError, RecursionError):
        tree = ast.parse(Path(file).expanduser().read_bytes())
        kinds = (ast.ClassDef, ast.FunctionDef)
        names = [each.name for each in tree.body if isinstance(each, kinds)]
    public = [name for name in names if not name.startswith("_")][:5]
    shown = [shortened(f"{file}:{name}") for name in public] or [f"{shortened(file)}:NAME"]
    return f"{shortened(file)} needs the name of a class in it; use {' or '.join(shown)}"


def module_name(file: Path) -> str:
    """Return the module name of a file: the same in all processes, different for each path."""
    stem = re.sub(r"\W", "_", file.stem)
    return f"{__name__}.{stem}_{os.fsencode(file).hex()}"


def load_object(text: str, *, what: str = "plugin") -> Any:
    """Import and return the object that "package.module:Name" or "path/to/file.py:Name" names.

    Raises ValueError, in one line, if there is no such module, file or name, or if importing it
    fails.
    """
    place, _, name = text.rpartition(":")
    shown = shortened(place)
    if not name.isidentifier():
        raise ValueError(f"{what}: {quoted(text)} has no name after the colon; use {shown}:Name")
    if place.endswith(".py"):
        file = absolute(place, what=what)
        if not file.is_file():
            why = "is not a file" if file.exists() else "does not exist"
            raise ValueError(f"{what}: {shown} {why}")
        module = _imported_file(file, shown, what)
    elif all(part.isidentifier() for part in place.split(".")):
        module = _imported(place, shown, what)
    else:
        raise ValueError(
            f"{what}: {quoted(text)} is not understood; use package.module:Name or "
            "path/to/file.py:Name"
        )
    if not hasattr(module, name):
        own = [each for each in vars(module) if not each.startswith("_")]
        if not own:
            raise ValueError(f"{what}: {shown} has no {name!r}; it defines no names")
        try:
            one_of(what, name, own)
        except ValueError as error:
            hint = str(error).rpartition("; ")[2]
            raise ValueError(f"{what}: {shown} has no {name!r}; {hint}") from None
    return getattr(module, name)


_sources: dict[str, str] = {}  # module of an imported file -> SHA-256 of its source


def _imported_file(file: Path, shown: str, what: str) -> Any:
    """Import a file, again if it has changed since: a notebook corrects and runs it once more."""
    try:
        name, source = module_name(file), hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"{what}: {shown} cannot be read ({error.strerror})") from None
    if _sources.get(name, source) != source:
        sys.modules.pop(name, None)
    module = _imported(name, shown, what)
    _sources[name] = source
    return module


def _imported(module: str, shown: str, what: str) -> Any:
    """Import a module; an error during the import is a ValueError of one line."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise ValueError(
                f"{what}: there is no module {error.name!r}; install it, or name its file, like "
                "path/to/file.py:Name"
            ) from None
        raise ValueError(f"{what}: importing {shown} failed: {reason_of(error)}") from error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # the user's module may raise anything
        raise ValueError(f"{what}: importing {shown} failed: {reason_of(error)}") from error


def call_with(factory: Callable[..., T], *, what: str, **offered: Any) -> T:
    """Call `factory` like `called`; an error in the user's code is a ValueError of one line."""
    call = _bound(factory, offered, what)
    with blamed(what, getattr(factory, "__name__", "it")):
        return factory(*call.args, **call.kwargs)


def called(factory: Callable[..., T], *, what: str, **offered: Any) -> T:
    """Call a class or function with those of the offered arguments that it accepts.

    They are passed by position, in their order, for its required parameters, whatever the names,
    and by name for its optional parameters. Raises ValueError if it requires other arguments.
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
    """Report an exception of the user's code inside the block as a ValueError of one line.

    The line contains `what` (the option), the name of the code, the reason, and the source line.
    """
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
    """Return the reference of a function or class; raises ValueError if it cannot be imported."""
    text = f"{function.__module__}:{function.__qualname__}"
    if getattr(sys.modules.get(function.__module__), function.__qualname__, None) is not function:
        raise ValueError(f"{what}: {function.__qualname__} is not defined at the top of a module")
    return text
