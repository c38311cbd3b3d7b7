#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Processes on several hosts share containers on RADOS: an MPI job and its checkpoints, producers and consumers, and hosts that go away
in the middle. hosts.sh makes the hosts, and runs this.

    hosts.sh [CLASS[.test]]...

Environment: LAB_DIR, LAB_MNT of the lab; TIERCEL_BUILD. PYTHON, if Python's tiercel was built. Every program is read through the
mount of its host's own daemon.
"""
import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
import unittest

LAB = os.environ["LAB_DIR"]
MOUNT = os.environ["LAB_MNT"]
BUILD = os.environ["TIERCEL_BUILD"]
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MPIRUN = shutil.which("mpirun.openmpi")
HOSTS = 4
LEASE_S = 3
RO, RW, EXCLUSIVE = 1, 2, 2
EBADF, ESTALE = -9, -116
STEPS, EVERY = 4800, 100  # of the plate: some seconds, so that a job can be killed in between


def place(i):
    with open(f"{LAB}/node-{i}.pid", encoding="ascii") as f:
        return ["nsenter", "-t", f.read().strip(), "-n", "-u", "-m", "--"]


def here(path):
    """A program, as its host's daemon gives it."""
    return MOUNT + os.path.realpath(path)


def environment(i):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TIERCEL_", "OMPI_", "PMIX_"))}
    return {**env, "TIERCEL_RUNTIME_DIR": f"{LAB}/run-{i}", "TIERCEL_NAME": "lab",
            "CEPH_CONF": f"{LAB}/run-{i}/ceph.conf"}


def start(i, args, **more):
    return subprocess.Popen([*place(i), *map(str, args)], env={**environment(i), **more.pop("env", {})}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)


class Peer:
    """A process on a host, which does as it is told (test/client/peer.c)."""

    def __init__(self, host, uri):
        self.p = start(host, [here(f"{BUILD}/test/client/tiercel-test-peer"), uri], stdin=subprocess.PIPE, bufsize=1)

    def tell(self, line):
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()

    def hear(self):
        line = self.p.stdout.readline()
        return int(line) if line else None

    def ask(self, line):
        self.tell(line)
        return self.hear()

    def kill(self):
        self.p.kill()
        self.end()

    def end(self):
        with contextlib.suppress(OSError):
            self.p.stdin.close()
        self.p.wait(30)
        self.p.stdout.close()


class Case(unittest.TestCase):
    number = 0

    def setUp(self):
        Case.number += 1
        self.uri = f"rados:///hosts-{Case.number}?pool=meta&data=ec21&timeout=60&lease={LEASE_S}"
        self.dir = tempfile.mkdtemp(prefix="th-")
        self.addCleanup(shutil.rmtree, self.dir)

    def tiercel(self, host, *args):
        p = start(host, [here(f"{BUILD}/src/cli/tiercel"), *args])
        out = p.communicate(timeout=60)[0]
        self.assertEqual(p.returncode, 0, f"{args}: {out}")
        return out

    def peer(self, host, *lines):
        peer = Peer(host, self.uri)
        self.addCleanup(peer.kill)
        for line in lines:
            self.assertGreaterEqual(peer.ask(line), 0, line)
        return peer

    def writer(self, host):
        return self.peer(host, f"connect {RW}", f"open c {RW}")

    def make(self):
        self.tiercel(0, "pool", "create", self.uri)
        self.tiercel(0, "cont", "create", self.uri + "/c")

    # ---- MPI, a rank a host ----

    def job(self, name, *args, ranks=HOSTS):
        """The example on all hosts, or as one process here on a pool in a directory."""
        tcp = ["--host", ",".join(f"10.77.0.{i + 1}:1" for i in range(ranks)),
               "--mca", "plm", "rsh", "--mca", "plm_rsh_agent", f"{SOURCE}/test/hosts/agent.sh", "--mca", "btl", "self,tcp",
               "--mca", "btl_tcp_if_include", "eth0", "--mca", "oob_tcp_if_include", "eth0"]
        alone = ["--mca", "plm", "isolated", "--mca", "btl", "self"]
        program = here(f"{BUILD}/examples/{name}")
        env = {"TMPDIR": self.dir, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "LAB_DIR": LAB}
        return start(0, [MPIRUN, *(tcp if ranks > 1 else alone), "--mca", "mpi_yield_when_idle", "1",
                         "-n", ranks, program, *args], env=env, stdin=subprocess.DEVNULL)

    def run_job(self, name, *args, **more):
        p = self.job(name, *args, **more)
        out = p.communicate(timeout=60)[0]
        self.assertEqual(p.returncode, 0, f"{name} {args}: exit code {p.returncode}\n{out}")
        return out


@unittest.skipUnless(MPIRUN, "mpirun.openmpi is not installed")
class Jobs(Case):
    def test_a_checkpoint_over_all_hosts_outlives_the_job(self):
        def saved(name):
            with open(f"{self.dir}/{name}", "rb") as f:
                return f.read()

        self.run_job("checkpoint", self.dir + "/pool", STEPS, EVERY, self.dir + "/calm", ranks=1)
        p = self.job("checkpoint", self.uri, STEPS, EVERY)
        for line in p.stdout:
            if line.startswith("step") and "epoch 3" in line:
                break
        victims = ranks_on(2)
        self.assertEqual(len(victims), 1, "a rank on each host")
        os.kill(victims[0], signal.SIGKILL)
        p.communicate(timeout=60)
        out = self.run_job("checkpoint", self.uri, STEPS, EVERY, self.dir + "/out")
        began = int(re.search(r"begins after step (\d+)", out)[1])
        self.assertGreaterEqual(began, 3 * EVERY, out)
        self.assertEqual(began % EVERY, 0, out)
        self.assertTrue(saved("out") == saved("calm"), "the result is not that of an undisturbed run")


    @unittest.skipUnless("PYTHON" in os.environ, "Python's tiercel was not built: its headers are missing")
    def test_a_program_in_python_watches_from_another_host(self):
        self.run_job("checkpoint", self.uri, 1, 1)  # so that there is something to open
        watch = start(3, [here(os.environ["PYTHON"]), here(SOURCE + "/examples/watch.py"), self.uri, 300],
                      env={"PYTHONPATH": here(BUILD + "/python"), "PYTHONDONTWRITEBYTECODE": "1"})
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        self.assertRegex(watch.stdout.readline(), r"^epoch 1, step 1: ")
        self.run_job("checkpoint", self.uri, 300, EVERY)
        seen = watch.communicate(timeout=60)[0].splitlines()
        self.assertEqual(watch.returncode, 0, seen)
        self.assertRegex(seen[-1], r"^epoch \d+, step 300: ")

    def test_producers_and_consumers_are_on_different_hosts(self):
        for way in ["private", "shared"]:
            self.assertIn("20 frames, 0 wrong", self.run_job("pipeline", self.uri, 20, way))

    def test_no_update_of_conflicting_producers_is_lost(self):
        out = self.run_job("counter", self.uri, 20, "victim")
        m = re.search(r"counter (\d+), sum (\d+), of the victim (\d+), inherited (\d+)", out)
        self.assertEqual([int(n) for n in m.groups()], [HOSTS * 20 + 10, HOSTS * 20 + 10, 10, 1], out)


class Hosts(Case):
    def test_a_consumer_is_woken_by_a_commit_elsewhere(self):
        self.make()
        producer, consumer = self.writer(0), self.peer(1, f"connect {RW}", f"open c {RO}")
        self.assertEqual(producer.ask("hold 0"), 1)
        took = []
        for e in range(1, 42):
            consumer.tell(f"wait-at {e}")
            self.assertEqual(producer.ask(f"put {e} 1 {e}"), 0)
            self.assertEqual(producer.ask(f"flush {e}"), 0)
            committed, woken = producer.ask(f"commit-at {e}"), consumer.hear()
            self.assertEqual(consumer.ask(f"get {e} 1"), e)
            took.append((woken - committed) / 1e6)
        took.sort()
        print(f"woken {statistics.median(took):.2f} ms after the commit returned (median of {len(took)}; "
              f"{took[0]:.2f} to {took[-1]:.2f})", flush=True)
        self.assertLess(statistics.median(took), 100, "it is told, and does not look each second")

    # ---- hosts that go away ----

    def leave_the_victim(self, victim):
        """It has committed epoch 1, holds the lock with a value of that, and has written more."""
        for line, answer in [("hold 0", 1), (f"lock l {EXCLUSIVE} 0", 0), ("put 1 1 100", 0), ("commit 1", 0),
                             ("unlock 1", 0), (f"lock l {EXCLUSIVE} 0", 0), ("lvb", 1), ("put 2 1 200", 0),
                             ("put 2 2 200", 0), ("flush 2", 0), ("put 3 1 300", 0)]:
            self.assertEqual(victim.ask(line), answer, line)

    def take_over(self, heir, began):
        """Another host gets the lock, knows that its value is not valid, and goes on."""
        self.assertEqual(heir.ask(f"lock l {EXCLUSIVE} 30000"), 0)
        waited = time.monotonic() - began
        self.assertEqual(heir.ask("lvb"), -1)
        print(f"the lock of a host that went away: {waited:.1f} s later, with a lease of {LEASE_S} s", flush=True)
        self.assertLess(waited, LEASE_S + 7)
        self.assertEqual(heir.ask("get 1 1"), 100)
        epoch = heir.ask("hold 0")
        self.assertEqual(heir.ask("ghce"), 1)
        for line in [f"put {epoch} 3 {epoch}", f"flush {epoch}", f"commit {epoch}", f"unlock {epoch}"]:
            self.assertEqual(heir.ask(line), 0, line)
        self.assertEqual(heir.ask("ghce"), epoch, "the hold of who went away keeps nothing back")
        return epoch

    def only_what_was_committed(self, reader, upto):
        for epoch in range(1, upto + 4):
            seen = [reader.ask(f"get {epoch} {o}") for o in (1, 2, 3)]
            self.assertIn(seen, [[ESTALE] * 3, [100, 0, 0 if epoch < upto else upto]], f"epoch {epoch}")

    def test_a_host_that_is_killed_leaves_what_it_had_committed(self):
        self.make()
        victim, heir = self.writer(2), self.writer(3)
        self.leave_the_victim(victim)
        began = time.monotonic()
        victim.kill()
        epoch = self.take_over(heir, began)
        self.only_what_was_committed(heir, epoch)
        self.assertIn("everything fits together", self.tiercel(0, "pool", "check", self.uri))

    def test_a_host_that_was_cut_off_comes_back_with_nothing(self):
        self.make()
        victim, heir = self.writer(1), self.writer(0)
        self.leave_the_victim(victim)
        link(1, "down")
        self.addCleanup(link, 1, "up")
        began = time.monotonic()
        victim.tell("commit 3")  # it is on its way from now on
        epoch = self.take_over(heir, began)
        self.tiercel(2, "cont", "aggregate", self.uri + "/c")  # so that nothing is left that would tell of the victim
        link(1, "up")
        self.assertEqual(victim.hear(), EBADF)
        self.assertEqual(victim.ask("said evicted"), 1)
        for line in ["flush 3", "put 3 1 300", "commit 3", "ghce"]:
            self.assertEqual(victim.ask(line), EBADF, line)
        self.assertEqual(victim.ask("unlock 9"), ESTALE)
        for reader in [heir, self.peer(3, f"connect {RW}", f"open c {RO}")]:
            self.only_what_was_committed(reader, epoch)
        self.assertEqual(heir.ask(f"lock l {EXCLUSIVE} 0"), 0)
        self.assertEqual(heir.ask("lvb"), epoch, "who came back has left no value")
        self.assertIn("everything fits together", self.tiercel(0, "pool", "check", self.uri))


def link(host, state):
    with open(f"{LAB}/hub.pid", encoding="ascii") as f:
        hub = f.read().strip()
    subprocess.run(["nsenter", "-t", hub, "-n", "--", "ip", "link", "set", f"n{host}", state], check=True)


def ranks_on(host):
    """The ranks of a job there: children of that host's orted."""
    net = os.readlink("/proc/" + place(host)[2] + "/ns/net")
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/net") == net and "/examples/" in os.readlink(f"/proc/{pid}/exe"):
                found.append(int(pid))
    return found


if __name__ == "__main__":
    unittest.main(verbosity=2)
