"""Helpers on plain-dict objects: metadata, owners, conditions, selectors, quantities, paths."""
