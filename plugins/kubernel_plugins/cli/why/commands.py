"""What the subcommand prints."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from kubernel.errors import KubernelError

from .chain import explain

if TYPE_CHECKING:
    import argparse

    from kubernel.client import Client
    from kubernel.clock import Clock

__all__ = ["why"]


async def why(client: Client, clock: Clock, args: argparse.Namespace) -> int:
    kind, _, name = args.object.partition("/")
    if not kind or not name:
        raise KubernelError(f'"{args.object}": write KIND/NAME, for example deploy/web')
    chain = await explain(client, clock, kind, name, args.namespace)
    if args.output == "json":
        sys.stdout.write(json.dumps([dataclasses.asdict(link) for link in chain], indent=2) + "\n")
    else:
        for depth, link in enumerate(chain):
            lead = f"{'  ' * depth}because " if depth else ""
            sys.stdout.write(f"{lead}{link}\n")
    return 0 if chain[-1].fine else 1
