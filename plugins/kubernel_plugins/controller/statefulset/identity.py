"""What belongs to an ordinal: name, labels, host name, volumes; and a StatefulSet's range of ordinals.

Source: k8s.io/kubernetes/pkg/controller/statefulset/stateful_set_utils.go (v1.37).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.revisions import HASH_LABEL

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "INDEX_LABEL",
    "NAME_LABEL",
    "claim_names",
    "is_member",
    "new_pod",
    "ordinal",
    "parallel",
    "replicas",
    "revision",
    "start",
    "with_identity",
]

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
_NAME = re.compile(r"(.*)-([0-9]+)")


def ordinal(pod: Obj) -> int:
    """The number at the end of the pod's name; -1 when there is none."""
    found = _NAME.fullmatch(meta.name(pod))
    return int(found[2]) if found else -1


def is_member(owner: Obj, pod: Obj) -> bool:
    """Whether the pod's name is one of this StatefulSet's."""
    found = _NAME.fullmatch(meta.name(pod))
    return found is not None and found[1] == meta.name(owner)


def start(owner: Obj) -> int:
    return int(meta.get(owner, "spec", "ordinals", "start", default=0))


def replicas(owner: Obj) -> int:
    count = owner["spec"].get("replicas")
    return 1 if count is None else int(count)


def parallel(owner: Obj) -> bool:
    return bool(owner["spec"].get("podManagementPolicy") == "Parallel")


def revision(pod: Obj) -> str:
    """Name of the ControllerRevision that the pod was made from."""
    return meta.labels(pod).get(HASH_LABEL, "")


def claim_names(owner: Obj, number: int) -> dict[str, str]:
    """Name of the volume -> name of the claim, of the pod with that ordinal."""
    return {
        meta.name(template): f"{meta.name(template)}-{meta.name(owner)}-{number}"
        for template in owner["spec"].get("volumeClaimTemplates") or ()
    }


def new_pod(owner: Obj, number: int, made_from: str) -> Obj:
    """The pod of an ordinal from the owner's template, which the revision ``made_from`` holds."""
    pod = pods.from_template(owner["spec"]["template"], owner)
    metadata = {key: value for key, value in pod["metadata"].items() if key != "generateName"}
    name = f"{meta.name(owner)}-{number}"
    labels = {**metadata.get("labels", {}), HASH_LABEL: made_from}
    pod = {**pod, "metadata": {**metadata, "name": name, "labels": labels}}
    spec = {**pod["spec"], "hostname": name}
    if service := owner["spec"].get("serviceName"):
        spec["subdomain"] = service
    claimed = claim_names(owner, number)
    if claimed:
        volumes: list[dict[str, Any]] = [
            {"name": volume, "persistentVolumeClaim": {"claimName": claim}}
            for volume, claim in claimed.items()
        ]
        volumes += [one for one in spec.get("volumes") or () if one["name"] not in claimed]
        spec["volumes"] = volumes
    return with_identity({**pod, "spec": spec})


def with_identity(pod: Obj) -> Obj:
    """The pod with the labels that say which it is; the same object when it has them."""
    wanted = {NAME_LABEL: meta.name(pod), INDEX_LABEL: str(ordinal(pod))}
    labels = meta.labels(pod)
    if all(labels.get(key) == value for key, value in wanted.items()):
        return pod
    return meta.replace(pod, ("metadata", "labels"), {**labels, **wanted})
