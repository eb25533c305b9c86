"""Subcommand ``why``: what keeps an object from being what it should be, in one chain of causes.

Read from conditions, events and the objects themselves; nothing is written.
"""

from __future__ import annotations

import argparse
from typing import Any

from kubernel.cli.options import add_format, add_target
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl

__all__ = ["Plugin"]


class Plugin(BasePlugin):
    """Adds the subcommand; its modules are imported when it runs."""

    @hookimpl
    def kubernel_cli(self, commands: argparse._SubParsersAction[Any]) -> None:
        why = commands.add_parser(
            "why",
            help="tell what keeps an object from being ready",
            description="Tell what keeps an object from being what it should be: one chain of causes, drawn from "
            "conditions, events and the objects that it depends on. Exit code 1: something does.",
        )
        why.add_argument("object", metavar="KIND/NAME", help="as kubectl knows it: deploy/web, pod/db-0")
        why.add_argument("-n", "--namespace", default="default", help="default: default")
        add_target(why)
        add_format(why)
        why.set_defaults(run=self._run)

    def _run(self, args: argparse.Namespace) -> int:
        from kubernel.cli.handle import run
        from kubernel.cli.options import configuration

        from .commands import why

        return run(
            self.handle.name,
            configuration(args).cluster,
            lambda client: why(client, self.handle.clock, args),
        )
