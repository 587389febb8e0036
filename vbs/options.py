"""Command-line interfaces of configs: `Command`, and the parser that is built from its config.

The standard library's argparse splits the command line and writes the help. `vbs.config` converts
the values, in the same way for options, config files, records and Python.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from vbs import signals
from vbs.config import (
    Config,
    ConfigError,
    check_code,
    flag,
    from_values,
    given_values,
    groups,
    kinds,
    named,
    options,
    partial,
    parts,
    value_text,
)
from vbs.config_file import FileValues, read_values
from vbs.console import print_err
from vbs.folder import check_name
from vbs.programs import COMMANDS
from vbs.text import quoted, shell_word, shortened, similar


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its config, and the function that runs it.

    program      name of the module: "nas.search", for `python -m nas.search`.
    run          "module:function" with arguments (config, *, out, resume, changes, and one
                 keyword for each switch that was given). It returns an exit code, or an object
                 with an `exit_code`. Without `record`, it takes only the config and the switches.
    report       "module:function" that prints the returned object; "": none.
    kind         new folders are runs/<kind>-N.
    noun         name of a run in help and messages, such as "search".
    record       file in the results folder that stores the settings; "": the command has no
                 results folder.
    resumable    whether a run can be resumed.
    positional   fields that are given without a flag, in this order.
    switches     options of a run that are not part of its config: name -> help.
    interrupted  line to print after Ctrl-C.
    earlier      "module:function" that takes the words of a command line and replaces earlier
                 spellings that `Option.old` cannot describe; "": none.
    """

    program: str
    config: type[Config]
    run: str
    description: str
    epilog: str = ""
    report: str = ""
    kind: str = ""
    noun: str = "run"
    record: str = ""
    resumable: bool = True
    positional: tuple[str, ...] = ()
    switches: Mapping[str, str] = field(default_factory=dict)
    interrupted: str = "interrupted"
    earlier: str = ""

    def execute(self, argv: Sequence[str] | None = None, *, called: str = "") -> int:
        """Run the command and return its exit code.

        argv    words of the command line; None: those of this process.
        called  how the user called the command, for its help; default: python -m <program>.

        Raises ValueError, with the option as it is typed, for a user's mistake.
        """
        try:
            request = read_request(self, argv, called=called)
            result = _call(self, request)
        except ConfigError as error:
            name = error.name
            known = name in options(self.config) and name not in self.positional
            shown = flag(name, self.config) if known else name
            raise ValueError(f"{shown}: {error.text}") from None
        if self.report:
            load(self.report)(result)
        return int(getattr(result, "exit_code", result) or 0)


class Request(NamedTuple):
    """A parsed command line: unconverted values of options, results folder, resume, switches."""

    values: dict[str, Any]
    out: str | None
    resume: bool
    switches: dict[str, bool]


def _call(command: Command, request: Request) -> Any:
    # values are converted and files are looked up before the command is imported: imports of torch
    # take seconds, and a mistake is reported without them
    if command.record and request.resume:
        changes = partial(command.config, request.values)
        run = load(command.run)
        return run(None, out=request.out, resume=True, changes=changes, **request.switches)
    config = from_values(command.config, request.values)
    config.check_files()
    run = load(command.run)
    if not command.record:
        return run(config, **request.switches)
    return run(config, out=request.out, **request.switches)


def words_of(command: Command, config: Config, *, out: str | Path | None = None) -> list[str]:
    """Return the words of a command line that give this config; defaults are omitted.

    out  results folder, if the command has one.
    """
    words = option_words(command.config, given_values(config), positional=command.positional)
    return words if out is None else [*words, "--out", str(out)]


def option_words(
    config: type[Config], values: Mapping[str, Any], *, positional: Sequence[str] = ()
) -> list[str]:
    """Return the words of a command line for values of options, or for changes of a resumed run."""
    first = [text for name in positional for text in _texts(config, name, values.get(name))]
    for name, value in values.items():
        if name not in positional:
            first += _words(config, name, value)
    return first


def _words(config: type[Config], name: str, value: Any) -> list[str]:
    kind, known, typed = kinds(config)[name], options(config)[name], flag(name, config)
    if kind.base is bool:
        return [typed if value else f"--no-{typed.removeprefix('--')}"]
    texts = _texts(config, name, value)
    if known.many:
        return [typed, *texts]
    # a value that begins with a hyphen is recognized only after an equals sign
    pairs = [[f"{typed}={text}"] if text.startswith("-") else [typed, text] for text in texts]
    return [word for pair in pairs for word in pair]


def _texts(config: type[Config], name: str, value: Any) -> list[str]:
    """Return the values of an option as they are typed."""
    if value is None:
        return []
    values = value if kinds(config)[name].many else (value,)
    texts = [value_text(config, name, each) for each in values]
    return [",".join(texts)] if options(config)[name].commas else texts


def load(place: str) -> Any:
    """Import and return the object "module:name"."""
    module, _, name = place.partition(":")
    found = getattr(importlib.import_module(module), name)
    signals.raise_postponed()  # a signal may have arrived during the import
    return found


def read_request(
    command: Command, argv: Sequence[str] | None = None, *, called: str = ""
) -> Request:
    """Parse a command line; the values of options are not converted yet."""
    words = [str(word) for word in (sys.argv[1:] if argv is None else argv)]
    if command.earlier:
        words = load(command.earlier)(words)
    parser = parser_of(command, called=called)
    known = vars(parser.parse_args(_renamed(command.config, words)))
    known = {name: value for name, value in known.items() if value is not None}
    out = None if "out" in options(command.config) else known.pop("out", None)
    if out is not None:
        check_name(out)
    resume, file = known.pop("resume", False), known.pop("config", None)
    switches = {name: known.pop(name) for name in command.switches if name in known}
    values = {} if file is None else _named_in(file, command, read_values(file))
    check_code(command.config, values, known, source=str(file))
    return Request({**values, **known}, out, resume, switches)


def _named_in(file: str, command: Command, found: FileValues) -> dict[str, Any]:
    """Return the values of a config file by field name; an unknown name is an error of the file."""
    try:
        return named(command.config, found.values)
    except ConfigError:
        raise
    except ValueError as error:
        other = _writer(Path(file).name, found.values) if found.is_record else ""
        if other:
            why = f"it is a record of {other}, not of {command.program}"
            raise ValueError(f"--config: {shortened(file)}: {why}") from None
        raise ValueError(f"--config: {shortened(file)}: {error}") from None


def _writer(name: str, values: Mapping[str, Any]) -> str:
    """Return the program whose records have this name and these settings; "" if there is none."""
    for entry in COMMANDS.values():
        command = load(f"{entry.program}.config:COMMAND")
        known = {*options(command.config), *command.config.recorded}
        if command.record == name and {*values} <= known:
            return entry.program
    return ""


def _renamed(config: type[Config], words: list[str]) -> list[str]:
    """Return the words with earlier spellings of options replaced, each with a warning."""
    now = {old: flag(name, config) for name, each in options(config).items() for old in each.old}
    found: list[str] = []
    for position, word in enumerate(words):
        if word == "--":
            return [*found, *words[position:]]
        name, mark, value = word.partition("=")
        if name in now:
            if any(each.partition("=")[0] == now[name] for each in words):
                raise ValueError(f"{name}: it is given twice, also as {now[name]}")
            print_err(f"warning: {name} is now {now[name]}; the old name works for one version")
        found.append(f"{now.get(name, name)}{mark}{value}")
    return found


def usage_words(command: Command) -> list[str]:
    """Return the words of the usage line after the name; optional arguments are in brackets."""
    defaults = {each.name: each.default for each in fields(command.config)}
    words = []
    for name in command.positional:
        word = options(command.config)[name].metavar or name.upper()
        word = f"{word} ..." if kinds(command.config)[name].many else word
        words.append(word if defaults[name] is MISSING else f"[{word}]")
    return [*words, "[options]"]


def parser_of(command: Command, *, called: str = "") -> Parser:
    """Return the parser of a command's options, which also writes the help."""
    called = called or f"python -m {command.program}"
    words = [called, *usage_words(command)]
    parser = Parser(
        prog=words[0],
        usage=" ".join(words),
        description=command.description,
        epilog=command.epilog or None,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for position, (title, names) in enumerate(groups(command.config)):
        group = parser if position == 0 else parser.add_argument_group(title)
        for name in names:
            _add(group, command, name)
    add = parser.add_argument_group("run").add_argument
    add(
        "--config",
        metavar="FILE",
        help="options from a YAML or JSON file, or from the record of "
        "an earlier run; options of the command line override it",
    )
    if command.record:
        add(
            "--out",
            metavar="DIR",
            help=f"folder for the results (default: a new runs/{command.kind}-N)",
        )
    if command.record and command.resumable:
        add("--resume", action="store_true", help=f"resume the {command.noun} in --out")
    for name, text in command.switches.items():
        add(flag(name), action="store_true", dest=name, help=text)
    return parser


def _add(group: Any, command: Command, name: str) -> None:
    """Add one option of a config to a parser; its value stays a text."""
    known, kind = options(command.config)[name], kinds(command.config)[name]
    texts = {"help": known.help.replace("%", "%%")}
    metavar = known.metavar or "|".join(known.catalog) or name.upper().replace("_", "-")
    if name in command.positional:
        group.add_argument(
            name, metavar=metavar, **texts, **({"nargs": "*"} if kind.many else {"nargs": "?"})
        )
        return
    words: dict[str, Any] = {"dest": name, **texts}
    if kind.base is bool:
        words["action"] = argparse.BooleanOptionalAction if kind.optional else "store_true"
    else:
        words["metavar"] = metavar
        if kind.many:
            several = {"nargs": "+", "action": "extend"}
            words |= several if known.many else {"action": "append"}
        if known.commas:
            words |= {"action": "extend", "type": parts}
    added = group.add_argument(flag(name, command.config), **words)
    added.fields = known.fields  # for `Parser._refuse_option`


_LISTS = (argparse._AppendAction, argparse._ExtendAction)  # actions of options that may be repeated


class Parser(argparse.ArgumentParser):
    """A parser that raises ValueError, in one line, for an invalid command line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # argparse accepts negative numbers as values; its own pattern has no exponents, ranges or
        # lists, such as -2..4
        number = r"-?(\d+(\.\d+|\.(?!\.))?|\.\d+)(e[-+]?\d+)?"
        self._negative_number_matcher = re.compile(rf"(?=-){number}((\.\.|,){number})*$", re.I)

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Parse like argparse, but suggest similar names for an unknown option, and warn about an
        option that takes one value and is given twice."""
        self._check_words(args[0])
        several = any(not each.option_strings and each.nargs == "*" for each in self._actions)
        # options may be given between several values without a flag
        parse = self.parse_known_intermixed_args if several else self.parse_known_args
        found, rest = parse(*args, **kwargs)
        for word in rest:
            if word.startswith("--"):
                self._refuse_option(word, args[0])
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return found

    def _refuse_option(self, word: str, words: Sequence[str]) -> NoReturn:
        """Raise ValueError for a word that is not an option, with similar options and fields."""
        typed, equals, value = word.partition("=")
        after = words[words.index(word) + 1 :] if word in words else ()
        if not equals and after and not after[0].startswith("--"):
            value = after[0]
        value = shell_word(value) if value else "VALUE"
        known = dict.fromkeys(name for each in self._actions for name in each.option_strings)
        # fields by the name that is mistaken for an option
        fields = {
            f"--{name.replace('_', '-')}": f"{action.option_strings[0]} {name}={value}"
            for action in self._actions
            for name in getattr(action, "fields", ())
        }
        fields = {name: shown for name, shown in fields.items() if name not in known}
        named = typed.replace("_", "-").replace("--set-", "--")
        if named in fields:
            self.error(f"{typed} is unknown; it is a field of the recipe: use {fields[named]}")
        near = [fields.get(name, name) for name in similar(typed, [*known, *fields])]
        hint = f"did you mean {' or '.join(near)}?" if near else "--help lists all"
        self.error(f"option: {quoted(typed)} is unknown; {hint}")

    def _check_words(self, words: Sequence[str]) -> None:
        given: set[str] = set()
        for word in words:
            name = word.partition("=")[0]
            if word == "--" or name in ("-h", "--help"):
                return
            if re.match("-h.", word):  # argparse would also print the help for -h7
                self.error(f"unrecognized arguments: {word}")
            action = self._option_string_actions.get(name)
            if action is None or isinstance(action, _LISTS):
                continue
            if action.dest in given:
                print_err(f"warning: {name} is given twice; the last one counts")
            given.add(action.dest)

    def error(self, message: str) -> NoReturn:
        """Raise ValueError instead of exiting."""
        raise ValueError(message)
