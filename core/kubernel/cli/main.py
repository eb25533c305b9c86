"""Finds the subcommand and runs it.

The built-in subcommands are there at once; other plugins of role ``cli`` are imported only when the
subcommand is not one of those, or for ``--help``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kubernel import __version__
from kubernel.errors import KubernelError

if TYPE_CHECKING:
    from kubernel.config import Configuration

__all__ = ["main"]

_DESCRIPTION = "A Kubernetes cluster in one process, made of plugins."
_EPILOG = "`kubernel up` starts a cluster; `kubernel COMMAND --help` tells about a command."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the exit code: 0, 1 for a refusal, 2 for wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(given)
    except KubernelError as error:
        complain(str(error))
        return 1
    except ExceptionGroup as group:
        complain(str(group.message))
        for failure in _leaves(group):
            print(f"  {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output went away; the interpreter must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def complain(message: str) -> None:
    print(f"kubernel: {message}", file=sys.stderr)


def _run(arguments: list[str]) -> int:
    from kubernel.cli.cluster import add_commands

    parser = argparse.ArgumentParser("kubernel", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"kubernel {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", title="commands")
    add_commands(commands)
    word = next((argument for argument in arguments if not argument.startswith("-")), "")
    if word not in commands.choices:
        _add_plugins(commands, arguments, word)
        if word and word not in commands.choices and (hint := _switched_off(word)):
            complain(hint)
            return 2
    args = parser.parse_args(arguments)
    if args.command is None:
        parser.print_help()
        return 2
    code: int = args.run(args) or 0
    return code


def _add_plugins(commands: argparse._SubParsersAction[Any], arguments: list[str], word: str) -> None:
    """Add what the configured plugins of role ``cli`` offer.

    For a subcommand that may be theirs a broken plugin is an error; it must not keep ``--help`` from helping.
    """
    from kubernel.cli import options

    try:
        config = options.load(_value(arguments, "--config"))
        _register(commands, config)
    except KubernelError as error:
        if word:
            raise
        complain(f"{error}\n")


def _register(commands: argparse._SubParsersAction[Any], config: Configuration) -> None:
    from kubernel.cli.handle import CommandHandle
    from kubernel.config import settings
    from kubernel.plugin.catalogue import Catalogue, default_cache_path
    from kubernel.plugin.manager import Hooks

    catalogue = Catalogue(default_cache_path())
    plugins: list[tuple[str, object]] = []
    for choice in config.plugins["cli"]:
        found = catalogue.select_choice("cli", choice)
        if found.value == "kubernel.cli.cluster:Plugin":
            continue
        cls = catalogue.load_choice(found, choice)
        plugin = cls(settings(cls.Settings, choice), CommandHandle(choice.name, config.cluster))
        plugins.append((f"cli/{choice.name}", plugin))
    hooks = Hooks()
    hooks.register(plugins)
    hooks.cli(commands)


def _switched_off(word: str) -> str:
    """What to do when a subcommand's plugin is installed but not configured."""
    from kubernel.plugin.catalogue import Catalogue

    if not any(found.name == word for found in Catalogue().of("cli")):
        return ""
    return (
        f'the plugin "{word}" of role cli is installed and off; write `cli: ["*", {word}]` under `plugins` '
        "in the configuration file"
    )


def _value(arguments: list[str], option: str) -> str | None:
    """An option's value before the command line has been parsed."""
    for position, argument in enumerate(arguments):
        if argument == option and position + 1 < len(arguments):
            return arguments[position + 1]
        if argument.startswith(f"{option}="):
            return argument[len(option) + 1 :]
    return None


def _leaves(group: ExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, ExceptionGroup) else [error]
    return found
