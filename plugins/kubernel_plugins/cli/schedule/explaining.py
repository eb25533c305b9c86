"""``kubernel schedule explain``: a table of nodes and policies for a pod."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from kubernel.errors import KubernelError
from kubernel_plugins.cli.schedule.fork import forked
from kubernel_plugins.cli.schedule.tables import write

if TYPE_CHECKING:
    import argparse

    from kubernel.config import Configuration
    from kubernel.plugin.scheduling import Explainer, Explanation
    from kubernel.store.records import Obj
    from kubernel.testing import Cluster

__all__ = ["explain", "rows", "summary"]


def explain(config: Configuration, contents: Sequence[Obj], now: float, args: argparse.Namespace) -> int:
    kind, _, name = args.pod.rpartition("/")
    if kind not in ("", "po", "pod", "pods"):
        raise KubernelError(f'"{args.pod}": only pods are scheduled; name one as pod/NAME')
    with forked(config, contents, now=now, controllers=(), lead=False) as cluster:
        found = cluster.run(_explainer(config, cluster).explain(args.namespace, name))
    if args.output == "json":
        sys.stdout.write(json.dumps(dataclasses.asdict(found), indent=2) + "\n")
    else:
        sys.stdout.write(f"{args.namespace}/{name}, {summary(found)}\n")
        write(sys.stdout, rows(found))
    return 0 if _fitting(found) else 1


def _explainer(config: Configuration, cluster: Cluster) -> Explainer:
    for choice in config.plugins["scheduler"]:
        plugin: Any = cluster.kernel.plugin("scheduler", choice.name)
        if hasattr(plugin, "explain"):
            return cast("Explainer", plugin)
    raise KubernelError("the cluster has no scheduler that can explain what it does")


def _fitting(found: Explanation) -> dict[str, int]:
    return {name: each["total"] or 0 for name, each in found.nodes.items() if not each["refusals"]}


def summary(found: Explanation) -> str:
    """Where the pod is and where it would go now, in one line."""
    where = f"on {found.node}" if found.node else "without a node"
    text = f"{found.scheduler_name}: {where}"
    for policy, why in found.gates.items():
        text += f"; {policy} keeps it out of the queue: {why}"
    fitting = _fitting(found)
    text += f"; fits {len(fitting)} of {len(found.nodes)} nodes"
    if fitting:
        most = max(fitting.values())
        best = [name for name, total in fitting.items() if total == most]
        text += f", best: {', '.join(best[:3])}" + (f" and {len(best) - 3} more" if len(best) > 3 else "")
    return text


def rows(found: Explanation) -> list[list[str]]:
    """A line for each node, a column for each policy that has anything to say, the best nodes first. A cell
    is the score times its weight, or why not."""
    said = {policy for each in found.nodes.values() for policy in (*each["refusals"], *each["scores"])}
    columns = [policy for policy in _in_order(found) if policy in said]
    table = [["NODE", *columns, "TOTAL"]]
    for name, each in sorted(
        found.nodes.items(), key=lambda item: (bool(item[1]["refusals"]), -_total(item[1]), item[0])
    ):
        cells = [_cell(policy, each, found.weights) for policy in columns]
        table.append([name, *cells, "-" if each["refusals"] else str(_total(each))])
    return table


def _total(each: Any) -> int:
    return each["total"] or 0


def _cell(policy: str, each: Any, weights: Any) -> str:
    if policy in each["refusals"]:
        return "; ".join(each["refusals"][policy])
    if policy in each["scores"]:
        weight = weights[policy]
        return f"{each['scores'][policy]}" + (f"*{weight}" if weight != 1 else "")
    return "-" if each["refusals"] else "ok"


def _in_order(found: Explanation) -> Iterable[str]:
    """Policies that refuse come before those that only score."""
    order: dict[str, None] = {}
    for part in ("refusals", "scores"):
        for each in found.nodes.values():
            order.update(dict.fromkeys(each[part]))
    return order
