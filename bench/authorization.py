"""RBAC: microseconds of a decision with 1,000 roles and 5,000 bindings, and the ratio to the limit of 20 µs.

python bench/authorization.py
"""

from __future__ import annotations

import random
import statistics
import time

from kubernel.registry.attributes import Attributes
from kubernel.registry.request import UserInfo
from kubernel_plugins.auth.rbac.policy import Policy

ROLES, BINDINGS, USERS, GROUPS, NAMESPACES = 1000, 5000, 500, 100, 50
RESOURCES = [
    ("", "pods"),
    ("", "secrets"),
    ("", "pods/log"),
    ("apps", "deployments"),
    ("batch", "jobs"),
    ("", "nodes"),
]
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete"]
LIMIT = 20.0
DECISIONS = 20_000


def policy(rng: random.Random) -> Policy:
    made = Policy()
    for number in range(ROLES):
        rules = []
        for _ in range(rng.randint(1, 8)):
            group, resource = rng.choice(RESOURCES)
            rule = {"verbs": rng.sample(VERBS, 3), "apiGroups": [group], "resources": [resource]}
            if rng.random() < 0.2:
                rule["resourceNames"] = [f"n{rng.randrange(10)}"]
            if rng.random() < 0.02:
                rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/status"]}
            rules.append(rule)
        made.put_role({"metadata": {"name": f"r{number}"}, "rules": rules})
    for number in range(BINDINGS):
        subject = (
            {"kind": "User", "name": f"u{rng.randrange(USERS)}"}
            if rng.random() < 0.7
            else {"kind": "Group", "name": f"g{rng.randrange(GROUPS)}"}
        )
        metadata = {"name": f"b{number}"}
        if rng.random() < 0.9:
            metadata["namespace"] = f"ns{rng.randrange(NAMESPACES)}"
        role = {"kind": "ClusterRole", "name": f"r{rng.randrange(ROLES)}"}
        made.put_binding({"metadata": metadata, "roleRef": role, "subjects": [subject]})
    return made


def questions(rng: random.Random) -> list[Attributes]:
    asked = []
    for _ in range(DECISIONS):
        groups = tuple(f"g{number}" for number in rng.sample(range(GROUPS), 5))
        user = UserInfo(f"u{rng.randrange(USERS)}", (*groups, "system:authenticated"))
        group, resource = rng.choice(RESOURCES)
        plural, _, sub = resource.partition("/")
        namespace = f"ns{rng.randrange(NAMESPACES)}"
        asked.append(Attributes(user, rng.choice(VERBS), group, "v1", plural, sub, namespace, "n1"))
    return asked


def measure(made: Policy, asked: list[Attributes]) -> list[float]:
    spent = []
    for attributes in asked:
        start = time.perf_counter_ns()
        made.allows(attributes)
        spent.append((time.perf_counter_ns() - start) / 1000)
    return sorted(spent)


def main() -> None:
    rng = random.Random(1)
    made, asked = policy(rng), questions(rng)
    print(f"{ROLES} roles, {BINDINGS} bindings, {DECISIONS} decisions")
    for title in ("asked for the first time", "asked before"):
        spent = measure(made, asked)
        median = statistics.median(spent)
        print(
            f"{title:26} p50 {median:6.2f} µs  p99 {spent[len(spent) * 99 // 100]:6.2f} µs  "
            f"{median / LIMIT:.2f} of the limit of {LIMIT:.0f} µs"
        )


if __name__ == "__main__":
    main()
