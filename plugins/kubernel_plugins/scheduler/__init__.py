"""Schedulers: which node each pod goes to."""
