"""Scheduling policies. ``tolerations`` and ``terms`` are what several share."""
