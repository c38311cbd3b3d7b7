#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tiercel pool, cont, put, get, ls, rm: every command, for people and as JSON, and bad input of every kind.

    pool_test.py [CLASS[.test]]...

Environment: TIERCEL the command. No daemon is needed.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import unittest

TIERCEL = os.environ["TIERCEL"]
MIB = 1 << 20


class Result:
    def __init__(self, args, p):
        self.args, self.code, self.raw = args, p.returncode, p.stdout
        self.out, self.err = p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")

    def __str__(self):
        return f"tiercel {' '.join(self.args)}: exit code {self.code}\n--- out\n{self.out[:4000]}--- err\n{self.err}"


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tp-", dir=os.environ.get("TIERCEL_TEST_DIR"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("TIERCEL_")}
        self.pool = self.dir + "/pool"
        self.cont = self.pool + "/c"

    def tiercel(self, *args, data=b"", **env):
        p = subprocess.run([TIERCEL, *args], env={**self.env, **env}, input=data, capture_output=True, timeout=50,
                           cwd=self.dir)
        return Result(args, p)

    def ok(self, *args, **more):
        r = self.tiercel(*args, **more)
        self.assertEqual(r.code, 0, str(r))
        return r

    def json(self, *args, **more):
        return json.loads(self.ok(*args, "--json", **more).out)

    def bad(self, code, *args, says=(), **more):
        r = self.tiercel(*args, **more)
        self.assertEqual(r.code, code, str(r))
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, r.err, str(r))
        self.assertNotIn("  ", r.err.replace("\n", ""), "a sentence has no gaps: " + str(r))
        return r

    def make(self, *labels):
        self.ok("pool", "create", self.pool)
        for label in labels or ["c"]:
            self.ok("cont", "create", f"{self.pool}/{label}")

    def whole(self):
        self.assertEqual(self.json("pool", "check", self.pool)["damaged"], 0)

    def write(self, name, content):
        path = f"{self.dir}/{name}"
        with open(path, "wb") as f:
            f.write(content)
        return path

    def extents(self):
        """The pool's extent files, the largest first."""
        found = []
        for folder, _, names in os.walk(self.pool):
            found += [f"{folder}/{n}" for n in names if "ext" in f"{folder}/{n}"[len(self.pool):]]
        return sorted(found, key=os.path.getsize, reverse=True)


class Pools(Case):
    def test_a_pool_is_made_queried_and_destroyed(self):
        self.assertIn("is made", self.ok("pool", "create", self.pool).out)
        q = self.json("pool", "query", self.pool)
        self.assertEqual((q["containers"], q["redundancy"]), (0, 0))
        self.assertRegex(q["uuid"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        self.assertGreater(q["total_bytes"], q["free_bytes"])
        self.assertIn("0 containers", self.ok("pool", "query", "file://" + self.pool).out)
        self.ok("cont", "create", self.cont)
        self.assertIn("1 container,", self.ok("pool", "query", TIERCEL_POOL=self.pool).out)
        self.assertIn("is gone", self.ok("pool", "destroy", self.pool).out)
        self.bad(1, "pool", "query", self.pool, says=self.pool)

    def test_a_pool_is_made_once(self):
        self.make()
        r = self.bad(1, "pool", "create", self.pool, "--json", says=self.pool)
        self.assertEqual(json.loads(r.out)["code"], "EEXIST")
        self.assertIn("c", self.ok("cont", "list", self.pool).out)

    def test_what_is_no_pool_is_said(self):
        os.mkdir(self.dir + "/empty")
        self.write("file", b"x")
        for verb in ("query", "check", "evict", "destroy"):
            self.bad(1, "pool", verb, self.dir + "/nowhere", says="nowhere")
            self.bad(1, "pool", verb, self.dir + "/empty", says="empty")
            self.bad(1, "pool", verb, self.dir + "/file", says="file")
        self.assertTrue(os.path.isdir(self.dir + "/empty"))
        self.bad(1, "pool", "query", "http://somewhere/pool", says="http://somewhere/pool")
        self.bad(1, "pool", "query", says="TIERCEL_POOL")

    def test_check_finds_nothing_in_a_sound_pool(self):
        self.make()
        self.ok("put", self.cont, "1", data=os.urandom(3 * MIB))
        self.assertIn("everything fits together", self.ok("pool", "check", self.pool).out)
        self.assertEqual(self.json("pool", "check", self.pool, "--repair"),
                         {"pool": self.pool, "damaged": 0, "findings": []})

    def test_evict_says_so(self):
        self.make()
        self.assertIn("have ended", self.ok("pool", "evict", self.pool).out)
        self.assertEqual(self.json("pool", "evict", self.pool), {"evicted": self.pool})


class Conts(Case):
    def test_containers_are_made_listed_and_destroyed(self):
        self.make("a", "b")
        rows = self.json("cont", "list", self.pool)
        self.assertEqual([r["label"] for r in rows], ["a", "b"])
        out = self.ok("cont", "list", TIERCEL_POOL=self.pool).out
        self.assertRegex(out, r"(?m)^b .*" + rows[1]["uuid"])
        q = self.json("cont", "query", f"{self.pool}/{rows[0]['uuid']}")
        self.assertEqual((q["label"], q["ghce"], q["glre"], q["handles"]), ("a", 0, None, 0))
        self.assertIn("epoch 0 is final", self.ok("cont", "query", "a", TIERCEL_POOL=self.pool).out)
        self.ok("cont", "destroy", self.pool + "/a")
        self.bad(1, "cont", "query", self.pool + "/a", says=["a", "tiercel cont list"])

    def test_names_that_name_nothing(self):
        self.make()
        self.bad(1, "cont", "query", "c", says=["which pool", "TIERCEL_POOL"])
        self.bad(1, "cont", "query", self.pool, says=["is a pool", self.pool + "/LABEL"])
        self.bad(1, "cont", "query", self.pool + "/", says="names no container")
        self.bad(1, "cont", "create", self.cont, says="c")
        self.bad(1, "cont", "create", self.pool + "/a b", says="a b")
        self.bad(1, "cont", "create", self.pool + "/" + "x" * 128, says="xxx")
        self.bad(1, "cont", "query", self.dir + "/nowhere/c", says="nowhere")
        for verb in ("query", "epochs", "evict", "aggregate", "destroy"):
            r = self.bad(1, "cont", verb, self.pool + "/other", "--json", says="other")
            self.assertEqual(json.loads(r.out)["code"], "ENOENT")
        self.bad(1, "cont", "snap", "list", self.pool + "/other", says="other")
        self.bad(1, "cont", "diff", self.pool + "/other", "1", says="other")
        self.bad(1, "cont", "attr", self.pool + "/other", says="other")
        self.bad(1, "ls", self.pool + "/other", says="other")
        self.bad(1, "put", self.pool + "/other", "1", says="other")

    def test_epochs_shows_numbers_and_handles(self):
        self.make()
        self.ok("put", self.cont, "1", data=b"x")
        out = self.ok("cont", "epochs", self.cont).out
        self.assertIn("GHCE 1, GHPCE 1", out)
        self.assertIn("no handle", out)
        e = self.json("cont", "epochs", self.cont)
        self.assertEqual((e["ghce"], e["ghpce"], e["handles"]), (1, 1, []))

    def test_a_put_that_waits_for_input_is_a_handle_that_can_be_evicted(self):
        self.make()
        self.ok("put", self.cont, "1", data=b"before")
        read, write = os.pipe()
        p = subprocess.Popen([TIERCEL, "put", self.cont, "1"], env=self.env, stdin=read, stderr=subprocess.PIPE)
        os.close(read)
        os.write(write, b"x" * 65536)
        os.write(write, b"x" * 65536)  # the first is read once this fits: 64 KiB is what a pipe holds
        handles = []
        for _ in range(1000):  # it reads before it holds, or after
            handles = self.json("cont", "epochs", self.cont)["handles"]
            if handles and handles[0]["lhe"] is not None:
                break
        self.assertEqual([(h["mode"], h["lhe"]) for h in handles], [("rw", 2)])
        self.assertRegex(self.ok("cont", "epochs", self.cont).out, r"rw +1 +2 +1")
        self.bad(1, "cont", "destroy", self.cont, says=["open", "--force"])
        self.assertEqual(self.json("cont", "evict", self.cont)["evicted"], 1)
        os.close(write)
        err = p.communicate(timeout=30)[1].decode()
        self.assertEqual(p.returncode, 1, err)
        self.assertIn("nothing was written", err)
        self.assertEqual(self.ok("get", self.cont, "1").raw, b"before")

    def test_a_killed_put_has_written_nothing(self):
        self.make()
        self.ok("put", self.cont, "1", data=b"before")
        p = subprocess.Popen([TIERCEL, "put", self.cont, "1"], env=self.env, stdin=subprocess.PIPE)
        p.stdin.write(b"y" * (9 * MIB))
        p.stdin.flush()
        p.send_signal(signal.SIGKILL)
        p.wait(timeout=30)
        p.stdin.close()
        for h in self.json("cont", "epochs", self.cont)["handles"]:  # it may not have got so far
            self.assertTrue(h["ended"])
        self.assertEqual(self.ok("get", self.cont, "1").raw, b"before")
        self.assertEqual(self.json("put", self.cont, "1", data=b"after")["epoch"], 2)
        self.assertEqual(self.ok("get", self.cont, "1").raw, b"after")
        self.whole()

    def test_snapshots_keep_epochs_and_aggregation_takes_the_others(self):
        self.make()
        for i in range(1, 6):
            self.ok("put", self.cont, "1", data=b"%d" % i * 5000)
            if i in (2, 4):
                self.assertIn(f"epoch {i} ", self.ok("cont", "snap", "create", self.cont).out)
        self.assertEqual(self.ok("cont", "snap", "list", self.cont).out, "2\n4\n")
        self.assertEqual(self.json("cont", "snap", "list", self.cont), [2, 4])
        done = self.json("cont", "aggregate", self.cont)
        self.assertEqual(done["below"], 5)
        self.assertGreaterEqual(done["records"], 2)
        self.assertEqual(self.ok("get", self.cont, "1", "--epoch", "2").raw, b"2" * 5000)
        self.assertEqual(self.ok("get", self.cont, "1").raw, b"5" * 5000)
        self.bad(1, "get", self.cont, "1", "--epoch", "3", says="3")
        self.bad(1, "cont", "snap", "create", self.cont, "3", says="3")
        self.bad(1, "cont", "snap", "create", self.cont, "99", says="99")
        self.bad(1, "cont", "snap", "destroy", self.cont, "3", says="3")
        self.ok("cont", "snap", "destroy", self.cont, "2")
        self.assertIn("erased", self.ok("cont", "aggregate", self.cont).out)
        self.bad(1, "get", self.cont, "1", "--epoch", "2", says="2")
        self.assertEqual(self.ok("get", self.cont, "1", "--epoch", "4").raw, b"4" * 5000)
        self.whole()

    def test_an_empty_container_has_no_epoch_to_keep(self):
        self.make()
        self.bad(1, "cont", "snap", "create", self.cont, says="nothing has been committed")
        self.assertEqual(self.ok("cont", "snap", "list", self.cont).out, "")
        self.assertIn("no objects", self.ok("ls", self.cont).out)

    def test_attributes(self):
        self.make()
        self.ok("cont", "attr", self.cont, "owner", "ada")
        self.ok("cont", "attr", self.cont, "notes", "-", data=b"two\nlines\n")
        self.assertEqual(self.ok("cont", "attr", self.cont, "owner").out, "ada\n")
        self.assertEqual(self.json("cont", "attr", self.cont), {"owner": 3, "notes": 10})
        self.assertEqual(self.json("cont", "attr", self.cont, "notes")["value"], "two\nlines\n")
        self.assertIn("owner", self.ok("cont", "attr", self.cont).out)
        self.ok("cont", "attr", self.cont, "owner", "--remove")
        self.bad(1, "cont", "attr", self.cont, "owner", says="owner")
        self.bad(1, "cont", "attr", self.cont, "big", "-", data=b"x" * (65 << 10), says="big")

    def test_properties(self):
        self.make()
        p = self.json("cont", "prop", self.cont)
        self.assertEqual((p["label"], p["snapshots-max"], p["redundancy"]), ("c", "0", "0"))
        self.assertRegex(self.ok("cont", "prop", self.cont).out, r"(?m)^checksum \w+")
        self.ok("put", self.cont, "1", data=b"x")
        self.ok("cont", "prop", self.cont, "label", "renamed")
        self.bad(1, "get", self.cont, "1", says="c")
        self.cont = self.pool + "/renamed"
        self.assertEqual(self.ok("get", self.cont, "1").raw, b"x")
        self.assertEqual(self.ok("cont", "prop", self.cont, "label").out, "renamed\n")
        self.assertEqual(self.json("cont", "prop", self.cont, "snapshots-max", "1"), {"snapshots-max": "1"})
        self.ok("cont", "snap", "create", self.cont)
        self.ok("put", self.cont, "1", data=b"y")
        self.bad(1, "cont", "snap", "create", self.cont, says="2")
        self.bad(1, "cont", "prop", self.cont, "label", "a b", says="a b")
        self.bad(1, "cont", "prop", self.cont, "redundancy", "2", says="redundancy")
        self.bad(1, "cont", "prop", self.cont, "frob", says="frob")

    def test_diff(self):
        self.make()
        self.ok("put", self.cont, "1", "k", data=b"one")
        self.ok("cont", "snap", "create", self.cont)
        self.ok("put", self.cont, "1", "k", data=b"two")
        self.ok("put", self.cont, "2", data=b"bytes")
        self.ok("put", self.cont, "1", "new", "--snapshot", data=b"x")
        d = self.json("cont", "diff", self.cont, "1")
        self.assertEqual((d["from"], d["to"]), (1, 4))
        self.assertEqual([(c["object"], c["dkey"], c["change"]) for c in d["changes"]],
                         [("1", "k", "changed"), ("1", "new", "added"), ("2", "", "added")])
        self.assertEqual(d["changes"][2]["records"], {"first": 0, "count": 5})
        self.assertRegex(self.ok("cont", "diff", self.cont, "1", "4").out, r"(?m)^1 +new +added")
        self.assertIn("nothing is different", self.ok("cont", "diff", self.cont, "4", "4").out)
        self.ok("rm", self.cont, "1", "k")
        self.assertEqual(self.json("cont", "diff", self.cont, "4", "5")["changes"][0]["change"], "removed")
        self.ok("cont", "aggregate", self.cont)
        self.bad(1, "cont", "diff", self.cont, "2", says="2")
        self.assertEqual(self.json("cont", "snap", "list", self.cont), [1, 4])


class Objects(Case):
    def test_bytes_go_in_and_come_out(self):
        self.make()
        content = os.urandom(5 * MIB + 123)
        self.assertIn("committed as epoch 1", self.ok("put", self.cont, "7", data=content).out)
        self.assertEqual(self.ok("get", self.cont, "7").raw, content)
        self.assertEqual(self.ok("get", self.cont, "7", "--at", "1M", "--length", "1000").raw,
                         content[MIB:MIB + 1000])
        p = self.json("put", self.cont, "7", "--at", "4", data=b"here")
        self.assertEqual((p["epoch"], p["ghce"], p["bytes"], p["object"]), (2, 2, 4, "7"))
        self.assertEqual(self.ok("get", self.cont, "7").raw, content[:4] + b"here" + content[8:])
        self.ok("put", self.cont, "7", data=b"short")
        self.assertEqual(self.ok("get", self.cont, "7").raw, b"short")
        self.assertEqual(self.json("get", self.cont, "7")["value"], "short")

    def test_files_go_in_and_come_out_with_holes(self):
        self.make()
        content = b"a" * 4096 + bytes(9 * MIB) + b"end"
        path = self.write("in", content)
        self.ok("put", self.cont, "7", "--from", path)
        g = self.json("get", self.cont, "7", "--to", self.dir + "/out")
        self.assertEqual(g["bytes"], len(content))
        with open(self.dir + "/out", "rb") as f:
            self.assertEqual(f.read(), content)
        self.assertLess(os.stat(self.dir + "/out").st_blocks * 512, len(content) - 4 * MIB)
        self.bad(1, "put", self.cont, "7", "--from", self.dir + "/nowhere", says=["nowhere", "nothing was written"])
        self.bad(1, "get", self.cont, "7", "--to", self.dir + "/nowhere/out", says="nowhere/out")
        self.assertEqual(sorted(os.listdir(self.dir)), ["in", "out", "pool"])

    def test_keys_go_in_and_come_out(self):
        self.make()
        self.ok("put", self.cont, "0x10", "name", "--snapshot", data=b"ada")
        self.ok("put", self.cont, "16", "big", data=b"v" * (3 * MIB))
        self.ok("put", self.cont, "1.2", "--hex", "00ff", data=b"\xff\x00")
        self.assertEqual(self.ok("get", self.cont, "16", "name").raw, b"ada")
        self.assertEqual(len(self.ok("get", self.cont, "16", "big").raw), 3 * MIB)
        self.assertEqual(self.ok("get", self.cont, "1.2", "00ff", "--hex").raw, b"\xff\x00")
        self.assertEqual(self.json("get", self.cont, "1.2", "00ff", "--hex")["value"], {"hex": "ff00"})
        self.assertEqual(self.json("get", self.cont, "16", "name")["value"], "ada")
        self.ok("put", self.cont, "20", "d", "--akey", "a", data=b"two levels")
        self.assertEqual(self.ok("get", self.cont, "20", "d", "--akey", "a").raw, b"two levels")
        self.assertEqual(self.ok("get", self.cont, "16", "name", "--epoch", "1").raw, b"ada")
        self.bad(1, "get", self.cont, "16", "big", "--epoch", "1", says=["key big", "not there"])
        self.bad(1, "get", self.cont, "16", says="name a key")
        keys = self.json("ls", self.cont, "16")["keys"]
        self.assertEqual([(k["key"], k["kind"], k["bytes"]) for k in keys],
                         [("big", "value", 3 * MIB), ("name", "value", 3)])
        self.assertRegex(self.ok("ls", self.cont, "1.2").out, r"\\x00\\xff")

    def test_ls_tells_kinds_keys_and_sizes(self):
        self.make()
        self.ok("put", self.cont, "1", data=b"x" * 1000)
        self.ok("put", self.cont, "1", "--at", "1M", "--snapshot", data=b"x")
        for key in "abc":
            self.ok("put", self.cont, "2", key, data=b"12345")
        l = self.json("ls", self.cont)
        self.assertEqual(l["epoch"], 5)
        self.assertEqual(l["objects"],
                         [{"object": "1", "kind": "bytes", "keys": 0, "bytes": MIB + 1, "holes_bytes": MIB - 1000},
                          {"object": "2", "kind": "keys", "keys": 3, "bytes": 15, "holes_bytes": 0}])
        self.assertRegex(self.ok("ls", self.cont).out, r"(?m)^2 +keys +3 +15 B")
        self.assertEqual(len(self.json("ls", self.cont, "--epoch", "2")["objects"]), 1)

    def test_rm_takes_away(self):
        self.make()
        self.ok("put", self.cont, "1", data=b"x")
        self.ok("put", self.cont, "2", "a", data=b"x")
        self.ok("put", self.cont, "2", "b", data=b"x")
        self.assertIn("taken away", self.ok("rm", self.cont, "1").out)
        self.assertEqual(self.json("rm", self.cont, "2", "a")["epoch"], 5)
        self.bad(1, "get", self.cont, "1", says="not there")
        self.bad(1, "get", self.cont, "2", "a", says="not there")
        self.assertEqual(self.ok("get", self.cont, "2", "b").raw, b"x")
        self.bad(1, "rm", self.cont, "1", says="not there")
        self.bad(1, "rm", self.cont, "2", "zzz", says="not there")
        self.bad(1, "ls", self.cont, "99", says="not there")
        self.assertEqual(self.json("cont", "query", self.cont)["ghce"], 5)

    def test_numbers_that_are_none_are_usage_errors(self):
        self.make()
        for oid in ("x", "-1", "1.", ".1", "0x", "18446744073709551616", "1.18446744073709551616", "1e3", ""):
            self.assertIn(self.tiercel("get", self.cont, oid).code, (2,), oid)
        for epoch in ("0", "-1", "x", "18446744073709551615", "18446744073709551616", "1 "):
            self.bad(2, "get", self.cont, "1", "--epoch", epoch, says="epoch")
            self.bad(2, "cont", "snap", "create", self.cont, "--", epoch, says="epoch")
        for size in ("x", "18446744073709551616", "99999999999G", "1Q", "-5"):
            self.assertEqual(self.tiercel("get", self.cont, "1", "--at", size).code, 2, size)
        self.bad(1, "put", self.cont, "1", "--at", "18446744073709551614", data=b"xx", says="nothing was written")
        self.bad(1, "put", self.cont, "1", "k" * 201, data=b"x", says="nothing was written")
        self.bad(2, "put", self.cont, "1", "k", "--at", "1", says="--at")
        self.bad(2, "put", self.cont, "1", "--akey", "k", says="KEY")
        self.bad(2, "put", self.cont, "1", "0g", "--hex", says="hexadecimal")
        self.assertEqual(self.json("cont", "query", self.cont)["ghce"], 0)

    def test_the_last_object_and_the_last_epochs(self):
        self.make()
        last = "18446744073709551615"
        self.ok("put", self.cont, f"{last}.{last}", data=b"x")
        self.assertEqual(self.json("ls", self.cont)["objects"][0]["object"], f"{last}.{last}")
        self.assertEqual(self.ok("get", self.cont, f"{last}.0x{2**64 - 1:x}").raw, b"x")


class Words(Case):
    def test_groups_list_their_verbs_and_suggest(self):
        for group in ("pool", "cont"):
            out = self.ok(group, "--help").out
            self.assertEqual(out, self.ok("help", group).out)
            self.assertTrue(out.startswith(f"usage: tiercel {group} "))
            self.bad(2, group, says="--help")
            self.assertIn(f"usage: tiercel {group} create", self.ok(group, "create", "--help").out)
            self.assertIn(f"usage: tiercel {group} create", self.ok("help", group, "create").out)
        self.bad(2, "cont", "creat", says="did you mean `tiercel cont create`?")
        self.bad(2, "pool", "frobnicate", says="tiercel pool --help")
        self.bad(2, "cont", "create", says="POOL/LABEL")
        self.bad(2, "pool", "create", says="directory")
        self.bad(2, "pool", "query", "a", "b", says="too many")
        self.bad(2, "cont", "snap", "frob", "x", says="create, list or destroy")
        self.bad(2, "get", "c", says="container and an object")


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
