"""CEL: microseconds per compilation and evaluation of typical rules, and the ratio to cel-python when it is there.

python bench/cel.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kubernel import cel

OBJECT: dict[str, Any] = {
    "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web", "tier": "front"}},
    "spec": {
        "replicas": 3,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": f"c{i}",
                        "image": f"registry.example/app:{i}",
                        "resources": {"limits": {"memory": "128Mi"}},
                    }
                    for i in range(3)
                ]
            }
        },
    },
}
RULES = {
    "bound": "object.spec.replicas <= 5",
    "labels": "has(object.metadata.labels) && 'app' in object.metadata.labels",
    "images": "object.spec.template.spec.containers.all(c, c.image.startsWith('registry.example/'))",
    "pattern": "object.metadata.name.matches('^[a-z0-9-]+$')",
    "memory": "object.spec.template.spec.containers.all(c, quantity(c.resources.limits.memory)"
    ".isLessThan(quantity('1Gi')))",
}
LIBRARY_LACKS = ("memory",)


def micros(work: Callable[[], Any], seconds: float = 0.2) -> float:
    """CPU time of one call, by as many as fit."""
    work()
    count = 0
    start = time.process_time()
    while (spent := time.process_time() - start) < seconds:
        work()
        count += 1
    return spent / count * 1e6


def main() -> None:
    start = time.process_time()
    environment = cel.Environment({"object": cel.DYN})
    environment.compile("1 + 1 == 2")
    print(f"first compilation {(time.process_time() - start) * 1e3:.1f} ms")
    library = None
    try:
        import celpy
        from celpy.adapter import json_to_cel

        library = celpy.Environment()
    except ImportError:
        print("cel-python is not installed: no ratios")
    print(f"{'rule':10}{'compile µs':>12}{'evaluate µs':>12}{'cost':>6}{'compile':>10}{'evaluate':>10}")
    for name, rule in RULES.items():
        program = environment.compile(rule)
        compiling = micros(lambda rule=rule: environment.compile(rule))  # type: ignore[misc]
        running = micros(lambda program=program: program.evaluate({"object": OBJECT}))  # type: ignore[misc]
        row = f"{name:10}{compiling:12.1f}{running:12.2f}{program.run({'object': OBJECT})[1]:6}"
        if library is not None and name not in LIBRARY_LACKS:
            other = library.program(library.compile(rule))
            row += f"{micros(lambda rule=rule: library.program(library.compile(rule))) / compiling:9.0f}x"  # type: ignore
            row += f"{micros(lambda other=other: other.evaluate({'object': json_to_cel(OBJECT)})) / running:9.0f}x"  # type: ignore
        print(row)


if __name__ == "__main__":
    main()
