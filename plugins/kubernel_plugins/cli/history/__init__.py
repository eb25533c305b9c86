"""Subcommands that look back: ``history``, ``diff`` and ``blame``.

The store keeps old revisions for its ``retention``; a GET or LIST with ``resourceVersionMatch=Exact`` reads them. Who
wrote what and when is in ``metadata.managedFields``.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import Any

from kubernel.cli.options import add_format, add_target
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl

__all__ = ["Plugin"]


class Plugin(BasePlugin):
    """Adds the subcommands; their modules are imported when one runs."""

    @hookimpl
    def kubernel_cli(self, commands: argparse._SubParsersAction[Any]) -> None:
        history = commands.add_parser(
            "history",
            help="tell how an object changed",
            description="List the revisions of an object that the store still has, the newest first.",
        )
        _add_object(history)
        history.add_argument(
            "--limit", type=int, default=20, metavar="COUNT", help="how many revisions to show (default: 20)"
        )
        add_format(history)
        history.set_defaults(run=self._later("history"))

        diff = commands.add_parser(
            "diff",
            help="compare with the past",
            description="Print what changed since then in an object, in all objects of a kind, or in a namespace. "
            "Exit code 1: something did.",
        )
        diff.add_argument(
            "kind", nargs="?", metavar="KIND", default="", help="as kubectl knows it: deploy, pods, cm"
        )
        diff.add_argument("object", nargs="?", metavar="NAME", default="")
        diff.add_argument(
            "--since",
            required=True,
            metavar="TIME|REVISION",
            help="how long ago (90s, 10m, 1h), or a resourceVersion",
        )
        _add_place(diff)
        diff.set_defaults(run=self._later("diff"))

        blame = commands.add_parser(
            "blame",
            help="tell who wrote which field",
            description="Print an object as YAML; comments tell the manager of each field and when it wrote.",
        )
        _add_object(blame)
        blame.set_defaults(run=self._later("blame"))

    def _later(self, name: str) -> Callable[[argparse.Namespace], int]:
        def run(args: argparse.Namespace) -> int:
            from kubernel.cli import handle
            from kubernel.cli.options import configuration

            from . import commands

            command: Callable[..., Awaitable[int]] = getattr(commands, name)
            return handle.run(
                self.handle.name,
                configuration(args).cluster,
                lambda client: command(client, self.handle.clock, args),
            )

        return run


def _add_object(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", help="as kubectl knows it: deploy, pods, cm")
    parser.add_argument("object", metavar="NAME")
    _add_place(parser)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--namespace", default="default", help="default: default")
    add_target(parser)
