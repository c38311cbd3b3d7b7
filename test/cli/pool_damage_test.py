#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Containers as archives, and what happens when archives, files of a pool or its file system are damaged, full or read-only.

    pool_damage_test.py [CLASS[.test]]...
"""
import json
import os
import shutil
import subprocess
import sys
import tarfile
import unittest

from pool_case import MIB, TIERCEL, Case, in_a_directory


class Archives(Case):
    def fill(self):
        self.make()
        self.ok("put", self.cont, "1", data=b"first" * 1000)
        self.ok("put", self.cont, "2", "k/e y", data=b"\x00\xff")
        self.ok("put", self.cont, "3", "d", "--akey", ".a", data=b"v" * (2 * MIB))
        self.ok("cont", "snap", "create", self.cont)
        self.ok("put", self.cont, "1", "--at", "20M", data=os.urandom(6 * MIB))
        self.ok("rm", self.cont, "3")
        self.ok("cont", "attr", self.cont, "owner", "ada")

    def same(self, other, epoch):
        def all_of(cont):
            out = {}
            for o in self.json("ls", cont, "--epoch", epoch)["objects"]:
                out[o["object"]] = (o, self.json("ls", cont, o["object"], "--epoch", epoch)["keys"])
            return out
        self.assertEqual(all_of(self.cont), all_of(other))
        self.assertEqual(self.ok("get", self.cont, "1", "--epoch", epoch).raw,
                         self.ok("get", other, "1", "--epoch", epoch).raw)
        self.assertEqual(self.ok("get", other, "2", "k/e y", "--epoch", epoch).raw, b"\x00\xff")

    def test_one_epoch_there_and_back(self):
        self.fill()
        a = self.dir + "/a.tar"
        done = self.json("cont", "export", self.cont, a)
        self.assertEqual((done["epochs"], done["objects"], done["values"]), (1, 2, 2))
        self.assertLess(os.path.getsize(a), 8 * MIB)  # a hole takes no space
        with tarfile.open(a) as tar:
            names = tar.getnames()
        self.assertIn("epoch-5/2/k%2Fe%20y/%.value", names)
        self.assertIn("epoch-5/1/%/%.array-1", names)
        self.assertIn("is imported", self.ok("cont", "import", self.pool + "/d", a).out)
        self.same(self.pool + "/d", "5")
        q = self.json("cont", "query", self.pool + "/d")
        self.assertEqual((q["ghce"], q["snapshots"], q["handles"]), (5, 0, 0))
        self.assertEqual(self.ok("cont", "attr", self.pool + "/d", "owner").out, "ada\n")
        self.whole()

    def test_all_snapshots_there_and_back(self):
        self.fill()
        for a in ("a.tar", "a.tar.gz", "a.tar.zst"):
            self.ok("cont", "export", self.cont, a, "--snapshots")
            other = f"{self.pool}/{a}"
            self.ok("cont", "import", other, a)
            self.assertEqual(self.json("cont", "snap", "list", other), [3])
            self.same(other, "3")
            self.same(other, "5")
            self.assertEqual(self.ok("get", other, "3", "d", "--akey", ".a", "--epoch", "3").raw, b"v" * (2 * MIB))
            self.bad(1, "get", other, "3", "d", "--akey", ".a", says="not there")
        self.whole()

    def test_through_a_pipe(self):
        self.fill()
        tar = self.ok("cont", "export", self.cont, "-", "--epoch", "3").raw
        self.ok("cont", "import", self.pool + "/d", "-", data=tar)
        self.same(self.pool + "/d", "3")

    def test_other_programs_unpack_it(self):
        self.fill()
        self.ok("cont", "export", self.cont, "a.tar")
        os.mkdir(self.dir + "/out")
        subprocess.run(["tar", "-xf", "../a.tar"], cwd=self.dir + "/out", check=True)
        with open(self.dir + "/out/epoch-5/1/%/%.array-1", "rb") as f:
            self.assertEqual(f.read(), self.ok("get", self.cont, "1").raw)
        # What they have packed again is read, but not with other holes.
        names = ["tiercel-container", "attributes", "epoch-5/1/%/%.array-1.extents", "epoch-5/1/%/%.array-1",
                 "epoch-5/1/.digest", "epoch-5/2/k%2Fe%20y", "epoch-5/2/.digest", "tiercel-end"]
        subprocess.run(["tar", "--format=pax", "-cf", "../b.tar", *names], cwd=self.dir + "/out", check=True)
        self.ok("cont", "import", self.pool + "/d", "b.tar")
        self.same(self.pool + "/d", "5")
        with open(self.dir + "/out/epoch-5/1/%/%.array-1.extents", "w") as f:
            f.write("0 9\n")
        subprocess.run(["tar", "--format=pax", "-cf", "../b.tar", *names], cwd=self.dir + "/out", check=True)
        self.bad(1, "cont", "import", self.pool + "/e", "b.tar", says="b.tar")

    def test_holes_lie_where_they_lay(self):
        self.make()
        for at in (1, 600, 513, 1025, 4096, 5 * MIB - 1, 9 * MIB):
            self.ok("put", self.cont, "1", "--at", str(at), data=b"xyz")
        self.ok("put", self.cont, "2", "--at", "1048576G", data=b"far")
        self.ok("put", self.cont, "3", data=b"")
        self.ok("cont", "export", self.cont, "a.tar")
        self.assertLess(os.path.getsize(self.dir + "/a.tar"), MIB)
        self.ok("cont", "import", self.pool + "/d", "a.tar")
        a, b = self.json("ls", self.cont)["objects"], self.json("ls", self.pool + "/d")["objects"]
        self.assertEqual(a, b)
        self.assertEqual(a[0]["holes_bytes"], 9 * MIB + 3 - 21)
        self.assertEqual(self.ok("get", self.cont, "1").raw, self.ok("get", self.pool + "/d", "1").raw)
        self.assertEqual(self.ok("get", self.pool + "/d", "2", "--at", "1048576G").raw, b"far")

    def test_an_empty_container(self):
        self.make()
        self.ok("cont", "export", self.cont, "a.tar")
        self.ok("cont", "import", self.pool + "/d", "a.tar")
        self.assertEqual(self.json("cont", "query", self.pool + "/d")["ghce"], 0)

    def test_what_is_damaged_is_refused_and_nothing_stays(self):
        self.fill()
        self.ok("cont", "export", self.cont, "a.tar", "--snapshots")
        with open(self.dir + "/a.tar", "rb") as f:
            good = f.read()
        with tarfile.open(self.dir + "/a.tar") as tar:
            value = tar.getmember("epoch-3/3/d/%2Ea.value").offset_data
            header = tar.getmember("epoch-3/3/d/%2Ea.value").offset
        cases = {"empty": b"", "text": b"hello" * 1000, "half": good[:len(good) // 2], "no end": good[:-12 * 1024],
                 "a payload": good[:value + 1000] + bytes([good[value + 1000] ^ 1]) + good[value + 1001:],
                 "a header": good[:header + 600] + b"\x7f" + good[header + 601:]}
        for what, content in cases.items():
            path = self.write("bad.tar", content)
            with self.subTest(what):
                r = self.bad(1, "cont", "import", self.pool + "/d", path, "--json", says="bad.tar")
                self.assertIn(json.loads(r.out)["code"], ("EBADMSG",))
                self.assertEqual([c["label"] for c in self.json("cont", "list", self.pool)], ["c"])
        self.bad(1, "cont", "import", self.pool + "/d", self.dir + "/nowhere.tar", says="nowhere.tar")
        self.bad(1, "cont", "import", self.cont, self.dir + "/a.tar", says="c")
        self.bad(1, "cont", "import", self.pool + "/a b", self.dir + "/a.tar", says="a b")
        self.bad(1, "cont", "export", self.pool + "/d", self.dir + "/b.tar", says="d")
        self.bad(1, "cont", "export", self.cont, self.dir + "/nowhere/b.tar", says="nowhere/b.tar")
        self.assertFalse([n for n in os.listdir(self.dir) if n.startswith("b.tar")])
        self.whole()

    def test_an_archive_of_a_newer_release_is_refused(self):
        self.make()
        self.ok("cont", "export", self.cont, "a.tar")
        with open(self.dir + "/a.tar", "rb") as f:
            newer = f.read().replace(b"tiercel container 1", b"tiercel container 2")
        self.write("b.tar", newer)
        self.bad(1, "cont", "import", self.pool + "/d", "b.tar", says=["newer release", "format 2"])


@in_a_directory
class Damage(Case):
    """What happens to files on the disk."""

    def test_a_flipped_bit_is_named_by_get_and_by_check(self):
        self.make()
        content = os.urandom(2 * MIB)
        self.ok("put", self.cont, "41", "sound", data=b"x")
        self.ok("put", self.cont, "42", data=content)
        path = self.extents()[0]
        with open(path, "r+b") as f:
            at = f.read().index(content[MIB:MIB + 64])
            f.seek(at)
            f.write(bytes([content[MIB] ^ 1]))
        r = self.bad(1, "get", self.cont, "42", says=["42", os.path.basename(path)])
        self.assertNotEqual(r.raw, content)
        self.bad(1, "get", self.cont, "42", "--to", self.dir + "/out", "--json", says="42")
        self.assertFalse(os.path.exists(self.dir + "/out"))
        self.bad(1, "cont", "export", self.cont, self.dir + "/a.tar", says="42")
        self.assertFalse(os.path.exists(self.dir + "/a.tar"))
        self.assertEqual(self.ok("get", self.cont, "41", "sound").raw, b"x")
        c = self.tiercel("pool", "check", self.pool, "--json")
        self.assertEqual(c.code, 1, str(c))
        found = json.loads(c.out)
        self.assertGreaterEqual(found["damaged"], 1)
        self.assertTrue(any(os.path.basename(path) in f for f in found["findings"]), found)
        self.assertIn("of damage", self.tiercel("pool", "check", self.pool).out)

    def test_a_truncated_and_a_missing_extent_file(self):
        self.make()
        self.ok("put", self.cont, "42", data=os.urandom(2 * MIB))
        self.ok("put", self.cont, "41", "k", data=b"small")
        path = self.extents()[0]
        os.truncate(path, os.path.getsize(path) // 2)
        for _ in range(2):
            self.bad(1, "get", self.cont, "42", says=["42", os.path.basename(path)])
            c = self.tiercel("pool", "check", self.pool, "--json")
            self.assertEqual(c.code, 1, str(c))
            if os.path.exists(path):
                os.unlink(path)
        self.assertEqual(self.ok("get", self.cont, "41", "k").raw, b"small")

    def test_a_newer_format_is_refused(self):
        self.make()
        changed = False
        for folder, _, names in os.walk(self.pool):
            for name in names:
                if name in ("format", "version", "pool"):
                    with open(f"{folder}/{name}", "r+b") as f:
                        text = f.read()
                        f.seek(0)
                        f.write(text.replace(b"1", b"9", 1))
                        changed = True
        if not changed:
            self.skipTest("the pool has no file that tells its format")
        r = self.bad(1, "pool", "query", self.pool, "--json", says=[self.pool, "newer"])
        self.assertEqual(json.loads(r.out)["code"], "EPROTO")
        self.bad(1, "get", self.cont, "1", says="newer")


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare"), "mounting needs root")
@in_a_directory
class Mounts(Case):
    """In a mount namespace of their own: read-only and full file systems."""

    def within(self, script):
        p = subprocess.run(["unshare", "--mount", "--propagation", "private", "bash", "-euc", script], cwd=self.dir,
                           env={**self.env, "T": TIERCEL}, capture_output=True, text=True, timeout=50)
        self.assertEqual(p.returncode, 0, f"{script}\n--- out\n{p.stdout}--- err\n{p.stderr}")
        return p

    def test_on_a_read_only_file_system_one_reads_and_does_not_write(self):
        self.make()
        self.ok("put", self.cont, "1", data=b"x")
        p = self.within('''
            mount --bind pool pool && mount -o remount,bind,ro pool
            test "$($T get pool/c 1)" = x
            $T ls pool/c; $T cont list pool; $T cont query pool/c; $T cont epochs pool/c; $T pool query pool; $T pool check pool
            ! echo y | $T put pool/c 1
            ! $T cont create pool/d
            ! $T cont snap create pool/c''')
        self.assertEqual(p.stderr.count("cannot be written"), 3)
        self.whole()

    def test_a_full_disk_is_said_and_nothing_is_lost(self):
        p = self.within('''
            mkdir disk && mount -t tmpfs -o size=24M disk disk
            $T pool create disk/pool && $T cont create disk/pool/c
            echo before | $T put disk/pool/c 1
            ! head -c 40M /dev/urandom | $T put disk/pool/c 1
            test "$($T get disk/pool/c 1)" = before
            $T pool check disk/pool
            mount -o remount,size=100M disk
            head -c 40M /dev/urandom > big && $T put disk/pool/c 1 --from big
            $T get disk/pool/c 1 | cmp - big
            $T pool check disk/pool''')
        self.assertIn("nothing was written", p.stderr)
        self.assertIn("space", p.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
