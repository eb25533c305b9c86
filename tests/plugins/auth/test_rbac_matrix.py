"""Every decision of the compiled policy is the one that RBAC's definition gives.

The reference below is written from the API documentation of Role and RoleBinding, and looks at everything each time.
"""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kubernel.registry.attributes import Attributes
from kubernel.registry.request import UserInfo
from kubernel_plugins.auth.rbac.policy import Policy
from kubernel_plugins.auth.rules import compile_rules, covers

Obj = dict[str, Any]

VERBS = ("get", "list", "create", "bind")
GROUPS = ("", "apps")
RESOURCES = ("pods", "pods/log", "deployments")
NAMES = ("a", "b")
NAMESPACES = ("", "one", "two")
PATHS = ("/healthz", "/api", "/api/x")
USERS = (
    UserInfo("jane", ("devs", "system:authenticated")),
    UserInfo("joe", ("system:authenticated",)),
    UserInfo("system:serviceaccount:one:bot", ("system:serviceaccounts", "system:serviceaccounts:one")),
    UserInfo("system:anonymous", ("system:unauthenticated",)),
)


# --- the reference


def _has(values: list[str], wanted: str) -> bool:
    return "*" in values or wanted in values


def _is_about(rule: Obj, asked: Attributes) -> bool:
    if asked.path:
        return _has(rule["verbs"], asked.verb) and any(
            url in ("*", asked.path) or (url.endswith("*") and asked.path.startswith(url[:-1]))
            for url in rule.get("nonResourceURLs", ())
        )
    what = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    known = ["*", what, *([f"*/{asked.subresource}"] if asked.subresource else [])]
    names = rule.get("resourceNames")
    return (
        _has(rule["verbs"], asked.verb)
        and _has(rule.get("apiGroups", []), asked.group)
        and any(resource in known for resource in rule.get("resources", ()))
        and (not names or asked.name in names)
    )


def _is_subject(subject: Obj, user: UserInfo) -> bool:
    if subject["kind"] == "User":
        return bool(subject["name"] == user.name)
    if subject["kind"] == "Group":
        return subject["name"] in user.groups
    return user.name == f"system:serviceaccount:{subject['namespace']}:{subject['name']}"


def reference(roles: list[Obj], bindings: list[Obj], asked: Attributes) -> bool:
    for binding in bindings:
        where = binding["metadata"].get("namespace", "")
        if where and (asked.path or where != asked.namespace):
            continue
        if not any(_is_subject(subject, asked.user) for subject in binding["subjects"]):
            continue
        home = where if binding["roleRef"]["kind"] == "Role" else ""
        for role in roles:
            same = role["metadata"]["name"] == binding["roleRef"]["name"]
            there = same and role["metadata"].get("namespace", "") == home
            if there and any(_is_about(rule, asked) for rule in role["rules"]):
                return True
    return False


# --- what there may be


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


resource_rule = st.fixed_dictionaries(
    {
        "verbs": some(*VERBS, "*"),
        "apiGroups": some(*GROUPS, "*"),
        "resources": some(*RESOURCES, "*", "*/log"),
    },
    optional={"resourceNames": some(*NAMES)},
)
url_rule = st.fixed_dictionaries({"verbs": some("get", "*"), "nonResourceURLs": some(*PATHS, "*", "/api/*")})
rules = st.lists(st.one_of(resource_rule, url_rule), max_size=3)


def _role(name: str, namespace: str, has: list[Obj]) -> Obj:
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {})}, "rules": has}


role = st.builds(_role, st.sampled_from(("r", "s")), st.sampled_from(NAMESPACES), rules)
subject = st.one_of(
    st.builds(
        lambda name: {"kind": "User", "name": name}, st.sampled_from(("jane", "joe", "system:anonymous"))
    ),
    st.builds(
        lambda name: {"kind": "Group", "name": name},
        st.sampled_from(
            ("devs", "system:authenticated", "system:unauthenticated", "system:serviceaccounts:one")
        ),
    ),
    st.builds(
        lambda space: {"kind": "ServiceAccount", "name": "bot", "namespace": space},
        st.sampled_from(("one", "two")),
    ),
)


def _binding(name: str, namespace: str, kind: str, refers: str, subjects: list[Obj]) -> Obj:
    return {
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "roleRef": {"kind": kind if namespace else "ClusterRole", "name": refers},
        "subjects": subjects,
    }


binding = st.builds(
    _binding,
    st.sampled_from(("x", "y", "z")),
    st.sampled_from(NAMESPACES),
    st.sampled_from(("Role", "ClusterRole")),
    st.sampled_from(("r", "s", "gone")),
    st.lists(subject, max_size=2),
)


def _key(obj: Obj) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def matrix() -> list[Attributes]:
    """Every kind of user with every verb, resource and scope."""
    asked = [
        Attributes(user, verb, group, "v1", *_split(resource), namespace, name)
        for user, verb, group, resource, namespace, name in itertools.product(
            USERS, VERBS, GROUPS, RESOURCES, NAMESPACES, ("", *NAMES)
        )
    ]
    return asked + [
        Attributes(user, verb, path=path) for user in USERS for verb in ("get", "post") for path in PATHS
    ]


def _split(resource: str) -> tuple[str, str]:
    plural, _, sub = resource.partition("/")
    return plural, sub


@settings(max_examples=120, deadline=None)
@given(st.lists(role, max_size=5), st.lists(binding, max_size=5), st.data())
def test_every_decision_is_the_references(roles: list[Obj], bindings: list[Obj], data: st.DataObject) -> None:
    policy = Policy()
    have_roles = {_key(one): one for one in roles}
    have_bindings = {_key(one): one for one in bindings}
    for one in roles:
        policy.put_role(one)
    for one in bindings:
        policy.put_binding(one)
    asked = matrix()
    for _ in range(2):
        for attributes in asked:
            expected = reference(list(have_roles.values()), list(have_bindings.values()), attributes)
            assert policy.allows(attributes) is expected, attributes
        # What is taken away is not remembered.
        if have_roles and data.draw(st.booleans()):
            key = data.draw(st.sampled_from(sorted(have_roles)))
            del have_roles[key]
            policy.remove_role(*key)
        if have_bindings:
            key = data.draw(st.sampled_from(sorted(have_bindings)))
            del have_bindings[key]
            policy.remove_binding(*key)


@settings(max_examples=200, deadline=None)
@given(rules, rules)
def test_what_covers_other_rules_allows_all_that_they_allow(owned: list[Obj], wanted: list[Obj]) -> None:
    if covers(compile_rules(owned), compile_rules(wanted)):
        return
    for attributes in matrix():
        if any(_is_about(rule, attributes) for rule in wanted):
            assert any(_is_about(rule, attributes) for rule in owned), attributes
