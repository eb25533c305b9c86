"""The contract of scheduling policies: a pod, all nodes at once, verdicts and scores.

Nodes are rows of a table (``Nodes``): what they offer and carry stands in arrays, so that a policy looks at all
of them in one vectorised pass. A policy subclasses ``Policy``, says which extension points of Kubernetes'
scheduling framework it takes part in by overriding their methods, and is found through the hook
``kubernel_scheduler_policy``:

    class Fewest(Policy):
        name, scope = "FewestPods", "node"

        def sign(self, pod: PodState) -> object:
            return ()                       # all pods are alike to it

        def score(self, pod, state, nodes, rows):
            return 100 - numpy.minimum(nodes.pods[rows], 100)

``rows`` is an index array, or ``ALL``. Results have one element for each row, in that order; of rows without
a node they are not looked at. Amounts are int64: ``cpu`` in millicores, everything else in its unit.

Source of the framework: k8s.io/kube-scheduler/framework (v1.37).
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from kubernel.errors import KubernelError
from kubernel.objects import selectors

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy
    from numpy.typing import NDArray

    from kubernel.client import Client
    from kubernel.client.informer import Informer
    from kubernel.clock import Clock
    from kubernel.objects.selectors import Selector
    from kubernel.plugin.gangs import Gang, GangNomination, GangTrial
    from kubernel.store.records import EventType, Obj

    Rows = slice | NDArray[numpy.intp]
    Mask = NDArray[numpy.bool_]
    Amounts = NDArray[numpy.int64]
    Ids = NDArray[numpy.int32]

__all__ = [
    "ALL",
    "MAX_SCORE",
    "SKIP",
    "UNREQUESTED",
    "Change",
    "Context",
    "Cycle",
    "Narrowed",
    "Nodes",
    "Nomination",
    "PodMatcher",
    "PodState",
    "Policy",
    "PolicyError",
    "PolicyFactory",
    "Proposal",
    "Refusal",
    "Skip",
    "Supposition",
    "Term",
    "TermKind",
    "Wait",
    "overrides",
]

ALL = slice(None)
"""Every row."""

MAX_SCORE = 100

UNREQUESTED: Mapping[str, int] = {"cpu": 100, "memory": 200 * 1024 * 1024}
"""What a container that requests nothing counts as when nodes are compared, so that such pods spread too
(k8s.io/kubernetes/pkg/scheduler/util/pod_resources.go)."""


class Skip:
    """Type of ``SKIP``."""


SKIP = Skip()
"""Answer of ``pre_filter`` and ``pre_score``: nothing to say about this pod."""


class PolicyError(KubernelError):
    """Raised by a policy that cannot decide: the pod is tried again later. The text says which policy, and why."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pod cannot go to a node, in upstream's words (``Insufficient cpu``).

    ``lasting``: removing pods from the node would not help (UnschedulableAndUnresolvable).
    """

    text: str
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Answer of ``pre_filter``: only these nodes come into question, whatever other policies say of the rest."""

    nodes: Mask
    state: Any = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Answer of ``permit``: hold the pod until the policy calls ``Context.allow`` for it, at most ``seconds``."""

    seconds: float


TermKind = Literal["affinity", "anti-affinity", "preferred-affinity", "preferred-anti-affinity"]


@dataclass(frozen=True, slots=True)
class Term:
    """A pod affinity term. Equal terms are one: the table counts them.

    ``namespaces`` are names, the pod's own when the term names none; ``namespace_selector`` selects more by
    their labels, None selects none.
    """

    namespaces: frozenset[str]
    namespace_selector: Selector | None
    selector: Selector
    topology_key: str

    @classmethod
    def of(cls, namespace: str, stated: Mapping[str, Any]) -> Term:
        """What a pod in ``namespace`` states."""
        names, selector = stated.get("namespaces") or (), stated.get("namespaceSelector")
        if not names and selector is None:
            names = (namespace,)
        return cls(
            frozenset(names),
            None if selector is None else selectors.from_object(selector),
            selectors.from_object(stated.get("labelSelector")),
            stated["topologyKey"],
        )

    def matches(self, pod: PodState, namespace_labels: Mapping[str, str]) -> bool:
        there = pod.namespace in self.namespaces or (
            self.namespace_selector is not None and self.namespace_selector.matches(namespace_labels)
        )
        return there and self.selector.matches(pod.labels)


@dataclass(frozen=True, slots=True)
class PodMatcher:
    """Which pods to count: those in one of ``namespaces`` that all ``selectors`` select.

    ``leaving``: count pods that are being deleted, too.
    """

    namespaces: frozenset[str]
    selectors: tuple[Selector, ...]
    leaving: bool = True

    def matches(self, pod: PodState) -> bool:
        return (
            pod.namespace in self.namespaces
            and (self.leaving or not pod.leaving)
            and all(selector.matches(pod.labels) for selector in self.selectors)
        )


@dataclass(frozen=True, slots=True)
class PodState:
    """A pod in the form the scheduler computed once.

    ``requests`` holds only what is greater than zero; ``nonzero`` is (cpu, memory) with containers that
    request nothing counted as ``UNREQUESTED``. ``ports`` are its host ports as (IP, protocol, port).
    """

    pod: Obj
    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    requests: Mapping[str, int]
    nonzero: tuple[int, int]
    priority: int
    ports: tuple[tuple[str, str, int], ...] = ()
    terms: tuple[tuple[TermKind, Term, int], ...] = ()
    """(kind, term, weight) of its pod affinity; the weight of a required term is 0."""
    leaving: bool = False
    claims: tuple[tuple[str, bool], ...] = ()
    """Names of the PersistentVolumeClaims of its volumes; True for one that is made for the pod (ephemeral)."""

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


class Nodes(Protocol):
    """The node table. Arrays have one element for each row, ``live`` tells which rows hold a node.

    Arrays may be replaced when the table grows: ask for them anew in each call. Read only.
    """

    live: Mask
    unschedulable: Mask
    pods: Amounts
    """How many pods are on the node."""
    nonzero: Amounts
    """Of shape (2, rows): cpu and memory with ``UNREQUESTED`` counted."""

    def __len__(self) -> int:
        """Rows, with and without a node."""
        ...

    @property
    def count(self) -> int:
        """Nodes."""
        ...

    def row(self, name: str) -> int | None: ...
    def name(self, row: int) -> str: ...
    def node(self, row: int) -> Obj: ...

    def allocatable(self, resource: str) -> Amounts:
        """All zero for a resource no node has."""
        ...

    def requested(self, resource: str) -> Amounts:
        """The sum of the pods' requests."""
        ...

    def label(self, key: str) -> Ids:
        """Which value each node has for a label: an id that ``label_values`` translates, -1 for none."""
        ...

    def label_values(self, key: str) -> Mapping[str, int]:
        """Value -> id; ids count from 0, values that no node has any more among them."""
        ...

    def taint_sets(self) -> tuple[Ids, Sequence[tuple[Mapping[str, Any], ...]]]:
        """Which set of taints each node has, and the sets: there are few, so decide for each set."""
        ...

    def image(self, name: str) -> Amounts:
        """Size of an image (``nginx:1.25``) where a node has it, 0 elsewhere."""
        ...

    def ports_in_use(self, ports: Collection[tuple[str, str, int]]) -> Mask:
        """Where one of these host ports is taken: same protocol and port, and equal addresses or one of
        them 0.0.0.0."""
        ...

    def pods_on(self, row: int) -> Iterable[PodState]: ...

    def pod(self, uid: str) -> tuple[PodState, str] | None:
        """A pod that has a node, or is assumed to, and the node's name."""
        ...

    def matching(self, matcher: PodMatcher) -> Amounts:
        """How many pods of each node match. The array is kept current from then on; counting costs once."""
        ...

    def matching_in(self, matcher: PodMatcher, key: str) -> Amounts:
        """The same for each domain: added up over the nodes with one value of the label ``key``, by the ids of
        ``label_values``. Kept current, too, until a node comes, goes or is labelled anew."""
        ...

    def domains(self, key: str) -> Amounts:
        """How many nodes each domain has."""
        ...

    def terms(self, *kinds: TermKind) -> Iterator[tuple[TermKind, Term, int, Amounts]]:
        """Affinity terms of the pods on nodes: (kind, term, weight, how many pods of each domain of the term's topology
        key have it)."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened in the cluster that may let a waiting pod go: an object of ``resource``
    (``pods`` for those with a node, ``nodes``, ``persistentvolumes.v1``, …) came, changed or went."""

    resource: str
    type: EventType
    obj: Obj
    old: Obj | None = None


@dataclass(frozen=True, slots=True)
class Nomination:
    """Answer of ``post_filter``: the pod will fit on ``node`` once what the policy set going is done, as ``text`` says.
    An empty ``node`` takes back what was promised to the pod before, ``text`` says why it cannot be helped."""

    node: str
    text: str = ""
    victims: int = 0
    """Pods that have to go for it."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What preemption would do on one node: pods that would have to go, and how many of them a budget protects."""

    victims: Sequence[PodState]
    violations: int


class Supposition(Protocol):
    """One node as it would be without some pods."""

    def take_off(self, pod: PodState) -> None:
        """One of this node or, when it goes together with one of this node, of another."""
        ...

    def put_back(self, pod: PodState) -> None:
        """One that was taken off."""
        ...

    def fits(self) -> bool:
        """Whether all filters would let the pod of the cycle go there, pods of at least its priority that were
        promised the node counted."""
        ...

    def refusals(self) -> Sequence[str]:
        """What the first filter that would not let it go there says."""
        ...


class Cycle(Protocol):
    """One pod that fits nowhere, as ``post_filter`` sees it."""

    @property
    def pod(self) -> PodState: ...

    @property
    def lasting(self) -> Mask:
        """Nodes that were refused for good."""
        ...

    def stamp(self, row: int) -> object | None:
        """Equal to an earlier one, of this cycle or of another, when everything is as it was then that decides about
        such a pod on the node. None: that cannot be told."""
        ...

    def was_asked(self, policy: str) -> bool:
        """Whether this policy's ``pre_filter`` was asked: not when one before it refused all nodes."""
        ...

    async def review(self, proposals: Mapping[str, Proposal]) -> Mapping[str, Proposal]:
        """What others that have a word in it leave of the proposals, by node. Raises PolicyError."""
        ...

    def suppose(self, row: int) -> AbstractContextManager[Supposition]:
        """Inside, pods may be taken off the node; afterwards all is as it was."""
        ...


class Context(Protocol):
    """What a policy may reach; the same for all policies of a scheduler."""

    @property
    def client(self) -> Client:
        """As ``system:kube-scheduler``."""
        ...

    @property
    def clock(self) -> Clock: ...
    @property
    def rng(self) -> Any: ...
    @property
    def nodes(self) -> Nodes: ...
    @property
    def scheduler_name(self) -> str: ...
    @property
    def log(self) -> Any: ...

    def nominated(self, node: str) -> Collection[PodState]:
        """Pods that were promised this node and are not on it yet."""
        ...

    async def withdraw(self, pod: PodState) -> None:
        """Take a promise back and clear ``status.nominatedNodeName``."""
        ...

    def gang(self, pod: PodState) -> Gang | None:
        """With whom a pod belongs together, as a policy of the profile says; of any pod, also one with a node."""
        ...

    def waiting(self) -> Collection[PodState]:
        """Pods held by ``permit``."""
        ...

    def allow(self, uid: str, policy: str) -> None:
        """``policy`` lets a pod go on that it holds; it goes on when nobody holds it any more."""
        ...

    def reject(self, uid: str, policy: str, text: str) -> None:
        """``policy`` refuses a pod that ``permit`` holds."""
        ...

    def preempt(self, uid: str, policy: str) -> bool:
        """Send a pod back to the queue that is held, or for which things are prepared, before it is bound. False for
        any other."""
        ...

    def activate(self, uid: str) -> None:
        """Look at a waiting pod at once, whatever keeps it."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Do something that the next pod does not have to wait for; ends with the scheduler."""
        ...

    async def follow(self, resource: str) -> Informer:
        """A synced view of a resource beside pods and nodes; its changes reach ``helps`` as ``Change``, each once
        however many policies follow it. To be called from ``start``."""
        ...

    def forget_answers(self) -> None:
        """Something that no ``scope`` tells of changed: what policies said about nodes is computed anew."""
        ...

    def changed(self, change: Change) -> None:
        """Tell the queue that something happened which no resource that is followed tells."""
        ...

    def event(
        self,
        obj: Obj,
        type: Literal["Normal", "Warning"],
        reason: str,
        action: str,
        note: str,
        *,
        related: Obj | None = None,
    ) -> None:
        """Tell of the object (events.k8s.io/v1), as the profile's scheduler: it was tried to do ``action``."""
        ...


class Policy:
    """Base of all policies: takes part in no extension point.

    Methods that decide are synchronous and must be quick; they must not keep or change what they are given.
    ``state`` is what the policy's own ``pre_filter`` or ``pre_score`` answered for this pod.
    """

    name: ClassVar[str] = ""
    """Upstream's name of the policy, as in events and configuration: ``NodeResourcesFit``."""

    scope: ClassVar[Literal["node object", "node", "cluster"]] = "cluster"
    """What an answer about one node depends on beside the pod: the node object alone, also the pods on that
    node, or anything. The narrower, the less is computed again after each placement."""

    arguments: ClassVar[frozenset[str]] = frozenset()
    """Names of what it takes in ``pluginConfig``."""

    judges_late: ClassVar[bool] = False
    """Whether what is wrong with its arguments is told of as an error of making it, not of the configuration."""

    refusal: ClassVar[Refusal] = Refusal("node(s) were refused")
    """For policies that have just one reason."""

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        """``args`` as in ``PolicyFactory.build``; ValueError for one that is not among ``arguments``. Each argument of
        a ValueError is a text that begins with the path of a field: ``scoringStrategy.type: Unsupported value: …``."""
        self.context = context
        if unknown := sorted(args.keys() - self.arguments):
            raise ValueError(f"{self.name} does not take {', '.join(unknown)}")

    async def start(self) -> None:
        """Begin to watch what it needs beside pods and nodes; synced when this returns."""

    async def stop(self) -> None:
        """Release it."""

    def sign(self, pod: PodState) -> Any:
        """All of the pod that this policy looks at, as JSON values: pods with equal signatures get equal
        answers. ``NotImplemented`` is for policies that do not know: nothing is shared between pods then."""
        return NotImplemented

    def pre_enqueue(self, pod: PodState) -> str:
        """Why the pod is not to be looked at yet; empty when it may enter the queue."""
        return ""

    def sort_key(self, pod: PodState) -> tuple[Any, ...]:
        """Order of the queue, smallest first. Of one policy only, the profile's first that overrides it."""
        raise NotImplementedError

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        """State for ``filter`` (depends on no more than ``sign`` and ``scope`` say), ``SKIP``, ``Narrowed``, or a
        ``Refusal`` of all nodes."""
        return None

    def filter(self, pod: PodState, state: Any, nodes: Nodes, rows: Rows) -> Mask:
        """Where the pod may go."""
        raise NotImplementedError

    def reasons(self, pod: PodState, state: Any, nodes: Nodes, rows: Rows) -> Iterable[tuple[Mask, Refusal]]:
        """Why not: each reason with the nodes that it holds for. Together they are where ``filter`` is false."""
        yield ~self.filter(pod, state, nodes, rows), self.refusal

    async def post_filter(self, cycle: Cycle) -> Nomination | str:
        """No node fits: make room (preemption). A text says why that cannot be; after a PolicyError nobody else is
        asked."""
        return ""

    def proposals(self, cycle: Cycle) -> Mapping[str, Proposal] | str:
        """What ``post_filter`` may do, by node and the best first, or why nothing can be done. For those who ask:
        nothing is done, and nobody who reviews is heard."""
        return {}

    async def post_filter_gang(self, trial: GangTrial) -> GangNomination | str:
        """As ``post_filter`` for a gang."""
        return ""

    def pre_score(self, pod: PodState, nodes: Nodes) -> Any:
        """State for ``score``, or ``SKIP``; like ``pre_filter``."""
        return None

    def score(self, pod: PodState, state: Any, nodes: Nodes, rows: Rows) -> Amounts:
        """The more the better; 0 to 100 unless ``normalize`` makes it so."""
        raise NotImplementedError

    def normalize(self, pod: PodState, state: Any, nodes: Nodes, scores: Amounts, fits: Mask) -> Amounts:
        """Scores of all rows brought to 0 to 100 by comparing the nodes that fit (there is at least one). Equal
        scores stay equal."""
        return scores

    def gang(self, pod: PodState) -> Gang | None:
        """With whom a pod is placed; None: alone. Of one policy only, the first that overrides it."""
        return None

    def too_few(self, gang: Gang, scheduled: int, remaining: int) -> str:
        """Why a gang cannot be placed any more when so many of its pods have a node, those of before counted, and so
        many are still to be looked at; empty as long as it can."""
        return ""

    async def decided(self, gang: Gang, refusal: str, *, error: bool = False) -> None:
        """A gang was placed (its pods are being bound), or refused; ``error``: it cannot be looked at."""

    def reserve(self, pod: PodState, node: str) -> str:
        """A node was chosen: keep what the pod needs there. A text is a refusal: all is given back, as after a
        PolicyError, which has the pod tried again."""
        return ""

    def unreserve(self, pod: PodState, node: str) -> None:
        """Give back; called when anything after ``reserve`` failed, tolerates having nothing."""

    def permit(self, pod: PodState, node: str) -> Wait | str | None:
        """Last word before binding: None goes on, a text refuses."""
        return None

    def pre_bind(self, pod: PodState, node: str) -> Awaitable[None] | None:
        """What must be done before the pod is bound (volumes); raises KubernelError."""
        return None

    def bind(self, pod: PodState, node: str) -> Awaitable[bool] | None:
        """Bind the pod; of the first policy that does not answer None (or False)."""
        return None

    def post_bind(self, pod: PodState, node: str) -> None:
        """The pod is bound."""

    def helps(self, pod: PodState, change: Change) -> bool:
        """Whether this change may let a pod go that this policy refused (a queueing hint)."""
        return True


@dataclass(frozen=True, slots=True)
class PolicyFactory:
    """Answer of the hook ``kubernel_scheduler_policy``: how to make a policy for one profile.

    ``build`` is a subclass of ``Policy``: ``build(args, context)`` gets the profile's arguments (a mapping, as in
    ``pluginConfig`` of a KubeSchedulerConfiguration, empty for the defaults) and raises ValueError for wrong
    ones. ``weight`` multiplies the scores unless the profile says otherwise; ``default`` is whether profiles
    that say nothing have it.
    """

    name: str
    build: type[Policy]
    weight: int = 1
    default: bool = True


def overrides(policy: Policy | type[Policy], point: str) -> bool:
    """Whether the policy takes part in an extension point: ``filter``, ``score``, ``permit``, …."""
    cls = policy if isinstance(policy, type) else type(policy)
    return getattr(cls, point) is not getattr(Policy, point)
