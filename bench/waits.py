#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long programs wait when daemons die; for bench_failure.sh. Prints one JSON object.

    waits.py kills DIR SOURCE KEEPER COUNT     three readers compare DIR with SOURCE while KEEPER's daemon is killed COUNT times
    waits.py restarts DIR SOURCE KEEPER COUNT COMMAND...   the same, and COMMAND is run instead
    waits.py walk DIR SECONDS PID SIGNAL       reads each file below DIR once; after 2 s process PID gets SIGNAL

A wait is the time from asking for a file to its last byte, with walk from one file's last byte to the next one's.
"""
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time


def read(path, limit=1 << 30):
    """Its sum; pages that the kernel has are given back first."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        total = hashlib.md5()
        while limit > 0 and (data := os.read(fd, min(limit, 1 << 20))):
            total.update(data)
            limit -= len(data)
        return total.hexdigest()
    finally:
        os.close(fd)


def files_below(top):
    for folder, _, names in os.walk(top):
        for name in names:
            if not os.path.islink(os.path.join(folder, name)):
                yield os.path.join(folder, name)


class Reader(threading.Thread):
    def __init__(self, folder, sums):
        super().__init__(daemon=True)
        self.folder, self.sums, self.stop = folder, sums, False
        self.spans, self.errors = [], []

    def run(self):
        names = list(self.sums)
        while not self.stop:
            random.shuffle(names)
            for name in names:
                if self.stop:
                    return
                start = time.monotonic()
                try:
                    if read(os.path.join(self.folder, name)) != self.sums[name]:
                        self.errors.append(f"{name}: wrong bytes")
                except OSError as e:
                    self.errors.append(str(e))
                self.spans.append((start, time.monotonic()))


def daemon_of(keeper):
    try:
        with open(f"/proc/{keeper}/task/{keeper}/children") as f:
            for pid in f.read().split():
                with open(f"/proc/{pid}/cmdline") as f:
                    if "--keeper-fds" in f.read():
                        return int(pid)
    except OSError:
        pass
    return None


def next_daemon(keeper, old):
    for _ in range(20000):
        now = daemon_of(keeper)
        if now is not None and now != old:
            return now
        time.sleep(0.001)
    sys.exit("waits.py: no other daemon came within 20 s")


def kill(keeper):
    old = next_daemon(keeper, None)
    os.kill(old, signal.SIGKILL)
    next_daemon(keeper, old)


def deaths(folder, source, keeper, count, happen):
    sums = {os.path.relpath(path, source): read(path) for path in files_below(source)}
    readers = [Reader(folder, sums) for _ in range(3)]
    for r in readers:
        r.start()
    times = []
    for _ in range(count):
        time.sleep(random.uniform(0.3, 0.9))
        times.append(time.monotonic())
        happen(keeper)
    time.sleep(1)
    for r in readers:
        r.stop = True
    for r in readers:
        r.join(30)
    spans = [s for r in readers for s in r.spans]
    waits = [max((end - start for start, end in spans if start < t + 0.1 and end > t), default=0) for t in times]
    quiet = sorted(end - start for start, end in spans)
    hung = sum(r.is_alive() for r in readers)
    return {"waits_ms": [w * 1000 for w in waits], "usual_ms": quiet[len(quiet) // 2] * 1000, "reads": len(spans),
            "errors": sum(len(r.errors) for r in readers) + hung, "first_error": next((r.errors[0] for r in readers if r.errors), "")}


def walk(top, seconds, pid, signo):
    waits, errors, killed = [], [], False
    begun = last = time.monotonic()
    for path in files_below(top):  # a directory's listing is waited for, too
        if last - begun > 2 and not killed:
            os.kill(pid, signo)
            killed = True
        try:
            read(path, 65536)
        except OSError as e:
            errors.append(str(e))
        now = time.monotonic()
        waits.append(now - last)
        last = now
        if last - begun > seconds:
            break
    else:
        sys.exit(f"waits.py: {len(waits)} files were read in {last - begun:.1f} s: too few")
    return {"waits_ms": [max(waits) * 1000], "reads": len(waits), "errors": len(errors), "first_error": errors[0] if errors else ""}


what, args = sys.argv[1], sys.argv[2:]
if what == "kills":
    result = deaths(args[0], args[1], int(args[2]), int(args[3]), kill)
elif what == "restarts":
    result = deaths(args[0], args[1], int(args[2]), int(args[3]),
                    lambda _: subprocess.run(args[4:], check=True, stdout=subprocess.DEVNULL))
else:
    result = walk(args[0], float(args[1]), int(args[2]), getattr(signal, "SIG" + args[3]))
print(json.dumps(result))
