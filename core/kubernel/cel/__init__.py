"""The Common Expression Language as Kubernetes uses it.

An ``Environment`` says what variables there are; it compiles expressions, which run on plain JSON values::

    from kubernel import cel

    environment = cel.Environment({"object": cel.DYN, "oldObject": cel.DYN})
    program = environment.compile("object.spec.replicas <= 5 && has(object.metadata.labels)")
    program.result                                   # <Type bool>
    program.evaluate({"object": deployment, "oldObject": None})                     # True

A variable may have a schema's type, so that its fields are checked and date-times are timestamps::

    self_type = cel.type_from_schema(node, resource=True)
    environment = cel.Environment({"self": self_type, "oldSelf": self_type})
    value, cost = environment.compile("self.spec.min <= self.spec.max").run({"self": custom_object}, limit)

``compile`` raises ``CompileError`` with cel-go's report, ``evaluate`` and ``run`` raise ``EvaluationError`` (among
them ``CostExceeded``); nothing else is raised, whatever the expression and the values. Rules for one request share
a budget: take ``min(PER_CALL_LIMIT, what is left)`` as the limit and subtract the cost.

Whether a CRD's rule is accepted is decided by ``estimate(program.node)``, times how often its node may occur
(the product of ``largest_size`` of the lists and maps around it), against ``ESTIMATE_LIMIT``.

The layer stands above ``kubernel.objects`` and knows neither the registry nor any kind.
"""

from .environment import MATCH_BUDGET, PER_CALL_LIMIT, RUNTIME_BUDGET, Environment, Program
from .errors import CelError, CompileError, CostExceeded, EvaluationError, Issue
from .estimate import ESTIMATE_LIMIT, TOTAL_ESTIMATE_LIMIT, estimate, largest_size
from .library.authorizer import Answer, Authorizer, Question, ResourceCheck
from .schema import Schema, escape, is_identifier, smallest, type_from_schema, unescape
from .types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    map_of,
    object_type,
    opaque,
    optional_of,
)  # fmt: skip
from .values import NONE, Duration, Message, Opaque, Optional, Timestamp, UInt, runtime_type, to_text

__all__ = [
    "BOOL", "BYTES", "DOUBLE", "DURATION", "DYN", "ESTIMATE_LIMIT", "INT", "MATCH_BUDGET", "NONE", "NULL",
    "PER_CALL_LIMIT", "RUNTIME_BUDGET", "STRING", "TIMESTAMP", "TOTAL_ESTIMATE_LIMIT", "UINT", "Answer",
    "Authorizer", "CelError", "CompileError", "CostExceeded", "Duration", "Environment", "EvaluationError",
    "Issue", "Message", "Opaque", "Optional", "Program", "Question", "ResourceCheck", "Schema", "Timestamp",
    "Type", "UInt", "escape", "estimate", "is_identifier", "largest_size", "list_of", "map_of", "object_type",
    "opaque", "optional_of", "runtime_type", "smallest", "to_text", "type_from_schema", "unescape",
]  # fmt: skip
