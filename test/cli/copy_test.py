#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tiercel cont copy: between directories, and, inside `tools/rados-dev run`, between a directory and a Ceph cluster, both ways.

    copy_test.py [Directories|Rados]
"""
import io
import os
import pty
import select
import signal
import subprocess
import sys
import tarfile
import threading
import time
import unittest

from pool_case import MIB, TIERCEL, Case

LEASE_S = 3


class Copy(subprocess.Popen):
    """A copy with a terminal for standard error, on which progress is shown."""

    def __init__(self, case, *args):
        self.master, slave = pty.openpty()
        super().__init__([TIERCEL, "cont", "copy", *args], stdout=subprocess.PIPE, stderr=slave, env=case.env,
                         cwd=case.dir, start_new_session=True)
        os.close(slave)
        self.seen = ""

    def read(self, until=()):
        """What is shown, up to one of these texts, or to the end. It ends by itself: after 50 s nothing more is waited for."""
        end = time.monotonic() + 50
        while not any(text in self.seen for text in until) and time.monotonic() < end:
            if not select.select([self.master], [], [], 1)[0]:
                continue
            try:
                data = os.read(self.master, 4096)
            except OSError:  # nobody has the other end any more
                break
            if not data:
                break
            self.seen += data.decode(errors="replace")
        return self.seen

    def finish(self):
        self.read()
        out = self.communicate(timeout=50)[0].decode()
        os.close(self.master)
        return out


class Copies(Case):
    """What is the same for all kinds of pools: self.a is the source, self.b the destination, both empty."""

    def digest(self, cont, *args):
        """Of all values at these epochs: an export has a digest of each object."""
        files = tarfile.open(fileobj=io.BytesIO(self.ok("cont", "export", cont, "-", *args).raw))
        digests = [(m.name, files.extractfile(m).read()) for m in files if m.name.endswith("/.digest")]
        self.assertTrue(digests)
        return digests

    def assert_same(self, x, y):
        self.assertEqual(self.digest(x, "--snapshots"), self.digest(y, "--snapshots"))

    def fill(self, cont, mib=2):
        self.ok("cont", "create", cont)
        for epoch in range(1, 6):
            self.ok("put", cont, "1", "greeting", "--snapshot", data=b"hello %d" % epoch)
        self.ok("put", cont, "2", data=os.urandom(mib * MIB))
        self.ok("rm", cont, "1", "greeting")
        self.ok("put", cont, "2", "--at", "1000", data=b"later")
        self.ok("cont", "attr", cont, "note", "for the way")
        self.ok("cont", "prop", cont, "snapshots-max", "9")

    def assert_whole(self, pool):
        self.assertEqual(self.json("pool", "check", pool)["damaged"], 0)

    def check_there_and_back(self):
        self.fill(self.a + "/c")
        there = self.json("cont", "copy", self.a + "/c", self.b)
        self.assertEqual((there["epoch"], there["snapshots"], there["skipped"], there["copied"]),
                         (8, 5, 0, there["records"]))
        self.assertEqual((there["verified"], there["verified_bytes"]), (there["records"], there["bytes"]))
        self.assert_same(self.a + "/c", self.b + "/c")
        self.assertEqual(self.ok("cont", "attr", self.b + "/c", "note").out.strip(), "for the way")
        self.assertEqual(self.ok("cont", "prop", self.b + "/c", "snapshots-max").out.strip(), "9")
        self.bad(1, "cont", "copy", self.a + "/c", self.b, says="is there already")
        self.ok("put", self.b + "/c", "1", "greeting", "--snapshot", data=b"from over there")
        self.ok("cont", "copy", self.b + "/c", self.a + "/back", "--no-verify")
        self.assertEqual(self.ok("get", self.a + "/back", "1", "greeting").out, "from over there")
        self.ok("cont", "destroy", self.a + "/c")
        self.ok("cont", "copy", self.b + "/c", self.a + "/c")
        self.assert_same(self.b + "/c", self.a + "/c")
        self.assert_whole(self.a)
        self.assert_whole(self.b)

    def check_interruptions(self):
        """On a terminal, ended by ^C, then by kill -9; the third one finds what there is."""
        self.fill(self.a + "/big", mib=self.MIB_TO_INTERRUPT)
        copy = self.interrupt(signal.SIGINT)
        self.assertEqual(copy.returncode, 1, copy.seen)
        self.assertRegex(copy.seen, r"(copying|verifying) \[.*/s, .* left")
        self.assertIn("what was copied is kept", copy.seen)
        self.assertNotIn("big", [c["label"] for c in self.json("cont", "list", self.b)])
        copy = self.interrupt(signal.SIGKILL)
        self.assertEqual(copy.returncode, -signal.SIGKILL, copy.seen)
        self.assertIn("was interrupted", self.settled(lambda: self.ok("pool", "check", self.b)))
        self.assertNotIn("big", [c["label"] for c in self.json("cont", "list", self.b)])
        copy = Copy(self, self.a + "/big", self.b)
        out = copy.finish()
        self.assertEqual(copy.returncode, 0, copy.seen)
        self.assertIn("records were there already", out)
        self.assert_same(self.a + "/big", self.b + "/big")
        self.assertNotIn("was interrupted", self.ok("pool", "check", self.b).out)

    def interrupt(self, number):
        """A copy that has got a signal; it may have been faster than we."""
        for _ in range(8):
            copy = Copy(self, self.a + "/big", self.b)
            copy.read(until=("copying [", "verifying ["))  # the first may be over before it is shown
            copy.send_signal(number)
            copy.finish()
            if copy.returncode != 0:
                break
            self.ok("cont", "destroy", self.b + "/big")
        return copy

    def settled(self, ask):
        """The answer that no lease of a dead process is behind."""
        end = time.monotonic() + 5 * LEASE_S
        out = ask().out
        while "is being copied" in out and time.monotonic() < end:
            out = ask().out
        return out

    def check_meanwhile(self):
        """Somebody writes, commits and aggregates the source all the time."""
        cont = self.a + "/busy"
        self.fill(cont, mib=8)
        epoch = self.json("cont", "query", cont)["ghce"]
        self.ok("cont", "snap", "create", cont)
        before = self.digest(cont, "--epoch", str(epoch))
        stop, done = threading.Event(), []

        def write():
            while not stop.is_set():
                self.ok("put", cont, "2", "--at", str(len(done) * 5000), data=os.urandom(200000))
                self.ok("put", cont, "1", "greeting", data=b"again")
                if len(done) % 3 == 0:
                    self.ok("cont", "aggregate", cont)
                done.append(True)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            copied = self.json("cont", "copy", cont, self.b)
            self.assertGreaterEqual(copied["epoch"], epoch)
            self.assertEqual(self.digest(self.b + "/busy", "--epoch", str(epoch)), before)
        finally:
            stop.set()
            writer.join()
        self.assertGreater(len(done), 0)
        self.assert_whole(self.b)


class Directories(Copies):
    def setUp(self):
        super().setUp()
        self.a, self.b = self.dir + "/a", self.dir + "/b"
        self.ok("pool", "create", self.a)
        self.ok("pool", "create", self.b)

    def test_there_and_back(self):
        self.check_there_and_back()

    def test_wrong_words(self):
        self.ok("cont", "create", self.a + "/c")
        self.bad(2, "cont", "copy", self.a + "/c", says="name the container")
        self.bad(2, "cont", "copy", "--verify", "--no-verify", self.a + "/c", self.b, says="exclude each other")
        self.bad(1, "cont", "copy", self.a + "/none", self.b, says="there is no container none")
        self.bad(1, "cont", "copy", self.a + "/c", self.dir + "/none/c", says="none")
        self.bad(1, "cont", "copy", self.a + "/c", self.b + "/no label", says="no label")


@unittest.skipUnless(os.environ.get("CEPH_CONF"), "needs tools/rados-dev run")
class Rados(Copies):
    MIB_TO_INTERRUPT = 48
    pools = 0

    def setUp(self):
        super().setUp()
        Rados.pools += 1
        conf = os.environ["CEPH_CONF"]
        self.rados = f"rados:///copies-{os.getpid()}-{Rados.pools}?conf={conf}&pool=meta&data=data,ec21&timeout=60&lease={LEASE_S}"
        self.dir_pool = self.dir + "/pool"
        self.ok("pool", "create", self.dir_pool)
        self.ok("pool", "create", self.rados)
        self.addCleanup(lambda: self.tiercel("pool", "destroy", self.rados, "--force"))
        self.a, self.b = self.dir_pool, self.rados

    def test_from_a_directory(self):
        self.check_there_and_back()
        self.check_interruptions()

    def test_from_a_cluster(self):
        self.a, self.b = self.rados, self.dir_pool
        self.check_there_and_back()
        self.check_meanwhile()

    def test_busy_directory(self):
        self.check_meanwhile()

    def test_classes(self):
        """An object of a class that a directory has not: it goes there, is written there, and comes back as what it was."""
        cont, here, oid = self.rados + "/c", self.dir_pool + "/c", "EC_2P1:7"
        self.ok("cont", "create", cont)
        self.ok("put", cont, oid, "--snapshot", data=os.urandom(3 * MIB))
        r = self.ok("cont", "copy", cont, self.dir_pool)
        self.assertIn("3 records of object classes that the pool does not offer", r.err)
        self.assert_same(cont, here)
        self.bad(1, "put", self.make_other(), oid, data=b"x", says="does not offer object class EC_2P1")
        self.ok("put", here, oid, "--at", "100", "--snapshot", data=os.urandom(MIB))
        again = self.json("cont", "copy", here, self.rados + "/again")
        self.assertEqual(again["other_class"], 0)
        self.assertEqual(self.digest(here, "--epoch", "2"), self.digest(self.dir_pool + "/c", "--epoch", "2"))
        self.assertEqual(self.ok("get", here, oid).raw, self.ok("get", self.rados + "/again", oid).raw)
        self.assert_whole(self.rados)

    def make_other(self):
        self.ok("cont", "create", self.dir_pool + "/other")
        return self.dir_pool + "/other"


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=sys.argv)
