"""Subcommands of `kubernel` beyond those that run a cluster."""
