#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tiercel command, run as people and scripts run it, with stand-ins for the daemon, ssh and Slurm.

    cli_test.py [CLASS[.test]]...

Environment: TIERCEL the command, FAKE_LIBEXEC the folder with the stand-in tierceld, FAKE_BIN that with srun and so on.
"""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

TIERCEL = os.environ["TIERCEL"]
FAKE_LIBEXEC = os.environ["FAKE_LIBEXEC"]
FAKE_BIN = os.environ["FAKE_BIN"]


class Result:
    def __init__(self, p):
        self.code, self.out, self.err = p.returncode, p.stdout, p.stderr

    def __str__(self):
        return f"exit code {self.code}\n--- out\n{self.out}--- err\n{self.err}"


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tc-")
        self.runtime = self.dir + "/rt"
        clean = ("TIERCEL_", "SLURM_", "PBS_", "FAKE_TIERCELD", "XDG_RUNTIME_DIR")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(clean)}
        self.env.update(TIERCEL_LIBEXEC=FAKE_LIBEXEC, TIERCEL_RUNTIME_DIR=self.runtime,
                        TIERCEL_SSH=FAKE_BIN + "/fake_ssh.sh", FAKE_SSH_LOG=self.dir + "/ssh.log")
        self.pids = set()

    def tearDown(self):
        if os.path.isdir(self.runtime):
            for name in os.listdir(self.runtime):
                self.tiercel("down", "--here", "--timeout", "0", "--name", name)
        shutil.rmtree(self.dir)
        for pid in self.pids:
            self.assertFalse(alive(pid), f"process {pid} is still there")

    def tiercel(self, *args, env=None, stdout=subprocess.PIPE, **more):
        p = subprocess.run([TIERCEL, *args], env={**self.env, **(env or {})}, stdout=stdout, stderr=subprocess.PIPE,
                           text=True, timeout=50, stdin=subprocess.DEVNULL, **more)
        for name in self.files("pid"):  # whoever we ever saw must be gone at the end
            try:
                with open(name) as f:
                    self.pids.add(int(f.read()))
            except (FileNotFoundError, ValueError):
                pass
        return Result(p)

    def files(self, suffix):
        found = []
        for folder, _, names in os.walk(self.runtime):
            found += [f"{folder}/{n}" for n in names if n.endswith("." + suffix)]
        return sorted(found)

    def ok(self, *args, **more):
        r = self.tiercel(*args, **more)
        self.assertEqual(r.code, 0, f"{args}: {r}")
        return r

    def bad(self, code, *args, says=(), **more):
        r = self.tiercel(*args, **more)
        self.assertEqual(r.code, code, f"{args}: {r}")
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, r.err, f"{args}: {r}")
        return r

    def write(self, name, text, mode=0o644):
        path = f"{self.dir}/{name}"
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path


class Words(Case):
    """Help, usage, sentences."""

    def test_help_is_short_and_names_every_verb(self):
        out = self.ok("--help").out
        self.assertLess(len(out.splitlines()), 30)
        for verb in "up down wait run mount umount flush status stat top doctor sim".split():
            self.assertRegex(out, rf"(?m)^  {verb} ")
            if verb != "sim":
                text = self.ok(verb, "--help").out
                self.assertTrue(text.startswith(f"usage: tiercel {verb} "), text)
                self.assertEqual(text, self.ok("help", verb).out)
            for line in text.splitlines():
                self.assertLess(len(line), 121, line)

    def test_version(self):
        self.assertRegex(self.ok("--version").out, r"^tiercel \d+\.\d+\.\d+\n$")

    def test_usage_errors_exit_2_and_suggest(self):
        self.bad(2, says="`tiercel --help`")
        self.bad(2, "stauts", says="did you mean `tiercel status`?")
        self.bad(2, "dwon", says="did you mean `tiercel down`?")
        r = self.bad(2, "frobnicate", says="no such verb")
        self.assertNotIn("did you mean", r.err)
        self.bad(2, "up", "--frob", says=["--frob: no such option", "usage: tiercel up"])
        self.bad(2, "up", "-N", says="needs a value")
        self.bad(2, "up", "-N", "0", says="from 1")
        self.bad(2, "up", "-N2x", says="from 1")
        self.bad(2, "up", "--encrypt=yes", says="takes no value")
        self.bad(2, "up", "--cache-size", "lots", says="a size")
        self.bad(2, "up", "--timeout", "-3", says="seconds")
        self.bad(2, "up", "-N", "2", "--hostfile", "x", says="exclude each other")
        self.bad(2, "status", "x", says="one argument too many")
        self.bad(2, "mount", says="no directory")

    def test_output_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "w") as full:
            r = self.tiercel("--help", stdout=full)
        self.assertEqual(r.code, 1, str(r))
        self.assertIn("No space left", r.err)

    def test_no_tier_is_said_with_the_remedy_and_as_json(self):
        self.bad(1, "status", says="start one with `tiercel up --name default`")
        r = self.bad(1, "status", "--name", "x", "--json", says="x: no tier of that name")
        self.assertEqual(json.loads(r.out)["code"], "ENOENT")
        self.bad(1, "down", "--name", "x", says="no tier")
        self.bad(1, "status", "--name", "a/b", says="not a tier's name")

    def test_a_missing_daemon_program_is_said(self):
        self.bad(1, "up", env={"TIERCEL_LIBEXEC": "/nonexistent"}, says=["/nonexistent/tierceld", "TIERCEL_LIBEXEC"])
        self.assertEqual(self.files("sock"), [])


class Local(Case):
    """Tiers on this machine."""

    def test_up_makes_a_private_tier_and_down_removes_it(self):
        self.ok("up", "-N", "3")
        tier = self.runtime + "/default"
        self.assertEqual(stat.S_IMODE(os.stat(self.runtime).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(tier).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(tier + "/key").st_mode), 0o600)
        with open(tier + "/key") as f:
            self.assertRegex(f.read(), r"^[0-9a-f]{64}\n$")
        with open(tier + "/nodes") as f:
            nodes = f.read().splitlines()
        self.assertEqual(len(set(nodes)), 3)
        for node in nodes:
            self.assertRegex(node, r"^127\.0\.0\.1:\d+$")
        self.assertEqual(len(self.files("sock")), 3)
        self.ok("down")
        self.assertEqual(os.listdir(self.runtime), [])

    def test_two_keys_differ(self):
        keys = []
        for name in "ab":
            self.ok("up", "--name", name)
            with open(f"{self.runtime}/{name}/key") as f:
                keys.append(f.read())
        self.assertNotEqual(*keys)

    def test_up_again_reports_the_same_and_refuses_another(self):
        self.ok("up", "-N", "2")
        first = self.files("pid")
        self.assertIn("already up", self.ok("up", "-N", "2").out)
        answer = json.loads(self.ok("up", "-N", "2", "--json").out)
        self.assertEqual((answer["already"], answer["nodes"], answer["launcher"]), (True, 2, "local"))
        self.bad(1, "up", "-N", "3", says=["already, with 2 nodes", "tiercel down"])
        self.assertEqual(self.files("pid"), first)

    def test_a_dead_tier_is_cleared_away(self):
        self.ok("up", "-N", "2")
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        while any(alive(pid) for pid in self.pids):
            time.sleep(0.01)
        self.bad(1, "status", says="its daemon is gone")
        self.ok("up", "-N", "3")
        self.assertEqual(len(self.files("sock")), 3)

    def test_tiers_leave_each_other_alone(self):
        self.ok("up", "--name", "a")
        self.ok("up", "--name", "b", "-N", "2")
        self.ok("down", "--name", "b")
        self.assertEqual(json.loads(self.ok("status", "--name", "a", "--json").out)["ready"], True)
        self.ok("status", env={"TIERCEL_NAME": "a"})

    def test_a_failed_start_is_explained_and_taken_down(self):
        r = self.bad(1, "up", "-N", "4", env={"FAKE_TIERCELD": "fail=2"}, says="address already in use")
        self.assertRegex(r.err, r"^tiercel: 127\.0\.0\.1:\d+: ")
        self.bad(1, "up", "-N", "4", env={"FAKE_TIERCELD": "fail=1 fail=2"}, says="one of 2 nodes of 4")
        self.assertEqual(self.files("sock"), [])
        self.assertEqual(self.files("pid"), [])

    def test_a_node_that_is_not_ready_is_named_with_its_log(self):
        r = self.bad(1, "up", "-N", "3", "--timeout", "1", "--json", env={"FAKE_TIERCELD": "silent=1"},
                     says=["1 of 3 nodes not ready in time: rank 1 (127.0.0.1:", "  | level=error", "no such luck"])
        self.assertEqual(json.loads(r.out)["code"], "ETIMEDOUT")
        self.assertEqual(self.files("sock"), [])
        self.assertTrue(self.files("log"), "the logs stay")
        self.bad(1, "status", says="read the logs")
        self.ok("up", "-N", "3")

    def test_a_daemon_that_does_not_end_is_killed(self):
        self.ok("up", "-N", "2", env={"FAKE_TIERCELD": "deaf=1"})
        r = self.ok("down", "--timeout", "0.1")
        self.assertIn("SIGTERM", r.err)

    def test_a_foreign_process_is_never_signalled(self):
        self.ok("up")
        pid_file = self.files("pid")[0]
        with open(pid_file) as f:
            daemon = int(f.read())
        with subprocess.Popen(["sleep", "100"]) as other:
            with open(pid_file, "w") as f:
                f.write(f"{other.pid}\n")
            os.kill(daemon, signal.SIGKILL)
            self.ok("down", "--timeout", "0.1")
            self.assertIsNone(other.poll())
            other.kill()

    def test_a_folder_of_others_is_refused_with_the_remedy(self):
        os.mkdir(self.runtime, 0o755)
        self.bad(1, "up", says=f"chmod 700 {self.runtime}")
        os.chmod(self.runtime, 0o700)
        os.mkdir(self.runtime + "/default", 0o700)
        os.chmod(self.runtime + "/default", 0o750)
        self.bad(1, "up", says=f"chmod 700 {self.runtime}/default")
        os.chmod(self.runtime + "/default", 0o700)
        os.rmdir(self.runtime + "/default")
        self.bad(1, "up", env={"TIERCEL_RUNTIME_DIR": "relative"}, says="not an absolute path")
        self.bad(1, "up", env={"TIERCEL_RUNTIME_DIR": self.dir + "/a/b"}, says="cannot be made")

    def test_two_at_once_do_not_mix(self):
        os.makedirs(self.runtime + "/default", 0o700)
        os.chmod(self.runtime, 0o700)
        fd = os.open(self.runtime + "/default", os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self.bad(1, "up", says="another `tiercel` is starting or ending this tier")
        os.close(fd)
        self.ok("up")

    def test_interrupting_up_takes_everything_down(self):
        p = subprocess.Popen([TIERCEL, "up", "-N", "3"], env={**self.env, "FAKE_TIERCELD": "silent=2"},
                             stderr=subprocess.PIPE, text=True)
        while len(self.files("sock")) < 2:
            time.sleep(0.01)
        time.sleep(0.2)  # into wait-ready; earlier is as good
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=30)
        self.assertEqual(p.returncode, 1, err)
        self.assertEqual(self.files("sock"), [], err)

    def test_a_daemon_of_another_protocol_is_told(self):
        self.ok("up")
        self.tiercel("down")
        r = self.bad(1, "up", "--timeout", "3", env={"FAKE_TIERCELD": "old"}, says="of another version")
        self.assertEqual(self.files("sock"), [], str(r))


class Verbs(Case):
    """What asks the daemon."""

    def setUp(self):
        super().setUp()
        self.ok("up", "-N", "3")

    def test_status_shows_the_tree(self):
        out = self.ok("status").out
        self.assertIn("tier default: 3 nodes, ready", out)
        self.assertRegex(out, r"(?m)^ *node +address +state +parent +children +below$")
        self.assertRegex(out, r"(?m)^ +0 +127\.0\.0\.1:\d+ +up +- +2 +3$")
        data = json.loads(self.ok("status", "--json", "--rank", "2").out)
        self.assertEqual((data["rank"], len(data["members"])), (2, 3))

    def test_stat_shows_a_node_or_all(self):
        out = self.ok("stat", "--rank", "1").out
        self.assertTrue(out.startswith("node 1: 80.0 % of requests"), out)
        self.assertRegex(out, r"(?m)^  lookups +1\.23 M$")
        out = self.ok("stat", "--all").out.splitlines()
        self.assertEqual(len(out), 5)
        self.assertEqual(len({len(line) for line in out}), 1, "aligned")
        self.assertEqual(len(json.loads(self.ok("stat", "--all", "--json").out)["nodes"]), 3)

    def test_flush_sends_a_real_path(self):
        os.mkdir(self.dir + "/a")
        os.symlink("a", self.dir + "/link")
        for given, sent in (("link", "a"), ("a/gone", "a/gone"), ("link/../a/./x", "a/x"), (".", "")):
            data = json.loads(self.ok("flush", "--json", given, cwd=self.dir).out)
            self.assertEqual(data["path"], os.path.realpath(self.dir) + ("/" + sent if sent else ""))
        self.assertEqual(json.loads(self.ok("flush", "--json").out)["path"], "")
        self.bad(1, "flush", self.dir + "/none/x", says="No such file")

    def test_mount_and_umount(self):
        at = self.dir + "/mnt"
        self.bad(1, "mount", at, says=f"mkdir {at}")
        self.write("file", "")
        self.bad(1, "mount", self.dir + "/file", says="not a directory")
        os.mkdir(at)
        self.ok("mount", "--rank", "2", at)
        self.assertIn(at, self.ok("status", "--rank", "2").out)
        self.assertNotIn(at, self.ok("status", "--rank", "0").out)
        self.ok("umount", at)  # finds the daemon that has it
        self.bad(1, "umount", at, says="not mounted by this tier")

    def test_call_passes_json_through(self):
        self.assertEqual(json.loads(self.ok("call", "--rank", "1", "ping").out), {"rank": 1})
        r = self.bad(1, "call", "frob", says="no such request")
        self.assertEqual(json.loads(r.out)["errno"], 22)
        self.bad(1, "call", "--rank", "9", "ping", says="node-9.sock")

    def test_wait_returns_when_ready(self):
        self.assertEqual(json.loads(self.ok("wait", "--json").out)["ready"], True)
        self.bad(1, "wait", "--name", "none", says="no tier")


class Hosts(Case):
    """Host files, ssh, PBS, Slurm."""

    def hosts(self, text):
        return self.write("hosts", text)

    def test_a_bad_host_file_names_line_and_reason(self):
        for text, says in (
                ("a\nb:\n", ":2: b:: a port must be a number"),
                ("a\nb:70000\n", ":2: b:70000: a port"),
                ("a slots=4\n", ':1: a: "slots=4" follows; write one host[:port] a line'),
                ("\n# c\na\nb\n a # again\n", ":5: a: is on line 3 already"),
                ("::1\n", "an IPv6 address needs brackets"),
                ("[::1\n", "write [address] or [address]:port"),
                ("[::1]x\n", "after ']' only :port"),
                ("[hello]:1\n", "not an IPv6 address"),
                ("-oProxyCommand=x\n", "cannot begin with '-'"),
                ("a;b\n", "letters, digits"),
                (":12\n", "the host is missing"),
                ("# nothing\n", "no host in it"),
                ("", "no host in it"),
                ("a\0b\n", "NUL bytes")):
            with self.subTest(text=text):
                self.bad(1, "up", "--hostfile", self.hosts(text), says=says)
        self.bad(1, "up", "--hostfile", self.dir + "/none", says="No such file")
        self.bad(1, "up", "--hostfile", self.dir, says="Is a directory")
        self.assertEqual(self.files("sock"), [])

    def test_up_and_down_over_ssh(self):
        path = self.hosts("one # the root\ntwo:4000\n\n  127.0.0.1\n[::1]:5000")
        out = self.ok("up", "--hostfile", path, "--arity", "4", "--cache-size", "1G").out
        self.assertIn("tier default is up: 4 nodes", out)
        with open(self.dir + "/ssh.log") as f:
            calls = f.read()
        self.assertEqual(sorted(line.split(": ")[0] for line in calls.splitlines()), ["127.0.0.1", "::1", "one", "two"])
        self.assertIn("'--arity' '4'", calls)
        with open(self.runtime + "/default/key") as f:
            self.assertNotIn(f.read().strip(), calls, "the key is no argument")
        self.assertEqual(json.loads(self.ok("status", "--json").out)["nodes"], 4)
        self.assertIn("already up", self.ok("up", "--hostfile", path).out)
        self.bad(1, "up", "--hostfile", self.hosts("one\ntwo\n"), says="up already, with 4 nodes (ssh)")
        self.ok("down")
        self.assertEqual(os.listdir(self.runtime), [])
        with open(self.dir + "/ssh.log") as f:
            self.assertEqual(f.read().count("'down' '--here'"), 4)

    def test_hosts_that_fail_are_explained_and_the_rest_taken_down(self):
        r = self.bad(1, "up", "--hostfile", self.hosts("one\ndown1\nbare1\ntwo\n"),
                     says=["down1: ssh: ssh: connect to host down1 port 22: No route to host",
                           "`ssh -oBatchMode=yes down1 true` must work without a question",
                           "bare1: no ", "install Tiercel at the same path", "one of 2 nodes of 4"])
        self.assertEqual(self.files("sock"), [], str(r))

    def test_many_hosts_start_side_by_side(self):
        names = [f"h{i}" for i in range(40)]
        self.ok("up", "--hostfile", self.hosts("\n".join(names)))
        self.assertEqual(json.loads(self.ok("status", "--json").out)["nodes"], 40)
        self.ok("down")

    def test_a_pbs_job_starts_a_node_a_host(self):
        env = {"PBS_JOBID": "12.srv", "PBS_NODEFILE": self.write("pbs", "a\na\nb\na\nb\n")}
        data = json.loads(self.ok("up", "--json", env=env).out)
        self.assertEqual((data["tier"], data["nodes"], data["launcher"]), ("pbs-12.srv", 2, "ssh"))
        self.ok("down", env=env)
        self.bad(1, "up", env={"PBS_NODEFILE": "/nonexistent"}, says=["$PBS_NODEFILE", "--hostfile"])

    def slurm(self, nodelist="n[1-3]"):
        for name in ("srun", "scontrol"):
            if not os.path.exists(f"{self.dir}/{name}"):
                os.symlink(f"{FAKE_BIN}/fake_{name}.sh", f"{self.dir}/{name}")
        return {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": nodelist, "FAKE_SRUN_LOG": self.dir + "/srun.log",
                "SLURMD_NODENAME": "n1", "PATH": self.dir + ":" + self.env["PATH"]}

    def test_a_slurm_job_starts_a_step(self):
        env = self.slurm()
        data = json.loads(self.ok("up", "--json", env=env).out)
        self.assertEqual((data["tier"], data["nodes"], data["launcher"]), ("slurm-77", 3, "slurm"))
        with open(self.dir + "/srun.log") as f:
            calls = f.read()
        self.assertIn("--overlap --nodes=3 --ntasks=3 --ntasks-per-node=1", calls)
        with open(self.runtime + "/slurm-77/key") as f:
            self.assertNotIn(f.read().strip(), calls)
        with open(self.runtime + "/slurm-77/launch.json") as f:
            self.pids.add(json.load(f)["srun_pid"])
        self.ok("status", env=env)
        self.ok("down", env=env)
        self.assertEqual(os.listdir(self.runtime), [])

    def test_a_slurm_job_is_waited_for_from_outside_its_nodes(self):
        env = self.slurm()
        del env["SLURMD_NODENAME"]  # as under salloc, on the login node
        self.ok("up", env=env)
        with open(self.dir + "/srun.log") as f:
            self.assertIn("--nodelist=n1", f.read())
        self.assertEqual(json.loads(self.ok("status", "--json", env=env).out)["ready"], True)
        self.ok("down", env=env)
        self.bad(1, "up", "--timeout", "1", env={**env, "FAKE_TIERCELD": "silent=1"}, says="not ready in time")
        self.assertEqual(self.files("sock"), [])

    def test_slurm_that_fails_is_explained(self):
        self.bad(1, "up", env=self.slurm("bad[1-2]"), says=["Unable to contact slurm controller", "--hostfile"])
        env = self.slurm()
        os.unlink(self.dir + "/srun")
        self.write("srun", "#!/bin/sh\necho 'srun: error: Unable to create step: Job has expired' >&2\nexit 1\n", 0o755)
        self.bad(1, "up", "--timeout", "5", env=env, says="Job has expired")
        self.bad(1, "up", env={"SLURM_JOB_ID": "5"}, says="SLURM_JOB_NODELIST")

    def test_inside_a_job_n_still_means_here(self):
        self.assertEqual(json.loads(self.ok("up", "-N", "2", "--json", env=self.slurm()).out)["launcher"], "local")


class Run(Case):
    def test_usage(self):
        self.bad(125, "run", "true", says="no path to serve")
        self.bad(125, "run", "--cache", "/usr", says="no command")
        self.bad(125, "run", "--frob", says="no such option")
        self.assertIn("usage:", self.ok("run", "--help").out)

    def test_in_a_tier_it_becomes_the_launcher(self):
        self.ok("up", "-N", "2")
        os.symlink("/usr/lib", self.dir + "/lib")
        r = self.ok("run", "--cache", self.dir + "/lib", "-c", "/usr/bin", "--", "sh", "-c", "echo $0 $*; exit 0", "a", "b c")
        self.assertEqual(r.out, "a b c\n")
        self.assertEqual(r.err.splitlines(), ["launch --socket", f"launch {self.runtime}/default/node-0.sock", "launch --cache",
                                              "launch /usr/lib", "launch --cache", "launch /usr/bin", "launch --fallback"])
        self.assertNotIn("--fallback", self.ok("run", "--strict", "-c", "/usr", "true").err)
        for code in (0, 1, 7, 255):
            self.assertEqual(self.tiercel("run", "-c", "/usr", "--", "sh", "-c", f"exit {code}").code, code)
        self.assertIn("node-1.sock", self.ok("run", "--rank", "1", "-c", "/usr", "true").err)

    def test_without_a_tier_it_makes_one_and_ends_it(self):
        r = self.tiercel("run", "-c", "/usr", "--", "sh", "-c", f"ls {self.runtime}/run-*; exit 5")
        self.assertEqual(r.code, 5, str(r))
        self.assertIn("node-0.sock", r.out)
        self.assertEqual(os.listdir(self.runtime), [])

    def test_a_signal_reaches_the_command_and_its_end_comes_back(self):
        p = subprocess.Popen([TIERCEL, "run", "-c", "/usr", "--", "sh", "-c", "trap 'echo got; exit 9' TERM; echo up; "
                              "while :; do read x; done"], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             stdin=subprocess.PIPE, text=True)
        self.assertEqual(p.stdout.readline(), "up\n")
        p.send_signal(signal.SIGTERM)
        p.stdin.write("x\n")
        self.assertEqual(p.communicate(timeout=20)[0], "got\n")
        self.assertEqual(p.returncode, 9)
        self.assertEqual(os.listdir(self.runtime), [])
        self.assertEqual(self.tiercel("run", "-c", "/usr", "--", "sh", "-c", "kill -9 $$").code, 137)

    def test_what_cannot_be_served_runs_all_the_same(self):
        env = {"FAKE_TIERCELD": "fail=0"}
        r = self.ok("run", "-c", "/usr", "--", "echo", "hello", env=env)
        self.assertEqual(r.out, "hello\n")
        self.assertIn("running echo without the tier", r.err)
        self.bad(125, "run", "--strict", "-c", "/usr", "--", "echo", "hello", env=env, says="address already in use")
        self.ok("run", "-c", "/usr", "--", "true", env={"TIERCEL_LIBEXEC": "/nonexistent"})
        self.ok("run", "--name", "none", "-c", "/usr", "--", "true")
        self.ok("run", "-c", "/none/such", "--", "true")
        self.bad(127, "run", "-c", "/usr", "--", "/none/such", env=env, says="cannot be run")
        self.bad(126, "run", "-c", "/usr", "--", "/etc/passwd", env=env, says="cannot be run")
        self.assertEqual(os.listdir(self.runtime), [])


class Terminal(Case):
    """What is drawn on a terminal."""

    def spawn(self, *args, lines=24, columns=80, env=None):
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(TIERCEL, [TIERCEL, *args], {**self.env, "TERM": "xterm", **(env or {})})
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        return pid, fd

    def read_until(self, fd, pattern, seconds=20):
        text, end = "", time.monotonic() + seconds
        while not re.search(pattern, text):
            ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            self.assertTrue(ready, f"no {pattern!r} in {text!r}")
            try:
                text += os.read(fd, 65536).decode()
            except OSError:
                break
        return text

    def finish(self, pid, fd):
        rest = ""
        while True:
            try:
                got = os.read(fd, 65536).decode()
            except OSError:
                break
            if not got:
                break
            rest += got
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), rest

    def test_top_draws_and_puts_the_terminal_back(self):
        self.ok("up", "-N", "3")
        for end in ("q", signal.SIGTERM, signal.SIGINT):
            pid, fd = self.spawn("top")
            before = termios.tcgetattr(fd)
            text = self.read_until(fd, r"requests/s(?s:.*)requests/s")
            self.assertIn("\033[?1049h", text)
            self.assertIn("3 of 3 nodes up", text)
            self.assertFalse(termios.tcgetattr(fd)[3] & termios.ICANON)
            if end == "q":
                os.write(fd, b"sq")
            else:
                os.kill(pid, end)
            rest = self.read_until(fd, r"\x1b\[\?1049l")
            after = termios.tcgetattr(fd)
            code, _ = self.finish(pid, fd)
            self.assertEqual(code, 128 + end if end == signal.SIGTERM else 0)
            self.assertIn("\033[?25h", rest)
            self.assertEqual(after[3], before[3])

    def test_top_fits_the_window_and_follows_its_size(self):
        self.ok("up", "-N", "3")
        pid, fd = self.spawn("top", lines=24, columns=80)
        self.read_until(fd, "nodes 1 to 3 of 3")
        for lines, columns in ((9, 40), (50, 200)):
            fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            os.kill(pid, signal.SIGWINCH)
            text = self.read_until(fd, rf"\x1b\[{lines};1H(?s:.*)\x1b\[{lines};1H")
            frame = text.split("\033[H")[-1] if f"\033[{lines};1H" in text.split("\033[H")[-1] else text.split("\033[H")[-2]
            rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).replace("\r", "").split("\n")
            self.assertLessEqual(len(rows), lines)
            self.assertLessEqual(max(map(len, rows)), columns)
        os.write(fd, b"q")
        self.assertEqual(self.finish(pid, fd)[0], 0)

    def test_top_says_when_the_tier_goes_and_finds_it_again(self):
        self.ok("up", "-N", "2")
        pid, fd = self.spawn("top")
        self.read_until(fd, "2 of 2 nodes up")
        self.ok("down")
        self.read_until(fd, "no tier of that name|went away")
        self.ok("up", "-N", "2")
        self.read_until(fd, r"2 of 2 nodes up(?s:.*)requests/s(?s:.*)2 of 2 nodes up")
        os.write(fd, b"q")
        self.assertEqual(self.finish(pid, fd)[0], 0)

    def test_top_needs_a_terminal_and_a_tier(self):
        self.bad(1, "top", says="needs a terminal")
        pid, fd = self.spawn("top")
        text = self.read_until(fd, "no tier of that name")
        self.assertNotIn("\033[?1049h", text)
        self.assertEqual(self.finish(pid, fd)[0], 1)

    def test_up_shows_progress_on_a_terminal_only(self):
        pid, fd = self.spawn("up", "-N", "3", "--timeout", "1", env={"FAKE_TIERCELD": "silent=1"})
        self.read_until(fd, "2 of 3 nodes ready")
        self.assertEqual(self.finish(pid, fd)[0], 1)
        self.assertEqual(self.ok("up", "-N", "3").err, "")


class Doctor(Case):
    def test_every_check_is_named_and_the_verdict_fits_the_exit_code(self):
        r = self.tiercel("doctor", "--json")
        data = json.loads(r.out)
        names = {c["name"] for c in data["checks"]}
        for name in ("kernel", "/dev/fuse", "namespaces", "tierceld", "runtime folder", "memory", "open files", "ports",
                     "libfabric", "ssh", "tier", "clock"):
            self.assertIn(name, names)
        self.assertEqual(r.code, 0 if data["run"]["served"] else 1)
        self.assertTrue(data["run"]["served"] or data["run"]["reason"])
        text = self.tiercel("doctor").out
        self.assertIn("`tiercel run` will", text)
        for c in data["checks"]:
            self.assertIn(c["name"], text)

    def test_what_is_in_the_way_is_said_with_the_remedy(self):
        r = self.bad(1, "doctor", "--json", env={"TIERCEL_LIBEXEC": "/nonexistent"})
        self.assertIn("/nonexistent/tierceld", json.loads(r.out)["run"]["reason"] + r.out)
        r = self.bad(1, "doctor", env={"TIERCEL_RUNTIME_DIR": "/" + 70 * "x"})
        self.assertIn("set TIERCEL_RUNTIME_DIR to a shorter path", r.out)
        r = self.tiercel("doctor", env={"SLURM_JOB_ID": "3", "PATH": "/nonexistent"})
        self.assertIn("inside job 3, but no srun in PATH", r.out)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
