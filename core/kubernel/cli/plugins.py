"""``kubernel plugins`` and ``kubernel version``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from kubernel import __version__
from kubernel.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubernel.config import Configuration
    from kubernel.plugin.catalogue import Catalogue

__all__ = ["plugins", "rows", "version"]


def plugins(args: argparse.Namespace) -> int:
    from kubernel.datadir import DataDir, running_pid
    from kubernel.plugin.catalogue import Catalogue

    config = options.configuration(args)
    directory = config.cluster.data_dir
    running = DataDir(directory).read_state() if running_pid(directory) is not None else None
    table = rows(Catalogue(), config, running)
    if not args.all:
        table = [row for row in table if row["state"] != "off"]
    if args.output == "json":
        print(json.dumps(table, indent=2))
        return 0
    columns = ("role", "name", "distribution", "version", "state")
    widths = [max(len(column), *(len(row[column]) for row in table)) for column in columns]
    print(
        "  ".join(column.upper().ljust(width) for column, width in zip(columns, widths, strict=True)).rstrip()
    )
    for row in table:
        line = "  ".join(row[column].ljust(width) for column, width in zip(columns, widths, strict=True))
        print(f"{line}  {row['error']}".rstrip())
    return 0


def rows(
    catalogue: Catalogue, config: Configuration, running: Mapping[str, Any] | None
) -> list[dict[str, str]]:
    """One row for each plugin that is installed, configured or running, by role in start order.

    ``state`` is a running plugin's phase; else ``on``, ``off``, or ``missing`` for what is configured but not
    installed.
    """
    states = {(one["role"], one["name"]): one for one in (running or {}).get("plugins", ())}
    table: list[dict[str, str]] = []
    for role, choices in config.plugins.items():
        on = [choice.name for choice in choices]
        installed = catalogue.of(role)
        for found in sorted(installed, key=lambda one: (one.name not in on, one.name)):
            state = states.pop((role, found.name), None)
            # Commands run in their own process: they have no state in the cluster's.
            offline = "on" if found.name in on else "off"
            table.append(
                {
                    "role": role,
                    "name": found.name,
                    "distribution": found.distribution,
                    "version": found.version,
                    "state": state["phase"] if state else offline,
                    "error": state["error"] if state else "",
                }
            )
        known = {found.name for found in installed}
        table += [_missing(role, name, "is not installed") for name in on if name not in known]
    table += [_missing(role, name, "runs, is no longer installed") for role, name in states]
    return table


def _missing(role: str, name: str, error: str) -> dict[str, str]:
    return {
        "role": role,
        "name": name,
        "distribution": "-",
        "version": "-",
        "state": "missing",
        "error": error,
    }


def version(args: argparse.Namespace) -> int:
    import platform

    from kubernel.config import ClusterSettings

    versions = {
        "kubernel": __version__,
        "kubernetes": ClusterSettings().kubernetes_version,
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }
    if args.output == "json":
        print(json.dumps(versions, indent=2))
    else:
        print(f"kubernel {versions['kubernel']} (Kubernetes {versions['kubernetes']})")
        print(f"Python {versions['python']} on {versions['platform']}")
    return 0
