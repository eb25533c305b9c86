"""Writes the table of upstream's internal types, from the published Go modules.

    go mod download k8s.io/kubernetes@v1.37.0 k8s.io/api@v0.37.0 k8s.io/apimachinery@v0.37.0
    python -m build_schema.internal_fields $(go env GOMODCACHE)/k8s.io > FILE

Validation messages print values of upstream's internal types, whose JSON has Go's field names, in the order of
the structs and with every zero value. The table says how to get there from the JSON of the published types.

One line a type: ``GROUP.TYPE``, then its fields as ``PRINTED=PUBLISHED:KIND``:

    s string   i integer   b boolean   q quantity   o int-or-string   t time   n anything that may be null
    >TYPE struct   n>TYPE pointer to struct   *>TYPE list of structs   %>TYPE map of structs
    a trailing ? leaves the field out when it is zero (types that have JSON tags)
    a ! after PUBLISHED: the published type's JSON has the field even when it is zero

Embedded structs are flattened, as encoding/json does; ``metadata.NAME`` is where the published type nests it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_VERSION = ("kubernetes@v1.37.0", "api@v0.37.0", "apimachinery@v0.37.0")
_PUBLISHED = {"core": "core/v1", "autoscaling": "autoscaling/v2"}
_GROUPS = (
    "admissionregistration", "apps", "autoscaling", "batch", "certificates", "coordination", "core", "discovery",
    "flowcontrol", "networking", "node", "policy", "rbac", "resource", "scheduling", "storage",
    "storagemigration",
)  # fmt: skip
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_ALIAS = re.compile(r"^type (\w+) ([\w.\[\]*]+)$", re.MULTILINE)
_FIELD = re.compile(
    r"^\t(?:(\w+(?:, \w+)*)[ \t]+)?([\w.\[\]*{}]+)(?:[ \t]+`([^`]*)`)?[ \t]*(?://.*)?$", re.MULTILINE
)
_JSON = re.compile(r'json:"([^"]*)"')
_SCALARS = {
    "string": "s", "bool": "b", "int": "i", "int32": "i", "int64": "i", "uint8": "i", "uint32": "i", "float64": "i",
    "types.UID": "s", "resource.Quantity": "q", "intstr.IntOrString": "o", "metav1.Time": "t", "metav1.MicroTime": "t",
    "Time": "t", "MicroTime": "t", "apimachinery.Quantity": "q",
}  # fmt: skip


class _Package:
    def __init__(self, name: str, *paths: Path) -> None:
        self.name = name
        text = "\n".join(path.read_text() for path in paths if path.exists())
        self.structs = {match[1]: _fields(match[2]) for match in _STRUCT.finditer(text)}
        self.aliases = {match[1]: match[2] for match in _ALIAS.finditer(text)}


def _fields(body: str) -> list[tuple[str, str, str]]:
    """(Go name or empty for an embedded one, type, tag) of a struct's fields."""
    found = []
    for match in _FIELD.finditer(body):
        found += [(name, match[2], match[3] or "") for name in (match[1] or "").split(", ")]
    return found


class _Table:
    def __init__(self, root: Path) -> None:
        internal, api, machinery = (root / name for name in _VERSION)
        self.packages = {
            group: _Package(group, internal / "pkg/apis" / group / "types.go") for group in _GROUPS
        }
        self.published = {
            group: _Package(group, api / _PUBLISHED.get(group, f"{group}/v1") / "types.go")
            for group in _GROUPS
        }
        self.packages["metav1"] = _Package("metav1", machinery / "pkg/apis/meta/v1/types.go")
        self.lines: dict[str, str] = {}
        self.waiting: list[tuple[str, str]] = []

    def add(self, group: str, name: str) -> None:
        if f"{group}.{name}" not in self.lines:
            self.lines[f"{group}.{name}"] = ""
            self.waiting.append((group, name))

    def run(self) -> None:
        while self.waiting:
            group, name = self.waiting.pop()
            parts = [f"{shown}={told}:{kind}" for shown, told, kind in self._flat(group, name)]
            self.lines[f"{group}.{name}"] = " ".join(parts)

    def _flat(self, group: str, name: str) -> list[tuple[str, str, str]]:
        found = []
        for field, type, tag in self.packages[group].structs[name]:
            json = _JSON.search(tag)
            told, _, options = json[1].partition(",") if json else ("", "", "")
            if told == "-":
                continue
            if not field:
                owner, embedded = self._named(group, type.lstrip("*"))
                if embedded == "TypeMeta":
                    continue  # empty in internal types
                under = "metadata." if embedded == "ObjectMeta" else ""
                found += [(shown, under + told, kind) for shown, told, kind in self._flat(owner, embedded)]
                continue
            if not told:
                told = self._published_name(group, name, field)
            shown = told if json else field
            optional = "?" if "omitempty" in options or "omitzero" in options else ""
            found.append((shown, told, self._kind(group, type) + optional))
        return found

    def _published_name(self, group: str, struct: str, field: str) -> str:
        for name, _, tag in self.published[group].structs.get(struct, ()) if group in self.published else ():
            if name == field:
                json = _JSON.search(tag)
                if json:
                    told, _, options = json[1].partition(",")
                    return told if "omitempty" in options or "omitzero" in options else f"{told}!"
        return field[0].lower() + field[1:]

    def _named(self, group: str, type: str) -> tuple[str, str]:
        owner, _, name = type.rpartition(".")
        return ({"api": "core", "core": "core"}.get(owner, owner) or group, name)

    def _kind(self, group: str, type: str) -> str:
        for prefix, mark in (("[]", "*"), ("*", "n")):
            if type.startswith(prefix):
                inner = self._kind(group, type.removeprefix(prefix))
                return f"{mark}{inner}" if inner.startswith(">") else "n"
        if type.startswith("map["):
            inner = self._kind(group, type.partition("]")[2])
            return f"%{inner}" if inner.startswith(">") else "n"
        if type in _SCALARS:
            return _SCALARS[type]
        owner, name = self._named(group, type)
        package = self.packages.get(owner)
        if package is None:
            return "n"
        if name in package.structs:
            self.add(owner, name)
            return f">{owner}.{name}"
        if name in package.aliases:
            return self._kind(owner, package.aliases[name])
        return "n"


def main(root: str, names: list[str]) -> None:
    table = _Table(Path(root))
    for name in names or _ROOTS:
        group, _, type = name.partition(".")
        table.add(group, type)
    table.run()
    for name in sorted(table.lines):
        print(f"{name} {table.lines[name]}".rstrip())


_ROOTS = (
    "metav1.LabelSelector",
    "metav1.OwnerReference",
    "core.PodTemplateSpec",
    "core.PodSpec",
    "core.EphemeralContainer",
    "core.PersistentVolumeClaimSpec",
    "core.PersistentVolumeSource",
    "core.VolumeNodeAffinity",
    "core.ServicePort",
    "core.NodeAddress",
    "core.Taint",
    "core.NodeConfigSource",
    "core.PodIP",
    "core.HostIP",
    "core.ScopeSelector",
    "core.ObjectReference",
    "core.PersistentVolumeClaim",
    "apps.DeploymentStrategy",
    "apps.DaemonSetUpdateStrategy",
    "apps.StatefulSetUpdateStrategy",
    "batch.PodFailurePolicy",
    "batch.SuccessPolicy",
    "batch.JobSpec",
    "batch.UncountedTerminatedPods",
    "policy.PodDisruptionBudgetSpec",
    "rbac.RoleRef",
    "autoscaling.HorizontalPodAutoscalerSpec",
    "networking.IngressSpec",
    "networking.NetworkPolicySpec",
    "networking.IPAddressSpec",
    "storage.CSINodeDriver",
    "storage.VolumeAttachmentSpec",
    "storage.TokenRequest",
    "certificates.CertificateSigningRequestSpec",
    "certificates.CertificateSigningRequestCondition",
    "certificates.PodCertificateRequestSpec",
    "coordination.LeaseSpec",
    "flowcontrol.FlowSchemaSpec",
    "flowcontrol.PriorityLevelConfigurationSpec",
    "discovery.EndpointSlice",
    "node.Scheduling",
    "resource.ResourceClaimSpec",
    "resource.ResourceClaimTemplateSpec",
    "resource.ResourceSliceSpec",
    "resource.AllocationResult",
    "resource.ResourceClaimStatus",
    "admissionregistration.AuditAnnotation",
    "storagemigration.StorageVersionMigrationSpec",
    "resource.DeviceClassSpec",
)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
