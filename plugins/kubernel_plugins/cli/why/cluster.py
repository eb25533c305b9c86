"""Why a service answers nobody, a node takes no pods, a namespace does not go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects import conditions, meta
from kubernel.objects.selectors import from_labels, from_object

from . import pods
from .view import Link, View, condition_text, count

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["disruption_budget", "namespace", "node", "service", "signing_request"]

_SLICES = "endpointslices.v1.discovery.k8s.io"


async def service(view: View, obj: Obj) -> list[Link]:
    subject = f"Service {meta.name(obj)}"
    spec = obj["spec"]
    ingress = meta.get(obj, "status", "loadBalancer", "ingress", default=())
    if spec.get("type") == "LoadBalancer" and not ingress:
        told = await view.event(obj, "SyncLoadBalancerFailed")
        first = Link(subject, "has no load balancer")
        if told:
            return [first, Link("the load balancer controller", f"says: {told}")]
        of_class = spec.get("loadBalancerClass", "")
        who = f"the load balancer class {of_class}" if of_class else "no load balancer controller"
        text = (
            "has not given it an address yet" if of_class else "serves this cluster, or it has no addresses"
        )
        return [first, Link(who, text)]
    if not spec.get("selector") or spec.get("type") == "ExternalName":
        return [Link(subject, "has no selector: its endpoints are somebody else's", fine=True)]
    ready = 0
    for entry in await view.list(_SLICES, meta.namespace(obj)):
        if meta.labels(entry).get("kubernetes.io/service-name") == meta.name(obj):
            ready += sum(
                (one.get("conditions") or {}).get("ready", True) for one in entry.get("endpoints") or ()
            )
    if ready:
        return [Link(subject, f"has {count(ready, 'ready endpoint')}", fine=True)]
    first = Link(subject, "has no ready endpoints")
    selector = from_labels(spec["selector"])
    chosen = [
        one
        for one in await view.list("pods", meta.namespace(obj))
        if selector.matches(meta.labels(one))
        and (one.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]
    if not chosen:
        return [first, Link("its selector", f"{selector.to_string()} matches no pod")]
    trouble = await pods.first_trouble(view, chosen)
    if trouble:
        return [first, *trouble]
    if told := await view.event(obj, "FailedToUpdateEndpointSlices"):
        return [first, Link("the endpointslice controller", f"says: {told}")]
    names = [str(port.get("targetPort", port["port"])) for port in spec.get("ports") or ()]
    text = f"are ready; does one of their containers name the port {', '.join(names)}?"
    return [first, Link("its pods", text)]


async def node(view: View, obj: Obj) -> list[Link]:
    subject = f"Node {meta.name(obj)}"
    ready = conditions.find(obj, "Ready")
    if ready is None:
        return [Link(subject, "is not ready"), Link("its kubelet", "has never reported")]
    if ready["status"] == "Unknown":
        silent = view.ago(ready.get("lastHeartbeatTime"))
        return [
            Link(subject, "is not ready"),
            Link("its kubelet", f"has been silent for {silent}: {ready.get('message', '')}"),
        ]
    if ready["status"] != "True":
        return [Link(subject, "is not ready"), Link("its kubelet", f"says: {ready.get('message', '')}")]
    for type in ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"):
        if told := condition_text(obj, type, "True"):
            return [Link(subject, "takes not all pods"), Link(subject, f"has {type}: {told}")]
    if obj["spec"].get("unschedulable"):
        return [Link(subject, "takes no new pods"), Link(subject, "is cordoned (`kubectl uncordon` ends it)")]
    taints = [f"{one['key']}:{one['effect']}" for one in obj["spec"].get("taints") or ()]
    if taints:
        return [Link(subject, f"takes only pods that tolerate {', '.join(taints)}", fine=True)]
    return [Link(subject, "is ready", fine=True)]


async def namespace(view: View, obj: Obj) -> list[Link]:
    subject = f"Namespace {meta.name(obj)}"
    if not meta.is_deleting(obj):
        return [Link(subject, "is active", fine=True)]
    first = Link(subject, f"has been on its way out for {view.ago(obj['metadata']['deletionTimestamp'])}")
    for type in (
        "NamespaceDeletionDiscoveryFailure",
        "NamespaceDeletionGroupVersionParsingFailure",
        "NamespaceDeletionContentFailure",
        "NamespaceFinalizersRemaining",
        "NamespaceContentRemaining",
    ):
        if told := condition_text(obj, type, "True"):
            return [first, Link("the namespace controller", f"says: {told}")]
    held = [one for one in obj["spec"].get("finalizers") or () if one != "kubernetes"]
    if held:
        return [first, Link(subject, f"is held by the finalizer {', '.join(held)}")]
    # Its conditions say nothing of pods: the controller looks at nothing else while there are some.
    if left := await view.list("pods", meta.name(obj)):
        chain = [first, Link(count(len(left), "pod"), "must be gone first")]
        holding = next((one for one in left if one["metadata"].get("finalizers")), None)
        if holding is not None:
            names = ", ".join(holding["metadata"]["finalizers"])
            chain.append(Link(f"Pod {meta.name(holding)}", f"is held by the finalizer {names}"))
        return chain
    return [first, Link("the namespace controller", "is still at work")]


async def disruption_budget(view: View, obj: Obj) -> list[Link]:
    subject = f"PodDisruptionBudget {meta.name(obj)}"
    status = obj.get("status") or {}
    if status.get("disruptionsAllowed", 0) > 0:
        allowed = count(status["disruptionsAllowed"], "disruption")
        return [Link(subject, f"allows {allowed}", fine=True)]
    first = Link(subject, "allows no disruption")
    healthy, wanted = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if not status.get("expectedPods"):
        return [first, Link("its selector", "matches no pod that a controller looks after")]
    if healthy == wanted and status.get("expectedPods") == healthy:
        text = f"needs all {wanted} of its pods: minAvailable or maxUnavailable leaves no room"
        return [first, Link(subject, text)]
    chain = [first, Link(subject, f"has {healthy} healthy pods and needs {wanted}")]
    selector = from_object(obj["spec"].get("selector") or {})
    chosen = [
        one for one in await view.list("pods", meta.namespace(obj)) if selector.matches(meta.labels(one))
    ]
    return [*chain, *await pods.first_trouble(view, chosen)]


async def signing_request(view: View, obj: Obj) -> list[Link]:
    subject = f"CertificateSigningRequest {meta.name(obj)}"
    if (obj.get("status") or {}).get("certificate"):
        return [Link(subject, "is signed", fine=True)]
    first = Link(subject, "has no certificate")
    for type, text in (("Failed", "cannot be signed"), ("Denied", "was denied")):
        if told := condition_text(obj, type, "True"):
            return [first, Link(subject, f"{text}: {told}")]
    if not conditions.is_true(obj, "Approved"):
        return [first, Link(subject, f"waits for approval (`kubectl certificate approve {meta.name(obj)}`)")]
    return [first, Link(f"the signer {obj['spec']['signerName']}", "has not signed it yet")]
