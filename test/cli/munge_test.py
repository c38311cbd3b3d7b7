#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keys in MUNGE credentials: real daemons, and a real munged of our own in a private folder.

Environment: TIERCEL the command, TIERCELD the daemon, FAKE_BIN the folder with stand-ins for srun and ssh.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

TIERCEL = os.environ["TIERCEL"]
TIERCELD = os.environ["TIERCELD"]
FAKE_BIN = os.environ["FAKE_BIN"]
PATH = "/usr/sbin:/usr/bin:" + os.environ["PATH"]
MUNGED = shutil.which("munged", path=PATH)
MUNGE = shutil.which("munge", path=PATH)
KEY = "ab" * 32


def free_port(address="127.0.0.1"):
    with socket.socket() as s:
        s.bind((address, 0))
        return s.getsockname()[1]


class Site:
    """A munged, and its folder."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="tm-")
        os.chmod(self.dir, 0o711)  # its clients are any users
        self.socket = self.dir + "/socket"
        with open(self.dir + "/key", "wb") as f:
            f.write(os.urandom(128))
        os.chmod(self.dir + "/key", 0o600)
        subprocess.run([MUNGED, "--force", "--socket", self.socket, "--key-file", self.dir + "/key", "--pid-file",
                        self.dir + "/pid", "--log-file", self.dir + "/log", "--seed-file", self.dir + "/seed"],
                       check=True, timeout=30)  # returns when its child listens

    def close(self):
        subprocess.run([MUNGED, "--stop", "--socket", self.socket], timeout=30, check=True)
        shutil.rmtree(self.dir)

    def encode(self, text, *options, user=None):
        return subprocess.run([MUNGE, "--socket", self.socket, "--string", text, *options], check=True, timeout=30,
                              capture_output=True, text=True, user=user).stdout.strip()


class Munge(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        cls.addClassCleanup(cls.site.close)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tr-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.runtime = self.dir + "/rt"
        clean = ("TIERCEL_", "SLURM_", "PBS_", "XDG_RUNTIME_DIR")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(clean)}
        self.env.update(TIERCEL_RUNTIME_DIR=self.runtime, TIERCEL_MUNGE_SOCKET=self.site.socket,
                        TIERCEL_SSH=FAKE_BIN + "/fake_ssh.sh", FAKE_SSH_LOG=self.dir + "/ssh.log")

    def tiercel(self, *args, env=None):
        p = subprocess.run([TIERCEL, *args], env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=100)
        p.both = f"{args}: exit code {p.returncode}\n{p.stdout}{p.stderr}"
        return p

    def ok(self, *args, **more):
        p = self.tiercel(*args, **more)
        self.assertEqual(p.returncode, 0, p.both)
        return p.stdout

    def daemon(self, line, env=None):
        """What a daemon says that gets this line for a key; one that takes it ends at once, for it is no node of the list."""
        p = subprocess.run([TIERCELD, "--key-fd", "0", "--nodes", "-", "--rank", "7", "--runtime", self.runtime],
                           input=f"{line}\n127.0.0.1:{free_port()}\n127.0.0.1:1\n", env={**self.env, **(env or {})},
                           capture_output=True, text=True, timeout=30)
        self.assertEqual(p.returncode, 1)
        return p.stderr

    def accepted(self, line):
        self.assertIn("--rank 7: give a whole number", self.daemon(line))

    def test_a_tier_without_a_key_file(self):
        self.ok("up", "-N", "3", "--auth", "munge", "--cache-size", "64M", "--bulk", "tcp")
        self.addCleanup(self.tiercel, "down", "--timeout", "1")
        self.assertNotIn("key", os.listdir(self.runtime + "/default"))
        before = json.loads(self.ok("call", "--rank", "2", "rekey"))["key"]
        self.ok("rekey")
        self.assertNotEqual(json.loads(self.ok("call", "--rank", "2", "rekey"))["key"], before)
        self.assertNotIn("key", os.listdir(self.runtime + "/default"))
        self.assertTrue(json.loads(self.ok("status", "--json"))["ready"])
        now = json.loads(self.ok("call", "--rank", "2", "rekey"))
        self.ok("restart")  # keepers have the key, and credentials are good for once only
        self.assertEqual(json.loads(self.ok("call", "--rank", "2", "rekey")), now)

    def test_other_machines_get_one_each(self):
        with open(self.dir + "/hosts", "w") as f:
            f.writelines(f"127.0.0.{i}:{free_port(f'127.0.0.{i}')}\n" for i in (1, 2, 3))
        self.ok("up", "--hostfile", self.dir + "/hosts", "--auth", "munge", "--cache-size", "64M", "--bulk", "tcp")
        self.addCleanup(self.tiercel, "down", "--timeout", "1")
        self.assertTrue(json.loads(self.ok("status", "--json"))["ready"])
        self.ok("rekey")
        self.assertEqual({json.loads(self.ok("call", "--rank", str(r), "rekey"))["accepted"] for r in range(3)}, {1})

    def test_slurm_means_munge(self):
        for name in ("srun", "scontrol"):
            os.symlink(f"{FAKE_BIN}/fake_{name}.sh", f"{self.dir}/{name}")
        slurm = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "n[1-1]", "SLURMD_NODENAME": "n1",
                 "PATH": self.dir + ":" + self.env["PATH"]}
        self.tiercel("up", "--timeout", "1", env=slurm)  # n1 is no host: it is the folder that we look at
        self.tiercel("down", "--timeout", "1", env=slurm)
        doctor = json.loads(self.tiercel("doctor", "--json", env=slurm).stdout)
        self.assertIn("the key goes to the job's nodes in them", [c for c in doctor["checks"] if c["name"] == "MUNGE"][0]["detail"])

    def test_a_credential_is_good_once(self):
        credential = self.site.encode("tiercel 1 " + KEY, "--restrict-uid", str(os.geteuid()))
        self.accepted(credential)
        said = self.daemon(credential)
        self.assertIn("was used on this machine before", said)
        self.assertIn("start the tier again", said)

    def test_one_that_has_expired(self):
        credential = self.site.encode("tiercel 1 " + KEY, "--ttl", "1")
        made = time.time()
        while time.time() < made + 2.1:  # it is time itself that is waited for
            time.sleep(0.3)
        self.assertIn("has expired: the start took too long, or the machines' clocks differ", self.daemon(credential))

    def test_one_that_was_altered_or_cut(self):
        credential = self.site.encode("tiercel 1 " + KEY)
        middle = len(credential) // 2
        other = "B" if credential[middle] == "A" else "A"
        for bad in (credential[:middle] + other + credential[middle + 1:], credential[:middle] + ":", "MUNGE:", "MUNGE::"):
            self.assertIn("altered or cut", self.daemon(bad))
        self.accepted(credential)

    def test_one_of_another_site(self):
        other = Site()
        self.addCleanup(other.close)
        self.assertIn("another munge.key", self.daemon(other.encode("tiercel 1 " + KEY)))

    def test_one_of_another_program(self):
        self.assertIn("another program made it", self.daemon(self.site.encode(KEY)))
        self.assertIn("another program made it", self.daemon(self.site.encode("")))

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_another_user(self):
        own = self.site.encode("tiercel 1 " + KEY, user="nobody")
        self.assertRegex(self.daemon(own), r"was made by uid \d+, and we are uid 0")
        theirs = self.site.encode("tiercel 1 " + KEY, "--restrict-uid", "65534")
        self.assertIn("is for another user than uid 0", self.daemon(theirs))

    def test_without_munged_the_remedy_is_said(self):
        env = {"TIERCEL_MUNGE_SOCKET": self.dir + "/none"}
        said = self.daemon(self.site.encode("tiercel 1 " + KEY), env=env)
        self.assertIn("munged does not answer", said)
        p = self.tiercel("up", "--auth", "munge", env=env)
        self.assertEqual(p.returncode, 1, p.both)
        self.assertIn("--auth key", p.stderr)
        self.assertFalse(os.path.exists(self.runtime), "nothing was begun")
        self.assertEqual(self.tiercel("up", "--auth", "kerberos").returncode, 2)
        self.ok("up", "--auth", "auto", "--cache-size", "64M", env=env)
        self.addCleanup(self.tiercel, "down", "--timeout", "1")
        self.assertIn("key", os.listdir(self.runtime + "/default"))


if __name__ == "__main__":
    if MUNGED is None or MUNGE is None:
        print("skipped: no munged (apt-get install munge)")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
