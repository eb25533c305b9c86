"""API priority and fairness: which requests run now, which wait, and which are turned away (KEP-1040)."""

from __future__ import annotations

from .controller import Classified, Fairness, Rejected
from .matching import Asked
from .queues import Ticket
from .seats import Estimate

__all__ = ["Asked", "Classified", "Estimate", "Fairness", "Rejected", "Ticket"]
