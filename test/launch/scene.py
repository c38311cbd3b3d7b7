# SPDX-License-Identifier: Apache-2.0
"""What the tests of `tiercel run` share: a tree, a tier that serves it, and a user who may do little.

The directory at the tree's path is a decoy. Only the daemon and the native runs, in a mount namespace of their own, see
the tree there: a row that gives the right result under `tiercel run` was served by the tier, and not by chance.
"""
import contextlib
import ctypes
import glob
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

BUILD = os.environ.get("TIERCEL_BUILD", "build")
TIERCEL = os.path.join(BUILD, "src/cli/tiercel")
TOOLS = os.path.join(BUILD, "test/launch")
HAVE_GO = os.path.exists(TOOLS + "/gorows")
USERS = {"nobody": 65534, "root": 0}
# As test/launch/meson.build has it: what programs were linked with in the place of a path below the tree.
PLACE = b"/@tiercel-accept-" + b"@".join([b"0123456789abcdef"] * 4)
ROW_LIMIT_S = 30
ROW_SKIPPED = 77  # as rows.h has it
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_BIND = 0x20000, 0x4000, 0x40000, 0x1000
libc = ctypes.CDLL(None, use_errno=True)


def impossible(why):
    """Says why nothing can be tested here, in the way that Meson reads as skipped."""
    print("cannot be tested here: " + why)
    sys.exit(77)


def mount(source, target, kind, flags, data=None):
    def raw(text):
        return text and text.encode()

    if libc.mount(raw(source), raw(target), raw(kind), flags, raw(data)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def enter_own_mounts():
    """From here on, mounts are this process' own, and an ordinary user may open /dev/fuse, as on most machines."""
    if os.geteuid() != 0:
        impossible("root is needed (to become an ordinary user, and for mount namespaces): run it as root")
    if not os.path.exists("/dev/fuse"):
        impossible("there is no /dev/fuse: load the fuse module")
    if libc.unshare(CLONE_NEWNS) != 0:
        impossible("this kernel or sandbox does not allow namespaces")
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    if os.stat("/dev/fuse").st_mode & 0o006 == 0o006:
        return
    with tempfile.TemporaryDirectory() as place:
        mount("lent", place, "tmpfs", 0)
        os.mknod(place + "/fuse", stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
        os.chmod(place + "/fuse", 0o666)
        mount(place + "/fuse", "/dev/fuse", None, MS_BIND)
        subprocess.run(["umount", "-l", place], check=True)


class Result:
    """How a command ended and what it printed. Code "hangs": it had to be killed."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def same_as(self, other):
        return (self.code, self.out) == (other.code, other.out)


def run(argv, env, before=None):
    with subprocess.Popen(argv, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, start_new_session=True, preexec_fn=before) as p:
        try:
            out, err = p.communicate(timeout=ROW_LIMIT_S)
            return Result(p.returncode, out, err)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, 9)
            out, err = p.communicate()
            return Result("hangs", out, err)


class Scene:
    """A tree, and a tier that serves it to one user in one way. Use it in a with statement."""

    def __init__(self, user, rung):
        self.uid, self.rung = USERS[user], rung
        self.base = tempfile.mkdtemp(prefix="tla-", dir="/tmp")
        os.chmod(self.base, 0o755)
        self.tree, self.outside, self.scratch = (f"{self.base}/{name}" for name in ("tree", "outside", "scratch"))
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "HOME": self.scratch,
                    "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": self.tree + "/py",
                    "TIERCEL_RUNTIME_DIR": self.base + "/rt",
                    "TIERCEL_TREE_DIR": "/dev/shm/" + os.path.basename(self.base)}
        self.env.update({k: v for k, v in os.environ.items() if k == "TIERCEL_SUPERVISOR_IS_PARENT"})
        self.inside, self.hidden = None, []

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.callback(self.remove)
            self.make()
            stack.pop_all()
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        if self.inside is not None:
            self.down()
            self.inside.kill()
            self.inside.wait()
            self.inside.stdout.close()
        for place in self.hidden:
            subprocess.run(["umount", "-l", place], check=True)
        shutil.rmtree(self.base)
        shutil.rmtree(self.env["TIERCEL_TREE_DIR"], ignore_errors=True)

    def hide(self):
        """From here on there is nothing at the tree's path, but for the daemon and native runs."""
        with tempfile.TemporaryDirectory() as aside:
            mount(self.base, aside, None, MS_BIND)
            mount("hidden", self.base, "tmpfs", 0)
            self.hidden.append(self.base)
            os.chmod(self.base, 0o755)
            for name in ("rt", "outside", "scratch"):
                os.mkdir(f"{self.base}/{name}")
                mount(f"{aside}/{name}", f"{self.base}/{name}", None, MS_BIND)
                self.hidden.insert(0, f"{self.base}/{name}")
            subprocess.run(["umount", "-l", aside], check=True)

    def make(self):
        os.mkdir(self.tree)  # the decoy
        write(self.tree + "/decoy", "this is not the tree\n")
        os.mkdir(self.outside)
        for name in ("rt", "scratch"):
            os.mkdir(f"{self.base}/{name}", 0o700)
            os.chown(f"{self.base}/{name}", self.uid, self.uid)
        make_tree(self.base + "/source", self.tree, self.outside, self.uid)
        self.inside = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             'mount --bind "$1/source" "$1/tree" && mount -o remount,bind,ro "$1/tree" && echo ready && exec sleep 600',
             "sh", self.base], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if self.inside.stdout.readline() != "ready\n":
            impossible("a directory cannot be bound to another place")
        self.up()

    def up(self):
        r = self.run_native([TIERCEL, "up"])
        if r.code != 0:
            raise RuntimeError(f"tiercel up: {r.err.decode()}")

    def down(self):
        self.run_native([TIERCEL, "down", "--timeout", "5"])

    def works(self):
        """Whether this machine has that rung; the tier's own words otherwise."""
        r = self.run_served(["/bin/true"])
        return r.code == 0, (r.err.decode().strip().split("\n") or [""])[-1]

    def as_user(self, argv):
        return argv if self.uid == 0 else ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"] + argv

    def run_native(self, argv):
        return run(["nsenter", f"--mount=/proc/{self.inside.pid}/ns/mnt", "--wd=/"] + self.as_user(argv), self.env)

    def run_plain(self, argv):
        """As without a tier: with what is at the tree's path for everybody."""
        return run(self.as_user(argv), self.env)

    def served(self, argv):
        """A command that runs argv with the tree served."""
        return [TIERCEL, "run", "--how", self.rung, "--strict", "--no-profile", "--cache", self.tree, "--"] + argv

    def run_served(self, argv):
        r = run(self.as_user(self.served(argv)), self.env)
        r.out = re.sub(rb"/dev/shm/[^\s:]*?(?=/tmp/tla-)", b"", r.out)  # where a rung has the tree at another place
        return r


# ---- the tree ----

def write(path, content, mode=0o644):
    with open(path, "wb") as f:
        f.write(content.encode() if isinstance(content, str) else content)
    os.chmod(path, mode)


def program(name, to, mode=0o755, place=None):
    """A program of the build; `place`: the path for what it was linked with."""
    with open(f"{TOOLS}/{name}", "rb") as f:
        content = f.read()
    if place is not None:
        assert PLACE in content and len(place) <= len(PLACE), name
        content = content.replace(PLACE, place.encode().ljust(len(PLACE), b"\0"))
    write(to, content, mode)


def loader():
    """The ELF interpreter of this machine's programs."""
    with open(f"{TOOLS}/rows", "rb") as f:
        return re.search(rb"/lib[\w/.-]*ld-linux[\w.-]*", f.read(65536)).group().decode()


def make_tree(source, seen, outside, uid):
    """Makes the tree in `source`; programs will see it at `seen`."""
    for name in ("", "dir", "dir/deep", "many", "odd", "bin", "lib", "py", "py/package"):
        os.makedirs(f"{source}/{name}", exist_ok=True)
        os.chmod(f"{source}/{name}", 0o755)
    write(source + "/file", "hello\n")
    write(source + "/empty", "")
    write(source + "/dir/a", "below\n")
    write(source + "/dir/deep/b", "deeper\n")
    write(source + "/lines", "".join(f"line {i}\n" for i in range(20)))
    write(source + "/big", b"".join(bytes([i % 251]) * 997 for i in range(900)))
    for i in range(60):
        write(f"{source}/many/f{i}", f"{i}\n")
    for name in (b"new\nline", b"not-utf8-\xff", b" back\\slash \"quotes\" ", b"n" * 255, b"-rf", b"*"):
        write(os.path.join(os.fsencode(source), b"odd", name), "odd")
    links = {"rellink": "dir/a", "abslink": seen + "/dir/a", "outlink": outside + "/file", "dirlink": "dir/deep/..",
             "dangling": "nowhere"}
    for name, target in links.items():
        os.symlink(target, f"{source}/{name}")
    make_programs(source, seen, outside)
    for top, dirs, files in os.walk(source):
        for name in dirs + files + ["."]:
            os.chown(os.path.join(top, name), uid, uid, follow_symlinks=False)
    with contextlib.suppress(OSError):  # not every file system has them: the row says so
        os.setxattr(source + "/file", "user.accept", b"value")
    # After the owner: chown takes the bit away.
    program("setuid", outside + "/setuid", 0o4755)


def make_programs(source, seen, outside):
    write(source + "/script.sh", '#!/bin/sh\necho "script $0 $*"\n', 0o755)
    write(source + "/script.own", f"#!{seen}/bin/rows say\n", 0o755)
    write(outside + "/script.into", f"#!{seen}/bin/rows-static say\n", 0o755)
    write(outside + "/file", "outside\n")
    os.symlink(seen + "/dir/a", outside + "/inlink")
    os.symlink(seen + "/dir", outside + "/dirinlink")
    write(source + "/py/package/__init__.py", "from .part import WORD\n")
    write(source + "/py/package/part.py", "WORD = 'imported'\n")
    write(source + "/sourced", "SOURCED=yes\n")
    for place in (source + "/bin", outside):
        for name in ("rows", "rows-static", "raw"):
            program(name, f"{place}/{name}")
        if HAVE_GO:
            program("gorows", place + "/gorows")
        program("linked", place + "/linked", place=seen + "/lib")
        program("interp", place + "/interp", place=seen + "/lib/ld.so")
    for i in (1, 2):
        program("rows", f"{source}/bin/unread-{i}")
    program("rows", outside + "/rows-0711", 0o711)
    program("libplugin.so", source + "/lib/libplugin.so")
    shutil.copy(loader(), source + "/lib/ld.so")
    for busybox in glob.glob("/bin/busybox"):
        shutil.copy(busybox, source + "/bin/busybox")
