"""``kubernel hello NAME``: ask the controller of the running cluster for a greeting."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.config import Duration
from kubernel.errors import KubernelError
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.clock import Clock

__all__ = ["Plugin", "Settings", "greeting"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``timeout``: seconds to wait for the controller."""

    timeout: Duration = 10.0


class Plugin(BasePlugin):
    """Adds the subcommand."""

    Settings = Settings

    @hookimpl
    def kubernel_cli(self, commands: argparse._SubParsersAction[Any]) -> None:
        parser = commands.add_parser("hello", help="be greeted by the hello controller")
        parser.add_argument("name", help="whom to greet: letters, digits, - _ .")
        parser.add_argument("-n", "--namespace", default="default")
        parser.set_defaults(run=self.run)

    def run(self, args: argparse.Namespace) -> int:
        import asyncio

        sys.stdout.write(asyncio.run(self._ask(args.namespace, args.name)) + "\n")
        return 0

    async def _ask(self, namespace: str, name: str) -> str:
        client = self.handle.client("kubernetes-admin")
        try:
            return await greeting(client, self.handle.clock, namespace, name, self.settings.timeout)
        finally:
            await client.close()


async def greeting(client: Client, clock: Clock, namespace: str, name: str, timeout: float) -> str:
    """Make a labelled ConfigMap, give what the controller writes into it, remove it. KubernelError when it
    writes nothing within ``timeout`` seconds."""
    card = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"generateName": "hello-", "labels": {"hello.kubernel.dev/greet": name}},
    }
    made = await client.create("configmaps", card, namespace)
    own = made["metadata"]["name"]
    try:
        async with clock.timeout(timeout):
            async for _, seen in client.watch("configmaps", namespace, fields=f"metadata.name={own}"):
                text = (seen.get("data") or {}).get("greeting")
                if text:
                    return str(text)
    except TimeoutError:
        pass
    finally:
        await client.delete("configmaps", own, namespace)
    raise KubernelError("nobody greets: is the controller `hello` in the cluster's configuration?")
