#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files of one place read in another that has no file system in common with it: real daemons, real programs.

    archive_test.py [CLASS[.test]]...

Environment: TIERCEL the command, WEB the folder with web.py.
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.environ["WEB"])
from web import Server  # noqa: E402

TIERCEL = os.environ["TIERCEL"]


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="ta-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.runtime = self.dir + "/rt"
        clean = ("TIERCEL_", "SLURM_", "PBS_", "XDG_RUNTIME_DIR", "PYTHON")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(clean) and not k.lower().endswith("_proxy")}
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

    def bad(self, *args, says):
        p = self.tiercel(*args)
        self.assertEqual(p.returncode, 1, p.both)
        self.assertIn(says, p.stderr, p.both)

    def package(self):
        """A program with modules, links, names that are hard to write, and some bytes."""
        app = self.dir + "/app"
        os.makedirs(app + "/lib/pack age")
        for name, text in (("lib/pack age/__init__.py", ""), ("lib/one.py", "value = 'one'\n"),
                           ("lib/two.py", "from one import value\nprint(value, 'two', __file__)\n"),
                           ("lib/na\nme %41 \u00e9.txt", "x"), ("lib/empty", "")):
            with open(f"{app}/{name}", "w") as f:
                f.write(text)
        os.symlink("one.py", app + "/lib/link")
        os.symlink("/no/such/place", app + "/lib/dangling")
        with open(app + "/large", "wb") as f:
            f.write(os.urandom(3_000_001))
        os.chmod(app + "/lib/two.py", 0o755)
        os.utime(app + "/lib/one.py", ns=(10**18, 10**18 + 5))
        return app

    def run_two(self, app):
        return subprocess.run([sys.executable, "-B", app + "/lib/two.py"], env=self.env, capture_output=True, text=True,
                              timeout=60)

    def look(self, root):
        """What there is, as a reader sees it."""
        seen = {}
        for folder, _, names in os.walk(root):
            for name in [""] + names:
                path = os.path.join(folder, name)
                st = os.lstat(path)
                what = os.readlink(path) if os.path.islink(path) else ""
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, "rb") as f:
                        what = hashlib.sha256(f.read()).hexdigest()
                size = st.st_size if name else 0
                seen[os.path.relpath(path, root)] = (st.st_mode, st.st_mtime_ns, size, what)
        return seen


@unittest.skipUnless(os.access("/dev/fuse", os.R_OK | os.W_OK) and (os.geteuid() == 0 or shutil.which("fusermount3")),
                     "no mounts here")
class Http(Case):
    """From a web server."""

    def serve(self, *urls):
        self.ok("up", "-N", "2", "--cache-size", "64M", "--bulk", "tcp", "--source", ",".join(urls))
        os.mkdir(self.dir + "/mnt")
        self.ok("mount", "--rank", "1", self.dir + "/mnt")

    def test_a_program_runs_from_a_web_server(self):
        app, web = self.package(), self.dir + "/web"
        os.mkdir(web)
        self.assertIn("6 files", self.ok("export", "--http", web, app))
        before = self.look(app)
        shutil.rmtree(app)
        self.serve(Server(web).url)
        mounted = f"{self.dir}/mnt{app}"
        after = self.look(mounted)
        self.assertTrue(before.pop("lib/dangling")[3] in after.pop("lib/dangling")[3], "plain mounts keep links inside")
        self.assertEqual(after, before)
        p = self.run_two(mounted)
        self.assertEqual((p.returncode, p.stdout), (0, f"one two {mounted}/lib/two.py\n"), p.stderr)
        self.assertEqual(sorted(os.listdir(self.dir + "/mnt")), [app.split("/")[1]])

    def test_the_next_proxy_takes_over(self):
        app, web = self.package(), self.dir + "/web"
        self.ok("export", "--http", web, app)
        servers = [Server(web), Server(web)]
        self.serve(*(s.url for s in servers))
        mounted = f"{self.dir}/mnt{app}"
        os.listdir(mounted)
        servers[0].faults.append(["500", 1000, ""])
        self.assertEqual(self.run_two(mounted).returncode, 0)
        with open(mounted + "/large", "rb") as a, open(app + "/large", "rb") as b:
            self.assertEqual(a.read(), b.read())
        with open(self.runtime + "/default/node-0.log") as f:
            log = f.read()
        self.assertIn(f"warning source: {servers[0].url}/", log)
        self.assertEqual(log.count("warning source"), 1, log)

    def test_what_changed_and_was_exported_anew_is_seen_after_a_flush(self):
        app, web = self.package(), self.dir + "/web"
        self.ok("export", "--http", web, app)
        self.serve(Server(web).url)
        mounted = f"{self.dir}/mnt{app}/lib/one.py"
        with open(mounted) as f:
            self.assertEqual(f.read(), "value = 'one'\n")
        with open(web + app + "/lib/one.py", "w") as f:
            f.write("value = 'new'\n")
        self.assertEqual(json.loads(self.ok("export", "--http", web, "--json"))["files"], 6)
        self.ok("flush")
        with open(mounted) as f:
            self.assertEqual(f.read(), "value = 'new'\n")

    def test_what_cannot_be_exported_is_explained(self):
        app = self.package()
        self.bad("export", "--http", app + "/lib", app, says="lie inside each other")
        self.bad("export", "--http", self.dir + "/web", self.dir + "/none", says="No such file")
        self.bad("export", "--http", self.dir + "/no/web", app, says="No such file")
        self.bad("up", "--source", "ftp://host/x", says="must be http://HOST")
        self.assertEqual(self.tiercel("export").returncode, 2)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
