# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command share: a folder, an environment, and no process left behind.

Environment: TIERCEL the command, FAKE_LIBEXEC the folder with the stand-in tierceld, FAKE_BIN that with srun and so on.
"""
import os
import select
import shutil
import signal
import subprocess
import tempfile
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
                        TIERCEL_SSH=FAKE_BIN + "/fake_ssh.sh", TIERCEL_MUNGE_SOCKET="/nonexistent/munge",
                        FAKE_SSH_LOG=self.dir + "/ssh.log", XDG_CACHE_HOME=self.dir + "/cache")
        self.pids = set()

    def kill(self, *pids):
        """SIGKILL, and waits for the end of processes that are not ours to reap."""
        fds = [os.pidfd_open(pid) for pid in pids]
        for fd in fds:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        for fd in fds:
            self.assertTrue(select.select([fd], [], [], 20)[0])
            os.close(fd)

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
