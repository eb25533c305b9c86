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

    def conditions(self, old: Sequence[Mapping[str, Any]] | None, now: str) -> list[dict[str, Any]]:
        """All five, in upstream's words (deletion/status_condition_utils.go)."""
        found: Any = old
        for type, problem, bad, good in (
            (
                "NamespaceDeletionDiscoveryFailure",
                self._discovery(),
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

    def _discovery(self) -> str:
        failure = self.discovery_failure
        return f"Discovery failed for some groups, 1 failing: {failure}" if failure else ""

    def _failures(self) -> str:
        if not self.errors or self.discovery_failure:
            return ""
        texts = sorted(str(error) for error in self.errors)
        return f"Failed to delete all resource types, {len(texts)} remaining: {', '.join(texts)}"

    def _left(self) -> str:
        texts = sorted(
            f"{plural}.{group} has {count} resource instances"
            for (group, plural), count in self.remaining.items()
        )
        return f"Some resources are remaining: {', '.join(texts)}" if texts else ""

    def _held(self) -> str:
        texts = sorted(f"{name} in {count} resource instances" for name, count in self.finalizers.items())
        return f"Some content in the namespace has finalizers remaining: {', '.join(texts)}" if texts else ""
