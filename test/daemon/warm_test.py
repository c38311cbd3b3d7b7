#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Warm start with real daemons: what one start has read is fetched before the next one asks.

    warm_test.py [TEST...]

Environment: TIERCEL the command.
"""
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TIERCEL = os.environ["TIERCEL"]
NODES = 3


class Warm(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="twm-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("TIERCEL_", "SLURM_", "PBS_", "XDG_"))}
        self.env.update(TIERCEL_RUNTIME_DIR=self.dir + "/rt", XDG_CACHE_HOME=self.dir + "/cache")
        self.addCleanup(self.tiercel, "down", "--timeout", "1")
        self.data = self.dir + "/data"
        for i in range(4):
            os.makedirs(f"{self.data}/package{i}")
            for k in range(5):
                with open(f"{self.data}/package{i}/file{k}", "wb") as f:
                    f.write(os.urandom(1000 + 70000 * k))
        os.symlink("file1", self.data + "/package0/link")
        self.ok("up", "-N", str(NODES), "--arity", "1", "--roots", "1", "--cache-size", "64M")
        os.mkdir(self.dir + "/mnt")
        self.ok("mount", "--rank", "2", self.dir + "/mnt")

    def tiercel(self, *args):
        return subprocess.run([TIERCEL, *args], env=self.env, capture_output=True, text=True, timeout=60)

    def ok(self, *args):
        p = self.tiercel(*args)
        self.assertEqual(p.returncode, 0, f"{args}: {p.stdout}{p.stderr}")
        return p

    def total(self, counter):
        return json.loads(self.ok("stat", "--all", "--json").stdout)["total"][counter]

    def chunks(self):
        return sum(-(-os.stat(f).st_size // 262144) for f in glob.glob(self.data + "/*/file*"))

    def read_all(self):
        """Everything through the mount of the last node, compared; how many requests its parent got."""
        def up():
            c = json.loads(self.ok("stat", "--rank", "2", "--json").stdout)["counters"]
            return c["meta_requests_up"] + c["data_requests_up"]
        before = up()
        for path in sorted(glob.glob(self.data + "/*/*")):
            with open(path, "rb") as straight, open(self.dir + "/mnt" + path, "rb") as through:
                self.assertEqual(hashlib.md5(straight.read()).digest(), hashlib.md5(through.read()).digest())
        return up() - before

    def profiles(self):
        return glob.glob(self.dir + "/cache/tiercel/profiles/*.profile")

    def test_a_tree_is_on_all_nodes_before_anybody_asks(self):
        said = json.loads(self.ok("warm", "--json", self.data).stdout)
        self.assertEqual(said["skipped"], 0)
        self.assertEqual(said["warmed"], NODES * (self.chunks() + 5))
        self.assertEqual(self.total("source_reads") - 1, self.chunks())  # and the profile itself
        above = self.read_all()
        self.assertLessEqual(above, 12)  # the directories above the tree
        self.assertEqual(self.total("source_reads") - 1, self.chunks())
        self.assertEqual(self.profiles(), [])

    def start(self, *options):
        script = "cat " + " ".join(sorted(glob.glob(self.data + "/*/file[1-4]"))) + " | md5sum"
        p = self.ok("run", *options, "--strict", "--cache", self.data, "--", "/bin/sh", "-c", script)
        return p.stdout

    def can_run(self):
        if self.tiercel("run", "--no-profile", "--strict", "--cache", self.data, "--", "/bin/true").returncode != 0:
            self.skipTest("needs user and mount namespaces and /dev/fuse")

    def test_run_records_merges_and_warms(self):
        self.can_run()
        self.assertEqual(self.profiles(), [])
        first = self.start()
        path, = self.profiles()
        with open(path) as f:
            text = f.read()
        self.assertRegex(text, r"^tiercel-profile 1\nprogram /.*sh -c [0-9a-f]{16}\nmerged 1\n")
        for i in range(4):
            self.assertIn(f"\nL {self.data}/package{i}\n", text)
            self.assertIn(f"\nF 0 1 {self.data}/package{i}/file1\n", text)
            self.assertNotIn(f"package{i}/file0", text)
        self.assertEqual(self.start("--no-profile"), first)
        self.ok("flush")
        warmed = self.total("warmed")
        self.assertEqual(self.start(), first)
        self.assertGreater(self.total("warmed") - warmed, NODES)
        with open(path) as f:
            again = f.read()
        self.assertEqual(again.split("\n", 3)[2], "merged 2")
        self.assertEqual(set(again.split("\n")[3:]), set(text.split("\n")[3:]))
        name = os.path.basename(path)
        self.assertIn(f"{name}  2 starts, ", self.ok("profile", "list").stdout)
        self.assertEqual(self.ok("profile", "show", name).stdout, again)
        self.ok("profile", "rm", name)
        self.assertEqual(self.profiles(), [])

    def write(self, text):
        path = self.dir + "/some.profile"
        with open(path, "w") as f:
            f.write(text)
        return path

    def test_a_wrong_profile_costs_only_its_bytes(self):
        lines = [f"L {self.data}/package0", f"F 0 9 {self.data}/package0/file4", "L /no/such/place", "F 0 1 /no/such/place/x",
                 f"F 0 0 {self.data}/package1/gone", f"F 0 0 {self.data}/package2", f"F 0 0 {self.data}/package0/link",
                 f"F 7000 1 {self.data}/package3/file4", f"X {self.data}/package3/file1", f"E {self.data}/package3/none"]
        said = json.loads(self.ok("warm", "--json", "--profile", self.write(
            "tiercel-profile 1\nprogram other\nmerged 1\n" + "\n".join(lines) + "\n")).stdout)
        self.assertEqual(said["skipped"], 0)
        self.assertEqual(self.total("warm_left"), 0)
        self.read_all()
        self.assertEqual(self.total("source_reads") - 1, self.chunks())

    def test_a_changed_file_is_fetched_as_it_is_now(self):
        profile = self.write(f"tiercel-profile 1\nprogram x\nmerged 1\nF 0 0 {self.data}/package0/file1\n")
        self.ok("warm", "--profile", profile)
        with open(self.data + "/package0/file1", "wb") as f:
            f.write(os.urandom(300000))
        self.ok("flush", self.data)
        before = self.total("source_reads")
        self.ok("warm", "--profile", profile)
        self.assertGreaterEqual(self.total("source_reads") - before, 2)
        self.read_all()

    def test_what_is_no_profile_is_refused_with_a_sentence(self):
        head = "tiercel-profile 1\nprogram x\nmerged 1\n"
        for text, says in (("", "not a profile"), ("tiercel-profile 9\n", "version 9"), (head + "F 0 /a\n", "damaged"),
                           (head + "L a\n", "damaged")):
            p = self.tiercel("warm", "--profile", self.write(text))
            self.assertNotEqual(p.returncode, 0)
            self.assertIn(says, p.stderr)
            self.ok("call", "warm", self.dir + "/some.profile")  # the daemons read it themselves: and say so in their logs
        self.ok("call", "warm", self.dir + "/none.profile")
        p = self.tiercel("warm", "--program", "--", "/bin/never-started")
        self.assertIn("has no profile yet", p.stderr)
        self.read_all()
        with open(glob.glob(self.dir + "/rt/*/node-1.log")[0]) as f:
            log = f.read()
        for says in ("version 9", "damaged", "empty, or too large", "no such file"):
            self.assertIn(says, log)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
