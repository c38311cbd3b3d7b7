# SPDX-License-Identifier: Apache-2.0
"""What the tests of Python's tiercel have in common: a pool in a folder of its own, and children that are other processes."""
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import tiercel

POOLS = os.environ.get("TIERCEL_TEST_POOLS")  # uris of new pools, with %d for a number; else they are directories
LEASE_S = int(os.environ.get("TIERCEL_TEST_LEASE_S", "0"))  # so much later a death is known


class Case(unittest.TestCase):
    maxDiff = None
    number = 0

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tp-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.uri = os.path.join(self.dir, "pool")
        if POOLS:
            Case.number += 1
            self.uri = POOLS.replace("%d", f"{os.getpid()}-{Case.number}")
        tiercel.create(self.uri)

    def connect(self, mode="rw"):
        pool = tiercel.connect(self.uri, mode)
        self.addCleanup(pool.close)
        return pool

    def open(self, label="c", mode="rw", **more):
        """A handle of a container, through a connection of its own."""
        pool = self.connect()
        if label not in [info.label for info in pool.containers]:
            pool.create(label)
        cont = pool.open(label, mode, **more)
        self.addCleanup(cont.close)
        return cont

    def child(self, program, *args):
        """Another process: `program` with `pool`, `cont` (of label c, opened for writing) and sys.argv. It says what it prints, and
        goes on when it is written a line."""
        head = ("import os, sys, signal\nimport numpy as np\nimport tiercel\n"
                f"pool = tiercel.connect({self.uri!r})\ncont = pool.open('c')\n"
                "def say(*words):\n    print(*words, flush=True)\n")
        p = subprocess.Popen([sys.executable, "-c", head + program, *map(str, args)], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def end():
            p.kill()
            p.wait()
            p.stdin.close()
            p.stdout.close()
        self.addCleanup(end)
        return p

    def dies(self, child):
        """Killed; when it returns, the store tells of it."""
        child.kill()
        child.wait()
        end = time.monotonic() + 3 * LEASE_S
        while LEASE_S and time.monotonic() < end and not any(h.ended for h in self.connect().handles("c")):
            time.sleep(0.05)

    def hears(self, child, line):
        self.assertEqual(child.stdout.readline().rstrip("\n"), line)
