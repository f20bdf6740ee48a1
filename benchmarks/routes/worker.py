"""What the workers of both frameworks have in common: names go in, seconds come out, a line each."""

import statistics
import sys
import time


def serve(runs):
    """runs  name -> a function without arguments. Ends with the input."""
    for run in runs.values():
        for _ in range(3):
            run()
    print("> " + "\t".join(runs), flush=True)
    for line in sys.stdin:
        print(f"> {seconds(runs[line.strip()])}", flush=True)


def seconds(run, times=5):
    """Of one run of several: the median, after one that is not counted."""
    run()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return statistics.median(found)
