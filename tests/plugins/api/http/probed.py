"""``kubernel`` as it is started from a command line, with a look at its event loop: every quarter of a second a line is
appended to the file that the environment names, with the time and the longest step of the loop since the last one, both
in seconds. A step's are those of its processor: others may have had that in between.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import uvloop

from kubernel.cli.main import main

BEAT = 0.001
TOLD = 0.25


def watched(path: str) -> asyncio.AbstractEventLoop:
    loop = uvloop.Loop()
    last = longest = 0.0
    told = time.time()

    def beat() -> None:
        nonlocal last, longest, told
        now = time.thread_time()
        if last:
            longest = max(longest, now - last)
        if time.time() - told > TOLD:
            told = time.time()
            with open(path, "a") as file:
                file.write(f"{told} {longest}\n")
            longest = 0.0
        last = time.thread_time()
        loop.call_later(BEAT, beat)

    loop.call_later(BEAT, beat)
    return loop


if __name__ == "__main__":
    uvloop.new_event_loop = lambda: watched(os.environ["KUBERNEL_STEPS"])
    sys.exit(main())
