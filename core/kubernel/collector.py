"""The garbage collector's policy of a process that is a cluster.

Objects in the store are trees of dicts and live long; CPython's default is to walk all of them again and
again: half a second at a time with 30,000 pods. Nearly everything dies by reference count, so: no
collection while the cluster loads; then what lives is moved out of the collector's sight, and again
after every collection, so that each looks only at what is new, once. Cycles that die out of sight are found by
``sweep``, which looks at everything, as long as that is a matter of milliseconds or the heap has doubled.
"""

from __future__ import annotations

import gc
from typing import Any

__all__ = ["CollectorPolicy"]

THRESHOLDS = (20_000, 1_000_000, 1_000_000)
"""A collection for each 20,000 containers that survive: 5 to 10 ms, see ``bench/store.py``. What has survived one is
out of sight, so the older generations are empty."""
SWEEP_FREELY = 50_000
"""So many frozen containers are walked in about 20 ms."""
SWEEP_INTERVAL = 600.0
"""Seconds between sweeps."""


class CollectorPolicy:
    """Process-wide by nature: for whoever owns the process, such as ``kubernel up``; never for a
    cluster that lives in someone else's."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        self._swept = 0
        self._installed = False

    def loading(self) -> None:
        """The cluster starts: collect nothing."""
        gc.disable()

    def loaded(self) -> None:
        """The cluster runs."""
        gc.freeze()
        self._swept = gc.get_freeze_count()
        gc.set_threshold(*THRESHOLDS)
        if not self._installed:
            gc.callbacks.append(self._collected)
            self._installed = True
        gc.enable()

    def sweep(self) -> bool:
        """Find cycles among the frozen, unless that would take long for little; whether it was done."""
        frozen = gc.get_freeze_count()
        if frozen > SWEEP_FREELY and frozen < 2 * self._swept:
            return False
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._swept = gc.get_freeze_count()
        return True

    def restore(self) -> None:
        """Everything as Python had it."""
        if self._installed:
            gc.callbacks.remove(self._collected)
            self._installed = False
        gc.unfreeze()
        gc.set_threshold(*self._before)
        gc.enable()

    @staticmethod
    def _collected(phase: str, info: dict[str, Any]) -> None:
        if phase == "stop":
            gc.freeze()
