"""What one pass over a namespace's content came to, and how its status says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubernel.errors import ApiError
from kubernel.objects import conditions

__all__ = ["Outcome"]


@dataclass(slots=True)
class Outcome:
    """``remaining`` counts objects by (group, plural), ``finalizers`` those that hold them;
    ``estimate`` is how many seconds it may take until they are gone."""

    remaining: dict[tuple[str, str], int] = field(default_factory=dict)
    finalizers: Counter[str] = field(default_factory=Counter)
    estimate: int = 0
    errors: list[ApiError] = field(default_factory=list)
    discovery_failure: str = ""
    waits_for_pods: bool = False
    """Nothing but pods has been looked at. Upstream's conditions say then that no content remains."""

    def conditions(self, old: Sequence[Mapping[str, Any]] | None, now: str) -> list[dict[str, Any]]:
        """All five, in upstream's words (deletion/status_condition_utils.go)."""
        found: Any = old
        for type, problem, bad, good in (
            (
                "NamespaceDeletionDiscoveryFailure",
                self.discovery_failure,
                "DiscoveryFailed",
                ("ResourcesDiscovered", "All resources successfully discovered"),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                "",
                "GroupVersionParsingFailed",
                ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            ),
            (
                "NamespaceDeletionContentFailure",
                self._failures(),
                "ContentDeletionFailed",
                ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            ),
            (
                "NamespaceContentRemaining",
                self._left(),
                "SomeResourcesRemain",
                ("ContentRemoved", "All content successfully removed"),
            ),
            (
                "NamespaceFinalizersRemaining",
                self._held(),
                "SomeFinalizersRemain",
                ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            ),
        ):
            if problem:
                found, _ = conditions.set(found, type, "True", bad, problem, now)
            else:
                found, _ = conditions.set(found, type, "False", *good, now)
        return list(found)

    def _failures(self) -> str:
        if not self.errors:
            return ""
        texts = sorted(str(error) for error in self.errors)
        return f"Failed to delete all resource types, {len(texts)} remaining: {', '.join(texts)}"

    def _left(self) -> str:
        if self.waits_for_pods:
            return ""
        texts = sorted(
            f"{plural}.{group} has {count} resource instances"
            for (group, plural), count in self.remaining.items()
        )
        return f"Some resources are remaining: {', '.join(texts)}" if texts else ""

    def _held(self) -> str:
        if self.waits_for_pods:
            return ""
        texts = sorted(f"{name} in {count} resource instances" for name, count in self.finalizers.items())
        return f"Some content in the namespace has finalizers remaining: {', '.join(texts)}" if texts else ""
