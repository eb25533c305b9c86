"""Subcommand ``schedule``: why a pod goes where it goes, and what would happen if the cluster were another.

Both read the cluster once, at one revision, and look at a fork of it in memory: nothing is written.
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
        schedule = commands.add_parser(
            "schedule",
            help="explain where pods go, and try what would change it",
            description="Explain where pods go, and try what would change it, without touching the cluster.",
        )
        actions = schedule.add_subparsers(metavar="ACTION", required=True)
        self._add_explain(actions)
        self._add_what_if(actions)

    def _add_explain(self, actions: argparse._SubParsersAction[Any]) -> None:
        explain = actions.add_parser(
            "explain",
            help="what each policy says of each node",
            description="Print what each scheduling policy says of each node for a pod: its score, or why not. "
            "A pod that has a node is looked at as if it had none. Exit code 1: it fits nowhere.",
        )
        explain.add_argument("pod", metavar="pod/NAME", help="the pod; `pod/` may be left out")
        explain.add_argument("-n", "--namespace", default="default", help="default: default")
        add_target(explain)
        add_format(explain)
        explain.set_defaults(run=self._explain)

    def _add_what_if(self, actions: argparse._SubParsersAction[Any]) -> None:
        what_if = actions.add_parser(
            "what-if",
            help="where pods would go if …",
            description="Print where pods would go and which would stay pending if the cluster were changed so. "
            "Nodes are cordoned and added first, then manifests applied and workloads scaled, and nodes drained "
            "at last. "
            "Exit code 1: a pod would stay pending.",
        )
        what_if.add_argument(
            "--add-node",
            action="append",
            default=[],
            metavar="NAME=SPEC",
            help="a node: big=8cpu,32Gi,110pods,example.com/gpu=2,label:zone=a,taint:key=value:NoSchedule",
        )
        what_if.add_argument(
            "--apply", action="append", default=[], metavar="FILE", help="a manifest, as kubectl apply"
        )
        what_if.add_argument(
            "--scale", action="append", default=[], metavar="KIND/NAME=REPLICAS", help="deploy/web=40"
        )
        for name, told in (
            ("cordon", "a node that takes no more pods"),
            ("uncordon", "a node that takes pods again"),
            ("drain", "a node that is cordoned and whose pods are evicted, as disruption budgets allow"),
        ):
            what_if.add_argument(f"--{name}", action="append", default=[], metavar="NODE", help=told)
        what_if.add_argument(
            "-n", "--namespace", default="default", help="of what is scaled and applied (default: default)"
        )
        what_if.add_argument(
            "--for",
            dest="period",
            default="10m",
            metavar="TIME",
            help="how much of the cluster's time to look ahead at most (default: 10m)",
        )
        add_target(what_if)
        add_format(what_if)
        what_if.set_defaults(run=self._what_if)

    def _explain(self, args: argparse.Namespace) -> int:
        from kubernel_plugins.cli.schedule.explaining import explain

        return explain(*self._cluster(args), args)

    def _what_if(self, args: argparse.Namespace) -> int:
        from kubernel_plugins.cli.schedule.supposing import what_if

        return what_if(*self._cluster(args), args)

    def _cluster(self, args: argparse.Namespace) -> tuple[Any, Any, float]:
        """The configuration, what the cluster holds, and the time."""
        from kubernel.cli.handle import run
        from kubernel.cli.options import configuration
        from kubernel_plugins.cli.schedule.fork import read

        config = configuration(args)
        return config, run(self.handle.name, config.cluster, read), self.handle.clock.time()
