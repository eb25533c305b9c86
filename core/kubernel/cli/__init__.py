"""The ``kubernel`` command. ``main`` parses, ``cluster`` is the plugin with the built-in subcommands;
what a subcommand needs is imported when it runs."""
