"""What a CustomResourceDefinition must be, in upstream's words.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation (v1.37).
"""

from kubernel_plugins.api.custom.rules.formats import unknown_formats, unsupported_sets
from kubernel_plugins.api.custom.rules.spec import check_definition, check_status

__all__ = ["check_definition", "check_status", "unknown_formats", "unsupported_sets"]
