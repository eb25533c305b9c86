"""Controllers: each plugin one control loop. ``pods`` and ``ownership`` are what several share."""
