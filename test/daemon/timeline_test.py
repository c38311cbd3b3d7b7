#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A timeline of real daemons: valid as a trace, and true.

    timeline_test.py

Environment: TIERCEL the command.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

TIERCEL = os.environ["TIERCEL"]
SIZE = 3 << 20


class Timeline(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="ttl-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("TIERCEL_", "SLURM_", "PBS_", "XDG_RUN"))}
        self.env["TIERCEL_RUNTIME_DIR"] = self.dir + "/rt"
        self.addCleanup(self.tiercel, "down", "--timeout", "1")
        os.mkdir(self.dir + "/mnt")
        os.mkdir(self.dir + "/data")
        with open(self.dir + "/data/large file", "wb") as f:
            f.write(os.urandom(SIZE))
        self.ok("up", "-N", "3", "--arity", "1", "--roots", "1", "--bulk", "tcp", "--cache-size", "64M")
        self.ok("mount", "--rank", "2", self.dir + "/mnt")

    def tiercel(self, *args):
        return subprocess.run([TIERCEL, *args], env=self.env, capture_output=True, text=True, timeout=60)

    def ok(self, *args):
        p = self.tiercel(*args)
        self.assertEqual(p.returncode, 0, f"{args}: {p.stdout}{p.stderr}")
        return p

    def read_all(self):
        with open(f"{self.dir}/mnt{self.dir}/data/large file", "rb") as f:
            self.assertEqual(len(f.read()), SIZE)
        self.assertRaises(FileNotFoundError, os.stat, f"{self.dir}/mnt{self.dir}/data/none/\xe4\n")

    def save(self):
        p = self.ok("timeline", "save", self.dir + "/trace.json")
        with open(self.dir + "/trace.json") as f:
            return json.load(f)["traceEvents"], p.stderr

    def spans(self, events):
        """Checks the form; {category: [(begin, end)]}."""
        last, open_spans, spans = 0, {}, {}
        for e in events:
            self.assertIn(e["ph"], "Mbe")
            self.assertIsInstance(e["pid"], int)
            self.assertIsInstance(e["tid"], int)
            if e["ph"] == "M":
                continue
            self.assertGreaterEqual(e["ts"], last)
            last = e["ts"]
            key = e["cat"], e["id"], e["pid"], e["tid"], e["name"]
            if e["ph"] == "b":
                self.assertNotIn(key, open_spans)
                open_spans[key] = e
            else:
                spans.setdefault(e["cat"], []).append((open_spans.pop(key), e))
        self.assertEqual(open_spans, {})
        return spans

    def test_a_cold_start_is_told_by_all_nodes(self):
        self.ok("timeline", "start")
        self.read_all()
        self.ok("timeline", "stop")
        events, said = self.save()
        self.assertEqual(said, "")
        spans = self.spans(events)
        names = {e["args"]["name"].split(":")[0] for e in events if e["name"] == "process_name"}
        self.assertEqual(names, {f"node {i} 127.0.0.1" for i in range(3)})
        path = self.dir + "/data/large file"
        tail = path[-72:]
        for category, ranks in (("request", {2}), ("flight", {1, 2}), ("pull", {1, 2}), ("fetch", {0})):
            here = [b for b, _ in spans[category] if b["args"]["path"] == tail]
            self.assertEqual({b["pid"] for b in here}, ranks, category)
        # A chain: 2 asks 1, 1 asks 0; a pull lies within the time of what it was for.
        for rank in (1, 2):
            got = [b["args"] for b, _ in spans["pull"] if b["pid"] == rank and b["args"]["path"] == tail]
            self.assertEqual(sum(a["bytes"] for a in got), SIZE)
            self.assertEqual({a["peer"] for a in got}, {rank - 1})
        first = min(b["ts"] for b, _ in spans["request"])
        self.assertTrue(all(b["ts"] >= first for b, _ in spans["fetch"]))
        self.assertFalse(any("unfinished" in b["args"] for b, _ in spans["request"]))
        again, _ = self.save()
        self.assertEqual(len(again), len(events), "nothing is marked after the stop")

    def test_off_marks_nothing_and_a_start_begins_anew(self):
        self.read_all()
        events, _ = self.save()
        self.assertEqual(self.spans(events), {})
        self.ok("timeline", "start")
        os.listdir(self.dir + "/mnt" + self.dir)
        self.ok("timeline", "start")
        events, _ = self.save()
        self.assertNotIn("request", self.spans(events))

    def test_nodes_that_cannot_be_reached_are_named(self):
        self.ok("timeline", "start")
        self.read_all()
        with open(self.dir + "/rt/default/node-1.pid") as f:
            keeper = int(f.read())
        daemon = json.loads(self.ok("call", "--rank", "1", "ping").stdout)["pid"]
        for pid in (keeper, daemon):
            fd = os.pidfd_open(pid)
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            os.close(fd)
        events, said = self.save()
        self.assertIn("node 1 (127.0.0.1:", said)
        self.assertIn("was not reached", said)
        self.assertEqual({b["pid"] for b, _ in self.spans(events)["request"]}, {2})

    def test_wrong_words_and_places_are_said(self):
        self.assertEqual(self.tiercel("timeline").returncode, 2)
        self.assertEqual(self.tiercel("timeline", "save").returncode, 2)
        p = self.tiercel("timeline", "save", self.dir + "/none/x")
        self.assertEqual(p.returncode, 1)
        self.assertIn("No such file", p.stderr)
        p = self.tiercel("timeline", "start", "--name", "none")
        self.assertEqual(p.returncode, 2)
        p = self.tiercel("timeline", "--name", "none", "start")
        self.assertEqual(p.returncode, 1)
        p = self.tiercel("call", "timeline", "read", "99999999999999999999")
        self.assertEqual(json.loads(p.stdout)["marks"], [])


if __name__ == "__main__":
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        print("skipped: /dev/fuse cannot be opened")
        sys.exit(77)
    unittest.main(verbosity=2)
