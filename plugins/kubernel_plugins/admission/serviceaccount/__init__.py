"""ServiceAccount: every pod has one, and finds its token at the usual place.

Source: k8s.io/kubernetes/plugin/pkg/admission/serviceaccount/admission.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from kubernel.errors import Forbidden, NotFound
from kubernel.objects import meta, names
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel_plugins.admission.references import references
from kubernel_plugins.admission.serviceaccount.mountable import mounting

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN_SECONDS = 3607
_DEFAULT_ATTEMPTS = 10
_RETRY_DELAY = 0.05
_MIRROR = "kubernetes.io/config.mirror"
_ENFORCED = "kubernetes.io/enforce-mountable-secrets"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")


class Plugin(Base):
    """The ``serviceaccount`` admission plugin."""

    async def start(self) -> None:
        self._client = self.handle.client("system:apiserver", ("system:masters",))
        self._accounts = self._client.informer("serviceaccounts")

    @hookimpl
    def kubernel_admit(self, request: Request) -> Awaitable[None] | None:
        pod = request.obj
        if request.type.plural != "pods" or request.type.group or pod is None:
            return None
        if request.operation != "CREATE" or request.subresource:
            return None
        if _MIRROR in meta.annotations(pod):
            _check_mirror(request, pod["spec"])
            return None
        spec = pod["spec"]
        name = spec.get("serviceAccountName") or "default"
        spec["serviceAccountName"] = name
        spec["serviceAccount"] = name
        account = self._accounts.get(name, request.namespace)
        if account is None:
            return self._look_again(request, pod, name)
        self._fill(pod, account)
        return None

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        pod = request.obj
        if request.type.plural != "pods" or request.type.group or pod is None or request.verb == "connect":
            return
        if request.subresource != ("" if request.operation == "CREATE" else "ephemeralcontainers"):
            return
        if request.operation == "CREATE" and _MIRROR in meta.annotations(pod):
            _check_mirror(request, pod["spec"])
            return
        name = pod["spec"].get("serviceAccountName") or "default"
        account = self._accounts.get(name, request.namespace)
        if account is not None and meta.annotations(account).get(_ENFORCED) in _TRUE:
            why = mounting(pod["spec"], account)
            if why:
                raise Forbidden.for_object("pods", "", request.name, why)

    async def _look_again(self, request: Request, pod: Obj, name: str) -> None:
        """The view may be behind; and each namespace is about to get its ``default`` account."""
        attempts = _DEFAULT_ATTEMPTS if name == "default" else 1
        for left in reversed(range(attempts)):
            try:
                account = await self._client.get("serviceaccounts", name, request.namespace)
            except NotFound:
                if left:
                    await self.handle.clock.sleep(_RETRY_DELAY * (1 + self.handle.rng.random()))
                    continue
                where = f"{request.namespace}/{name}"
                why = f'error looking up service account {where}: serviceaccount "{name}" not found'
                raise Forbidden.for_object("pods", "", request.name, why) from None
            self._fill(pod, account)
            return

    def _fill(self, pod: Obj, account: Obj) -> None:
        spec = pod["spec"]
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(entry) for entry in account["imagePullSecrets"]]
        wanted = spec.get("automountServiceAccountToken")
        if wanted is None:
            wanted = account.get("automountServiceAccountToken")
        if wanted is not False:
            self._mount_token(spec)

    def _mount_token(self, spec: dict[str, Any]) -> None:
        containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        missing = [
            container
            for container in containers
            if not any(mount.get("mountPath") == _MOUNT_PATH for mount in container.get("volumeMounts") or ())
        ]
        if not missing:
            return
        volumes = spec.get("volumes") or []
        volume = next((entry["name"] for entry in volumes if _is_token_volume(entry)), "")
        if not volume:
            volume = names.generate("kube-api-access-", self.handle.rng)
            spec["volumes"] = [*volumes, _token_volume(volume)]
        for container in missing:
            mount = {"name": volume, "readOnly": True, "mountPath": _MOUNT_PATH}
            container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _check_mirror(request: Request, spec: dict[str, Any]) -> None:
    """What stands for a pod that its node runs anyway must not give the node rights."""
    why = ""
    if spec.get("serviceAccountName"):
        why = "a mirror pod may not reference service accounts"
    elif "secrets" in references(spec):
        why = "a mirror pod may not reference secrets"
    elif any(
        "serviceAccountToken" in source
        for volume in spec.get("volumes") or ()
        for source in (volume.get("projected") or {}).get("sources") or ()
    ):
        why = "a mirror pod may not use ServiceAccountToken volume projections"
    if why:
        raise Forbidden.for_object("pods", "", request.name, why)


def _is_token_volume(volume: dict[str, Any]) -> bool:
    return str(volume.get("name", "")).startswith("kube-api-access-") and "projected" in volume


def _token_volume(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            }
                        ]
                    }
                },
            ],
        },
    }
