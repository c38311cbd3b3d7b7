# SPDX-License-Identifier: Apache-2.0
"""What the tests of pools share: a folder with a pool in it. Environment: TIERCEL the command. No daemon is needed. TIERCEL_TEST_POOLS: uris of
new pools, with %d for a number, instead."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

TIERCEL = os.environ["TIERCEL"]
MIB = 1 << 20
POOLS = os.environ.get("TIERCEL_TEST_POOLS")
LEASE_S = int(os.environ.get("TIERCEL_TEST_LEASE_S", "0"))  # so much later a death is known

in_a_directory = unittest.skipIf(POOLS, "this is about pools in directories")


class Result:
    def __init__(self, args, p):
        self.args, self.code, self.raw = args, p.returncode, p.stdout
        self.out, self.err = p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")

    def __str__(self):
        return f"tiercel {' '.join(self.args)}: exit code {self.code}\n--- out\n{self.out[:4000]}--- err\n{self.err}"


class Case(unittest.TestCase):
    number = 0

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tp-", dir=os.environ.get("TIERCEL_TEST_DIR"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("TIERCEL_")}
        self.pool = self.dir + "/pool"
        if POOLS:
            Case.number += 1
            self.pool = POOLS.replace("%d", f"{os.getpid()}-{Case.number}")
        self.cont = self.pool + "/c"

    def tiercel(self, *args, data=b"", **env):
        p = subprocess.run([TIERCEL, *args], env={**self.env, **env}, input=data, capture_output=True, timeout=50,
                           cwd=self.dir)
        return Result(args, p)

    def ok(self, *args, **more):
        r = self.tiercel(*args, **more)
        self.assertEqual(r.code, 0, str(r))
        return r

    def json(self, *args, **more):
        return json.loads(self.ok(*args, "--json", **more).out)

    def bad(self, code, *args, says=(), **more):
        r = self.tiercel(*args, **more)
        self.assertEqual(r.code, code, str(r))
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, r.err, str(r))
        self.assertNotIn("  ", r.err.replace("\n", ""), "a sentence has no gaps: " + str(r))
        return r

    def make(self, *labels):
        self.ok("pool", "create", self.pool)
        for label in labels or ["c"]:
            self.ok("cont", "create", f"{self.pool}/{label}")

    def whole(self):
        self.assertEqual(self.json("pool", "check", self.pool)["damaged"], 0)

    def write(self, name, content):
        path = f"{self.dir}/{name}"
        with open(path, "wb") as f:
            f.write(content)
        return path

    def extents(self):
        """The pool's extent files, the largest first."""
        found = []
        for folder, _, names in os.walk(self.pool):
            found += [f"{folder}/{n}" for n in names if "ext" in f"{folder}/{n}"[len(self.pool):]]
        return sorted(found, key=os.path.getsize, reverse=True)
