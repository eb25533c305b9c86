"""Service proxies: what makes services reachable at their addresses."""
