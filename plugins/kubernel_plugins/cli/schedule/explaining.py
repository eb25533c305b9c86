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
    from kubernel.plugin.explaining import Explainer, Explanation
    from kubernel.store.records import Obj
    from kubernel.testing import Cluster

__all__ = ["explain", "remarks", "rows", "summary"]


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
        sys.stdout.writelines(f"{line}\n" for line in remarks(found))
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
    said = _said(found)
    columns = [policy for policy in found.policies if policy in said]
    table = [["NODE", *columns, "TOTAL"]]
    for name, each in sorted(
        found.nodes.items(), key=lambda item: (bool(item[1]["refusals"]), -_total(item[1]), item[0])
    ):
        cells = [_cell(policy, each, found.weights) for policy in columns]
        table.append([name, *cells, "-" if each["refusals"] else str(_total(each))])
    return table


def remarks(found: Explanation) -> Iterable[str]:
    """What is to be said beside the table: policies without a column, who could make room, the pod's group."""
    silent = [policy for policy in found.policies if policy not in _said(found)]
    if silent:
        yield f"Nothing to say: {', '.join(silent)}"
    for policy, told in found.room.items():
        if isinstance(told, str):
            yield f"{policy}: {told}"
            continue
        for node, its in told.items():
            protected = f", {its['violations']} of them protected by a budget" if its["violations"] else ""
            yield f"{policy}: would fit on {node} without {', '.join(its['victims'])}{protected}"
    if found.group is not None:
        placed = ", ".join(f"{pod} on {node}" for pod, node in found.group["nodes"].items()) or "none"
        refusal = f"; {found.group['refusal']}" if found.group["refusal"] else ""
        yield f"Placed together as {found.group['name']}: {placed}{refusal}"


def _said(found: Explanation) -> set[str]:
    return {policy for each in found.nodes.values() for policy in (*each["refusals"], *each["scores"])}


def _total(each: Any) -> int:
    return each["total"] or 0


def _cell(policy: str, each: Any, weights: Any) -> str:
    if policy in each["refusals"]:
        return "; ".join(each["refusals"][policy])
    if policy in each["scores"]:
        weight = weights[policy]
        return f"{each['scores'][policy]}" + (f"*{weight}" if weight != 1 else "")
    return "-" if each["refusals"] else "ok"
