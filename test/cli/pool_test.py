#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tiercel pool, cont, put, get, ls, rm: every command, for people and as JSON, and names and numbers that are none.

    pool_test.py [CLASS[.test]]...
"""
import json
import os
import signal
import stat
import subprocess
import sys
import time
import unittest

from pool_case import LEASE_S, MIB, POOLS, TIERCEL, Case, in_a_directory


class Pools(Case):
    def test_a_pool_is_made_queried_and_destroyed(self):
        self.assertIn("is made", self.ok("pool", "create", self.pool).out)
        q = self.json("pool", "query", self.pool)
        self.assertEqual((q["containers"], q["redundancy"]), (0, 1 if POOLS else 0))
        self.assertRegex(q["uuid"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        if POOLS:
            self.assertIsNone(q["total_bytes"])  # without a manager nobody knows
        else:
            self.assertGreater(q["total_bytes"], q["free_bytes"])
        self.assertIn("0 containers", self.ok("pool", "query", self.pool if POOLS else "file://" + self.pool).out)
        self.ok("cont", "create", self.cont)
        self.assertIn("1 container,", self.ok("pool", "query", TIERCEL_POOL=self.pool).out)
        self.assertIn("is gone", self.ok("pool", "destroy", self.pool).out)
        self.bad(1, "pool", "query", self.pool, says=self.pool)

    @in_a_directory
    def test_how_a_directory_is(self):
        self.ok("pool", "create", self.pool)
        q = self.json("pool", "query", self.pool)
        self.assertEqual([q[k] for k in ("state", "map_version", "targets", "targets_up", "targets_in", "disabled",
                                         "silent", "missing")], ["healthy", 1, 1, 1, 1, [], None, 0])
        self.assertIn("state healthy: all copies are in place", self.ok("pool", "query", self.pool).out)
        targets = self.json("pool", "targets", self.pool)["targets"]
        self.assertEqual([(t["target"], t["up"], t["in"]) for t in targets], [(0, True, True)])
        self.assertEqual(len(self.ok("pool", "targets", self.pool).out.splitlines()), 2)
        self.assertIn("healthy", self.ok("pool", "watch", "--until", "healthy", self.pool).out)
        line = json.loads(self.ok("pool", "watch", "--json", "--until", "healthy", self.pool).out)
        self.assertEqual((line["state"], line["map_version"], line["targets_up"]), ("healthy", 1, 1))
        self.bad(1, "pool", "watch", "--until", "degraded", "--timeout", "0.2", self.pool, says="not become degraded")
        self.bad(2, "pool", "watch", "--until", "rain", self.pool, says="rain")

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
        self.bad(1, "cont", "query", self.pool, says=["is a pool", self.pool.partition("?")[0] + "/LABEL"])
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
        end = time.monotonic() + 3 * LEASE_S
        while not all(h["ended"] for h in self.json("cont", "epochs", self.cont)["handles"]):  # it may not have got so far
            self.assertLess(time.monotonic(), end)
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
        self.assertEqual((p["label"], p["snapshots-max"], p["redundancy"]), ("c", "0", "1" if POOLS else "0"))
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

    @in_a_directory
    def test_object_classes(self):
        self.make()
        one = f"{self.pool}/one"
        self.bad(1, "cont", "create", "--class", "EC_2P1", one, says=("EC_2P1", "offers S"))
        self.bad(1, "cont", "create", "--class", "copper", one, says=("copper", "RP_3"))
        self.bad(1, "cont", "query", one, says="one")
        self.ok("cont", "create", one, "--class", "S")
        self.assertEqual(self.json("cont", "prop", one)["class"], "S")
        self.ok("cont", "prop", one, "class", "default")
        self.assertEqual(self.ok("cont", "prop", one, "class").out, "default\n")
        self.bad(1, "cont", "prop", one, "class", "RP_2", says="RP_2")
        self.assertEqual(self.json("pool", "query", self.pool)["classes"], ["S"])
        self.assertIn("object class S\n", self.ok("pool", "query", self.pool).out)
        for oid in ("S:5", f"S:{2**48 - 1}.7", "5"):
            self.ok("put", one, oid, data=oid.encode())
        self.assertEqual([o["object"] for o in self.json("ls", one)["objects"]], ["5", "S:5", f"S:{2**48 - 1}.7"])
        self.assertEqual(self.ok("get", one, "S:0x5").raw, b"S:5")
        self.assertEqual(self.ok("get", one, f"{0x0101 << 48}.5").raw, b"S:5")
        self.bad(1, "put", one, "EC_2P1:5", data=b"x", says=("EC_2P1", "offers S", "nothing was written"))
        self.bad(1, "ls", one, "EC_2P1:5", says="EC_2P1:5")
        for oid in ("X:5", ":5", "S:", "default:5", f"S:{2**48}.5", "S:S:5", "EC_2P1_and_more_than_that:5"):
            self.assertEqual(self.tiercel("get", one, oid).code, 2, oid)

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
        self.assertEqual(sorted(os.listdir(self.dir)), ["in", "out"] + ([] if POOLS else ["pool"]))

    def test_what_is_no_file_is_written_and_not_replaced(self):
        self.make()
        content = b"a" * 4096 + bytes(20000) + b"end"  # what fits into pipes
        self.ok("put", self.cont, "7", data=content)
        pipe = self.dir + "/pipe"
        os.mkfifo(pipe)
        reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE)
        self.addCleanup(reader.wait)
        self.addCleanup(reader.kill)
        self.ok("get", self.cont, "7", "--to", pipe)
        self.assertEqual(reader.communicate(timeout=30)[0], content)
        self.assertTrue(stat.S_ISFIFO(os.lstat(pipe).st_mode))

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
        high, last = f"{2**48 - 1}", f"{2**64 - 1}"
        self.ok("put", self.cont, f"{high}.{last}", data=b"x")
        self.assertEqual(self.json("ls", self.cont)["objects"][0]["object"], f"{high}.{last}")
        self.assertEqual(self.ok("get", self.cont, f"{high}.0x{2**64 - 1:x}").raw, b"x")


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


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
