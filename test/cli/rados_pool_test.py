#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tiercel pool on a Ceph cluster: RADOS pools on chosen hosts, made and taken away; what cannot be done, and clusters that cannot be used.

    tools/rados-dev run --hosts 3 --osds 4 -- rados_pool_test.py [CLASS[.test]]...
"""
import json
import os
import re
import socket
import subprocess
import sys
import time
import unittest

from pool_case import MIB, Case, Result, TIERCEL

CONF = os.environ.get("CEPH_CONF", "")


def ceph(*commands):
    """What each answers, as JSON. One start of Python for all."""
    p = subprocess.run(["ceph", "--format", "json"], input="\n".join(commands), capture_output=True, text=True, timeout=50)
    found, rest = [], p.stdout.strip()
    while rest:
        value, end = json.JSONDecoder().raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found


def everything():
    """All names that making a pool could leave behind."""
    dump, crush = ceph("osd dump", "osd crush dump")
    return (sorted(p["pool_name"] for p in dump["pools"]), sorted(dump["erasure_code_profiles"]),
            sorted(r["rule_name"] for r in crush["rules"]), sorted(b["name"] for b in crush["buckets"] if "~" not in b["name"]))


class OnRados(Case):
    def setUp(self):
        super().setUp()
        self.count = 0

    def uri(self, name, options="", conf=CONF):
        return f"rados:///{name}?conf={conf}&timeout=30&lease=5{options}"

    def user(self, name, mon, osd):
        """A uri's options for a user with these rights."""
        keyring = f"{self.dir}/{name}.keyring"
        subprocess.run(["ceph", "auth", "get-or-create", "client." + name, "mon", mon, "osd", osd, "-o", keyring], check=True,
                       capture_output=True, timeout=50)
        return self.conf(name, f"keyring = {keyring}"), f"&user={name}"

    def conf(self, name, *lines):
        """The cluster's ceph.conf with other lines, and without what they replace."""
        keys = [line.split(" =")[0] for line in lines]
        with open(CONF) as f:
            text = [line for line in f.read().splitlines() if line.split(" =")[0] not in keys]
        return self.write(name + ".conf", "\n".join([text[0], *lines, *text[1:]] + [""]).encode())

    def refused(self, *args, says=()):
        """Exits with 1, in time, with one line of ours: librados may print its own."""
        begin = time.monotonic()
        r = self.bad(1, *args, says=says)
        self.assertLess(time.monotonic() - begin, 25, str(r))
        self.assertEqual(len(re.findall(r"^tiercel: ", r.err, re.M)), 1, str(r))
        if os.environ.get("SHOW"):
            print(r.err, end="", file=sys.stderr)
        return r


class Allocation(OnRados):
    def test_it_lies_on_the_hosts_that_were_named(self):
        before = everything()
        uri = self.uri("placed")
        r = self.ok("pool", "create", "--size", "64M", "--nodes", "h[0-1]", "--class", "RP_2", uri)
        cont = uri.replace("?", "/c?")
        self.assertIn(f"'{uri.replace('?', '/LABEL?')}'", r.out)
        self.ok("cont", "create", cont)
        self.bad(1, "cont", "create", uri.replace("?", "/?"), says="names no container")
        data = os.urandom(3 * MIB)
        self.ok("put", cont, "1", data=data)
        self.assertEqual(self.ok("get", uri + "/c", "1").raw, data)
        dump, crush, *maps = ceph("osd dump", "osd crush dump",
                                  *(f"osd map tiercel.placed.{p} {n}" for p in ("meta", "data") for n in range(12)))
        host = {item["id"]: b["name"] for b in crush["buckets"] if b["type_name"] == "host" and "~" not in b["name"] for item in b["items"]}
        for m in maps:
            self.assertEqual({host[osd] for osd in m["acting"]}, {"h0", "h1"}, m)
        pools = {p["pool_name"]: p for p in dump["pools"]}
        self.assertEqual((pools["tiercel.placed.data"]["quota_max_bytes"], pools["tiercel.placed.data"]["size"]), (64 * MIB, 2))
        self.assertEqual(pools["tiercel.placed.data"]["pg_num"].bit_count(), 1)
        self.assertIn("tiercel", pools["tiercel.placed.meta"]["application_metadata"])
        q = self.json("pool", "query", uri)
        self.assertEqual((q["total_bytes"], q["containers"]), (64 * MIB, 1))
        self.assertLess(q["free_bytes"], 62 * MIB)
        r = self.refused("pool", "create", "--size", "64M", uri, "--json", says="tiercel.placed.meta")
        self.assertEqual(json.loads(r.out)["code"], "EEXIST")
        self.assertIn("is gone", self.ok("pool", "destroy", uri).out)
        self.assertEqual(everything(), before)
        self.refused("pool", "query", uri, says="tiercel.placed.meta")

    def test_classes_have_a_rados_pool_each(self):
        before = everything()
        uri = self.uri("")  # without a name
        nodes = self.write("nodes", b"h2\nh0 # a host file\nh1:1234\n")
        self.ok("pool", "create", "--nodes", "@" + nodes, "--class", "EC_2P1,RP_3", "--size", "100M", uri)
        names = set(everything()[0]) - set(before[0])
        self.assertEqual(names, {"tiercel.default.meta", "tiercel.default.EC_2P1", "tiercel.default.RP_3"})
        self.ok("cont", "create", uri + "/c")
        self.ok("put", uri + "/c", "1", data=os.urandom(MIB))
        self.assertEqual(self.json("pool", "check", uri)["damaged"], 0)
        self.assertEqual(self.json("pool", "query", uri)["total_bytes"], 100 * MIB)
        # An archive of it goes into a pool without these classes, too: its objects get the default there.
        other = self.dir + "/pool"
        self.ok("put", uri + "/c", "RP_3:2", data=b"copied")
        self.ok("cont", "export", uri + "/c", self.dir + "/c.tar")
        self.ok("pool", "create", other)
        self.ok("cont", "import", other + "/c", self.dir + "/c.tar")
        self.assertEqual(self.ok("get", other + "/c", "RP_3:2").raw, b"copied")
        self.ok("put", other + "/c", "RP_3:2", data=b"and later")
        self.ok("cont", "create", other + "/d")
        self.bad(1, "put", other + "/d", "RP_3:2", data=b"x", says="does not offer object class RP_3")
        self.ok("pool", "destroy", uri)
        self.assertEqual(everything(), before)

    def test_what_does_not_fit_is_refused_before_anything_is_made(self):
        before = everything()
        uri, dir_pool = self.uri("bad"), self.dir + "/pool"
        for args, says in [
            (["--nodes", "h0,h9", uri], ["'h9'", "h0, h1, h2"]),
            (["--nodes", "h0,,h1", uri], ["not a list of hosts"]),
            (["--nodes", "h[0-", uri], ["h[0-"]),
            (["--nodes", "h0,h0", "--class", "RP_2", uri], ["h0 is named twice"]),
            (["--nodes", "h0,h1", uri], ["RP_3 needs 3 hosts", "are 2"]),
            (["--size", "1G", "--class", "EC_4P2", uri], ["EC_4P2 needs 6 hosts", "are 3"]),
            (["--size", "1G", "--class", "RP_3,RAID5", uri], ["'RAID5'", "EC_2P1"]),
            (["--size", "1G", "--class", "RP_3,RP_3", uri], ["named twice"]),
            (["--size", "1G", self.uri("bad", "&pool=meta")], ["pool="]),
            (["--size", "1G", self.uri("bad", "&data=data")], ["data="]),
            (["--size", "1G", self.uri("b" * 60)], ["name"]),
            ([uri], ["pool=", "--size"]),
            (["--size", "1G", dir_pool], ["directory", "rados:///"]),
            (["--nodes", "h0", dir_pool], ["directory"]),
        ]:
            self.refused("pool", "create", *args, says=says)
        self.bad(2, "pool", "create", "--size", "much", uri, says="--size much")
        self.assertFalse(os.path.exists(dir_pool))
        self.assertEqual(everything(), before)

    def test_rights(self):
        """What a user lacks is said; with the rights that the sentence names, it works; what fails in the middle leaves nothing."""
        before = everything()
        conf, as_user = self.user("reader", "allow r", "allow rwx tag tiercel *=*")
        uri = self.uri("mine", as_user, conf)
        r = self.refused("pool", "create", "--size", "64M", uri, "--json", says="client.reader may not make RADOS pools")
        self.assertEqual(json.loads(r.out)["code"], "EACCES")
        self.assertEqual(everything(), before)
        line = re.search(r"with: (ceph auth caps .*)", r.err).group(1)
        subprocess.run(line, shell=True, check=True, capture_output=True, timeout=50)
        self.ok("pool", "create", "--size", "64M", "--nodes", "h0,h1,h2", uri)
        self.ok("cont", "create", uri + "/c")
        self.ok("put", uri + "/c", "1", data=os.urandom(MIB))
        self.ok("pool", "destroy", uri)
        self.assertEqual(everything(), before)
        some = ["osd crush add-bucket", "osd crush link", "osd crush rule create-replicated", "osd pool create", "osd pool delete",
                "osd crush rule rm", "osd crush unlink", "osd crush rm", "osd pool application enable", "osd pool set"]
        conf, as_user = self.user("halfway", ", ".join(["allow r", *(f'allow command "{c}"' for c in some)]), "allow *")
        self.refused("pool", "create", "--size", "64M", "--nodes", "h0,h1,h2", self.uri("half", as_user, conf), says="may not")
        self.assertEqual(everything(), before)

    def test_a_cluster_that_forbids_deleting_is_told(self):
        before = everything()
        uri = self.uri("stays")
        self.ok("pool", "create", "--size", "64M", uri)
        self.ok("cont", "create", uri + "/c")
        self.ok("put", uri + "/c", "1", data=os.urandom(MIB))
        ceph("config set mon mon_allow_pool_delete false")
        try:
            r = self.refused("pool", "destroy", uri, "--json", says=["tiercel.stays.data", "tiercel.stays.meta", "mon_allow_pool_delete"])
            self.assertEqual(json.loads(r.out)["code"], "EPERM")
            left = subprocess.run(["rados", "-p", "tiercel.stays.data", "--all", "ls"], check=True, capture_output=True, timeout=50)
            self.assertEqual(left.stdout, b"")
            self.refused("pool", "query", uri, says="destroy it again")
        finally:
            ceph("config set mon mon_allow_pool_delete true")
        self.ok("pool", "destroy", uri)
        self.assertEqual(everything(), before)

    def test_what_was_made_halfway_can_be_taken_away(self):
        """As if the command had been killed."""
        before = everything()
        uri = self.uri("cut")
        ceph("osd crush add-bucket tiercel.cut root", "osd crush link h0 root=tiercel.cut", "osd crush link h1 root=tiercel.cut",
             "osd crush rule create-replicated tiercel.cut tiercel.cut host", "osd pool create tiercel.cut.meta 4 4 replicated tiercel.cut",
             "osd pool set tiercel.cut.meta size 2", "osd erasure-code-profile set tiercel.cut.EC_2P1 k=2 m=1 crush-failure-domain=host",
             "osd crush rule create-erasure tiercel.cut.EC_2P1 tiercel.cut.EC_2P1", "osd pool create tiercel.cut.other 4 4")
        self.refused("pool", "create", "--size", "64M", uri, says=["tiercel.cut.meta", "not made to its end"])
        subprocess.run(["rados", "-p", "tiercel.cut.meta", "-N", "somebody", "put", "x", "/etc/hostname"], check=True, timeout=50)
        self.refused("pool", "destroy", uri, says=["tiercel.cut.meta", "not empty"])
        subprocess.run(["rados", "-p", "tiercel.cut.meta", "-N", "somebody", "rm", "x"], check=True, timeout=50)
        self.ok("pool", "destroy", uri)
        ceph("osd pool delete tiercel.cut.other tiercel.cut.other --yes-i-really-really-mean-it")  # is of nobody
        self.assertEqual(everything(), before)


class Users(OnRados):
    def test_the_rights_that_the_manual_names_are_enough(self):
        """docs/rados.md: a user for pools in RADOS pools that are there."""
        with open(os.path.join(os.path.dirname(__file__), "../../docs/rados.md")) as f:
            line = re.search(r"^ *(ceph auth get-or-create client\.alice .*)$", f.read(), re.M).group(1)
        keyring = self.dir + "/alice.keyring"
        line = line.replace("/etc/ceph/ceph.client.alice.keyring", keyring)
        line = line.replace("pool=fast", "pool=meta").replace("pool=wide", "pool=ec21")
        subprocess.run(line, shell=True, check=True, capture_output=True, timeout=50)
        conf = self.conf("alice", f"keyring = {keyring}")
        uri = self.uri("alices", "&user=alice&pool=meta&data=ec21", conf)
        self.ok("pool", "create", uri)
        self.ok("cont", "create", uri + "/c")
        data = os.urandom(2 * MIB)
        self.ok("put", uri + "/c", "1", data=data)
        self.assertEqual(self.ok("get", uri + "/c", "1").raw, data)
        self.ok("cont", "snap", "create", uri + "/c")
        self.ok("cont", "aggregate", uri + "/c")
        self.assertEqual(self.json("pool", "check", uri)["damaged"], 0)
        self.json("pool", "query", uri)
        self.ok("pool", "evict", uri)
        self.refused("pool", "create", self.uri("alices", "&user=alice&pool=data", conf), says=["client.alice", "pool=data"])
        self.ok("pool", "destroy", uri)

    def test_rights_for_one_pool_and_for_reading(self):
        conf, as_user = self.user("narrow", "allow r", "allow rwx pool=meta namespace=narrow, allow rwx pool=ec21 namespace=narrow")
        place = "&pool=meta&data=ec21"
        uri = self.uri("narrow", as_user + place, conf)
        self.ok("pool", "create", uri)
        self.ok("cont", "create", uri + "/c")
        data = os.urandom(MIB)
        self.ok("put", uri + "/c", "1", data=data)
        self.refused("pool", "create", self.uri("wide", as_user + place, conf), says="client.narrow")
        conf, as_user = self.user("looker", "allow r", "allow r")
        looks = self.uri("narrow", as_user + place, conf)
        self.assertEqual(self.ok("get", looks + "/c", "1").raw, data)
        self.assertEqual(self.json("pool", "query", looks)["containers"], 1)
        self.refused("put", looks + "/c", "1", says=[looks, "cannot be written"])
        self.refused("pool", "destroy", looks, says=[looks, "cannot be destroyed", "allow rwx"])
        self.refused("pool", "destroy", "--force", looks, says="cannot be destroyed")
        self.ok("pool", "destroy", uri)


class Clusters(OnRados):
    """Clusters and users that cannot be used: each is named within the timeout, and nothing is left."""

    def objects(self):
        """All, in all namespaces."""
        lists = [subprocess.run(["rados", "-p", pool, "--all", "ls"], check=True, capture_output=True, timeout=50).stdout
                 for pool in ("meta", "data", "ec21")]
        return [sorted(text.splitlines()) for text in lists]

    def test_bad_clusters(self):
        before, there = everything(), self.objects()
        silent = socket.create_server(("127.0.0.1", 0))  # accepts, in its backlog, and says nothing
        self.addCleanup(silent.close)
        with socket.create_server(("127.0.0.1", 0)) as s:
            free = s.getsockname()[1]
        other = self.dir + "/other.keyring"
        subprocess.run(["ceph-authtool", "-C", other, "-g", "-n", "client.admin"], check=True, capture_output=True)
        fast, given = "&timeout=2", "&pool=meta"
        confs = {
            "dead": self.conf("dead", f"mon host = v2:127.0.0.1:{free}"),
            "silent": self.conf("silent", f"mon host = v2:127.0.0.1:{silent.getsockname()[1]}"),
            "keyless": self.conf("keyless", "keyring = /nowhere"),
            "other": self.conf("other", f"keyring = {other}"),
            "empty": self.write("empty.conf", b""),
            "rubbish": self.write("rubbish.conf", b"\0\1\2[[[\n= =\n"),
        }
        for name, conf, options, says in [
            ("a", confs["dead"], fast + given, "within 2 s"),
            ("a", confs["silent"], fast + given, "within 2 s"),
            ("a", confs["keyless"], fast + given, "keyring"),
            ("a", confs["other"], fast + given, "client.admin"),
            ("a", confs["empty"], fast + given, ["empty.conf", "mon host"]),
            ("a", confs["rubbish"], fast + given, "rubbish.conf"),
            ("a", "/nowhere/ceph.conf", given, "/nowhere/ceph.conf"),
            ("a", self.dir, given, self.dir),
            ("a", CONF, given + "&user=nobody", "client.nobody"),
            ("a", CONF, "&pool=nosuch", "'nosuch'"),
            ("a", CONF, given + "&data=nosuch", "'nosuch'"),
            ("a", CONF, "&pool=ec21", "erasure-coded"),
            ("a", CONF, given + "&data=data,data", "data="),
            ("a b", CONF, given, "letters, digits"),
            ("a", CONF, "&pol=meta", "pol=meta"),
            ("a", CONF, given + "&timeout=0", "timeout="),
        ]:
            self.refused("pool", "create", self.uri(name, options, conf), says=says)
        for verb, options, conf, says in [
            ("query", fast + given, confs["silent"], "no monitor"),
            ("check", given, CONF, "tiercel pool create"),
            ("evict", "", CONF, "tiercel.a.meta"),
            ("destroy", fast + given, confs["dead"], "within 2 s"),
            ("destroy", given, CONF, "tiercel pool create"),
            ("destroy", "", CONF, "tiercel.a.meta"),
        ]:
            self.refused("pool", verb, self.uri("a", options, conf), says=says)
        self.refused("put", self.uri("a", fast + given, confs["dead"]) + "/c", "1", says="within 2 s")
        self.assertEqual(everything(), before)
        self.assertEqual(self.objects(), there)

    def test_without_librados(self):
        """It cannot be loaded: containers in directories work, and what to install is said."""
        os.mkdir(self.dir + "/lib")
        self.write("lib/librados.so.2", b"")
        self.env["LD_LIBRARY_PATH"] = self.dir + "/lib"
        r = self.refused("pool", "create", self.uri("a", "&pool=meta"), "--json", says="install librados2")
        self.assertEqual(json.loads(r.out)["code"], "EOPNOTSUPP")
        self.make()
        self.ok("put", self.cont, "1", data=b"x")
        self.whole()


if __name__ == "__main__":
    if not CONF:
        print("no cluster: run by tools/rados-dev")
        sys.exit(77)
    unittest.main(verbosity=2)
