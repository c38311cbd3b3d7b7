#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs survive the daemon: real daemons with keepers are killed under readers.

    takeover_test.py [TEST...]

Environment: TIERCEL the command, TIERCELD the daemon, POISON a library that makes a daemon crash on certain names, KILLS how
often the daemon is killed under readers (20).
"""
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

TIERCEL = os.environ["TIERCEL"]
TIERCELD = os.environ["TIERCELD"]
POISON = os.environ.get("POISON", "")
KILLS = int(os.environ.get("KILLS", "20"))
GAP_MAX_S = 1.0
LOADED = 4  # on a machine with other work a wait may be the scheduler's


def eventually(condition, what, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.005)
    return value


def stat_field(pid, field):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[field - 3]
    except OSError:
        return None


def alive(pid):
    return stat_field(pid, 3) not in (None, "Z")


class Reader(threading.Thread):
    """Reads files again and again, from the daemon each time, compares, and takes the longest wait."""

    def __init__(self, folder, sums):
        super().__init__()
        self.folder, self.sums = folder, sums
        self.done = threading.Event()
        self.errors, self.reads, self.gaps = [], 0, []

    def run(self):
        names = list(self.sums)
        random.shuffle(names)
        while not self.done.is_set() and not self.errors:
            for name in names:
                start = time.monotonic()
                try:
                    fd = os.open(os.path.join(self.folder, name), os.O_RDONLY)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    with open(fd, "rb") as f:
                        got = hashlib.md5(f.read()).hexdigest()
                    if got != self.sums[name]:
                        self.errors.append(f"{name}: wrong bytes")
                except OSError as e:
                    self.errors.append(f"{name}: {e}")
                self.reads += 1
                self.gaps.append(time.monotonic() - start)
                if self.done.is_set():
                    return


MAPPED = """
import mmap, os, random, sys, time, hashlib
import json, decimal, zlib, array, math
name, want = sys.argv[1:3]
late = ["bisect", "heapq", "struct", "select", "csv", "unicodedata", "bz2", "lzma", "ctypes", "sqlite3", "ssl", "audioop"]
fd = os.open(name, os.O_RDONLY)
print("ready", flush=True)
while os.read(0, 1) == b"g":
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as m:
        if hashlib.md5(m).hexdigest() != want:
            sys.exit("wrong bytes in a mapping")
    if late:
        __import__(late.pop())
    zlib.crc32(json.dumps({"x": str(decimal.Decimal(2) ** 99)}).encode())
    print("ok", flush=True)
"""


class Case(unittest.TestCase):
    def setUp(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0:
            self.skipTest("needs root and /dev/fuse")
        if tuple(int(n) for n in re.findall(r"\d+", os.uname().release)[:2]) < (6, 9):
            self.skipTest("the kernel repeats no requests before Linux 6.9")
        self.dir = tempfile.mkdtemp(prefix="tk-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        clean = ("TIERCEL_", "SLURM_", "PBS_", "XDG_RUNTIME_DIR")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(clean)}
        self.env["TIERCEL_RUNTIME_DIR"] = self.dir + "/rt"
        self.mnt = self.dir + "/mnt"
        os.mkdir(self.mnt)
        self.addCleanup(lambda: subprocess.run(["umount", "-l", self.mnt], stderr=subprocess.DEVNULL))
        self.addCleanup(self.tiercel, "down", "--timeout", "2")

    def tiercel(self, *args, **more):
        return subprocess.run([TIERCEL, *args], env=self.env, capture_output=True, text=True, timeout=100, **more)

    def ok(self, *args, **more):
        p = self.tiercel(*args, **more)
        self.assertEqual(p.returncode, 0, f"{args}: {p.returncode}\n{p.stdout}{p.stderr}\n{self.log()}")
        return p.stdout

    def log(self, rank=0):
        try:
            with open(f"{self.dir}/rt/default/node-{rank}.log") as f:
                return f.read()
        except OSError as e:
            return str(e)

    def keeper(self, rank=0):
        with open(f"{self.dir}/rt/default/node-{rank}.pid") as f:
            return int(f.read())

    def daemon(self, rank=0):
        """The process that serves now, or None while there is none."""
        keeper = self.keeper(rank)
        try:
            with open(f"/proc/{keeper}/task/{keeper}/children") as f:
                children = [int(pid) for pid in f.read().split()]
        except OSError:
            return None
        for pid in children:
            try:
                with open(f"/proc/{pid}/cmdline") as f:
                    if "--keeper-fds" in f.read() and alive(pid):
                        return pid
            except OSError:
                pass
        return None

    def kill_daemon(self, signo=signal.SIGKILL, rank=0):
        """Kills the daemon; gives the number of the next one."""
        pid = eventually(lambda: self.daemon(rank), "a daemon is there")
        os.kill(pid, signo)
        return eventually(lambda: (now := self.daemon(rank)) != pid and now, "another daemon is there")

    def tree(self, files=40, size=400000):
        os.mkdir(self.dir + "/tree")
        sums = {}
        for i in range(files):
            folder = f"d{i % 5}"
            os.makedirs(f"{self.dir}/tree/{folder}", exist_ok=True)
            data = os.urandom(random.randrange(1, size))
            with open(f"{self.dir}/tree/{folder}/f{i}", "wb") as f:
                f.write(data)
            sums[f"{folder}/f{i}"] = hashlib.md5(data).hexdigest()
        return sums

    def up(self, *args):
        self.ok("up", "-N", "1", "--cache-size", "64M", "--bulk", "tcp", *args)

    def mount(self):
        self.ok("mount", self.mnt)

    def mounted(self):
        with open("/proc/self/mountinfo") as f:
            return f" {self.mnt} " in f.read()

    def no_process_left(self):
        found = subprocess.run(["pgrep", "-f", self.dir + "/rt"], capture_output=True, text=True).stdout.split()
        return not [pid for pid in found if alive(pid)]


class Takeover(Case):
    def test_programs_see_only_a_delay_when_the_daemon_is_killed(self):
        sums = self.tree()
        self.up()
        self.mount()
        name = max(sums, key=lambda n: os.path.getsize(f"{self.dir}/tree/{n}"))
        mapped = subprocess.Popen(
            [sys.executable, "-c", MAPPED, f"{self.mnt}{self.dir}/tree/{name}", sums[name]], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**self.env, "PYTHONHOME": f"{self.mnt}{sys.base_prefix}"})
        self.addCleanup(mapped.stdout.close)
        self.addCleanup(mapped.kill)
        self.assertEqual(mapped.stdout.readline(), b"ready\n")
        readers = [Reader(f"{self.mnt}{self.dir}/tree", sums) for _ in range(3)]
        for r in readers:
            r.start()
        try:
            for _ in range(KILLS):
                self.kill_daemon()
                mapped.stdin.write(b"g")
                mapped.stdin.flush()
                self.assertEqual(mapped.stdout.readline(), b"ok\n")
                time.sleep(random.uniform(0.0, 0.5))
        finally:
            for r in readers:
                r.done.set()
            for r in readers:
                r.join(30)
        mapped.stdin.close()
        self.assertEqual(mapped.wait(20), 0)
        for r in readers:
            self.assertFalse(r.is_alive(), self.log())
            self.assertEqual(r.errors, [], self.log())
            self.assertGreater(r.reads, KILLS)
        gap = max(max(r.gaps) for r in readers)
        print(f"{KILLS} kills, {sum(r.reads for r in readers)} files read, longest wait {gap * 1000:.0f} ms", file=sys.stderr)
        self.assertLess(gap, GAP_MAX_S * LOADED)
        self.assertEqual(len(re.findall("the daemon serves again", self.log())), KILLS)
        self.ok("umount", self.mnt)
        self.assertFalse(self.mounted())
        self.ok("down")
        self.assertTrue(self.no_process_left())

    def test_mounts_of_run_survive_too(self):
        sums = self.tree(files=20)
        self.up()
        script = """
import hashlib, os, subprocess, sys
def served(): return sum(" fuse.tiercel " in line for line in open("/proc/self/mountinfo"))
assert served() == 1
print("ready", flush=True)
names = sys.argv[1:]
for line in sys.stdin:
    name = names.pop()
    fd = os.open(name, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    print(hashlib.md5(os.read(fd, 1 << 20)).hexdigest(), served(), flush=True)
"""
        names = [f"{self.dir}/tree/{n}" for n in sums]
        p = subprocess.Popen([TIERCEL, "run", "--strict", "--cache", self.dir + "/tree", "--", sys.executable, "-c", script,
                              *names], env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.kill)
        self.assertEqual(p.stdout.readline(), "ready\n")
        for _ in range(4):
            self.kill_daemon()
            p.stdin.write("go\n")
            p.stdin.flush()
            want = sums[os.path.relpath(names.pop(), self.dir + "/tree")]
            self.assertEqual(p.stdout.readline(), f"{want} 1\n", self.log())
        p.stdin.close()
        self.assertEqual(p.wait(20), 0)
        # the holder has found each daemon that came: it still gives the same namespace
        out = self.ok("run", "--strict", "--cache", self.dir + "/tree", "--", "grep", "-c", "fuse.tiercel", "/proc/self/mountinfo")
        self.assertEqual(out, "1\n")

    def test_peers_find_the_next_daemon(self):
        sums = self.tree(files=30)
        self.ok("up", "-N", "3", "--arity", "1", "--cache-size", "64M", "--bulk", "tcp")
        self.ok("mount", "--rank", "2", self.mnt)
        reader = Reader(f"{self.mnt}{self.dir}/tree", sums)
        reader.start()
        try:
            for rank in (1, 0, 1, 2, 0, 1):
                self.kill_daemon(rank=rank)
                time.sleep(0.1)
        finally:
            reader.done.set()
            reader.join(20)
        self.assertEqual(reader.errors, [], self.log(2))
        self.ok("wait")
        self.ok("flush")  # reaches all

    def test_a_machine_without_a_node_list_restarts_its_daemon(self):
        """As one that was reached over ssh."""
        self.up()
        old = self.daemon()
        os.unlink(f"{self.env['TIERCEL_RUNTIME_DIR']}/default/nodes")
        self.ok("restart", "--here")
        self.assertNotEqual(self.daemon(), old)

    def test_an_upgrade_keeps_the_mounts(self):
        sums = self.tree(files=10)
        self.up()
        self.mount()
        os.makedirs(self.dir + "/new")
        shutil.copy(TIERCELD, self.dir + "/new/tierceld")
        cwd = os.open(self.mnt + self.dir + "/tree", os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, cwd)
        reader = Reader(f"{self.mnt}{self.dir}/tree", sums)
        reader.start()
        try:
            self.ok("restart")
            self.env["TIERCEL_LIBEXEC"] = self.dir + "/new"
            self.assertIn(self.dir + "/new/tierceld", self.ok("restart"))
        finally:
            reader.done.set()
            reader.join(20)
        self.assertEqual(reader.errors, [], self.log())
        self.assertEqual(os.readlink(f"/proc/{self.daemon()}/exe"), self.dir + "/new/tierceld")
        name = next(iter(sums))
        fd = os.open(name, os.O_RDONLY, dir_fd=cwd)  # a directory from before
        with open(fd, "rb") as f:
            self.assertEqual(hashlib.md5(f.read()).hexdigest(), sums[name])
        self.assertLess(max(reader.gaps), GAP_MAX_S * LOADED)

    def test_a_program_that_cannot_take_over_is_put_back(self):
        self.tree(files=4)
        self.up()
        self.mount()
        os.makedirs(self.dir + "/bad")
        with open(self.dir + "/bad/tierceld", "w") as f:
            f.write("#!/bin/sh\nexit 3\n")
        os.chmod(self.dir + "/bad/tierceld", 0o755)
        self.env["TIERCEL_LIBEXEC"] = self.dir + "/bad"
        p = self.tiercel("restart", "--timeout", "20")
        self.assertEqual(p.returncode, 1, p.stdout + p.stderr)
        self.assertIn("could not go on", p.stderr)
        self.assertTrue(os.path.isdir(f"{self.mnt}{self.dir}/tree/d1"), self.log())


class Ends(Case):
    def test_a_request_that_kills_daemons_is_given_up_and_the_rest_goes_on(self):
        sums = self.tree(files=10)
        self.env["LD_PRELOAD"] = POISON
        self.up()
        self.mount()
        del self.env["LD_PRELOAD"]
        top = f"{self.mnt}{self.dir}/tree"
        self.assertTrue(os.path.isdir(top + "/d1"))
        reader = Reader(top, sums)
        reader.start()
        poisons = [subprocess.Popen(["stat", f"{top}/d{i}/poison-{i}"], stderr=subprocess.PIPE, text=True) for i in range(2)]
        try:
            for p in poisons:
                self.assertIn("Input/output error", p.communicate(timeout=30)[1], self.log())
        finally:
            reader.done.set()
            reader.join(20)
        self.assertEqual(reader.errors, [], self.log())
        self.assertEqual(len(re.findall("a request was given up", self.log())), 2, self.log())
        self.assertLessEqual(len(re.findall("the daemon died", self.log())), 6, self.log())
        for name, want in sums.items():
            with open(f"{top}/{name}", "rb") as f:
                self.assertEqual(hashlib.md5(f.read()).hexdigest(), want)

    def ended(self):
        self.assertFalse(self.mounted(), self.log())
        self.assertEqual(os.listdir(self.mnt), [])
        eventually(self.no_process_left, "no process is left")

    def test_without_its_keeper_a_daemon_goes_on_and_then_the_mount_ends_cleanly(self):
        sums = self.tree(files=4)
        self.up()
        self.mount()
        cwd = os.open(self.mnt + self.dir + "/tree", os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, cwd)
        keeper, daemon = self.keeper(), self.daemon()
        os.kill(keeper, signal.SIGKILL)
        eventually(lambda: self.keeper() == daemon, "the daemon has written its own number")
        for name in sums:
            with open(f"{self.mnt}{self.dir}/tree/{name}", "rb") as f:
                self.assertEqual(hashlib.md5(f.read()).hexdigest(), sums[name])
        self.ok("status")
        os.kill(daemon, signal.SIGKILL)
        eventually(lambda: not self.mounted(), "unmounted")
        with self.assertRaises(OSError) as caught:
            os.stat("nothing-known", dir_fd=cwd)
        self.assertIn("not connected", str(caught.exception))
        self.ended()

    def test_both_killed_at_once(self):
        self.tree(files=4)
        self.up()
        self.mount()
        keeper, daemon = self.keeper(), self.daemon()
        os.kill(keeper, signal.SIGSTOP)  # so that it cannot start another one
        eventually(lambda: stat_field(keeper, 3) == "T", "the keeper has stopped")
        os.kill(daemon, signal.SIGKILL)
        os.kill(keeper, signal.SIGKILL)
        eventually(lambda: not self.mounted(), "unmounted")
        self.ended()

    def test_daemons_that_die_young_are_given_up(self):
        self.tree(files=4)
        self.env["LD_PRELOAD"] = POISON
        self.up()
        self.mount()
        del self.env["LD_PRELOAD"]
        stats = [subprocess.Popen(["stat", f"{self.mnt}{self.dir}/tree/poison-{i}"], stderr=subprocess.PIPE, text=True)
                 for i in range(20)]
        said = [p.communicate(timeout=60)[1] for p in stats]
        for s in said:
            self.assertRegex(s, "Input/output error|not connected|connection abort|No such file", self.log())
        self.assertIn("giving up", self.log())
        eventually(lambda: not self.mounted(), "unmounted")
        self.ended()

    def test_down_ends_all_three_even_if_the_daemon_hangs(self):
        self.up()
        self.mount()
        os.kill(self.daemon(), signal.SIGSTOP)
        self.ok("down", "--timeout", "0.5")
        eventually(lambda: not self.mounted(), "unmounted")
        self.ended()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
