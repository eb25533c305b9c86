"""A tiny process that outlives kubernel just long enough to end its containers.

It is a shell waiting at a pipe: about 1 MB, no processor time. Without it, containers of a kubernel
that was killed would run on until somebody starts that cluster again.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

__all__ = ["Guard"]


class Guard:
    def __init__(self, marker: str) -> None:
        self._marker = marker
        self.process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def begin(self) -> None:
        """Start it, unless it runs; OSError where there is no shell."""
        if self.process is not None and self.process.poll() is None:
            return
        self.end()
        read_end, self._pipe = os.pipe()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own script with our own marker
                ["/bin/sh", str(Path(__file__).with_name("guard.sh")), self._marker],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.environ.get("PATH", os.defpath)},
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(read_end)

    def end(self) -> None:
        """Kubernel has stopped its containers itself."""
        if self._pipe >= 0:
            with contextlib.suppress(OSError):
                os.write(self._pipe, b"done\n")
            os.close(self._pipe)
            self._pipe = -1
        if self.process is not None:
            self.process.wait()
            self.process = None
