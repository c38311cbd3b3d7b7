#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of several processes with h5py, for bench/run checkpoint: a file each, a data set of bytes in it, fsync, rename.

    checkpoint_h5.py DIR PROCESSES BYTES COUNT

Prints what bench/checkpoint.c prints. Debian's h5py has no MPI, so the processes cannot share a file.
"""
import json
import multiprocessing
import os
import resource
import sys
import time

import h5py
import numpy


def rank_main(rank, where, size, count, barrier, out):
    data = numpy.random.default_rng(rank).integers(0, 256, size, dtype=numpy.uint8)
    path, fresh, seconds = f"{where}/h5-{rank}", f"{where}/h5-{rank}.new", []
    for i in range(count + 1):  # the first one is not counted
        data[:4] = i % 256
        barrier.wait()
        start = time.monotonic()
        with h5py.File(fresh, "w") as f:
            f.create_dataset("data", data=data)
        fd = os.open(fresh, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        os.rename(fresh, path)
        barrier.wait()
        seconds.append(time.monotonic() - start)
    out.put((rank, seconds[1:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def main():
    where, processes, size, count = sys.argv[1], *map(int, sys.argv[2:5])
    barrier, out = multiprocessing.Barrier(processes), multiprocessing.Queue()
    ranks = [multiprocessing.Process(target=rank_main, args=(r, where, size, count, barrier, out))
             for r in range(processes)]
    for r in ranks:
        r.start()
    answers = sorted(out.get(timeout=600) for _ in ranks)
    for r in ranks:
        r.join()
    print(json.dumps({"way": "h5py", "seconds": answers[0][1], "commit_seconds": [],
                      "rss_kb": max(a[2] for a in answers), "data_kb": size >> 10}))


main()
