#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The examples do what they say, under mpirun with 4 ranks; killed in between, too.

    examples_test.py [CLASS[.test]]...

TIERCEL_TEST_POOLS: uris of new pools, with %d for a number; else they are directories.
Environment: MPIRUN, Open MPI's; EXAMPLE_CHECKPOINT and so on, the programs; EXAMPLES, their source folder; PYTHON and PYTHONPATH,
for those in Python. SEED: another sequence of kills.
"""
import array
import contextlib
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

MPIRUN = os.environ["MPIRUN"]
RANKS = 4
POOLS = os.environ.get("TIERCEL_TEST_POOLS")
STEPS, EVERY = 1200, 40  # of the plate: about half a second


class Case(unittest.TestCase):
    maxDiff = None
    number = 0

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="te-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("TIERCEL_", "OMPI_", "PMIX_"))}
        self.env.update(
            TMPDIR=self.dir, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
            OMPI_MCA_rmaps_base_oversubscribe="1",  # 4 ranks on however few cores
            OMPI_MCA_mpi_yield_when_idle="1",  # ranks that wait give way to those that compute
            OMPI_MCA_btl="self,vader", OMPI_MCA_plm="isolated", OMPI_MCA_orte_base_help_aggregate="0")

    def path(self, name):
        return os.path.join(self.dir, name)

    def pool(self):
        """Of a new one."""
        if not POOLS:
            return self.path("pool")
        Case.number += 1
        return POOLS.replace("%d", f"{os.getpid()}-{Case.number}")

    def start(self, name, *args):
        program = os.environ["EXAMPLE_" + name.upper()]
        return subprocess.Popen([MPIRUN, "-n", str(RANKS), program, *map(str, args)], env=self.env, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run_example(self, name, *args):
        """To its end; what it printed."""
        p = self.start(name, *args)
        out = p.communicate(timeout=100)[0]
        self.assertEqual(p.returncode, 0, f"{name} {args}: exit code {p.returncode}\n{out}")
        return out

    def python(self, *args):
        """With `import tiercel`, if it was built."""
        if "PYTHON" not in os.environ:
            self.skipTest("Python's tiercel was not built: its headers are missing")
        return subprocess.Popen([os.environ["PYTHON"], *map(str, args)], env=self.env, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def sound(self, pool):
        """A check of everything that is stored finds no damage."""
        if "PYTHON" in os.environ:
            p = self.python("-c", f"import tiercel; print(*tiercel.connect({pool!r}).check(), sep='\\n')")
            out = p.communicate(timeout=60)[0]
            self.assertEqual((p.returncode, out.split("\n")[0]), (0, "0"), out)

    def result(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()


def ranks_of(mpirun):
    """The processes that mpirun has started; none if it has ended."""
    try:
        with open(f"/proc/{mpirun.pid}/task/{mpirun.pid}/children", encoding="ascii") as f:
            return [int(pid) for pid in f.read().split()]
    except OSError:
        return []


class Restarts(Case):
    """Runs that are killed and started again until one completes."""

    def kill_in(self, rng, name, pool):
        """One run, killed after a few commits. The last step that it said was committed, and the one it began after."""
        p = self.start(name, pool, STEPS, EVERY, self.path("killed"))
        lines, began, last, until = [], None, 0, rng.randrange(6)
        for line in p.stdout:
            lines.append(line)
            if m := re.match(r"begins after step (\d+)", line):
                began = int(m[1])
            elif m := re.match(r"step (\d+) is epoch", line):
                last = int(m[1])
                until -= 1
            if began is not None and until <= 0:
                break
        self.assertIsNotNone(began, f"{name} did not begin:\n{''.join(lines)}")
        time.sleep(rng.random() * 0.03)  # not to wait for anything: to hit it anywhere in a checkpoint
        ranks = ranks_of(p)
        victims = ranks if rng.random() < 0.5 else rng.sample(ranks, min(1, len(ranks)))
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):  # on a busy machine it may be through by now
                os.kill(pid, signal.SIGKILL)
        rest = p.communicate(timeout=60)[0]
        for m in re.finditer(r"^step (\d+) is epoch", rest, re.M):
            last = int(m[1])
        return began, max(began, last), "".join(lines) + rest

    def survive(self, name, kills):
        seed = int(os.environ.get("SEED", "1"))
        again = f"again with: SEED={seed} {sys.argv[0]} {type(self).__name__}"
        rng = random.Random(seed)
        self.run_example("checkpoint", self.path("calm"), STEPS, EVERY, self.path("calm.out"))
        pool, committed = self.pool(), 0
        for _ in range(kills):
            began, last, said = self.kill_in(rng, name, pool)
            self.assertGreaterEqual(began, committed, f"a checkpoint was lost; {again}\n{said}")
            self.assertEqual(began % EVERY, 0, said)
            committed = last
        out = self.run_example(name, pool, STEPS, EVERY, self.path("pool.out"))
        began = int(re.search(r"begins after step (\d+)", out)[1])
        self.assertGreaterEqual(began, committed, f"a checkpoint was lost; {again}\n{out}")
        self.assertTrue(self.result("pool.out") == self.result("calm.out"),
                        f"the result is not that of an undisturbed run; {again}")
        self.assertGreater(len(set(self.result("calm.out"))), 2, "heat has spread")
        self.sound(pool)


class Checkpoint(Restarts):
    def test_a_job_that_was_killed_goes_on_to_the_same_result(self):
        self.survive("checkpoint", 2)


    def test_another_program_watches(self):
        pool = self.pool()
        self.run_example("checkpoint", pool, 1, 1)  # so that there is something to open
        watch = self.python(os.path.join(os.environ["EXAMPLES"], "watch.py"), pool, 300)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        first = watch.stdout.readline()
        self.assertRegex(first, r"^epoch 1, step 1: ")
        self.run_example("checkpoint", pool, 300, EVERY, self.path("out"))
        seen = watch.communicate(timeout=60)[0].splitlines()
        self.assertEqual(watch.returncode, 0, seen)
        plate = array.array("d", self.result("out"))
        self.assertRegex(seen[-1], r"^epoch \d+, step 300: " + f"{math.fsum(plate) / len(plate):.6f}")


class NonBlocking(Restarts):
    def test_a_job_that_was_killed_again_and_again_comes_to_the_same_result(self):
        self.survive("checkpoint_nonblocking", 4)


class Pipeline(Case):
    def test_results_in_a_container_of_their_own(self):
        self.assertIn("20 frames, 0 wrong", self.run_example("pipeline", self.pool(), 20, "private"))

    def test_results_where_the_frames_are(self):
        self.assertIn("20 frames, 0 wrong", self.run_example("pipeline", self.pool(), 20, "shared"))


class Counter(Case):
    def test_no_update_is_lost_when_a_producer_dies_with_the_lock(self):
        pool = self.pool()
        out = self.run_example("counter", pool, 40, "victim")
        self.sound(pool)
        m = re.search(r"counter (\d+), sum (\d+), of the victim (\d+), inherited (\d+)", out)
        self.assertEqual([int(n) for n in m.groups()], [RANKS * 40 + 20, RANKS * 40 + 20, 20, 1], out)


if __name__ == "__main__":
    unittest.main(verbosity=2)
