"""Bring the default roles into the store, and keep aggregated cluster roles aggregated."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from kubernel.errors import AlreadyExists, ApiError, BadRequest, Conflict, Invalid, NotFound
from kubernel.objects.selectors import from_object
from kubernel_plugins.auth.rules import compile_rules, covers

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.clock import Clock
    from kubernel.store.records import Obj

__all__ = ["Aggregator", "aggregated", "reconcile"]

_SUFFIX = "v1.rbac.authorization.k8s.io"
_AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_MANAGER = "clusterrole-aggregation-controller"
_RETRY = 1.0
_TRIES = 60


def aggregated(role: Obj, roles: dict[str, Obj]) -> list[dict[str, Any]]:
    """The rules that ``role``'s aggregationRule collects from ``roles``: by selector, then by name, each once."""
    selectors = [
        from_object(selector)
        for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
    ]
    collected: list[dict[str, Any]] = []
    for selector in selectors:
        for name in sorted(roles):
            other = roles[name]
            if name != role["metadata"]["name"] and selector.matches(other["metadata"].get("labels") or {}):
                collected.extend(rule for rule in other.get("rules") or () if rule not in collected)
    return collected


async def reconcile(client: Client, clock: Clock, objects: list[tuple[str, Obj, Obj | None]]) -> None:
    """Create what is missing; give what is there the rules and subjects it lacks, unless its owner said
    not to (annotation autoupdate: "false"). ``objects`` are (plural, wanted, stored)."""
    for plural, wanted, stored in objects:
        resource = f"{plural}.{_SUFFIX}"
        for attempt in range(_TRIES):
            try:
                if stored is None:
                    await client.create(resource, wanted, wanted["metadata"].get("namespace", ""))
                else:
                    merged = _merged(wanted, stored)
                    if merged is not None:
                        await client.update(resource, merged)
                break
            except (AlreadyExists, Conflict):
                break
            except (BadRequest, Invalid):
                # Never going to be taken: a type served with other rules than Kubernetes'.
                break
            except ApiError:
                # Its namespace comes with another plugin's start.
                if attempt == _TRIES - 1:
                    raise
                await clock.sleep(_RETRY)
        await asyncio.sleep(0)


def _merged(wanted: Obj, stored: Obj) -> Obj | None:
    """``stored`` with what it lacks of ``wanted``; None when it lacks nothing."""
    meta = stored["metadata"]
    if (meta.get("annotations") or {}).get(_AUTOUPDATE) == "false":
        return None
    changed: Obj = {}
    if "roleRef" in wanted:
        have = stored.get("subjects") or []
        lacking = [subject for subject in wanted.get("subjects") or () if subject not in have]
        if lacking and stored.get("roleRef") == wanted["roleRef"]:
            changed["subjects"] = [*have, *lacking]
    elif "aggregationRule" not in wanted and stored.get("rules") != wanted["rules"]:
        missing = covers(compile_rules(stored.get("rules")), compile_rules(wanted["rules"]))
        if missing:
            changed["rules"] = [*(stored.get("rules") or []), *(rule.as_dict() for rule in missing)]
    have_labels = meta.get("labels") or {}
    labels = {key: value for key, value in wanted["metadata"]["labels"].items() if key not in have_labels}
    if labels:
        changed["metadata"] = {**meta, "labels": {**have_labels, **labels}}
    return {**stored, **changed} if changed else None


class Aggregator:
    """Writes collected rules into aggregated cluster roles whenever a cluster role changes."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._roles: dict[str, Obj] = {}
        self._dirty = asyncio.Event()

    def put(self, role: Obj) -> None:
        self._roles[role["metadata"]["name"]] = role
        self._dirty.set()

    def remove(self, name: str) -> None:
        self._roles.pop(name, None)
        self._dirty.set()

    async def run(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            for role in list(self._roles.values()):
                if not role.get("aggregationRule"):
                    continue
                rules = aggregated(role, self._roles)
                if rules == (role.get("rules") or []):
                    continue
                name = role["metadata"]["name"]
                wanted: Obj = {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRole",
                    "metadata": {"name": name},
                }
                if rules:
                    wanted["rules"] = rules
                try:
                    await self._client.patch(
                        f"clusterroles.{_SUFFIX}",
                        name,
                        wanted,
                        type="apply",
                        field_manager=_MANAGER,
                        force=True,
                    )
                except (Conflict, NotFound):
                    continue
                except ApiError:
                    await self._clock.sleep(_RETRY)
                    self._dirty.set()
