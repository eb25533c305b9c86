"""``kubernetes.io/enforce-mountable-secrets``: pods of an account use the Secrets that it names, and no others.

Source: k8s.io/kubernetes/plugin/pkg/admission/serviceaccount, limitSecretReferences (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["mounting"]

_KINDS = (
    ("initContainers", "init container"),
    ("containers", "container"),
    ("ephemeralContainers", "ephemeral container"),
)


def mounting(spec: Mapping[str, Any], account: Mapping[str, Any]) -> str:
    """Which Secret the pod must not use, in upstream's words; empty when there is none."""
    name = account["metadata"]["name"]
    known = {one.get("name") for one in account.get("secrets") or ()}

    def refused(what: str, secret: str) -> str:
        return (
            f'{what} secret.secretName="{secret}" is not allowed because service account {name} does not reference '
            "that secret"
        )

    for volume in spec.get("volumes") or ():
        secret = (volume.get("secret") or {}).get("secretName")
        if secret and secret not in known:
            return refused("volume with", secret)
    for key, what in _KINDS:
        for container in spec.get(key) or ():
            who = f"{what} {container.get('name')}"
            for variable in container.get("env") or ():
                secret = ((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name")
                if secret and secret not in known:
                    return refused(f"{who} with envVar {variable.get('name')} referencing", secret)
            for source in container.get("envFrom") or ():
                secret = (source.get("secretRef") or {}).get("name")
                if secret and secret not in known:
                    return refused(f"{who} with envFrom referencing", secret)
    pulls = {one.get("name") for one in account.get("imagePullSecrets") or ()}
    for number, one in enumerate(spec.get("imagePullSecrets") or ()):
        if one.get("name") not in pulls:
            return (
                f'imagePullSecrets[{number}].name="{one.get("name")}" is not allowed because service account {name} '
                "does not reference that imagePullSecret"
            )
    return ""
