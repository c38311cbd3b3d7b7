#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files of one place read in another that has no file system in common with it: real daemons, real programs.

    archive_test.py [CLASS[.test]]...

Environment: TIERCEL the command, WEB the folder with web.py.
"""
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
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
        clean = ("TIERCEL_", "SLURM_", "PBS_", "XDG_", "PYTHON")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(clean) and not k.lower().endswith("_proxy")}
        self.trees = tempfile.mkdtemp(prefix="ta-", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, self.trees)
        self.env.update(TIERCEL_RUNTIME_DIR=self.runtime, TIERCEL_TREE_DIR=self.trees)
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


class Archive(Case):
    """From an archive."""

    def pack(self, *args):
        self.app, self.archive = self.package(), self.dir + "/app.tar.zst"
        self.ok("up", "-N", "2", "--cache-size", "64M", "--bulk", "tcp")
        answer = json.loads(self.ok("export", "--json", *args, self.archive, self.app))
        self.ok("down")
        return answer

    def test_a_program_runs_from_an_archive_alone(self):
        exported = self.pack()
        self.assertEqual((exported["files"], exported["unreadable"]), (6, 0))
        before = self.look(self.app)
        shutil.rmtree(self.app)
        imported = json.loads(self.ok("import", "--id", exported["id"], "--json", self.archive))
        self.assertEqual((imported["source"], imported["files"], imported["all"], imported["id"]),
                         (self.app, 6, True, exported["id"]))
        tree = [f for f in self.ok("tree", "list").splitlines() if self.app in f]
        self.assertRegex(tree[0], "^complete +6 files")
        self.ok("up", "--cache-size", "64M")
        os.mkdir(self.app)  # to show it at; nothing is in it
        p = self.tiercel("run", "--how", "bind", "--strict", "--cache", self.app, "--", sys.executable, "-B",
                         self.app + "/lib/two.py")
        if p.returncode == 125 and ("refused" in p.stderr or "not permitted" in p.stderr):
            self.skipTest(p.stderr)
        self.assertEqual((p.returncode, p.stdout), (0, f"one two {self.app}/lib/two.py\n"), p.both)
        self.ok("import", self.archive)  # again, in the place of the one before
        found = [os.path.join(d, self.app[1:]) for d, names, _ in os.walk(self.trees) if os.path.basename(d) == "root"]
        self.assertEqual([self.look(f) for f in found], [before])
        self.ok("tree", "remove", self.app)

    def test_an_archive_is_a_tar_archive_and_always_the_same(self):
        first = self.pack()
        with open(self.archive, "rb") as f:
            bytes = f.read()
        self.ok("up", "--cache-size", "64M")
        self.assertEqual(json.loads(self.ok("export", "--json", self.archive, self.app)), first)
        with open(self.archive, "rb") as f:
            self.assertEqual(f.read(), bytes)
        names = [m.name for m in self.members()]
        self.assertEqual((names[0], names[-1]), (self.app[1:], ".tiercel-manifest"))
        self.bad("export", self.archive, self.dir + "/none", says="none")
        self.bad("export", self.dir + "/no/such/archive", self.app, says="No such file")
        self.assertEqual(self.tiercel("export", self.archive).returncode, 2)
        self.assertEqual([n for n in os.listdir(self.dir) if ".new-" in n], [])

    def test_a_profile_says_what_goes_in(self):
        app = self.package()
        with open(self.dir + "/p.profile", "w") as f:
            f.write(f"tiercel-profile 1\nprogram /x\nmerged 1\nL {app}/lib\nF 0 1 {app}/lib/one.py\nF 0 0 {app}/lib/two.py\n"
                    "F 0 0 /etc/hostname\n")
        shutil.rmtree(app)
        self.pack("--profile", self.dir + "/p.profile")
        self.assertIn("only what a profile names", self.ok("import", "--to", self.dir + "/out", self.archive))
        at = self.dir + "/out" + self.app
        self.assertEqual(sorted(os.listdir(at)), ["lib"])
        self.assertEqual(sorted(os.listdir(at + "/lib")), sorted(os.listdir(self.app + "/lib")), "it was listed")
        self.assertEqual(os.listdir(at + "/lib/pack age"), [], "it was not")
        self.assertEqual(self.run_two(at).stdout, f"one two {at}/lib/two.py\n")
        self.ok("up", "--cache-size", "64M")
        self.bad("export", "--profile", self.dir + "/p.profile", self.archive, says="say below which PATH")
        self.bad("export", "--profile", self.dir + "/p.profile", self.archive, "/usr", says="names nothing below /usr")
        self.bad("export", "--profile", self.archive, self.archive, self.app, says="profile")

    def test_a_recorded_start_runs_from_an_archive(self):
        app, archive = self.package(), self.dir + "/start.tar.zst"
        self.env["XDG_CACHE_HOME"] = self.dir + "/cache"
        command = ["--strict", "--cache", app, "--", sys.executable, "-B", app + "/lib/two.py"]
        self.ok("up", "--cache-size", "64M", "--bulk", "tcp")
        p = self.tiercel("run", "--how", "fuse", *command)
        if p.returncode == 125:
            self.skipTest(p.stderr)
        self.assertEqual(p.stdout, f"one two {app}/lib/two.py\n", p.both)
        name = self.ok("profile", "list").split()[0]
        with open(app + "/lib/nobody-reads", "wb") as f:
            f.write(bytes(300000))
        self.ok("flush")
        self.assertEqual(json.loads(self.ok("export", "--json", "--profile", name, archive, app))["source"], app)
        shutil.rmtree(app)
        os.mkdir(app)
        self.ok("import", archive)
        p = self.tiercel("run", "--how", "bind", *command)
        self.assertEqual((p.returncode, p.stdout), (0, f"one two {app}/lib/two.py\n"), p.both)
        p = self.tiercel("run", "--how", "bind", "--strict", "--cache", app, "--", "ls", app, app + "/lib")
        self.assertIn("one.py", p.stdout)
        self.assertNotIn("large", p.stdout)
        self.assertNotIn("nobody-reads", p.stdout)

    # ---- bad archives ----

    def members(self):
        tar = subprocess.run(["zstd", "-dqc", self.archive], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(tar)) as t:
            return t.getmembers()

    def refused(self, says, data=None):
        """Is not imported, says why, and leaves nothing."""
        if data is not None:
            with open(self.archive, "wb") as f:
                f.write(data)
        p = self.tiercel("import", self.archive)
        self.assertEqual(p.returncode, 1, p.both)
        self.assertIn(says, p.stderr)
        self.assertEqual(len(p.stderr.splitlines()), 1, p.stderr)
        left = [n for _, dirs, _ in os.walk(self.trees) for n in dirs if n != "default"]
        self.assertEqual(left, [], p.both)

    def test_one_that_was_cut_short(self):
        self.pack()
        with open(self.archive, "rb") as f:
            data = f.read()
        for length in (0, 1, 10, 600, len(data) // 2, len(data) - 600, len(data) - 20, len(data) - 1):
            self.refused("is cut short", data[:length])

    def test_one_in_which_a_bit_was_changed(self):
        self.pack()
        with open(self.archive, "rb") as f:
            data = f.read()
        for i in range(40):
            changed = bytearray(data)
            changed[len(data) * i // 40] ^= 1 << (i % 8)
            self.refused("nothing of it was kept", bytes(changed))

    def rewritten(self, change):
        """The archive, unpacked, each entry given to change(tarinfo, bytes) -> [(tarinfo, bytes)], and packed again."""
        tar = subprocess.run(["zstd", "-dqc", self.original], capture_output=True, check=True).stdout
        out = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(tar)) as t, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as o:
            for m in t.getmembers():
                f = t.extractfile(m) if m.isreg() else None
                for info, data in change(m, f.read() if f else b""):
                    info.size = len(data)
                    o.addfile(info, io.BytesIO(data))
        return subprocess.run(["zstd", "-qc"], input=out.getvalue(), capture_output=True, check=True).stdout

    def test_one_that_was_altered_by_hand(self):
        self.pack()
        self.original = self.dir + "/original"
        os.rename(self.archive, self.original)
        one = self.app[1:] + "/lib/one.py"

        def on(name, do):
            return lambda m, data: do(m, data) if m.name == name else [(m, data)]

        def member(name, type=tarfile.REGTYPE, link=""):
            m = tarfile.TarInfo(name)
            m.type, m.linkname = type, link
            return m

        def changed(**fields):
            def do(m, data):
                for k, v in fields.items():
                    setattr(m, k, v)
                if "mtime" in fields:
                    m.pax_headers.pop("mtime", None)
                return [(m, data)]
            return do

        manifest = ".tiercel-manifest"
        for says, change in (
                (f"was altered: it is not what its manifest says: {one}", on(one, lambda m, d: [(m, d.replace(b"one", b"eno"))])),
                ("was altered", on(one, lambda m, d: [(m, d + b"#")])),
                ("was altered", on(one, changed(mode=0o755))),
                ("was altered", on(one, changed(mtime=5))),
                ("was altered", on(one, lambda m, d: [])),
                ("was altered", on(self.app[1:] + "/lib/link", changed(linkname="two.py"))),
                ("was altered", on(manifest, lambda m, d: [(member(one + "2"), b"x"), (m, d)])),
                ("name twice", on(one, lambda m, d: [(m, d), (m, d)])),
                ("manifest is missing", on(manifest, lambda m, d: [])),
                ("has no manifest", on(manifest, lambda m, d: [(m, b"")])),
                ("of another release, or none", on(manifest, lambda m, d: [(m, b"tiercel-archive 2\n" + d)])),
                ("behind its manifest", on(manifest, lambda m, d: [(m, d), (member(one + "3"), b"x")])),
                ("leads out", on(one, lambda m, d: [(member(self.app[1:] + "/../../x"), b"x")])),
                ("leads out", on(one, lambda m, d: [(member("/etc/tiercel-was-here"), b"x")])),
                ("leads out", on(one, lambda m, d: [(member("etc/tiercel-was-here"), b"x")])),
                ("in no directory", on(one, lambda m, d: [(member(self.app[1:] + "/none/x"), b"x")])),
                ("in no directory", on(manifest, lambda m, d: [(member(self.app[1:] + "/lib/dangling/x"), b"x"), (m, d)])),
                ("no file, directory or link", on(one, lambda m, d: [(member(one, tarfile.LNKTYPE, self.app[1:] + "/large"), b"")])),
                ("no file, directory or link", on(one, lambda m, d: [(member(one, tarfile.CHRTYPE), b"")])),
                ("no file, directory or link", on(one, lambda m, d: [(member(one, tarfile.FIFOTYPE), b"")]))):
            with self.subTest(says=says):
                self.refused(says, self.rewritten(change))
        with open(self.archive, "wb") as f:
            f.write(self.rewritten(lambda m, data: [(m, data)]))
        self.ok("import", self.archive)  # it was not the rewriting

    def test_what_is_no_archive(self):
        exported = self.pack()
        p = self.tiercel("import", "--id", "ab" * 32, self.archive)
        self.assertIn(f"is whole, but another archive than {'ab' * 32}: it is {exported['id']}", p.stderr)
        os.mkdir(self.dir + "/out")
        p = self.tiercel("import", "--to", self.dir + "/out", self.archive)
        self.assertIn("is there already", p.stderr)
        self.refused("no archive of tiercel", b"hello " * 1000)
        self.refused("is cut short", b"")
        self.bad("import", self.dir + "/none", says="No such file")
        self.bad("import", self.dir, says=self.dir)

    @unittest.skipUnless(os.geteuid() == 0, "only root can make a small file system")
    def test_without_room_nothing_stays(self):
        self.pack()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tiercel-test", self.trees], check=True)
        self.addCleanup(subprocess.run, ["umount", self.trees], check=True)
        self.refused("No space left")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
