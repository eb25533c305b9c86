"""The FlowSchemas and PriorityLevelConfigurations that every cluster has, and which schemas lead nowhere.

Source: k8s.io/apiserver/pkg/util/flowcontrol/apf_controller.go, pkg/registry/flowcontrol/{ensurer,rest} (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import AlreadyExists
from kubernel.objects import conditions, meta
from kubernel_plugins.flowcontrol import LEVELS, MANDATORY, SCHEMAS

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_SCHEMAS = "flowschemas.v1.flowcontrol.apiserver.k8s.io"
_LEVELS = "prioritylevelconfigurations.v1.flowcontrol.apiserver.k8s.io"
_AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"


def _schemas_of(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """The schemas that name a level, and one that stands for a level we keep."""
    name = meta.name(obj)
    keys = {
        ("", meta.name(schema))
        for schema in self.primary.list()
        if schema["spec"]["priorityLevelConfiguration"]["name"] == name
    }
    return keys | {("", schema) for schema, level in self.homes.items() if level == name}


class Plugin(Reconciler):
    """The ``flowcontrol`` controller; keys are FlowSchemas."""

    resource = _SCHEMAS
    watches = {_LEVELS: _schemas_of}  # noqa: RUF012 - typed in the base
    user = "system:apiserver"
    workers = 1

    homes: dict[str, str]
    """For each schema that is kept, the level that is kept with it."""

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self.homes = {name: spec["priorityLevelConfiguration"]["name"] for name, spec in SCHEMAS.items()}

    async def setup(self) -> None:
        self._admin = self.handle.client(self.user, ("system:masters",))
        for name, spec in LEVELS.items():
            await self._ensure(_LEVELS, "PriorityLevelConfiguration", name, spec)
        for name, spec in SCHEMAS.items():
            await self._ensure(_SCHEMAS, "FlowSchema", name, spec)

    async def reconcile(self, namespace: str, name: str) -> None:
        level = self.homes.get(name)
        if level in MANDATORY:
            # Without these nobody could be told where to go: they come back when they are deleted or changed.
            await self._ensure(_LEVELS, "PriorityLevelConfiguration", level, LEVELS[level])
        if name in MANDATORY:
            await self._ensure(_SCHEMAS, "FlowSchema", name, SCHEMAS[name])
        schema = self.primary.get(name)
        if schema is not None:
            await self._tell(schema)

    async def _ensure(self, resource: str, kind: str, name: str, spec: Obj) -> None:
        """Mandatory objects are kept as they are here, the others as long as nobody says otherwise."""
        found = self.informer(resource).get(name)
        if found is None:
            metadata = {"name": name, "annotations": {_AUTOUPDATE: "true"}}
            made = {
                "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
                "kind": kind,
                "metadata": metadata,
                "spec": spec,
            }
            try:
                await self._admin.create(resource, made)
            except AlreadyExists:
                return
            return
        kept = name in MANDATORY or (found["metadata"].get("annotations") or {}).get(_AUTOUPDATE) == "true"
        if kept and not _covers(found["spec"], spec):
            await self._admin.update(resource, {**found, "spec": spec})

    async def _tell(self, schema: Obj) -> None:
        level = schema["spec"]["priorityLevelConfiguration"]["name"]
        if self.informer(_LEVELS).get(level) is not None:
            status, reason = "False", "Found"
            message = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}" and it exists'
        else:
            status, reason = "True", "NotFound"
            message = (
                f'This FlowSchema references the PriorityLevelConfiguration object named "{level}" but there is no '
                "such object"
            )
        now = rfc3339(self.clock.time())
        before = (schema.get("status") or {}).get("conditions")
        after, changed = conditions.set(before, "Dangling", status, reason, message, now)
        if changed:
            body = {**schema, "status": {**(schema.get("status") or {}), "conditions": after}}
            await self._admin.update(_SCHEMAS, body, subresource="status")


def _covers(there: Any, wanted: Any) -> bool:
    """Whether ``there`` is ``wanted`` with defaults filled in."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(
            _covers(there.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(there, list)
            and len(there) == len(wanted)
            and all(_covers(one, other) for one, other in zip(there, wanted, strict=True))
        )
    return bool(there == wanted)
