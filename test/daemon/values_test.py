#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Values that local programs share through a real daemon (include/tiercel/cache.h), and `tiercel cache`.

Environment: TIERCEL the command, CLIENT the program values_client.
"""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

TIERCEL, CLIENT = os.environ["TIERCEL"], os.environ["CLIENT"]


def eventually(condition, what, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
    return value


class Values(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tv-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        clean = ("TIERCEL_", "SLURM_", "PBS_", "XDG_RUNTIME_DIR")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(clean)}
        self.env["TIERCEL_RUNTIME_DIR"] = self.dir + "/rt"
        self.addCleanup(self.tiercel, "down", "--timeout", "2")
        self.ok("up", "-N", "1", "--cache-size", "128M")

    def tiercel(self, *args, **more):
        return subprocess.run([TIERCEL, *args], env=self.env, capture_output=True, timeout=60, **more)

    def ok(self, *args, **more):
        p = self.tiercel(*args, **more)
        self.assertEqual(p.returncode, 0, f"{args}: {p.stdout}{p.stderr}")
        return p.stdout

    def refused(self, word, *args):
        p = self.tiercel(*args)
        self.assertNotEqual(p.returncode, 0, args)
        self.assertIn(word, p.stderr.decode())

    def stat(self):
        return json.loads(self.ok("cache", "--json"))

    def client(self, *args):
        p = subprocess.run([CLIENT, *map(str, args)], env=self.env, capture_output=True, text=True, timeout=60)
        self.assertEqual((p.returncode, p.stdout.splitlines()[-1:]), (0, ["ok"]), f"{args}: {p.stdout}{p.stderr}")
        return p.stdout

    def start(self, *args, says):
        p = subprocess.Popen([CLIENT, *map(str, args)], env=self.env, text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.stdin.close)
        self.assertEqual(p.stdout.readline(), says + "\n")
        return p

    def finish(self, p):
        out, _ = p.communicate("\n", timeout=60)
        self.assertEqual((p.returncode, out), (0, "ok\n"))

    def test_programs_share_values(self):
        self.client("put-and-get")
        s = self.stat()
        self.assertEqual(s["classes"]["pinned"]["values"], 1)
        self.assertEqual([j["job"] for j in s["jobs"]], ["test-job"])
        self.assertEqual((s["clients"], s["fills"]), (0, 0))
        self.assertLessEqual(s["used_bytes"], s["limit_bytes"])
        self.ok("cache", "limit", "512M")
        self.client("large")

    def test_what_is_held_stays_when_it_is_pushed_out(self):
        holder = self.start("hold", 50, says="held")
        self.client("wash", 100)
        s = self.stat()
        self.assertGreater(s["counters"]["evictions"], 1000)
        self.assertLessEqual(s["used_bytes"], s["limit_bytes"])
        self.finish(holder)

    def test_a_client_that_is_killed_lets_go_of_everything(self):
        holder = self.start("hold", 600, says="held")
        holder.kill()
        eventually(lambda: self.stat()["clients"] == 0, "its session ends")
        self.client("wash", 60)
        self.assertEqual(self.stat()["held_bytes"], 0)

    def test_a_fill_ends_with_its_client_and_the_next_one_gets_it(self):
        self.ok("cache", "limit", "512M")
        filler = self.start("fill-and-wait", says="filling")
        waiter = self.start("wait-and-fill", says="waiting")
        self.assertEqual(self.stat()["fills"], 1)
        filler.kill()
        self.finish(waiter)
        self.assertEqual(self.stat()["fills"], 0)
        self.assertEqual(self.stat()["counters"]["aborted"], 1)

    def test_the_command_puts_gets_and_limits(self):
        self.ok("cache", "put", "a/name", input=b"some bytes")
        self.assertEqual(self.ok("cache", "get", "a/name"), b"some bytes")
        self.ok("cache", "put", "a/name", input=b"other bytes")
        self.assertEqual(self.ok("cache", "get", "a/name"), b"other bytes")
        with open(TIERCEL, "rb") as f:
            self.ok("cache", "put", "a/file", stdin=f)
        with open(TIERCEL, "rb") as f:
            self.assertEqual(self.ok("cache", "get", "a/file"), f.read())
        items = json.loads(self.ok("cache", "--json", "list", "a/"))
        self.assertEqual(sorted(i["label"] for i in items), ["a/file", "a/name"])
        self.assertEqual(json.loads(self.ok("cache", "--json", "usage"))[0]["values"], 2)
        self.ok("cache", "pin", "a/name")
        self.assertEqual(self.stat()["classes"]["pinned"]["values"], 1)
        self.ok("cache", "unpin", "a/name")
        self.ok("cache", "quota", "some-job", "1M")
        self.ok("cache", "note", "root", "revision 7")
        self.assertEqual(self.ok("cache", "note", "root"), b"revision 7\n")
        self.ok("cache", "scrub")
        eventually(lambda: not self.stat()["scrubbing"], "the check ends")
        self.ok("cache", "limit", "64M")
        self.assertEqual(self.stat()["node_limit_bytes"], 64 << 20)
        self.refused("out of range", "cache", "limit", "0")
        self.refused("out of range", "cache", "limit", "4000000G")
        self.refused("not a size", "cache", "limit", "much")
        self.ok("cache", "drop", "a/name")
        self.refused("no value", "cache", "get", "a/name")
        self.refused("no value", "cache", "drop", "a/name")

    def test_values_and_what_is_held_outlive_the_daemon(self):
        holder = self.start("hold", 500, says="held")
        self.ok("cache", "note", "lasts", "yes")
        pid = json.loads(self.ok("call", "ping"))["pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: self.tiercel("call", "ping").returncode == 0 and
                   json.loads(self.ok("call", "ping"))["pid"] != pid, "the next daemon")
        found = int(self.client("count", 500).split()[0])
        self.assertGreater(found, 480)
        s = self.stat()
        self.assertGreater(s["counters"]["adopted"], 480)
        self.assertEqual(self.ok("cache", "note", "lasts"), b"yes\n")
        eventually(lambda: not self.stat()["scrubbing"], "the check ends")
        self.assertEqual(self.stat()["counters"]["damaged"], 0)
        self.client("wash", 100)  # pushes all of them out; the holder is of the daemon before
        self.assertGreater(self.stat()["held_bytes"], 0)
        self.finish(holder)
        eventually(lambda: (self.client("wash", 1), self.stat()["held_bytes"] == 0)[1], "what it held goes")

    def next_daemon(self, change):
        pid = json.loads(self.ok("call", "ping"))["pid"]
        change(pid)
        eventually(lambda: self.tiercel("call", "ping").returncode == 0 and
                   json.loads(self.ok("call", "ping"))["pid"] != pid, "the next daemon")

    def test_a_client_goes_on_with_the_next_daemon(self):
        p = self.start("outlive", 4, says="ready")
        changes = [lambda pid: os.kill(pid, signal.SIGKILL)] * 2
        changes += [lambda pid: self.ok("restart"),
                    lambda pid: (self.ok("down"), self.ok("up", "-N", "1", "--cache-size", "128M"))]
        for i, change in enumerate(changes):
            self.next_daemon(change)
            if i < 3:  # what it holds is held for all of them
                self.client("wash", 100)
                self.assertGreater(self.stat()["held_bytes"], 0)
            p.stdin.write("\n")
            p.stdin.flush()
            if i < 3:
                line = p.stdout.readline()
                self.assertEqual(line, "ready\n", i)
                self.assertEqual(self.stat()["clients"], 1, i)  # the holds of before, and no others
        self.finish(p)
        eventually(lambda: self.stat()["clients"] == 0, "its session ends")

    def test_values_that_were_pushed_out_come_back_from_the_disk(self):
        self.ok("down", "--timeout", "2")
        os.mkdir(self.dir + "/disk", 0o755)
        self.ok("up", "-N", "1", "--cache-size", "128M", "--values-dir", self.dir + "/disk")
        self.refused("chmod 700", "cache", "stat")
        os.chmod(self.dir + "/disk", 0o700)
        for n in range(20):
            self.ok("cache", "put", f"name {n}", input=f"value {n}".encode())
        self.ok("cache", "put", "large", input=b"x" * 3000000)
        self.client("wash", 150)
        eventually(lambda: self.stat()["disk"]["values"] > 10, "they are written")
        p = self.tiercel("cache", "get", "large")
        if p.returncode == 0:  # when many are given up at once, some are not written
            self.assertEqual(p.stdout, b"x" * 3000000)
        found = 0
        for n in range(20):
            p = self.tiercel("cache", "get", f"name {n}")
            self.assertIn(p.stdout, (f"value {n}".encode(), b""))
            found += p.returncode == 0
        self.assertGreater(found, 0)
        disk = self.stat()["disk"]
        self.assertGreater(disk["fetched"] + disk["skipped"], 0)
        self.ok("cache", "put", "large", input=b"new")
        self.client("wash", 150)
        p = self.tiercel("cache", "get", "large")
        self.assertIn(p.stdout, (b"new", b""))  # never what it was before
        # The next tier finds them.
        self.ok("down", "--timeout", "5")
        self.ok("up", "-N", "1", "--cache-size", "128M", "--values-dir", self.dir + "/disk")
        self.assertGreater(self.stat()["disk"]["values"], 10)


if __name__ == "__main__":
    unittest.main()
