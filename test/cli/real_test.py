#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tiercel command with real daemons: on this machine, and over a real sshd on loopback.

    real_test.py Local|Ssh

Environment: TIERCEL the command, TIERCELD the daemon.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

TIERCEL = os.environ["TIERCEL"]
TIERCELD = os.environ["TIERCELD"]
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])


def free_port(address):
    with socket.socket() as s:
        s.bind((address, 0))
        return s.getsockname()[1]


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tr-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.runtime = self.dir + "/rt"
        clean = ("TIERCEL_", "SLURM_", "PBS_", "XDG_RUNTIME_DIR")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(clean)}
        self.env["TIERCEL_RUNTIME_DIR"] = self.runtime
        self.addCleanup(lambda: self.tiercel("down", "--timeout", "1"))

    def tiercel(self, *args, **more):
        p = subprocess.run([TIERCEL, *args], env=self.env, capture_output=True, text=True, timeout=100, **more)
        p.both = f"{args}: exit code {p.returncode}\n{p.stdout}{p.stderr}"
        return p

    def ok(self, *args, **more):
        p = self.tiercel(*args, **more)
        self.assertEqual(p.returncode, 0, p.both)
        return p.stdout

    def data(self, *args):
        return json.loads(self.ok(*args, "--json"))


class Local(Case):
    def test_a_tier_comes_up_and_answers_and_goes(self):
        self.ok("up", "-N", "5", "--arity", "2", "--cache-size", "64M", "--bulk", "tcp")
        status = self.data("status")
        self.assertTrue(status["ready"], status)
        self.assertEqual([m["state"] for m in status["members"]], ["up"] * 5)
        self.assertEqual([m["parent"] for m in status["members"]], [None, 0, 0, 1, 1])
        everything = self.data("stat", "--all")
        self.assertEqual(len(everything["nodes"]), 5)
        self.assertIn("requests", everything["total"])
        self.assertIn("rss_bytes", self.data("stat", "--rank", "4")["memory"])
        self.ok("flush")
        self.ok("flush", self.dir)
        self.ok("status")
        self.ok("stat")
        self.ok("stat", "--all")
        self.ok("wait")
        self.assertIn("already up", self.ok("up", "-N", "5"))
        self.ok("down")
        self.assertEqual(os.listdir(self.runtime), [])

    def test_a_mount_shows_the_files_and_goes_with_the_tier(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            self.skipTest("/dev/fuse cannot be opened")
        os.mkdir(self.dir + "/mnt")
        with open(self.dir + "/file", "w") as f:
            f.write("hello\n")
        self.ok("up", "-N", "2")
        self.ok("mount", "--rank", "1", self.dir + "/mnt")
        with open(f"{self.dir}/mnt{self.dir}/file") as f:
            self.assertEqual(f.read(), "hello\n")
        self.assertEqual(self.data("status", "--rank", "1")["mounts"][0]["path"], self.dir + "/mnt")
        self.ok("umount", self.dir + "/mnt")
        self.assertEqual(os.listdir(self.dir + "/mnt"), [])
        self.ok("mount", self.dir + "/mnt")
        self.ok("down")
        self.assertEqual(os.listdir(self.dir + "/mnt"), [])

    def test_a_tree_is_kept_in_shared_memory_until_it_is_removed(self):
        place = self.env["TIERCEL_TREE_DIR"] = "/dev/shm/" + os.path.basename(self.dir)
        self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        os.makedirs(self.dir + "/app/sub")
        with open(self.dir + "/app/sub/file", "w") as f:
            f.write("kept\n")
        self.assertEqual(self.ok("tree", "list"), "")
        self.assertIn("no tier", self.tiercel("tree", "fill", self.dir + "/app").stderr)
        self.ok("up")
        path = self.ok("tree", "fill", self.dir + "/app").strip()
        with open(path + "/sub/file") as f:
            self.assertEqual(f.read(), "kept\n")
        self.assertRegex(self.ok("tree", "list"), r"^complete +1 files .* " + self.dir + "/app\n$")
        listed = json.loads(self.ok("tree", "--json", "list"))["trees"]
        self.assertEqual([(t["source"], t["complete"], t["bytes"]) for t in listed], [(self.dir + "/app", True, 5)])
        self.assertIn("no tree", self.tiercel("tree", "remove", self.dir).stderr)
        self.ok("tree", "remove", self.dir + "/app")
        self.assertFalse(os.path.exists(path))
        self.ok("tree", "fill", self.dir + "/app")
        self.ok("down", "--keep-trees")
        self.assertIn("complete", self.ok("tree", "list"))  # it outlives the tier
        self.ok("tree", "remove", "--all")
        self.assertEqual(self.ok("tree", "list"), "")
        self.assertEqual(self.tiercel("tree", "keep").returncode, 2)

    def test_a_tier_of_run_leaves_nothing_in_shared_memory(self):
        place = self.env["TIERCEL_TREE_DIR"] = "/dev/shm/" + os.path.basename(self.dir)
        self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        os.mkdir(self.dir + "/app")
        with open(self.dir + "/app/file", "w") as f:
            f.write("read\n")
        p = self.tiercel("run", "--how", "fault", "--strict", "--no-profile", "--cache", self.dir + "/app", "--", "cat",
                         self.dir + "/app/file")
        if p.returncode == 125:
            self.skipTest(p.stderr)
        self.assertEqual((p.returncode, p.stdout), (0, "read\n"), p.both)
        self.assertEqual(os.listdir(place), [])

    def test_run_serves_where_the_doctor_says_so(self):
        doctor = json.loads(self.tiercel("doctor", "--json").stdout)["run"]
        if not doctor["served"]:
            self.skipTest(doctor["reason"])
        os.mkdir(self.dir + "/app")
        with open(self.dir + "/app/file", "w") as f:
            f.write("hello\n")
        command = ["run", "--strict", "--cache", self.dir + "/app", "--", "sh", "-c",
                   f"cat {self.dir}/app/file && grep -c ' {self.dir}/app .* fuse' /proc/self/mountinfo; exit 3"]
        for with_tier in (False, True):
            if with_tier:
                self.ok("up", "-N", "2")
            p = self.tiercel(*command)
            self.assertEqual((p.returncode, p.stdout), (3, "hello\n1\n"), p.both)
            if not with_tier:
                self.assertEqual(os.listdir(self.runtime), [])

    def key(self):
        with open(self.runtime + "/default/key") as f:
            return f.read()

    def keys(self, nodes):
        return [json.loads(self.ok("call", "--rank", str(r), "rekey")) for r in range(nodes)]

    def test_a_tier_gets_a_new_key_and_keeps_its_connections(self):
        self.ok("up", "-N", "4", "--arity", "2", "--cache-size", "64M", "--bulk", "tcp", "--key-lifetime", "1h")
        old, before = self.key(), self.keys(4)
        self.assertTrue(all(k["expires_s"] > 0 and k["accepted"] == 1 for k in before), before)
        connects = [self.data("stat", "--rank", str(r))["net"]["connects"] for r in range(4)]
        self.ok("rekey")
        after = self.keys(4)
        self.assertEqual({k["key"] for k in after}, {after[0]["key"]})
        self.assertNotEqual(after[0]["key"], before[0]["key"])
        self.assertTrue(all(k["expires_s"] == 0 and k["accepted"] == 1 for k in after), after)
        self.assertNotEqual(self.key(), old)
        self.assertTrue(self.data("status")["ready"])
        self.assertEqual([self.data("stat", "--rank", str(r))["net"]["connects"] for r in range(4)], connects)
        # A daemon that is started anew has the key that its tier has now; one with the old key is refused.
        self.ok("restart")
        self.ok("wait")
        self.assertEqual(self.keys(4), after)
        self.assertEqual([m["state"] for m in self.data("status")["members"]], ["up"] * 4)

    def test_a_rekey_that_cannot_reach_all_changes_nothing(self):
        self.ok("up", "-N", "2", "--cache-size", "64M", "--bulk", "tcp")
        old, before = self.key(), self.keys(2)
        sock = self.runtime + "/default/node-1.sock"
        os.rename(sock, sock + "-")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(sock)  # nobody listens
        p = self.tiercel("rekey", "--timeout", "2")
        os.rename(sock + "-", sock)
        self.assertEqual(p.returncode, 1, p.both)
        self.assertIn("the key is as before", p.stderr)
        self.assertEqual(self.key(), old)
        after = self.keys(2)
        self.assertEqual([k["key"] for k in after], [k["key"] for k in before])
        self.ok("rekey")
        self.assertEqual({k["accepted"] for k in self.keys(2)}, {1})

    def test_an_expired_key_is_refused(self):
        self.ok("up", "-N", "2", "--cache-size", "64M", "--bulk", "tcp", "--key-lifetime", "1")
        p = self.tiercel("up", "--key-lifetime", "soon")
        self.assertEqual(p.returncode, 1, p.both)
        self.assertIn("like 8h", p.stderr)
        with open(self.dir + "/key", "w") as f:
            f.write("ab" * 32 + " 1000000000\n")
        os.chmod(self.dir + "/key", 0o600)
        p = subprocess.run([TIERCELD, "--nodes", self.runtime + "/default/nodes", "--key", self.dir + "/key", "--rank", "0",
                            "--name", "other", "--runtime", self.runtime], capture_output=True, text=True, timeout=20)
        self.assertNotEqual(p.returncode, 0)
        self.assertIn("expired at 2001-09-09", p.stderr)

    def test_a_wrong_key_is_refused(self):
        self.ok("up")
        os.chmod(self.runtime + "/default/key", 0o644)
        p = subprocess.run([TIERCELD, "--nodes", self.runtime + "/default/nodes", "--key", self.runtime + "/default/key",
                            "--name", "other"], capture_output=True, text=True, timeout=20)
        self.assertNotEqual(p.returncode, 0)
        self.assertIn("chmod 600", p.stderr)


class Ssh(Case):
    """Two hosts that are this machine: 127.0.0.1 and 127.0.0.2, with a real sshd on both."""

    def setUp(self):
        super().setUp()
        port = free_port("127.0.0.1")
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.dir}/{name}"], check=True)
        shutil.copy(self.dir + "/user.pub", self.dir + "/authorized")
        self.write("sshd_config", f"""
            Port {port}
            ListenAddress 127.0.0.1
            ListenAddress 127.0.0.2
            HostKey {self.dir}/host
            AuthorizedKeysFile {self.dir}/authorized
            PidFile none
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            PermitRootLogin prohibit-password
            MaxStartups 64
            """)
        self.write("ssh_config", f"""
            Port {port}
            IdentityFile {self.dir}/user
            IdentitiesOnly yes
            UserKnownHostsFile {self.dir}/known
            StrictHostKeyChecking accept-new
            LogLevel ERROR
            """)
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", 0o755, exist_ok=True)  # where sshd drops its privileges
        self.sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", self.dir + "/sshd_config"], stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.sshd.stderr.close)
        self.addCleanup(self.sshd.wait)
        self.addCleanup(self.sshd.terminate)
        said = ""
        while said.count("Server listening") < 2:
            line = self.sshd.stderr.readline()
            self.assertTrue(line, "sshd: " + said)
            said += line
        self.env["TIERCEL_SSH"] = f"ssh -F {self.dir}/ssh_config"

    def write(self, name, text):
        with open(f"{self.dir}/{name}", "w") as f:
            f.write("\n".join(line.strip() for line in text.splitlines()))
        return f"{self.dir}/{name}"

    def test_a_tier_comes_up_over_ssh_and_goes(self):
        hosts = self.write("hosts", "\n".join(f"127.0.0.{i}:{free_port(f'127.0.0.{i}')}" for i in (1, 2)))
        self.ok("up", "--hostfile", hosts, "--encrypt")
        status = self.data("status")
        self.assertTrue(status["ready"], status)
        self.assertEqual([m["state"] for m in status["members"]], ["up"] * 2)
        before = json.loads(self.ok("call", "--rank", "1", "rekey"))
        self.ok("rekey", "--lifetime", "2h")
        after = json.loads(self.ok("call", "--rank", "1", "rekey"))
        self.assertNotEqual(after["key"], before["key"])
        self.assertEqual((after["accepted"], after["expires_s"] > 0), (1, True), after)
        self.assertTrue(self.data("status")["ready"])
        self.ok("down")
        self.assertEqual(os.listdir(self.runtime), [])

    def test_an_unreachable_host_is_explained_and_the_other_ended(self):
        hosts = self.write("hosts", f"127.0.0.1:{free_port('127.0.0.1')}\n127.0.0.3:{free_port('127.0.0.3')}")
        p = self.tiercel("up", "--hostfile", hosts)
        self.assertEqual(p.returncode, 1, p.both)
        self.assertRegex(p.stderr, r"127\.0\.0\.3:\d+: ssh: .*Connection refused")
        self.assertFalse(os.path.exists(self.runtime + "/default/node-0.sock"))

    def test_a_taken_port_is_explained(self):
        with socket.socket() as s:
            s.bind(("127.0.0.2", 0))
            s.listen()
            hosts = self.write("hosts", f"127.0.0.1:{free_port('127.0.0.1')}\n127.0.0.2:{s.getsockname()[1]}")
            p = self.tiercel("up", "--hostfile", hosts)
        self.assertEqual(p.returncode, 1, p.both)
        self.assertRegex(p.stderr, r"127\.0\.0\.2:\d+: .*taken")


if __name__ == "__main__":
    if "Ssh" in sys.argv and (SSHD is None or shutil.which("ssh") is None):
        print("skipped: no sshd or ssh (apt-get install openssh-server)")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
