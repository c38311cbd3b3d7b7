#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trees in shared memory and the node's limit, and what `tiercel down` does with them.

Environment: TIERCEL the command.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TIERCEL = os.environ["TIERCEL"]
MB = 1 << 20


class Trees(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tt-")
        self.trees = tempfile.mkdtemp(prefix="tt-", dir="/dev/shm")
        for d in (self.dir, self.trees):
            self.addCleanup(shutil.rmtree, d, ignore_errors=True)
        clean = ("TIERCEL_", "SLURM_", "PBS_", "XDG_RUNTIME_DIR")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(clean)}
        self.env["TIERCEL_RUNTIME_DIR"] = self.dir + "/rt"
        self.env["TIERCEL_TREE_DIR"] = self.trees
        self.addCleanup(self.tiercel, "down", "--timeout", "2")
        self.source("small", 20)
        self.source("large", 100)
        self.ok("up", "-N", "1", "--cache-size", "128M")

    def source(self, name, mb):
        os.mkdir(f"{self.dir}/{name}")
        with open(f"{self.dir}/{name}/bytes", "wb") as f:
            f.write(b"b" * mb * MB)
        with open(f"{self.dir}/{name}/word", "w") as f:
            f.write(name)

    def tiercel(self, *args, **more):
        return subprocess.run([TIERCEL, *args], env=self.env, capture_output=True, text=True, timeout=60, **more)

    def ok(self, *args):
        p = self.tiercel(*args)
        self.assertEqual(p.returncode, 0, f"{args}: {p.stdout}{p.stderr}")
        return p

    def stat(self):
        return json.loads(self.ok("cache", "--json").stdout)

    def fill(self, name):
        self.ok("tree", "fill", f"{self.dir}/{name}")

    def listed(self):
        return [os.path.basename(t["source"]) for t in json.loads(self.ok("tree", "--json", "list").stdout)["trees"]]

    def test_trees_count_for_the_limit(self):
        before = self.stat()
        self.assertEqual(before["trees"]["bytes"], 0)
        self.fill("small")
        s = self.stat()
        self.assertEqual(s["trees"]["trees"], 1)
        self.assertAlmostEqual(s["trees"]["bytes"], 20 * MB, delta=MB // 8)
        self.assertLess(s["limit_bytes"], before["limit_bytes"])  # values' part is of what is left
        memory = json.loads(self.ok("stat", "--json").stdout)["memory"]
        self.assertEqual(memory["trees_bytes"], s["trees"]["bytes"])
        self.assertIn("1 trees in shared memory", self.ok("cache").stdout)
        # A daemon that comes later counts what it finds.
        self.ok("restart")
        self.assertEqual(self.stat()["trees"], s["trees"])

    def test_what_would_be_too_much_is_refused(self):
        self.fill("small")
        p = self.tiercel("tree", "fill", f"{self.dir}/large")
        self.assertEqual(p.returncode, 1)
        self.assertIn("the cache's limit of 128 MB leaves them", p.stderr)
        self.assertLess(self.stat()["trees"]["bytes"], 21 * MB)
        # Programs run all the same: from the source, or the way that is next.
        for how in (["--how", "bind"], []):
            p = self.tiercel("run", *how, "--cache", f"{self.dir}/large", "--", "cat", f"{self.dir}/large/word")
            self.assertEqual((p.returncode, p.stdout), (0, "large"), p.stderr)
            self.assertEqual("without the tier" in p.stderr, how != [], p.stderr)
        p = self.tiercel("cache", "limit", "20M")
        self.assertIn("remove some first", p.stderr)
        self.ok("cache", "limit", "256M")
        self.fill("large")
        self.assertEqual(sorted(self.listed()), ["large", "small"])
        self.ok("tree", "remove", f"{self.dir}/large")
        self.assertLess(self.stat()["trees"]["bytes"], 21 * MB)

    def test_down_removes_what_nobody_uses(self):
        self.fill("small")
        self.ok("down")
        self.assertEqual(os.listdir(self.trees), [])

    def test_down_keeps_trees_if_asked_to(self):
        self.fill("small")
        self.ok("down", "--keep-trees")
        self.assertEqual(self.listed(), ["small"])
        self.ok("up", "-N", "1", "--cache-size", "128M")
        self.assertGreater(self.stat()["trees"]["bytes"], 20 * MB)

    def hold(self, *command, cwd=None):
        p = subprocess.Popen([*command, sys.executable, "-c", "print('there', flush=True); input(); print(open('word').read())"],
                             env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.assertEqual(p.stdout.readline(), "there\n")
        return p

    def kept(self, p):
        down = self.ok("down")
        self.assertIn("stays", down.stderr)
        self.assertEqual(self.listed(), ["small"])
        self.assertEqual(p.communicate("\n", timeout=60)[0], "small\n")
        self.ok("tree", "remove", "--unused")
        self.assertEqual(os.listdir(self.trees), [])

    def test_down_leaves_a_tree_that_a_program_runs_in(self):
        self.fill("small")
        p = self.hold(TIERCEL, "run", "--how", "bind", "--cache", f"{self.dir}/small", "--", cwd=f"{self.dir}/small")
        self.kept(p)

    def test_down_leaves_a_tree_that_a_program_stands_in(self):
        self.fill("small")
        path = json.loads(self.ok("tree", "--json", "list").stdout)["trees"][0]["path"]
        self.kept(self.hold(cwd=path + self.dir + "/small"))


if __name__ == "__main__":
    unittest.main()
