"""Starts one command, waits for it, and writes down what it cost.

    python -I -S launch.py REPORT PROGRAM ARGUMENT...

A process of its own, and a small one: on Linux a child's ru_maxrss begins with the peak of who
started it, and the benchmark's own peak would hide that of curl. REPORT is four numbers: exit
status (negative: the signal), wall seconds, CPU seconds, ru_maxrss. wait4(2) counts the children
of the command too, those it waited for.
"""

import os
import sys
import time

if __name__ == "__main__":
    report, *words = sys.argv[1:]
    start = time.perf_counter()
    pid = os.posix_spawnp(words[0], words, os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    figures = (
        os.waitstatus_to_exitcode(status),
        seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss,
    )
    with open(report, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is memory too
        file.write(" ".join(map(repr, figures)))
