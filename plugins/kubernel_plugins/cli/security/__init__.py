"""Certificates, users, and how safe the cluster is: ``kubernel certs``, ``user`` and ``doctor``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl

__all__ = ["Plugin"]


class Plugin(BasePlugin):
    """The modules are imported when a command runs."""

    @hookimpl
    def kubernel_cli(self, commands: argparse._SubParsersAction[Any]) -> None:
        from kubernel.cli.options import add_format, add_target

        certs = commands.add_parser(
            "certs",
            help="list or renew certificates",
            description="List or renew the cluster's certificates.",
        )
        actions = certs.add_subparsers(metavar="ACTION", required=True)
        listing = actions.add_parser("list", help="tell for whom they are and when they end")
        add_target(listing)
        add_format(listing)
        listing.set_defaults(run=_later("list_certificates"))
        renewing = actions.add_parser(
            "renew", help="issue them again; a running cluster takes the new ones within a minute"
        )
        add_target(renewing)
        renewing.add_argument("names", nargs="*", metavar="NAME", help="which ones (default: all)")
        renewing.set_defaults(run=_later("renew_certificates"))

        user = commands.add_parser("user", help="create users", description="Create users of the cluster.")
        actions = user.add_subparsers(metavar="ACTION", required=True)
        creating = actions.add_parser("create", help="issue a certificate and print a kubeconfig with it")
        add_target(creating)
        creating.add_argument("user", metavar="NAME", help="the user's name")
        creating.add_argument(
            "--group", action="append", default=[], metavar="G", help="a group; may be repeated"
        )
        creating.add_argument("--days", type=int, default=365, help="how long it is good (default: 365)")
        creating.add_argument(
            "--token", default="", help="a token that says who the user is, instead of a certificate"
        )
        creating.set_defaults(run=_later("create_user"))

        doctor = commands.add_parser(
            "doctor",
            help="look for what is wrong with the cluster",
            description="Look for what is wrong with the cluster. Exit code 1: a check failed.",
        )
        add_target(doctor)
        add_format(doctor)
        doctor.add_argument(
            "--security",
            action="store_true",
            required=True,
            help="the checks of the CIS benchmark that apply",
        )
        doctor.set_defaults(run=_later("doctor"))


def _later(name: str) -> Callable[[argparse.Namespace], int]:
    def run(args: argparse.Namespace) -> int:
        from kubernel_plugins.cli.security import commands

        code: int = getattr(commands, name)(args)
        return code

    return run
