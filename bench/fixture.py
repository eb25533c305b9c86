"""A fresh in-process cluster, as the test fixture makes it: ``python bench/fixture.py [rounds]``.

Prints the median, and its ratio to the limit of 50 ms. The first cluster of a process also imports everything
and is told apart.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time

LIMIT_MS = 50.0


def main(rounds: int = 30) -> None:
    begun = time.perf_counter()
    from kubernel.plugin.catalogue import Catalogue
    from kubernel.testing.cluster import Cluster

    catalogue = Catalogue()
    ups: list[float] = []
    downs: list[float] = []
    busy: list[float] = []
    for number in range(rounds + 1):
        gc.collect()
        if number:
            begun = time.perf_counter()
        cpu = time.process_time()
        cluster = Cluster(catalogue=catalogue)
        up = time.perf_counter()
        busy.append((time.process_time() - cpu) * 1000)
        cluster.stop()
        ups.append((up - begun) * 1000)
        downs.append((time.perf_counter() - up) * 1000)
    median = statistics.median(ups[1:])
    print(f"first cluster, imports included  {ups[0]:8.1f} ms")
    print(f"fresh cluster, median of {rounds:<7} {median:8.1f} ms   {median / LIMIT_MS:.2f} of the limit")
    print(f"  fastest                        {min(ups[1:]):8.1f} ms")
    print(f"  processor time, median         {statistics.median(busy[1:]):8.1f} ms")
    print(f"  stopping it, median            {statistics.median(downs[1:]):8.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
