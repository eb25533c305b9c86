"""Admission: plugins that change or refuse writes."""
