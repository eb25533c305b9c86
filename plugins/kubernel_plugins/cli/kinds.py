"""The kinds of a cluster, by the words that kubectl takes for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernel.errors import KubernelError, qualified_resource

if TYPE_CHECKING:
    from kubernel.client import Client

__all__ = ["Kind", "kinds", "resolve"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A served type; ``resource`` is what a client calls it."""

    resource: str
    plural: str
    group: str
    kind: str
    namespaced: bool
    verbs: frozenset[str]


async def kinds(client: Client) -> list[tuple[Kind, frozenset[str]]]:
    """Each served type, once, with the lower-case words that mean it."""
    found: dict[tuple[str, str], tuple[Kind, frozenset[str]]] = {}
    for each in await client.discover():
        plural, group = each["resource"], each["group"]
        resource = f"{plural}.{each['version']}.{group}" if group else plural
        words = {
            plural,
            qualified_resource(plural, group),
            each["singular"],
            each["kind"].lower(),
            *each["short_names"],
        }
        kind = Kind(resource, plural, group, each["kind"], each["namespaced"], frozenset(each["verbs"]))
        # Versions come in the order of preference.
        found.setdefault((group, plural), (kind, frozenset(words | set(each["short_names"]))))
    return list(found.values())


async def resolve(client: Client, word: str) -> Kind:
    for kind, words in await kinds(client):
        if word.lower() in words:
            return kind
    raise KubernelError(f'the cluster has no kind "{word}"; `kubectl api-resources` lists them')
