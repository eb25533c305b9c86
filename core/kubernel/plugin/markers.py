"""The two pluggy markers; ``hookimpl`` is what plugins import."""

from __future__ import annotations

import pluggy

__all__ = ["NAMESPACE", "hookimpl", "hookspec"]

NAMESPACE = "kubernel"

hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)
