"""What v1.37 serves by default, by group and version.

Facts: api/discovery of kubernetes/kubernetes. New beta versions are off by default (KEP-3136), so what
is served is what is GA.
"""

from kubernel_plugins.api.builtin.tables.core import ROWS
from kubernel_plugins.api.builtin.tables.extra import EXTRA
from kubernel_plugins.api.builtin.tables.groups import GROUPS
from kubernel_plugins.api.builtin.tables.reviews import REVIEWS

__all__ = ["EXTRA", "REVIEWS", "TABLES"]

TABLES = {("", "v1"): ROWS, **GROUPS}
