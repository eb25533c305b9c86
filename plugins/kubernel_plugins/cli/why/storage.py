"""Why a claim is not bound, why a volume does not go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects import meta
from kubernel_plugins import volumes as v

from .view import Link, View

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["claim", "trouble", "user_of", "volume"]


async def trouble(view: View, namespace: str, name: str) -> list[Link]:
    """What is wrong with a claim; nothing when it is bound."""
    found = await view.get(v.CLAIMS, name, namespace)
    if found is None:
        return [Link(f"PersistentVolumeClaim {name}", "does not exist")]
    if meta.is_deleting(found):
        return [Link(f"PersistentVolumeClaim {name}", "is being deleted")]
    chain = await claim(view, found)
    return [] if chain[-1].fine else chain


async def claim(view: View, obj: Obj) -> list[Link]:
    subject = f"PersistentVolumeClaim {meta.name(obj)}"
    phase = (obj.get("status") or {}).get("phase", "Pending")
    if phase == "Bound":
        return [Link(subject, f"is bound to {obj['spec'].get('volumeName', '')}", fine=True)]
    if phase == "Lost":
        text = await view.event(obj, "ClaimLost", "ClaimMisbound")
        return [Link(subject, "is lost"), Link("its volume", text or "does not exist any more")]
    first = Link(subject, "is not bound")
    for reasons in (("VolumeMismatch",), ("ProvisioningFailed",)):
        if text := await view.event(obj, *reasons):
            return [first, Link("the volume controller", f"says: {text}")]
    if wanted := obj["spec"].get("volumeName"):
        return [first, await _named(view, wanted)]
    name = v.class_of(obj)
    if not name:
        text = "no volume that suits it is free, and it names no storage class"
        return [first, Link(subject, text)]
    found = await view.get(v.CLASSES, name)
    if found is None:
        return [first, Link(f"StorageClass {name}", "does not exist")]
    if v.waits_for_consumer(found) and v.SELECTED_NODE not in meta.annotations(obj):
        user = await user_of(view, obj)
        if not user:
            text = "waits for a first pod that uses its claims (WaitForFirstConsumer)"
            return [first, Link(f"StorageClass {name}", text)]
        if found["provisioner"] == v.NO_PROVISIONER:
            return [first, Link(subject, f"waits for the scheduler to find pod {user} a node with a volume")]
        return [first, Link(subject, f"waits for pod {user} to get a node")]
    text = f"has not made a volume for it yet; does {found['provisioner']} run?"
    return [first, Link(f"the provisioner {found['provisioner']}", text)]


async def _named(view: View, name: str) -> Link:
    """Why the volume that a claim asks for is not the claim's."""
    subject = f"PersistentVolume {name}"
    found = await view.get(v.VOLUMES, name)
    if found is None:
        return Link(subject, "does not exist")
    reference = found["spec"].get("claimRef") or {}
    if reference.get("name"):
        return Link(subject, f"is bound to the claim {reference.get('namespace')}/{reference['name']}")
    return Link("the volume controller", "is still at work")


async def user_of(view: View, obj: Obj) -> str:
    """A pod that uses a claim."""
    for pod in await view.list("pods", meta.namespace(obj)):
        if meta.name(obj) in v.claim_names(pod):
            return meta.name(pod)
    return ""


async def volume(view: View, obj: Obj) -> list[Link]:
    subject = f"PersistentVolume {meta.name(obj)}"
    status = obj.get("status") or {}
    phase = status.get("phase", "Pending")
    if phase == "Failed":
        text = status.get("message") or await view.event(obj)
        return [Link(subject, "could not be reclaimed"), Link("the volume controller", f"says: {text}")]
    if phase == "Released":
        reference = obj["spec"].get("claimRef") or {}
        policy = obj["spec"].get("persistentVolumeReclaimPolicy", "Retain")
        return [
            Link(subject, "is released and bound to nobody"),
            Link(
                f"PersistentVolumeClaim {reference.get('namespace')}/{reference.get('name')}",
                f"is gone, and the reclaim policy is {policy}",
            ),
        ]
    return [Link(subject, f"is {phase.lower()}", fine=True)]
