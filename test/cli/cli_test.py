#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tiercel command, run as people and scripts run it, with stand-ins for the daemon, ssh and Slurm.

    cli_test.py [CLASS[.test]]...

Environment: see case.py. Host files and batch systems are in hosts_test.py, terminals in terminal_test.py.
"""
import fcntl
import json
import os
import re
import signal
import stat
import subprocess
import sys
import unittest

from case import TIERCEL, Case


class Words(Case):
    """Help, usage, sentences."""

    def test_help_is_short_and_names_every_verb(self):
        out = self.ok("--help").out
        self.assertLess(len(out.splitlines()), 50)
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
        self.kill(*self.pids)
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

    def test_status_shows_the_parents_in_all_trees(self):
        out = self.ok("status", "--trees").out
        self.assertIn("root is node 0, arity 2", out)
        self.assertRegex(out, r"(?m)^ +0 +0 +2 +all +-$")
        self.assertRegex(out, r"(?m)^ +2 +0$")
        self.assertEqual([m["parents"] for m in json.loads(self.ok("status", "--json").out)["members"]], [[None], [0], [0]])

    def test_stat_shows_a_node_or_all(self):
        out = self.ok("stat", "--rank", "1").out
        self.assertTrue(out.startswith("node 1: 80.0 % of requests"), out)
        self.assertRegex(out, r"(?m)^  lookups +1\.23 M$")
        out = self.ok("stat", "--all").out.splitlines()
        self.assertEqual(len(out), 5)
        self.assertEqual(len({len(line) for line in out}), 1, "aligned")
        self.assertEqual(len(json.loads(self.ok("stat", "--all", "--json").out)["nodes"]), 3)

    def test_stat_in_the_text_format_of_prometheus(self):
        self.assertEqual(self.ok("stat", "--prometheus").out, "# TYPE fake gauge\nfake 1\n")
        self.bad(2, "stat", "--prometheus", "--all", says="shows one node")
        for where in ("0", "70000", "12x", "tcp", ""):
            self.bad(2, "up", "--metrics", where, says="a port from 1 to 65535")

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
                                              "launch /usr/lib", "launch --also", f"launch {self.dir}/lib", "launch --cache",
                                              "launch /usr/bin", "launch --fallback"])
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


class Doctor(Case):
    def test_every_check_is_named_and_the_verdict_fits_the_exit_code(self):
        r = self.tiercel("doctor", "--json")
        data = json.loads(r.out)
        names = {c["name"] for c in data["checks"]}
        for name in ("kernel", "tierceld", "runtime folder", "memory", "open files", "ports",
                     "libfabric", "ssh", "tier", "clock"):
            self.assertIn(name, names)
        self.assertEqual(r.code, 0 if data["run"]["served"] else 1)
        self.assertTrue(data["run"]["served"] or data["run"]["reason"])
        text = self.tiercel("doctor").out
        self.assertIn("`tiercel run` will", text)
        for c in data["checks"]:
            self.assertIn(c["name"], text)

    def test_the_ways_to_serve_are_told_best_first_and_one_is_taken(self):
        ways = json.loads(self.tiercel("doctor", "--json").out)
        self.assertEqual([(w["name"], w["state"]) for w in ways["ways"]],
                         [("best", "no"), ("whole", "taken if"), ("usual", "taken"), ("worse", "possible"), ("source", "always")])
        self.assertEqual((ways["ways"][0]["reason"], ways["ways"][0]["remedy"]), ("it is refused", "ask for it, or sell your car"))
        self.assertEqual((ways["run"]["how"], ways["run"]["way"]), ("usual", "a way for all"))
        text = self.tiercel("doctor").out
        self.assertIn("  taken     usual     a way for all\n                 but: what it cannot do\n", text)
        self.assertIn("                 why: it is refused\n                   -> ask for it, or sell your car\n", text)
        self.assertIn("But paths that are whole are served through `whole`.\n", text)
        self.assertNotIn("its limits", text)
        self.assertIn("through a way for all (usual)", text)

    def test_what_is_in_the_way_is_said_with_the_remedy(self):
        r = self.bad(1, "doctor", "--json", env={"TIERCEL_LIBEXEC": "/nonexistent"})
        self.assertIn("/nonexistent/tierceld", json.loads(r.out)["run"]["reason"] + r.out)
        r = self.bad(1, "doctor", env={"TIERCEL_RUNTIME_DIR": "/" + 70 * "x"})
        self.assertIn("set TIERCEL_RUNTIME_DIR to a shorter path", r.out)
        r = self.tiercel("doctor", env={"SLURM_JOB_ID": "3", "PATH": "/nonexistent"})
        self.assertIn("inside job 3, but no srun in PATH", r.out)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
