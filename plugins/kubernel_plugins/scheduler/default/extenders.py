"""HTTP extenders: servers that have a word in where pods go.

Source: k8s.io/kubernetes/pkg/scheduler/extender.go, schedule_one.go and k8s.io/kube-scheduler/extender/v1 (v1.37).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from kubernel.config.convert import suggest
from kubernel.errors import KubernelError
from kubernel.objects import times
from kubernel.plugin.scheduling import Proposal
from kubernel_plugins.webhooks import Caller, CallFailed, Target

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PodState
    from kubernel.store.records import Obj

__all__ = ["Extender", "ExtenderSettings", "Extenders", "Verdict", "parse_extenders"]

_FIELDS = {
    "bindVerb",
    "enableHTTPS",
    "filterVerb",
    "httpTimeout",
    "ignorable",
    "managedResources",
    "nodeCacheCapable",
    "preemptVerb",
    "prioritizeVerb",
    "tlsConfig",
    "urlPrefix",
    "weight",
}
_TLS = {"caData", "caFile", "certData", "certFile", "insecure", "keyData", "keyFile", "serverName"}
_TIMEOUT = 5.0
_ANSWER_LIMIT = 64 * 1024 * 1024
_SCALE = 10
"""An extender's scores are 0 to 10, a policy's 0 to 100."""


@dataclass(frozen=True, slots=True)
class ExtenderSettings:
    url: str
    filter: str = ""
    prioritize: str = ""
    preempt: str = ""
    bind: str = ""
    weight: int = 1
    timeout: float = _TIMEOUT
    whole_nodes: bool = True
    """It is sent nodes, not just their names."""
    managed: frozenset[str] = frozenset()
    unchecked: frozenset[str] = frozenset()
    """Of ``managed``, the resources that NodeResourcesFit does not look at."""
    ignorable: bool = False
    tls: Mapping[str, Any] = field(default_factory=dict)
    https: bool = False


def parse_extenders(given: Sequence[Mapping[str, Any]]) -> tuple[ExtenderSettings, ...]:
    """ValueError names the field that is wrong."""
    found, seen = [], set()
    for position, each in enumerate(given):
        path = f"extenders[{position}]"
        _known(path, each, _FIELDS)
        tls = each.get("tlsConfig") or {}
        _known(f"{path}.tlsConfig", tls, _TLS)
        weight = each.get("weight", 0)
        if each.get("prioritizeVerb") and weight <= 0:
            raise ValueError(
                f"{path}.weight: Invalid value: {weight}: must have a positive weight applied to it"
            )
        managed, unchecked = set(), set()
        for index, resource in enumerate(each.get("managedResources") or ()):
            where = f"{path}.managedResources[{index}]"
            _known(where, resource, {"name", "ignoredByScheduler"})
            name = resource.get("name", "")
            if "/" not in name or name.partition("/")[0].endswith("kubernetes.io"):
                raise ValueError(
                    f'{where}.name: Invalid value: "{name}": is an invalid extended resource name'
                )
            if name in seen:
                raise ValueError(
                    f'{where}.name: Invalid value: "{name}": duplicate extender managed resource name'
                )
            seen.add(name)
            managed.add(name)
            if resource.get("ignoredByScheduler"):
                unchecked.add(name)
        timeout = each.get("httpTimeout") or 0
        found.append(
            ExtenderSettings(
                url=each.get("urlPrefix", ""),
                filter=each.get("filterVerb", ""),
                prioritize=each.get("prioritizeVerb", ""),
                preempt=each.get("preemptVerb", ""),
                bind=each.get("bindVerb", ""),
                weight=weight,
                timeout=(times.duration(timeout) if isinstance(timeout, str) else timeout / 1e9) or _TIMEOUT,
                whole_nodes=not each.get("nodeCacheCapable"),
                managed=frozenset(managed),
                unchecked=frozenset(unchecked),
                ignorable=bool(each.get("ignorable")),
                tls=tls,
                https=bool(each.get("enableHTTPS")),
            )
        )
    binders = sum(bool(each.bind) for each in found)
    if binders > 1:
        raise ValueError(
            f'extenders: Invalid value: "found {binders} extenders implementing bind": only one extender can implement '
            "bind"
        )
    return tuple(found)


def _known(path: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"{path}.{key}: unknown field{suggest(key, known)}")


class Verdict(NamedTuple):
    """Names of the nodes that pass, and why others do not, for good in ``never``."""

    passed: Sequence[str]
    failed: Mapping[str, str]
    never: Mapping[str, str]


class Extender:
    """One server. Its methods raise KubernelError when it gives no usable answer."""

    def __init__(self, settings: ExtenderSettings, caller: Caller) -> None:
        """ValueError for certificates that cannot be read."""
        self.settings = settings
        self._caller = caller
        self._target = _target(settings)

    def is_interested(self, pod: PodState) -> bool:
        managed = self.settings.managed
        if not managed:
            return True
        spec = pod.pod["spec"]
        return any(
            not managed.isdisjoint(amounts)
            for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
            for amounts in (container.get("resources") or {}).values()
            if isinstance(amounts, Mapping)
        )

    async def filter(self, pod: PodState, nodes: Sequence[Obj]) -> Verdict:
        answer = _folded(await self._send(self.settings.filter, self._asked(pod, nodes)))
        if answer.get("error"):
            raise KubernelError(str(answer["error"]))
        names = {node["metadata"]["name"] for node in nodes}
        given = answer.get("nodenames")
        if self.settings.whole_nodes or given is None:
            items = (answer.get("nodes") or {}).get("items") or ()
            given = [each["metadata"]["name"] for each in items]
        for name in given:
            if name not in names:
                raise KubernelError(
                    f'extender "{self.settings.url}" claims a filtered node "{name}" which is not found in the input '
                    "node list"
                )
        never = answer.get("failedandunresolvablenodes") or {}
        failed = {name: text for name, text in (answer.get("failednodes") or {}).items() if name not in never}
        return Verdict(given, failed, never)

    async def prioritize(self, pod: PodState, nodes: Sequence[Obj]) -> Mapping[str, int]:
        """What is added to each node's score."""
        answer = await self._send(self.settings.prioritize, self._asked(pod, nodes))
        entries = [_folded(each) for each in answer or ()]
        return {each["host"]: int(each["score"]) * self.settings.weight * _SCALE for each in entries}

    async def preempt(self, pod: PodState, proposals: Mapping[str, Proposal]) -> dict[str, Proposal]:
        """Of the nodes where pods would have to go those that are left, and the pods."""
        whole = self.settings.whole_nodes
        told = {
            node: {
                "Pods": [each.pod if whole else {"UID": each.uid} for each in its.victims],
                "NumPDBViolations": its.violations,
            }
            for node, its in proposals.items()
        }
        key = "NodeNameToVictims" if whole else "NodeNameToMetaVictims"
        answer = _folded(await self._send(self.settings.preempt, {"Pod": pod.pod, key: told}))
        found = {}
        for node, entry in (answer.get("nodenametometavictims") or {}).items():
            its = _folded(entry or {})
            there = {each.uid: each for each in proposals[node].victims} if node in proposals else {}
            pods = []
            for each in its.get("pods") or ():
                uid = _folded(each).get("uid", "")
                if uid not in there:
                    raise KubernelError(
                        f"extender: {self.settings.url} claims to preempt pod (UID: {uid}) on node: {node}, but the "
                        "pod is not found on that node"
                    )
                pods.append(there[uid])
            if pods:
                found[node] = Proposal(pods, int(its.get("numpdbviolations") or 0))
            elif not self.settings.ignorable:
                raise KubernelError(f'expected at least one victim pod on node "{node}"')
        return found

    async def bind(self, pod: PodState, node: str) -> None:
        asked = {"PodName": pod.name, "PodNamespace": pod.namespace, "PodUID": pod.uid, "Node": node}
        answer = _folded(await self._send(self.settings.bind, asked))
        if answer.get("error"):
            raise KubernelError(str(answer["error"]))

    def _asked(self, pod: PodState, nodes: Sequence[Obj]) -> Obj:
        if self.settings.whole_nodes:
            return {
                "Pod": pod.pod,
                "Nodes": {"metadata": {}, "items": list(nodes)},
                "NodeNames": None,
            }
        return {
            "Pod": pod.pod,
            "Nodes": None,
            "NodeNames": [node["metadata"]["name"] for node in nodes],
        }

    async def _send(self, verb: str, asked: Obj) -> Any:
        url = f"{self.settings.url.rstrip('/')}/{verb}"
        try:
            status, _, body = await self._caller.exchange(
                "Post", self._target, url, orjson.dumps(asked), self.settings.timeout, limit=_ANSWER_LIMIT
            )
            if status != 200:
                raise KubernelError(f"failed {verb} with extender at URL {url}, code {status}")
            return orjson.loads(body)
        except CallFailed as error:
            raise KubernelError(str(error)) from None
        except orjson.JSONDecodeError as error:
            raise KubernelError(f"answer of extender at URL {url}: {error}") from None


def _folded(answer: Any) -> dict[str, Any]:
    """Go takes names in any case."""
    return {key.lower(): value for key, value in answer.items()} if isinstance(answer, dict) else {}


def _target(settings: ExtenderSettings) -> Target:
    tls = settings.tls
    certificate = _pem(tls, "cert")
    key, ca = _pem(tls, "key"), _pem(tls, "ca")
    https = settings.https or urlsplit(settings.url).scheme == "https"
    return Target(
        settings.url,
        ca,
        certificate=(certificate, key) if certificate and key else None,
        server_name=tls.get("serverName", ""),
        insecure=bool(tls.get("insecure")) or (https and settings.https and not ca),
    )


def _pem(tls: Mapping[str, Any], what: str) -> bytes:
    try:
        if data := tls.get(f"{what}Data"):
            return base64.b64decode(data, validate=True)
        if file := tls.get(f"{what}File"):
            return Path(file).read_bytes()
    except (OSError, binascii.Error) as error:
        raise ValueError(f"extenders: tlsConfig.{what}: {error}") from None
    return b""


class Extenders:
    """All of them, in order."""

    def __init__(self, settings: Iterable[ExtenderSettings], caller: Caller, log: Any) -> None:
        self._caller, self._log = caller, log
        self._all = [Extender(each, caller) for each in settings]

    async def close(self) -> None:
        await self._caller.close()

    def __bool__(self) -> bool:
        return bool(self._all)

    def decide(self, pod: PodState) -> bool:
        """Whether one of them filters or weighs nodes for this pod."""
        return any(
            (each.settings.filter or each.settings.prioritize) and each.is_interested(pod)
            for each in self._all
        )

    async def filter(self, pod: PodState, nodes: Sequence[Obj]) -> Verdict:
        """What is left after all of them."""
        failed: dict[str, str] = {}
        never: dict[str, str] = {}
        left = {node["metadata"]["name"]: node for node in nodes}
        for each in self._all:
            if not left:
                break
            if not each.settings.filter or not each.is_interested(pod):
                continue
            try:
                verdict = await each.filter(pod, list(left.values()))
            except KubernelError as error:
                if not each.settings.ignorable:
                    raise
                self._log.info("extender {} is left out: {}", each.settings.url, error)
                continue
            failed.update(verdict.failed)
            never.update(verdict.never)
            left = {name: left[name] for name in verdict.passed}
        return Verdict(list(left), {name: text for name, text in failed.items() if name not in never}, never)

    async def prioritize(self, pod: PodState, nodes: Sequence[Obj]) -> Mapping[str, int]:
        total: dict[str, int] = {}
        for each in self._all:
            if not each.settings.prioritize or not each.is_interested(pod):
                continue
            try:
                scores = await each.prioritize(pod, nodes)
            except (KubernelError, KeyError, ValueError) as error:
                # The others decide.
                self._log.info("extender {} gives no scores: {}", each.settings.url, error)
                continue
            for name, score in scores.items():
                total[name] = total.get(name, 0) + score
        return total

    async def preempt(self, pod: PodState, proposals: Mapping[str, Proposal]) -> Mapping[str, Proposal]:
        """What may be preempted after all of them had their say."""
        left = dict(proposals)
        for each in self._all:
            if not left:
                break
            if not each.settings.preempt or not each.is_interested(pod):
                continue
            try:
                left = await each.preempt(pod, left)
            except KubernelError as error:
                if not each.settings.ignorable:
                    raise
                self._log.info("extender {} is left out: {}", each.settings.url, error)
        return left

    def binder(self, pod: PodState) -> Extender | None:
        """The one that binds this pod."""
        return next((each for each in self._all if each.settings.bind and each.is_interested(pod)), None)
