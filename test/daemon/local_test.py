#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Listings and files for clients without a mount: the verbs list and fetch, on a real daemon.

    local_test.py [TEST...]

Environment: TIERCEL the command.
"""
import errno
import glob
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

TIERCEL = os.environ["TIERCEL"]


class Client:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)  # waits while the daemon's queue is full
        self.s.settimeout(30)

    def send(self, *args, fd=None):
        body = b"".join(os.fsencode(a) + b"\0" for a in args)
        message = [struct.pack("<I", len(body)) + body]
        if fd is None:
            self.s.sendall(message[0])
        else:
            socket.send_fds(self.s, message, [fd])

    def receive(self):
        size = struct.unpack("<I", self.exactly(4))[0]
        frame = self.exactly(size)
        return json.loads(frame[1:]) | {"kind": chr(frame[0])}

    def exactly(self, n):
        got = b""
        while len(got) < n:
            more = self.s.recv(n - len(got))
            if not more:
                raise EOFError
            got += more
        return got

    def call(self, *args, fd=None):
        self.send(*args, fd=fd)
        return self.receive()


class Local(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="tlo-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.env = {k: v for k, v in os.environ.items() if not k.startswith(("TIERCEL_", "SLURM_", "PBS_", "XDG_"))}
        cls.env["TIERCEL_RUNTIME_DIR"] = cls.dir + "/rt"
        cls.addClassCleanup(cls.tiercel, "down", "--timeout", "1")
        cls.data = cls.dir + "/data"
        os.mkdir(cls.data)
        cls.contents = {"empty": b"", "small": b"small", "large": os.urandom(3_000_001)}
        for name, content in cls.contents.items():
            with open(f"{cls.data}/{name}", "wb") as f:
                f.write(content)
        os.symlink("small", cls.data + "/link")
        up = cls.tiercel("up", "-N", "2")
        assert up.returncode == 0, up.stderr
        cls.sockets = sorted(glob.glob(cls.dir + "/rt/*/node-*.sock"))

    def setUp(self):
        self.client = Client(self.sockets[1])
        self.addCleanup(self.client.s.close)

    @classmethod
    def tiercel(cls, *args):
        return subprocess.run([TIERCEL, *args], env=cls.env, capture_output=True, text=True, timeout=60)

    def memory(self):
        fd = os.memfd_create("test")
        self.addCleanup(os.close, fd)
        return fd

    def refused(self, answer, code):
        self.assertEqual((answer["kind"], answer.get("code")), ("e", code), answer)

    def test_files_come_whole(self):
        for name, content in self.contents.items():
            fd = self.memory()
            os.write(fd, b"what was there before, and is longer")
            answer = self.client.call("fetch", f"{self.data}/{name}", fd=fd)
            self.assertEqual(answer.get("bytes"), len(content), answer)
            self.assertEqual(os.pread(fd, len(content) + 99, 0), content)
            st = os.stat(f"{self.data}/{name}")
            self.assertEqual((answer["mode"], answer["mtime_ns"]), (st.st_mode, st.st_mtime_ns))
            again = self.client.call("fetch", f"{self.data}/{name}", answer["version"], fd=self.memory())
            self.assertEqual(again.get("bytes"), len(content), again)
        stat = json.loads(self.tiercel("stat", "--all", "--json").stdout)["total"]
        self.assertEqual(stat["source_reads"], 1 + 12)  # every chunk once, however often it was asked for

    def test_a_listing_names_what_is_there(self):
        fd = self.memory()
        answer = self.client.call("list", self.data, fd=fd)
        blob = os.pread(fd, 1 << 20, 0)
        self.assertEqual(answer.get("bytes"), len(blob), answer)
        for name in [*self.contents, "link"]:
            self.assertIn(name.encode(), blob)
        self.assertEqual(self.client.call("list", "/", fd=self.memory())["kind"], "r")

    def test_what_cannot_be_had_is_said(self):
        for path, code in [("/missing", "ENOENT"), ("/link", "ELOOP"), ("", "EISDIR"), ("/small/below", "ENOTDIR")]:
            self.refused(self.client.call("fetch", self.data + path, fd=self.memory()), code)
        self.refused(self.client.call("list", self.data + "/small", fd=self.memory()), "ENOTDIR")
        self.refused(self.client.call("fetch", self.data + "/small", "12345", fd=self.memory()), "ESTALE")
        for path in ["small", "/", self.data + "/small/", "/" + "x" * 5000]:
            self.refused(self.client.call("fetch", path, fd=self.memory()), "EINVAL")

    def test_where_tells_what_each_node_holds(self):
        self.client.call("fetch", self.data + "/large", fd=self.memory())
        said = json.loads(self.tiercel("where", "--json", self.data + "/large").stdout)["nodes"]
        self.assertEqual([n["rank"] for n in said], [0, 1])
        self.assertEqual((said[1]["state"], said[1]["present"], said[1]["kind"]), ("cached", 12, "file"))
        self.assertIn("cached", self.tiercel("where", self.data).stdout)
        self.assertIn("absent", self.tiercel("where", "/nowhere").stdout)

    def test_only_files_in_memory_are_written_to(self):
        self.refused(self.client.call("fetch", self.data + "/small"), "EBADF")
        with open(self.dir + "/on-disk", "wb") as f:
            if "tmpfs" not in subprocess.run(["stat", "-fc", "%T", self.dir], capture_output=True, text=True).stdout:
                self.refused(self.client.call("fetch", self.data + "/small", fd=f.fileno()), "EINVAL")
        r, w = os.pipe()
        self.refused(self.client.call("fetch", self.data + "/small", fd=w), "EINVAL")
        os.close(r)
        os.close(w)
        read_only = os.open(f"/proc/self/fd/{self.memory()}", os.O_RDONLY)
        self.refused(self.client.call("fetch", self.data + "/small", fd=read_only), "EBADF")
        os.close(read_only)

    def test_a_client_that_leaves_is_forgotten(self):
        for _ in range(300):  # more than there are places
            leaves = Client(self.sockets[1])
            leaves.send("fetch", self.data + "/large", fd=self.memory())
            leaves.s.close()
        fd = self.memory()
        answer = self.client.call("fetch", self.data + "/large", fd=fd)
        self.assertEqual(os.pread(fd, answer["bytes"], 0), self.contents["large"])

    @unittest.skipUnless(os.geteuid() == 0, "mounting a small tmpfs wants root")
    def test_no_room_is_an_error(self):
        small = self.dir + "/tmpfs"
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tiercel-test", small], check=True)
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        with open(small + "/file", "wb") as f:
            self.refused(self.client.call("fetch", self.data + "/large", fd=f.fileno()), "ENOSPC")
            os.ftruncate(f.fileno(), 0)
            self.assertEqual(self.client.call("fetch", self.data + "/small", fd=f.fileno()).get("bytes"), 5)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + ["-v"] + sys.argv[1:])
