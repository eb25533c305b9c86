"""Priority: the priority class of a pod, or of a group of pods, becomes its priority; one class may be the default.

Source: k8s.io/kubernetes/plugin/pkg/admission/priority/admission.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from kubernel.errors import Forbidden, NotFound
from kubernel.objects import meta
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_CLASSES = "priorityclasses.v1.scheduling.k8s.io"
_DEFAULT = {"value": 0, "preemptionPolicy": "PreemptLowerPriority"}
_PRIORITIZED = {("pods", ""): ("CREATE", "UPDATE"), ("podgroups", "scheduling.k8s.io"): ("CREATE",)}


class Plugin(Base):
    """The ``priority`` admission plugin."""

    async def start(self) -> None:
        self._client = self.handle.client("system:apiserver", ("system:masters",))
        self._classes = self._client.informer(_CLASSES)
        self._classes.add_index("default", lambda obj: ("yes",) if obj.get("globalDefault") else ())

    @hookimpl
    def kubernel_admit(self, request: Request) -> Awaitable[None] | None:
        type = request.type
        if request.operation not in _PRIORITIZED.get((type.plural, type.group), ()) or request.subresource:
            return None
        if request.operation == "UPDATE" and request.obj is not None and request.old is not None:
            # What admission set at creation stays, also when a client leaves it out.
            spec, old = request.obj["spec"], request.old["spec"]
            for key in ("priority", "preemptionPolicy"):
                if spec.get(key) is None and old.get(key) is not None:
                    spec[key] = old[key]
            return None
        if request.obj is None:
            return None
        name = request.obj["spec"].get("priorityClassName", "")
        if name:
            found = self._classes.get(name)
            if found is None:
                return self._look_again(request, name)
            self._set(request, found)
            return None
        chosen: Obj = _DEFAULT
        if defaults := self._classes.by("default", "yes"):
            chosen = min(defaults, key=lambda obj: (obj["value"], meta.name(obj)))
            request.obj["spec"]["priorityClassName"] = meta.name(chosen)
        self._set(request, chosen)
        return None

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        """Only one class is the default of pods that name none."""
        type, obj = request.type, request.obj
        if type.plural != "priorityclasses" or type.group != "scheduling.k8s.io" or obj is None:
            return
        if request.operation not in ("CREATE", "UPDATE") or not obj.get("globalDefault"):
            return
        for other in self._classes.by("default", "yes"):
            if request.operation == "CREATE" or meta.name(other) != meta.name(obj):
                why = (
                    f"PriorityClass {meta.name(other)} is already marked as default. "
                    "Only one default can exist"
                )
                raise _refused(request, why)

    async def _look_again(self, request: Request, name: str) -> None:
        try:
            found = await self._client.get(_CLASSES, name)
        except NotFound:
            raise _refused(request, f"no PriorityClass with name {name} was found") from None
        self._set(request, found)

    @staticmethod
    def _set(request: Request, priority_class: Obj) -> None:
        assert request.obj is not None  # noqa: S101 - the caller looked
        spec = request.obj["spec"]
        value = priority_class["value"]
        grouped = request.type.plural == "podgroups"
        if spec.get("priority") not in (None, value):
            raise _refused(
                request,
                f"priority set in the pod group ({spec['priority']}) must match the priority computed ({value}) based "
                "on the priority class set in the spec"
                if grouped
                else f"the integer value of priority ({spec['priority']}) must not be provided in pod "
                f"spec; priority admission controller computed {value} from the given PriorityClass name",
            )
        spec["priority"] = value
        if grouped:
            return
        policy = priority_class.get("preemptionPolicy", "PreemptLowerPriority")
        if spec.get("preemptionPolicy") not in (None, policy):
            raise _refused(
                request,
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in "
                f"pod spec; priority admission controller computed {policy} from the given "
                "PriorityClass name",
            )
        spec["preemptionPolicy"] = policy


def _refused(request: Request, why: str) -> Forbidden:
    return Forbidden.for_object(request.type.plural, request.type.group, request.name, why)
