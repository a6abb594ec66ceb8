"""Commands from functions: a function's parameters are its command's arguments and options.

The standard library alone, so that an operator needs no package to look at the stack. A parameter
says with `Annotated` whether it is an Argument or an Option; its default is the option's. Its type
is bool, int, float, str, Path, a list of one of these, or one of these or None.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, NoReturn, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CUT_SHORT = 141
"""The exit code when nobody reads any more what is printed, as a shell has it (128 + SIGPIPE)."""

INTERRUPTED = 130
"""The exit code after Ctrl-C, as everywhere."""


class UsageError(Exception):
    """Options that do not go together; the message says why. Exit code 2."""


@dataclass(frozen=True)
class Option:
    """`--name VALUE`, or `--name` for a bool that is False."""

    help: str
    flags: tuple[str, ...] = ()  # instead of --name
    least: float | None = None
    most: float | None = None
    variable: str = ""  # of the environment, which has the default
    either: bool = False  # a bool that may be said both ways: --name, --no-name


@dataclass(frozen=True)
class Argument:
    """A word without a flag.

    `rest`: all that follows the command, flags included; the parameter's name is `arguments`.
    """

    help: str
    metavar: str = ""
    rest: bool = False


@dataclass
class Verbs:
    """A command that consists of others. `functions`: by name, in the order that help has."""

    name: str
    help: str
    functions: dict[str, Callable[..., None] | Verbs] = field(default_factory=dict)

    def verb(self, name: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Make a function a command, by its own name if no other is given."""

        def add(function: Callable[..., None]) -> Callable[..., None]:
            self.functions[name or function.__name__.replace("_", "-")] = function
            return function

        return add

    def parser(self) -> argparse.ArgumentParser:
        """Return what understands a command line."""
        made = argparse.ArgumentParser(prog=self.name, description=self.help, allow_abbrev=False)
        self.fill(made)
        return made

    def run(self, arguments: Sequence[str]) -> NoReturn:
        """Do what a command line says; exit with what the command raises, or 0."""
        words = list(arguments)
        function = self.functions.get(words[0]) if words else None
        parser = self.parser()
        # argparse takes flags for its own, whatever follows them.
        if function and not isinstance(function, Verbs) and _rest(function) and not _asks(words):
            values: dict[str, Any] = {"function": function, "arguments": words[1:]}
        else:
            values = vars(parser.parse_args(words))
        chosen, within = values.pop("function", None), values.pop("within", parser)
        if chosen is None:
            within.print_help()
            sys.exit(2)
        try:
            chosen(**values)
        except UsageError as error:
            within.error(str(error))
            sys.stdout.flush()
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except BrokenPipeError:  # `... | head`; the interpreter would say so once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(CUT_SHORT)
        sys.exit(0)

    def fill(self, parser: argparse.ArgumentParser) -> None:
        """Add the commands to a parser."""
        parser.set_defaults(within=parser)
        listed = parser.add_subparsers(metavar="COMMAND", title="commands")
        for name, function in self.functions.items():
            if isinstance(function, Verbs):
                function.fill(listed.add_parser(name, help=function.help, allow_abbrev=False))
            else:
                _describe(function, name, listed)


def _describe(function: Callable[..., None], name: str, listed: Any) -> None:  # noqa: ANN401 - argparse's own is private
    text = inspect.getdoc(function) or ""
    parser = listed.add_parser(
        name,
        help=text.split("\n\n")[0].replace("\n", " ").replace("%", "%%"),
        description=text,
        epilog=getattr(function, "epilog", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(function=function, within=parser)
    hints = get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        _add(parser, parameter, hints[parameter.name])


def _add(parser: argparse.ArgumentParser, parameter: inspect.Parameter, hint: Any) -> None:  # noqa: ANN401 - any type
    (said,) = hint.__metadata__
    kind, several = _kind(hint.__origin__)
    needed = parameter.default is inspect.Parameter.empty
    default = None if needed else parameter.default
    if isinstance(said, Argument):
        how = argparse.REMAINDER if said.rest else ("+" if needed else "*")
        parser.add_argument(
            parameter.name,
            metavar=said.metavar or parameter.name.upper(),
            help=said.help,
            type=kind,
            nargs=how if several else None,
        )
        return
    flags = said.flags or (f"--{parameter.name.replace('_', '-')}",)
    settings: dict[str, Any] = {"dest": parameter.name, "help": _explain(said, default)}
    if kind is bool:
        settings["action"] = argparse.BooleanOptionalAction if said.either else "store_true"
    else:
        settings["type"] = _within(kind, said)
        settings["metavar"] = kind.__name__.upper()
        settings["action"] = "append" if several else "store"
    default = os.environ.get(said.variable, default) if said.variable else default
    parser.add_argument(*flags, default=default, required=needed, **settings)


def _kind(hint: Any) -> tuple[Any, bool]:  # noqa: ANN401 - any type
    """Return the type of one value, and whether there may be several."""
    if get_origin(hint) in {Union, UnionType}:
        (hint,) = (each for each in get_args(hint) if each is not NoneType)
    if get_origin(hint) is list:
        return get_args(hint)[0], True
    return hint, False


def _within(kind: Callable[[str], Any], said: Option) -> Callable[[str], Any]:
    def read(text: str) -> Any:  # noqa: ANN401 - what `kind` returns
        value = kind(text)
        if said.least is not None and value < said.least:
            raise argparse.ArgumentTypeError(f"{text} is below {said.least:g}")
        if said.most is not None and value > said.most:
            raise argparse.ArgumentTypeError(f"{text} is above {said.most:g}")
        return value

    read.__name__ = getattr(kind, "__name__", "value")  # argparse names it when it fails
    return read


def _explain(said: Option, default: object) -> str:
    parts = [said.help]
    if default is not None and not isinstance(default, bool):
        parts.append(f"[default: {default}]")
    if said.variable:
        parts.append(f"[environment: {said.variable}]")
    return " ".join(parts).replace("%", "%%")


def _rest(function: Callable[..., None]) -> bool:
    hints = get_type_hints(function, include_extras=True).values()
    told = [each for hint in hints for each in getattr(hint, "__metadata__", ())]
    return any(isinstance(each, Argument) and each.rest for each in told)


def _asks(words: Sequence[str]) -> bool:
    """Tell whether it is help that is asked for; `-h` is psql's own, the host."""
    return words[1:2] == ["--help"]
