#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Storage nodes fail under programs that write, read, wait for each other and save checkpoints, and none of them notices more than a wait.

    failure_test.py Planted                          no cluster: the load notices bugs that are planted into it
    tools/rados-dev run --store bluestore --osds 5 --mons 3 --out-after 5 -- failure_test.py Story
    tools/rados-dev run --store bluestore --out-after 600 -- failure_test.py Loss
    ... failure_test.py Soak                         failures at random; MINUTES (10), SEED

Environment: LOAD, the program of load.c; TIERCEL, the CLI; MPIRUN and EXAMPLE_CHECKPOINT, without which no job saves checkpoints.
"""
import contextlib
import json
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

LOAD = os.environ["LOAD"]
LEASE_S = 6  # shorter than some of the stalls: nobody is to be taken for dead because of one
OPTIONS = f"timeout=60&lease={LEASE_S}"
STEPS, EVERY = 400, 20  # of a run of the checkpointing job


def now():
    return time.monotonic()


class Load:
    """A process of load.c. Its lines are read as they come."""

    def __init__(self, mode, pool, *args):
        self.name = f"{mode} {' '.join(map(str, args[:1]))}"
        self.commits, self.snaps, self.saw, self.trouble, self.good, self.lost = [], [], [], [], [], []
        self.states = []
        self.done, self.is_ready = None, threading.Event()
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", LOAD, mode, pool, *map(str, args)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()

    def listen(self):
        for line in self.process.stdout:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word in ("commit", "saw"):
                epoch, ms = map(int, rest.split())
                (self.commits if word == "commit" else self.saw).append((epoch, ms / 1000))
            elif word == "state":
                name, ms = rest.split()
                self.states.append((name, int(ms) / 1000))
            elif word == "good":
                self.good.append([int(x) for x in rest.split()])
            elif word == "lost":
                epoch, ms, code, sentence = rest.split(" ", 3)
                self.lost.append((int(epoch), int(ms), int(code), sentence))
            elif word == "snap":
                self.snaps.append(int(rest))
            elif word == "done":
                self.done = int(rest)
            elif word == "ready":
                self.is_ready.set()
            else:
                self.trouble.append(f"{self.name}: {line.rstrip()}")
        self.process.stdout.close()
        self.is_ready.set()

    def ready(self):
        self.is_ready.wait(60)
        return self

    def stop(self):
        """To its end; how much it has done."""
        self.hang_up()
        return self.end()

    def hang_up(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def end(self, timeout=90):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.trouble.append(f"{self.name}: does not end")
            self.process.kill()
            self.process.wait()
        self.hang_up()
        self.reader.join()
        if self.process.returncode != 0 and not self.trouble:
            self.trouble.append(f"{self.name}: exit code {self.process.returncode}")
        return self.done

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.hang_up()
        self.reader.join()


def make(pool, *conts):
    out = subprocess.run([LOAD, "make", pool, *conts], stdout=subprocess.PIPE, text=True, check=False)
    if out.returncode != 0:
        raise AssertionError(out.stdout)


class Planted(unittest.TestCase):
    """On an embedded store: what is tested here is the load."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tl-planted-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.pool = os.path.join(self.dir, "pool")
        make(self.pool, "c")
        anchor = Load("anchor", self.pool, "c").ready()
        self.addCleanup(anchor.stop)

    def trouble(self, writer=(), reader=()):
        """What a writer, a reader and a check at the end have to say."""
        loads = [Load("write", self.pool, "c", 1, *writer), Load("read", self.pool, "c", 2, *reader)]
        wait_for(lambda: loads[0].commits and loads[0].commits[-1][0] >= 25 or any(x.done is not None or x.trouble for x in loads),
                 30, "25 epochs are committed")
        for x in loads:
            x.stop()
        loads.append(Load("verify", self.pool, "c", 3, 0, max((e for e, _ in loads[0].commits), default=0), *loads[0].snaps))
        loads[-1].end()
        return [line for x in loads for line in x.trouble]

    def test_a_sound_store(self):
        self.assertEqual(self.trouble(), [])

    def test_a_commit_is_acknowledged_and_dropped(self):
        self.assertRegex("\n".join(self.trouble(writer=["ack"])), r"epoch 12: its commit was acknowledged, .* is 11")

    def test_an_object_of_an_epoch_is_missing(self):
        self.assertRegex("\n".join(self.trouble(writer=["object"])), r"epoch 1\d: array 2")

    def test_a_byte_is_another_one(self):
        self.assertRegex("\n".join(self.trouble(writer=["byte"])), r"array 2, byte 35000: \d+ instead of \d+")

    def count(self, *plant):
        names = ["x", "y"]
        counters = [Load("count", self.pool, "c", name, *plant).ready() for name in names]
        wait_for(lambda: all(len(x.commits) >= 12 or x.done is not None or x.trouble for x in counters), 30, "both have counted to 12")
        counted = [x.stop() for x in counters]
        total = Load("sum", self.pool, "c", *names)
        return counted, total.end(), [line for x in (*counters, total) for line in x.trouble]

    def test_all_that_is_counted_is_there(self):
        counted, total, trouble = self.count()
        self.assertEqual((trouble, total), ([], sum(counted)))

    def test_an_update_is_lost(self):
        self.assertRegex("\n".join(self.count("unlocked")[2]), r"[xy] has counted to|all together have counted")

    def test_a_reader_is_shown_what_is_not_committed(self):
        self.assertRegex("\n".join(self.trouble(reader=["uncommitted"])), r"this is shown, while committed was")


def wait_for(what, seconds, sentence):
    end = now() + seconds
    while not what():
        if now() > end:
            raise AssertionError(f"after {seconds} s still not: {sentence}")
        time.sleep(0.1)


class Cluster:
    """That of tools/rados-dev around us."""

    def __init__(self):
        import rados
        self.error = rados.Error
        self.rados = rados.Rados(conffile=os.environ["CEPH_CONF"],
                                 conf={"rados_osd_op_timeout": "3", "rados_mon_op_timeout": "15"})
        self.rados.connect()

    def mon(self, prefix, **args):
        rc, out, said = self.rados.mon_command(json.dumps({"prefix": prefix, "format": "json", **args}), b"")
        if rc != 0:
            raise AssertionError(f"{prefix}: {said}")
        return json.loads(out) if out.strip() else None

    @staticmethod
    def dev(verb, name):
        subprocess.run([os.environ["RADOS_TOOL"], verb, os.environ["RADOS_DEV"], name], check=True)

    def osd(self, number):
        return next(o for o in self.mon("osd dump")["osds"] if o["osd"] == number)

    def pgs(self):
        return [f"{p['pool']}.{n:x}" for p in self.mon("osd dump")["pools"] for n in range(p["pg_num"])]

    def state(self, pg):
        try:
            rc, out, _ = self.rados.pg_command(pg, json.dumps({"prefix": "query", "pgid": pg, "format": "json"}), b"")
        except self.error:
            return "unknown"
        return json.loads(out)["state"] if rc == 0 else "unknown"

    def wait_clean(self, seconds=90):
        """All copies of all are where they belong; how long that took."""
        begin, left = now(), self.pgs()
        while left:
            left = [pg for pg in left if self.state(pg) != "active+clean"]
            if not left:
                left = [pg for pg in self.pgs() if self.state(pg) != "active+clean"]  # all at one time
            if now() - begin > seconds:
                raise AssertionError(f"after {seconds} s not active+clean: {[(pg, self.state(pg)) for pg in left]}")
            time.sleep(0.2)
        return now() - begin


class Job:
    """The example that saves checkpoints, again and again, each run going on where the last one was."""

    def __init__(self, pool, directory):
        self.pool, self.dir, self.steps, self.said, self.stopping = pool, directory, 0, [], False
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("TIERCEL_", "OMPI_", "PMIX_"))}
        self.env.update(
            TMPDIR=directory, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
            OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_mpi_yield_when_idle="1", OMPI_MCA_btl="self,vader",
            OMPI_MCA_plm="isolated", OMPI_MCA_orte_base_help_aggregate="0")
        self.thread = threading.Thread(target=self.go_on, daemon=True)
        self.thread.start()

    def run(self, pool, steps, result):
        return subprocess.run(["setpriv", "--pdeathsig", "TERM", os.environ["MPIRUN"], "-n", "4", os.environ["EXAMPLE_CHECKPOINT"], pool, str(steps), str(EVERY),
                               os.path.join(self.dir, result)], env=self.env, stdin=subprocess.DEVNULL, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def go_on(self):
        while not self.stopping and not self.trouble():
            before, self.steps = self.steps, self.steps + STEPS
            out = self.run(self.pool, self.steps, "rados.out")
            self.said.append((before, out.returncode, out.stdout))

    def trouble(self):
        return [f"checkpoint: exit code {rc} after step {before}: {text}" for before, rc, text in self.said
                if rc != 0 or f"begins after step {before}\n" not in text]

    def stop(self):
        """The plate is that of a run which nobody disturbed."""
        self.stopping = True
        self.thread.join(120)
        calm = self.run(os.path.join(self.dir, "calm"), self.steps, "calm.out")
        with open(os.path.join(self.dir, "calm.out"), "rb") as a, open(os.path.join(self.dir, "rados.out"), "rb") as b:
            same = a.read() == b.read()
        return self.trouble() + ([] if same and calm.returncode == 0 else ["checkpoint: another result than undisturbed"])


class Side:
    """A pool, and the processes that use it: of each container a writer, a reader and a consumer, and two who count together in one of their own."""

    def __init__(self, pool, conts):
        self.pool, self.conts, self.checked = pool, conts, dict.fromkeys(conts, 0)
        make(pool, *conts, "count")
        self.anchor = Load("anchor", pool, *conts).ready()
        patient = pool.replace(f"lease={LEASE_S}", "lease=20")  # whoever is too slow for a lease loses his lock
        self.counters = [Load("count", patient, "count", name).ready() for name in ("x", "y")]
        self.writers = {c: Load("write", pool, c, i).ready() for i, c in enumerate(conts)}
        self.watcher = Load("watch", pool, conts[0]).ready()
        self.others = [self.watcher] + [Load(mode, pool, c, 100 + i).ready() for i, c in enumerate(conts) for mode in ("read", "wait")]
        self.past = {c: [] for c in conts}  # writers that ended

    def all(self):
        return [self.anchor, *self.counters, *self.writers.values(), *self.others, *(w for past in self.past.values() for w in past)]

    def trouble(self):
        return [line for x in self.all() for line in x.trouble]

    def commits(self, cont):
        return [c for w in (*self.past[cont], self.writers[cont]) for c in w.commits]

    def highest(self, cont):
        return max((e for e, _ in self.commits(cont)), default=0)

    def verify(self, everything=False):
        """All that was acknowledged is there; from where the last look has ended, or from the beginning."""
        checks, trouble = [], []
        for c in self.conts:
            start = 0 if everything else self.checked[c]
            self.checked[c] = self.highest(c)
            snaps = [e for w in (*self.past[c], self.writers[c]) for e in w.snaps]
            checks.append(Load("verify", self.pool, c, 9, start, self.checked[c], *snaps))
        for x in checks:
            x.end(120)
            trouble += x.trouble
        return trouble, sum(x.done or 0 for x in checks)

    def replace_writer(self, cont):
        """Killed, and another one begun: what it had not committed is gone."""
        self.writers[cont].kill()
        self.past[cont].append(self.writers[cont])
        self.writers[cont] = Load("write", self.pool, cont, 1000 + len(self.past[cont])).ready()

    def stall(self, begin, end):
        """The longest time without an acknowledgement to one of the writers."""
        longest = 0.0
        for c in self.conts:
            times = [begin, *(t for _, t in self.commits(c) if begin <= t <= end), end]
            longest = max(longest, *(b - a for a, b in zip(times, times[1:])))
        return longest

    def stop(self):
        """In the order in which nobody waits for who has ended."""
        for x in (*self.others, *self.writers.values()):
            x.stop()
        counted, total = sum(x.stop() or 0 for x in self.counters), Load("sum", self.pool, "count", "x", "y")
        wrong = [] if total.end() == counted else [f"{counted} is the sum of what was acknowledged, {total.done} what there is"]
        return self.trouble() + total.trouble + wrong


class Scene(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        if "CEPH_CONF" not in os.environ:
            raise unittest.SkipTest("no cluster: run by tools/rados-dev")
        self.dir = tempfile.mkdtemp(prefix="tl-failures-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.cluster = Cluster()
        # With its default, an erasure-coded pool stops at the first lost OSD until another one has taken over.
        self.cluster.mon("osd pool set", pool="ec21", var="min_size", val="2")
        self.begin = now()
        self.sides = [Side(f"rados:///story?pool=meta&data=data&{OPTIONS}", ["a", "b"]),
                      Side(f"rados:///coded?pool=meta&data=ec21&{OPTIONS}", ["c"])]
        for s in self.sides:
            self.addCleanup(self.kill_all, s)
        self.job = Job(self.sides[0].pool, self.dir) if "MPIRUN" in os.environ else None

    @staticmethod
    def kill_all(side):
        for x in side.all():
            if x.process.poll() is None:
                x.process.kill()

    def sound(self):
        trouble = [line for s in self.sides for line in s.trouble()] + (self.job.trouble() if self.job else [])
        if trouble:
            print(f"{now() - self.begin:6.1f} s  " + "\n          ".join(trouble), flush=True)
        self.assertEqual(len(trouble), 0, trouble[:1])

    def going_on(self, since, sides=None, more=5):
        """Until every writer has committed some epochs, and every consumer seen them."""
        sides = sides or self.sides

        def all_have():
            self.sound()
            return all(sum(t > since for _, t in s.commits(c)) >= more for s in sides for c in s.conts) and \
                all(sum(t > since for _, t in x.saw) >= more for s in sides for x in s.others if x.name.startswith("wait")) and \
                all(sum(t > since for _, t in x.commits) >= more for s in sides for x in s.counters)

        wait_for(all_have, 90, "all writers, consumers and counters go on")

    def checked(self, what, since, sides=None, everything=False):
        """Of what was acknowledged, nothing is lost and all is equal, now."""
        begin, looked = now(), 0
        stalls = [s.stall(since, begin) for s in sides or self.sides]
        for s in sides or self.sides:
            trouble, count = s.verify(everything)
            self.assertEqual(trouble, [], what)
            looked += count
        self.sound()
        print(f"{begin - self.begin:6.1f} s  {what}: writers stood still for up to {', '.join(f'{x:.2f}' for x in stalls)} s; "
              f"{looked} epochs compared in {now() - begin:.1f} s", flush=True)

    def break_and_mend(self, what, osd):
        """Killed, out, rebuilt elsewhere, revived."""
        since = now()
        self.cluster.dev("kill", f"osd.{osd}")
        self.going_on(since)
        self.told(since, healthy=False)
        self.checked(f"{what}, degraded", since)
        wait_for(lambda: self.cluster.osd(osd)["in"] == 0, 60, f"osd.{osd} is out")
        self.going_on(now())
        self.cluster.wait_clean()
        self.told(since, healthy=True)
        self.checked(f"{what}, rebuilt", since)
        self.revive(f"osd.{osd}")

    def revive(self, *names, sides=None):
        since = now()
        for name in names:
            self.cluster.dev("revive", name)
        self.going_on(since, sides)
        self.cluster.wait_clean()
        self.told(since, healthy=True)
        self.checked(f"{' and '.join(names)} revived", since, sides)

    def stalled(self, osd):
        since = now()
        self.cluster.dev("stall", f"osd.{osd}")
        self.going_on(since)
        wait_for(lambda: self.cluster.osd(osd)["up"] == 0, 60, f"osd.{osd} is down")
        self.told(since, healthy=False)
        self.checked(f"osd.{osd} stalled", since)
        since = now()
        self.cluster.dev("cont", f"osd.{osd}")
        self.going_on(since)
        self.cluster.wait_clean()
        self.checked(f"osd.{osd} goes on", since)

    def told(self, since, healthy):
        """Programs that ask for it are told that the pool is not as it should be, or that it is again."""
        states = self.sides[0].watcher.states
        if healthy:
            wait_for(lambda: states and states[-1][0] == "healthy", 60, f"the pool is said to be healthy: {states}")
        else:
            wait_for(lambda: any(t > since and name != "healthy" for name, t in states), 30, f"something is said to be wrong: {states}")

    def mon_lost(self, name):
        since = now()
        self.cluster.dev("kill", name)
        self.going_on(since)
        self.checked(f"{name} killed", since)
        self.cluster.dev("revive", name)
        self.going_on(now())

    def finish(self):
        self.sound()
        trouble = self.job.stop() if self.job else []
        for s in self.sides:
            trouble += s.stop()
        self.assertEqual(trouble, [])
        self.checked("at the end, all", now(), everything=True)
        for s in self.sides:
            s.anchor.stop()
            out = subprocess.run([os.environ["TIERCEL"], "pool", "check", s.pool], stdout=subprocess.PIPE, text=True, check=False)
            self.assertEqual(out.returncode, 0, out.stdout)
            print(out.stdout, end="")
        if self.job:
            print(f"{len(self.job.said)} jobs saved a checkpoint after each {EVERY} of {self.job.steps} steps in all")


class Story(Scene):
    """One test: each of these begins with the cluster as the last one has left it."""

    def test_storage_nodes_fail(self):
        self.going_on(now())
        self.checked("undisturbed", self.begin + 1)
        self.break_and_mend("osd.1 killed", 1)
        self.sides[0].replace_writer("a")
        self.stalled(2)
        self.mon_lost("mon.b")
        self.two_at_once()
        self.finish()

    def two_at_once(self):
        """Of three copies one is left: nothing is lost, and nothing is written until there are two again. Of the erasure-coded pool it would be
        more than its redundancy, so nobody uses that one meanwhile."""
        replicated, coded = self.sides
        self.assertEqual(coded.stop(), [])
        since = now()
        self.cluster.dev("kill", "osd.3")
        self.cluster.dev("kill", "osd.4")
        wait_for(lambda: all(self.cluster.osd(n)["in"] == 0 for n in (3, 4)), 60, "both are out")
        self.going_on(now(), [replicated])
        self.checked("osd.3 and osd.4 killed at once", since, [replicated])
        self.revive("osd.3", "osd.4", sides=[replicated])


class Loss(unittest.TestCase):
    """More fails than there are copies: of one. A third of all payloads is away, then one is lost, and one damaged; state and index have three copies."""

    POOL = "rados:///loss?pool=meta&data=single&timeout=20&lease=6"
    WHERE = r"container c: object 0\.\d, dkey \"d\", akey \"a\""
    BLOB = r"d\.\S+ in RADOS pool 'single', placement group \d+\.[0-7]"

    def setUp(self):
        if "CEPH_CONF" not in os.environ:
            raise unittest.SkipTest("no cluster: run by tools/rados-dev")
        self.cluster = Cluster()
        self.cluster.mon("osd pool create", pool="single", pg_num=8, pgp_num=8)
        self.cluster.mon("osd pool set", pool="single", var="size", val="1", yes_i_really_mean_it=True)
        make(self.POOL, "c")
        self.anchor = Load("anchor", self.POOL, "c").ready()
        self.addCleanup(self.anchor.stop)
        writer = Load("write", self.POOL, "c", 1, "calm").ready()
        wait_for(lambda: writer.trouble or len(writer.commits) >= 25, 60, "25 epochs are committed")
        writer.stop()
        self.assertEqual(writer.trouble, [])
        self.last = writer.commits[-1][0]

    def survey(self):
        begin = now()
        x = Load("survey", self.POOL, "c", 1, 1, self.last)
        x.end()
        self.assertEqual(x.trouble, [])
        self.assertEqual(len(x.good) + len(x.lost), self.last)
        print(f"{len(x.good)} read in {sum(ms for _, ms in x.good)} ms, {len(x.lost)} not, in {sum(ms for _, ms, *_ in x.lost)} ms, "
              f"{now() - begin:.1f} s in all", flush=True)
        return x

    def check(self):
        """What `tiercel pool check` finds."""
        begin = now()
        out = subprocess.run([os.environ["TIERCEL"], "pool", "check", self.POOL], stdout=subprocess.PIPE, text=True, check=False, timeout=60)
        print(f"a check took {now() - begin:.1f} s", flush=True)
        return out.returncode, [line for line in out.stdout.splitlines() if "container c:" in line], out.stdout

    def change(self, epoch, how):
        """One payload that this epoch has written, in the cluster; the OSD that has it."""
        io = self.cluster.rados.open_ioctx("single")
        io.set_namespace("loss")
        names = sorted(o.key for o in io.list_objects() if o.key.startswith("d."))
        name = names[epoch % len(names)]
        how(io, name)
        io.close()
        return name

    def test_what_is_lost_is_told_by_name(self):
        self.assertEqual(self.survey().lost, [])
        self.away()
        self.gone()

    def away(self):
        self.cluster.dev("kill", "osd.0")
        wait_for(lambda: self.cluster.osd(0)["up"] == 0, 30, "osd.0 is down")
        x = self.survey()
        self.assertGreater(len(x.lost), 0)
        self.assertGreater(len(x.good), self.last // 4)
        for epoch, _, code, sentence in x.lost:
            self.assertEqual(code, -110)
            self.assertRegex(sentence, rf"^{self.WHERE} cannot be read now at epoch {epoch}: {self.BLOB}, which has no OSD that is up; "
                                       r"down: osd\.0; try again when that is back$")
        # A placement group is waited for once, and not for the timeout.
        self.assertLess(sum(ms for _, ms, *_ in x.lost), 20000, x.lost)
        code, lines, out = self.check()
        self.assertEqual(code, 1, out)
        told = {int(m[1]) for m in (re.search(rf"{self.WHERE}, chunk \d, epoch (\d+), handle \d+: \d+ bytes cannot be read now: {self.BLOB}", s)
                                    for s in lines) if m}
        self.assertEqual(told, {epoch for epoch, *_ in x.lost}, out)
        self.cluster.dev("revive", "osd.0")
        wait_for(lambda: self.cluster.osd(0)["up"] == 1, 60, "osd.0 is up")
        self.cluster.wait_clean(30)
        self.assertEqual(self.survey().lost, [])

    def gone(self):
        """For good, as after `ceph osd lost`; and changed by whoever."""
        lost = self.change(3, lambda io, name: io.remove_object(name))
        other = self.change(8, lambda io, name: io.write(name, b"?", 1000))
        self.assertNotEqual(lost, other)
        x = self.survey()
        text = "\n".join(sentence for *_, sentence in x.lost)
        self.assertEqual([code for _, _, code, _ in x.lost], [-74, -74], text)
        self.assertRegex(text, rf"{self.WHERE} is damaged at epoch \d+: {re.escape(lost)} in RADOS pool 'single', "
                               r"placement group \d+\.[0-7] \(osd\.[0-2]\): it is lost, there is no such object; see: tiercel pool check")
        self.assertRegex(text, rf"{self.WHERE} is damaged at epoch \d+: {re.escape(other)} in .*: its checksum differs; see")
        code, lines, out = self.check()
        self.assertEqual(code, 1, out)
        self.assertEqual(len(lines), 2, out)
        self.assertRegex(out, rf"{self.WHERE}, chunk \d, epoch \d+, handle \d+: \d+ bytes are lost: {re.escape(lost)} in")
        self.assertRegex(out, rf"{self.WHERE}, chunk \d, epoch \d+, handle \d+: \d+ bytes are damaged: {re.escape(other)} in")
        self.index_gone()

    def index_gone(self):
        """A part of the index: what it named cannot be taken for what was never written."""
        io = self.cluster.rados.open_ioctx("meta")
        io.set_namespace("loss")
        lost = []
        for shard in sorted(o.key for o in io.list_objects() if re.match(r"i\.\w+\.", o.key)):
            io.remove_object(shard)
            lost = [s for *_, s in self.survey().lost if shard in s]
            if lost:  # others have nothing of what is looked for
                break
        io.close()
        self.assertRegex(lost[0], rf"^{self.WHERE} is damaged at epoch \d+: {re.escape(shard)} in RADOS pool 'meta', placement group \S+ "
                                  r"\(osd\..*\): it is lost, there is no such object; see: tiercel pool check")
        code, _, out = self.check()
        self.assertEqual(code, 1, out)
        self.assertRegex(out, rf"what shard \d+ of its index says is damaged: {re.escape(shard)} in .*: it is lost")
        self.assertIn("whether there are payloads that belong to no record was not looked at", out)


class Soak(Scene):
    """Failures at random, one after the other."""

    def test_nodes_fail_again_and_again(self):
        seed, minutes = int(os.environ.get("SEED", time.time())), float(os.environ.get("MINUTES", 10))
        rng = random.Random(seed)
        print(f"again with SEED={seed}")
        self.going_on(now())
        while now() - self.begin < minutes * 60:
            kind, osd = rng.randrange(5), rng.randrange(5)
            if kind == 0:
                self.break_and_mend(f"osd.{osd} killed", osd)
            elif kind == 1:
                self.stalled(osd)
            elif kind == 2:
                self.mon_lost(f"mon.{rng.choice('abc')}")
            elif kind == 3:
                self.sides[0].replace_writer(rng.choice("ab"))
                self.going_on(now())
            else:  # back before it is out
                since = now()
                self.cluster.dev("kill", f"osd.{osd}")
                self.going_on(since, more=rng.randrange(1, 10))
                self.revive(f"osd.{osd}")
        self.finish()


if __name__ == "__main__":
    result = unittest.main(verbosity=2, exit=False).result
    sys.exit(not result.wasSuccessful() or (77 if result.skipped else 0))
