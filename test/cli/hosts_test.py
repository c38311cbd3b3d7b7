#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tiers over ssh, Slurm and PBS, with stand-ins for them and for the daemon; groups of nodes.

    hosts_test.py [CLASS[.test]]...
"""
import json
import os
import re
import subprocess
import sys
import unittest

from case import FAKE_BIN, TIERCEL, Case


class Hosts(Case):
    """Host files, ssh, PBS, Slurm."""

    def hosts(self, text):
        return self.write("hosts", text)

    def test_a_bad_host_file_names_line_and_reason(self):
        for text, says in (
                ("a\nb:\n", ":2: b:: a port must be a number"),
                ("a\nb:70000\n", ":2: b:70000: a port"),
                ("a slots=4\n", ':1: a: "slots=4" follows; write one host[:port] a line'),
                ("\n# c\na\nb\n a # again\n", ":5: a: is on line 3 already"),
                ("::1\n", "an IPv6 address needs brackets"),
                ("[::1\n", "write [address] or [address]:port"),
                ("[::1]x\n", "after ']' only :port"),
                ("[hello]:1\n", "not an IPv6 address"),
                ("-oProxyCommand=x\n", "cannot begin with '-'"),
                ("a;b\n", "letters, digits"),
                (":12\n", "the host is missing"),
                ("# nothing\n", "no host in it"),
                ("", "no host in it"),
                ("a\0b\n", "NUL bytes")):
            with self.subTest(text=text):
                self.bad(1, "up", "--hostfile", self.hosts(text), says=says)
        self.bad(1, "up", "--hostfile", self.dir + "/none", says="No such file")
        self.bad(1, "up", "--hostfile", self.dir, says="Is a directory")
        self.assertEqual(self.files("sock"), [])

    def test_up_and_down_over_ssh(self):
        path = self.hosts("one # the root\ntwo:4000\n\n  127.0.0.1\n[::1]:5000")
        out = self.ok("up", "--hostfile", path, "--arity", "4", "--cache-size", "1G").out
        self.assertIn("tier default is up: 4 nodes", out)
        with open(self.dir + "/ssh.log") as f:
            calls = f.read()
        self.assertEqual(sorted(line.split(": ")[0] for line in calls.splitlines()), ["127.0.0.1", "::1", "one", "two"])
        self.assertIn("'--arity' '4'", calls)
        with open(self.runtime + "/default/key") as f:
            self.assertNotIn(f.read().strip(), calls, "the key is no argument")
        self.assertEqual(json.loads(self.ok("status", "--json").out)["nodes"], 4)
        self.assertIn("already up", self.ok("up", "--hostfile", path).out)
        self.bad(1, "up", "--hostfile", self.hosts("one\ntwo\n"), says="up already, with 4 nodes (ssh)")
        self.ok("down")
        self.assertEqual(os.listdir(self.runtime), [])
        with open(self.dir + "/ssh.log") as f:
            self.assertEqual(f.read().count("'down' '--here'"), 4)

    def test_hosts_that_fail_are_explained_and_the_rest_taken_down(self):
        r = self.bad(1, "up", "--hostfile", self.hosts("one\ndown1\nbare1\ntwo\n"),
                     says=["down1: ssh: ssh: connect to host down1 port 22: No route to host",
                           "`ssh -oBatchMode=yes down1 true` must work without a question",
                           "bare1: no ", "install Tiercel at the same path", "one of 2 nodes of 4"])
        self.assertEqual(self.files("sock"), [], str(r))

    def test_many_hosts_start_side_by_side(self):
        names = [f"h{i}" for i in range(40)]
        self.ok("up", "--hostfile", self.hosts("\n".join(names)))
        self.assertEqual(json.loads(self.ok("status", "--json").out)["nodes"], 40)
        self.ok("down")

    def test_a_pbs_job_starts_a_node_a_host(self):
        env = {"PBS_JOBID": "12.srv", "PBS_NODEFILE": self.write("pbs", "a\na\nb\na\nb\n")}
        data = json.loads(self.ok("up", "--json", env=env).out)
        self.assertEqual((data["tier"], data["nodes"], data["launcher"]), ("pbs-12.srv", 2, "ssh"))
        self.ok("down", env=env)
        self.bad(1, "up", env={"PBS_NODEFILE": "/nonexistent"}, says=["$PBS_NODEFILE", "--hostfile"])

    def slurm(self, nodelist="n[1-3]"):
        for name in ("srun", "scontrol"):
            if not os.path.exists(f"{self.dir}/{name}"):
                os.symlink(f"{FAKE_BIN}/fake_{name}.sh", f"{self.dir}/{name}")
        return {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": nodelist, "FAKE_SRUN_LOG": self.dir + "/srun.log",
                "SLURMD_NODENAME": "n1", "PATH": self.dir + ":" + self.env["PATH"]}

    def test_a_slurm_job_starts_a_step(self):
        env = self.slurm()
        data = json.loads(self.ok("up", "--json", env=env).out)
        self.assertEqual((data["tier"], data["nodes"], data["launcher"]), ("slurm-77", 3, "slurm"))
        with open(self.dir + "/srun.log") as f:
            calls = f.read()
        self.assertIn("--overlap --nodes=3 --ntasks=3 --ntasks-per-node=1", calls)
        with open(self.runtime + "/slurm-77/key") as f:
            self.assertNotIn(f.read().strip(), calls)
        with open(self.runtime + "/slurm-77/launch.json") as f:
            self.pids.add(json.load(f)["srun_pid"])
        self.ok("status", env=env)
        self.ok("down", env=env)
        self.assertEqual(os.listdir(self.runtime), [])

    def test_a_slurm_job_is_waited_for_from_outside_its_nodes(self):
        env = self.slurm()
        del env["SLURMD_NODENAME"]  # as under salloc, on the login node
        self.ok("up", env=env)
        with open(self.dir + "/srun.log") as f:
            self.assertIn("--nodelist=n1", f.read())
        self.assertEqual(json.loads(self.ok("status", "--json", env=env).out)["ready"], True)
        self.ok("down", env=env)
        self.bad(1, "up", "--timeout", "1", env={**env, "FAKE_TIERCELD": "silent=1"}, says="not ready in time")
        self.assertEqual(self.files("sock"), [])

    def test_slurm_that_fails_is_explained(self):
        self.bad(1, "up", env=self.slurm("bad[1-2]"), says=["Unable to contact slurm controller", "--hostfile"])
        env = self.slurm()
        os.unlink(self.dir + "/srun")
        self.write("srun", "#!/bin/sh\necho 'srun: error: Unable to create step: Job has expired' >&2\nexit 1\n", 0o755)
        self.bad(1, "up", "--timeout", "5", env=env, says="Job has expired")
        self.bad(1, "up", env={"SLURM_JOB_ID": "5"}, says="SLURM_JOB_NODELIST")

    def test_inside_a_job_n_still_means_here(self):
        self.assertEqual(json.loads(self.ok("up", "-N", "2", "--json", env=self.slurm()).out)["launcher"], "local")

    def test_groups_come_from_the_host_file(self):
        path = self.hosts("one:1 r1\ntwo r2 # rack 2\nthree  r1\n")
        self.ok("up", "--hostfile", path, "--roots", "2", "--arity", "auto", "--storage-rate", "5G")
        self.assertEqual(self.nodes(), ["one:1 r1", "two r2", "three r1"])
        with open(self.dir + "/ssh.log") as f:
            calls = f.read()
        for words in ("'--roots' '2'", "'--arity' 'auto'", "'--storage-rate' '5G'"):
            self.assertEqual(calls.count(words), 3, calls)
        self.assertIn("already up", self.ok("up", "--hostfile", path).out)
        self.bad(1, "up", "--hostfile", self.hosts("one:1 r1\ntwo r2\nthree r2\n"), says="up already")
        self.ok("down")

    def test_nodes_of_one_machine_tell_their_counters_on_ports_of_their_own(self):
        path = self.hosts("one:1\ntwo:1\none:2\none:3\n")
        self.ok("up", "--hostfile", path, "--metrics", "9100")
        with open(self.dir + "/ssh.log") as f:
            ports = sorted(re.findall(r"^(\w+): .*'--metrics' '(\d+)'", f.read(), re.M))
        self.assertEqual(ports, [("one", "9100"), ("one", "9101"), ("one", "9102"), ("two", "9100")])
        self.ok("down")

    def nodes(self, tier="default"):
        with open(f"{self.runtime}/{tier}/nodes") as f:
            return f.read().splitlines()

    def test_groups_come_from_a_topology_file(self):
        path = self.hosts("one:1\ntwo\none:2\n[::1]:4\n")
        topology = self.write("topology", "# racks\nr1 one\n\nr2 two ::1 # both\n")
        self.ok("up", "--hostfile", path, "--topology", topology)
        self.assertEqual(self.nodes(), ["one:1 r1", "two r2", "one:2 r1", "[::1]:4 r2"])
        self.ok("down")

    def test_a_topology_that_contradicts_the_hosts_is_refused(self):
        path = self.hosts("one r1\ntwo r1\nthree r2\n")
        for text, says in (("r1 one two\nr2 three four\n", ":2: four: is not in the node list"),
                           ("r1 one two\nr2 three one\n", ":2: one: is on line 1 already; a host is in one group"),
                           ("r1 one two\n", "three is missing"),
                           ("r1 one\nr2 two three\n", ":2: two: is in group r2 here, and in r1 in the node list"),
                           ("r1 one two\nr2\n", ":2: group r2 has no host"),
                           ("r;1 one\n", ":1: r;1: a group's name has"),
                           ("", "one is missing"),
                           ("a\0b\n", "NUL bytes")):
            with self.subTest(text=text):
                self.bad(1, "up", "--hostfile", path, "--topology", self.write("topology", text), says=says)
        self.bad(1, "up", "--topology", self.dir + "/none", says="No such file")
        self.bad(1, "up", "--hostfile", self.hosts("one r1\ntwo\n"), says="two has no group, and 1 of 2 nodes have one")
        self.bad(2, "up", "--roots", "none", says="a whole number from 1, or auto")
        self.bad(2, "up", "--link-rate", "fast", says="a size")
        self.assertEqual(self.files("sock"), [])

    def test_in_slurm_leaf_switches_are_the_groups(self):
        for topology, groups in (("SwitchName=s0 Level=0 LinkSpeed=1 Nodes=n[1-2,7-99]\n"
                                  "SwitchName=s1 Level=0 LinkSpeed=1 Nodes=m1,n3,n[004-005]\n"
                                  "SwitchName=top Level=1 LinkSpeed=1 Nodes=n[1-99],m1 Switches=s[0-1]\n",
                                  [" s0", " s0", " s1"]),
                                 ("SwitchName=s0 Level=0 LinkSpeed=1 Nodes=n[1-99]\n", ["", "", ""]),  # tells nothing
                                 ("SwitchName=s0 Level=0 Nodes=n1\nSwitchName=s1 Level=0 Nodes=n[2-x\n", ["", "", ""]),
                                 ("", ["", "", ""]), ("FAIL", ["", "", ""])):
            with self.subTest(topology=topology):
                env = {**self.slurm(), "FAKE_TOPOLOGY": topology}
                self.ok("up", env=env)
                self.assertEqual(self.nodes("slurm-77"), [f"n{i + 1}{g}" for i, g in enumerate(groups)])
                self.ok("down", env=env)

    def test_what_was_seen_of_the_storage_goes_to_all_daemons(self):
        os.makedirs(self.dir + "/cache/tiercel")
        path, seen = self.hosts("one\ntwo\n"), self.dir + "/cache/tiercel/storage-rate"
        for text, told in (("7000000000\n", "'--storage-rate' '7000000000'"), ("fast", None), ("-1", None), ("5", None),
                           ("9" * 40, None), ("", None)):
            with open(seen, "w") as f:
                f.write(text)
            with open(self.dir + "/ssh.log", "w"):
                pass
            self.ok("up", "-f", path)
            with open(self.dir + "/ssh.log") as f:
                calls = f.read()
            self.assertEqual(calls.count("--storage-rate"), 0 if told is None else 2, text)
            self.assertEqual(told is None or calls.count(told) == 2, True)
            self.ok("down")
        with open(seen) as f:
            self.assertEqual(f.read(), "")  # these daemons have read nothing: what was known stays

    def test_the_links_rate_goes_to_all_daemons(self):
        """In a network namespace with a link of a known speed: a veth pair says 10 Gbit/s."""
        script = ("mount -t sysfs none /sys && ip link set lo up && ip link add v0 type veth peer name v1 && "
                  "ip addr add 10.9.8.7/24 dev v0 && ip link set v0 up && ip link set v1 up && [ \"$(cat /sys/class/net/v0/speed)\""
                  " = 10000 ] || exit 99; \"$0\" up -f \"$1\" && \"$0\" down")
        path = self.hosts("far\n10.9.8.7\n")
        p = subprocess.run(["unshare", "-rnm", "sh", "-c", script, TIERCEL, path], env=self.env, capture_output=True, text=True)
        if p.returncode == 99 or "unshare" in p.stderr:
            self.skipTest("no network namespace with a veth pair: " + p.stderr)
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        with open(self.dir + "/ssh.log") as f:
            self.assertEqual(f.read().count("'--link-rate' '1250000000'"), 2)
        self.ok("up", "-f", self.hosts("127.0.0.1\n"), "--name", "lo")  # a loopback has no speed
        with open(self.dir + "/ssh.log") as f:
            self.assertNotIn("--link-rate", f.read().splitlines()[-1])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
