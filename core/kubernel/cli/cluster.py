"""The plugin with the built-in subcommands. Each command's module is imported when it runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from kubernel.cli.options import add_format, add_target
from kubernel.plugin import Plugin as _Plugin
from kubernel.plugin import hookimpl

__all__ = ["Plugin", "add_commands"]


class Plugin(_Plugin):
    """``up``, ``down``, ``status`` and the rest of what a cluster's owner needs."""

    @hookimpl
    def kubernel_cli(self, commands: argparse._SubParsersAction[Any]) -> None:
        add_commands(commands)


def _later(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """``run`` of a subcommand whose module is imported now, not before."""

    def run(args: argparse.Namespace) -> int:
        import importlib

        code: int = getattr(importlib.import_module(f"kubernel.cli.{module}"), function)(args)
        return code

    return run


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the built-in subcommands."""
    _add_up(commands)
    _add_control(commands)
    _add_kubeconfig(commands)
    _add_inspection(commands)


def _add_up(commands: argparse._SubParsersAction[Any]) -> None:
    up = commands.add_parser(
        "up",
        help="start a cluster",
        description="Start a cluster and keep it running until Ctrl-C; its state survives.",
    )
    add_target(up)
    up.add_argument("--port", type=int, help="port of the API server, 0 for any free one (default: 6443)")
    up.add_argument("-d", "--detach", action="store_true", help="run in the background")
    up.add_argument("--timings", action="store_true", help="print how long each phase of the start took")
    up.add_argument(
        "--log-level", default="warning", metavar="LEVEL", help="debug, info, warning (default) or error"
    )
    up.set_defaults(run=_later("up", "up"))


def _add_control(commands: argparse._SubParsersAction[Any]) -> None:
    status = commands.add_parser(
        "status",
        help="tell whether the cluster runs",
        description="Tell whether the cluster runs and how its plugins are. Exit code 3: it does not run.",
    )
    add_target(status)
    add_format(status)
    status.set_defaults(run=_later("control", "status"))

    down = commands.add_parser(
        "down", help="stop the cluster", description="Stop the running cluster; its state is kept."
    )
    add_target(down)
    down.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="how long to wait (default: 60)"
    )
    down.set_defaults(run=_later("control", "down"))

    reset = commands.add_parser(
        "reset",
        help="remove the cluster's state",
        description="Remove the data directory of a stopped cluster.",
    )
    add_target(reset)
    reset.add_argument("-y", "--yes", action="store_true", help="do not ask")
    reset.set_defaults(run=_later("control", "reset"))


def _add_kubeconfig(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "kubeconfig",
        help="tell kubectl where the cluster is",
        description='Print the line that points kubectl to the cluster: eval "$(kubernel kubeconfig)".',
    )
    add_target(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--path", action="store_true", help="print the path alone")
    how.add_argument(
        "--merge",
        action="store_true",
        help="add the cluster to ~/.kube/config (or the first file of $KUBECONFIG); other contexts stay",
    )
    parser.add_argument("--into", metavar="FILE", help="with --merge: the file to change")
    parser.add_argument("--context", metavar="NAME", help="with --merge: the context's name")
    parser.set_defaults(run=_later("kubeconfig", "kubeconfig"))


def _add_inspection(commands: argparse._SubParsersAction[Any]) -> None:
    plugins = commands.add_parser(
        "plugins",
        help="list the parts of the cluster",
        description="List the plugins: role, name, distribution, version, and how each is.",
    )
    add_target(plugins)
    add_format(plugins)
    plugins.add_argument("-a", "--all", action="store_true", help="also those that are installed and off")
    plugins.set_defaults(run=_later("plugins", "plugins"))

    config = commands.add_parser(
        "config", help="show or check the configuration", description="Show or check the configuration."
    )
    actions = config.add_subparsers(metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print the configuration in effect, defaults filled in")
    add_target(show)
    show.set_defaults(run=_later("config", "show"))
    check = actions.add_parser("check", help="check a configuration file, its plugins and their settings")
    add_target(check)
    check.add_argument("file", nargs="?", metavar="FILE", help="the file (default: the one in effect)")
    check.set_defaults(run=_later("config", "check"))

    version = commands.add_parser("version", help="print versions", description="Print versions.")
    add_format(version)
    version.set_defaults(run=_later("plugins", "version"))
