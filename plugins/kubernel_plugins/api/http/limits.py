"""What one connection may cost."""

from __future__ import annotations

__all__ = ["Limits"]


class Limits:
    """Times in seconds, sizes in bytes."""

    HEADER_LINE = 32 * 1024
    HEADERS = 128
    HEADER_TIME = 30.0
    IDLE = 90.0
    HANDSHAKE = 10.0
    BACKLOG = 1024
    """Connections that wait in the system's queue."""
    ENTERING = 4
    """Connections that are taken from it in one step of the loop."""
    FULL = 1.0
    """When there are as many connections as there can be, it is looked again after this time."""
    BODY_TIME = 60.0
    DRAIN = 30.0
    """A client that takes nothing for so long is cut off."""
    RECEIVED = 256 * 1024
    """What the system keeps of a connection that is not read. It would take megabytes, and clients that have sent all
    they wanted come again before the server has looked at it."""
    LINGER = 2.0
    """So long a body is still read that nobody wants, and so much of it."""
    UNWANTED = 256 * 1024
    PARTING = 0.5
    """A client whose body is not read on has so long to read why."""
