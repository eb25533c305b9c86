"""What the controller may do. It acts as a user of its own, with the rights that it needs and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import AlreadyExists, NotFound

if TYPE_CHECKING:
    from kubernel.client import Client

__all__ = ["grant"]

_NAME = "system:controller:hello-controller"
_RULES = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "patch"]}]
_API = "rbac.authorization.k8s.io"


async def grant(client: Client, user: str) -> None:
    """Give ``user``, a service account, the controller's rights. ``client`` is the server's own. Done
    once: what an administrator made of the role afterwards stays. A cluster without these types has nobody
    who asks for rights."""
    _, _, namespace, account = user.split(":")
    subject = {"kind": "ServiceAccount", "namespace": namespace, "name": account}
    reference = {"apiGroup": _API, "kind": "ClusterRole", "name": _NAME}
    try:
        await _create(client, "clusterroles", "ClusterRole", {"rules": _RULES})
        binding = {"subjects": [subject], "roleRef": reference}
        await _create(client, "clusterrolebindings", "ClusterRoleBinding", binding)
    except NotFound:
        return


async def _create(client: Client, plural: str, kind: str, content: dict[str, Any]) -> None:
    obj = {"apiVersion": f"{_API}/v1", "kind": kind, "metadata": {"name": _NAME}, **content}
    try:
        await client.create(f"{plural}.v1.{_API}", obj)
    except AlreadyExists:
        return
