"""Which claims a pod uses, and whether it may (k8s.io/dynamic-resource-allocation/resourceclaim, v1.37)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kubernel.objects import meta

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.store.records import Obj

__all__ = ["Unready", "allocation", "is_reserved_for", "of_pod"]


class Unready(ValueError):
    """A claim is not there yet, or not the pod's; the text is upstream's."""


def of_pod(pod: Obj, find: Callable[[str, str], Obj | None]) -> Iterator[Obj]:
    """The claims of a pod; ``find(name, namespace)`` gives one that exists."""
    namespace, name = pod["metadata"].get("namespace", ""), pod["metadata"]["name"]
    for reference in pod["spec"].get("resourceClaims") or ():
        claim_name, owned = reference.get("resourceClaimName"), False
        if not claim_name and reference.get("resourceClaimTemplateName"):
            made = next(
                (
                    each
                    for each in (pod.get("status") or {}).get("resourceClaimStatuses") or ()
                    if each["name"] == reference["name"]
                ),
                None,
            )
            if made is None:
                raise Unready(f'pod "{namespace}/{name}": ResourceClaim not created yet')
            claim_name, owned = made.get("resourceClaimName"), True
            if not claim_name:
                # None was needed.
                continue
        elif not claim_name:
            raise Unready(
                f'pod "{namespace}/{name}", spec.resourceClaim "{reference["name"]}": none of the supported fields are '
                "set"
            )
        claim = find(claim_name, namespace)
        if claim is None:
            raise Unready(f'could not find v1.ResourceClaim "{namespace}/{claim_name}"')
        if meta.is_deleting(claim):
            raise Unready(f'resourceclaim "{claim_name}" is being deleted')
        owner = meta.controller_of(claim) if owned else None
        if owned and (owner is None or owner.get("uid") != meta.uid(pod)):
            raise Unready(
                f"ResourceClaim {namespace}/{claim_name} was not created for Pod {namespace}/{name} (Pod is not owner)"
            )
        yield claim


def allocation(claim: Obj) -> Obj | None:
    found: Obj | None = (claim.get("status") or {}).get("allocation")
    return found


def is_reserved_for(claim: Obj, uid: str) -> bool:
    return any(each.get("uid") == uid for each in (claim.get("status") or {}).get("reservedFor") or ())
