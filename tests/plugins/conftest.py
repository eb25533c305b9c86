"""Puts ``workload_kit`` on the path of the tests below."""
