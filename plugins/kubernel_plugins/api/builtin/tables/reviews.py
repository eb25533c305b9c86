"""Virtual types: answered, never stored. Auth plugins set the types' ``create`` when they start."""

from __future__ import annotations

from kubernel_plugins.api.builtin.rows import Row

__all__ = ["REVIEWS"]

_POST = ("create",)

REVIEWS: dict[tuple[str, str], tuple[Row, ...]] = {
    ("authentication.k8s.io", "v1"): (
        Row("SelfSubjectReview", "selfsubjectreviews", namespaced=False, verbs=_POST),
        Row("TokenReview", "tokenreviews", namespaced=False, verbs=_POST),
    ),
    ("authorization.k8s.io", "v1"): (
        Row("LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=_POST),
        Row("SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False, verbs=_POST),
        Row("SelfSubjectRulesReview", "selfsubjectrulesreviews", namespaced=False, verbs=_POST),
        Row("SubjectAccessReview", "subjectaccessreviews", namespaced=False, verbs=_POST),
    ),
}
