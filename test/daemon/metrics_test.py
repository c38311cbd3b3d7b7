#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Metrics of real daemons: what Prometheus would read, and what enemies of the socket get.

    metrics_test.py

Environment: TIERCEL the command.
"""
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import unittest

TIERCEL = os.environ["TIERCEL"]
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'(?:\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*",?)*\})?'


def free_ports(count):
    """Ports that follow each other."""
    for _ in range(50):
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                for i in range(1, count):
                    with socket.socket() as other:
                        other.bind(("127.0.0.1", port + i))
                return port
            except (OSError, OverflowError):
                continue
    raise RuntimeError("no ports")


def parse(text):
    """Text format 0.0.4, strictly: {family: (type, {(name, labels): value})}."""
    families, current = {}, None
    assert text.endswith("\n"), "the last line has no end"
    for line in text.splitlines():
        if m := re.fullmatch(rf"# HELP ({NAME}) (.+)", line):
            assert m[1] not in families, f"{m[1]} comes twice"
            families[m[1]] = [None, {}]
            current = m[1]
        elif m := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line):
            assert m[1] == current and families[current][0] is None, line
            families[current][0] = m[2]
        else:
            m = re.fullmatch(rf"({NAME})({LABELS}) ([0-9.eE+-]+|\+Inf)", line)
            assert m, f"not a sample: {line}"
            kind, samples = families[current]
            names = [current + s for s in ("_bucket", "_sum", "_count")] if kind == "histogram" else [current]
            assert m[1] in names, f"{line}: not of {current}"
            assert (m[1], m[2]) not in samples, f"{line}: comes twice"
            assert kind != "counter" or current.endswith("_total"), line
            samples[m[1], m[2]] = float(m[3])
    assert all(kind and samples for kind, samples in families.values())
    return families


class Metrics(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tmx-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("TIERCEL_", "SLURM_", "PBS_", "XDG_RUN"))}
        self.env["TIERCEL_RUNTIME_DIR"] = self.dir + "/rt"
        self.addCleanup(self.tiercel, "down", "--timeout", "1")

    def tiercel(self, *args):
        return subprocess.run([TIERCEL, *args], env=self.env, capture_output=True, text=True, timeout=60)

    def ok(self, *args):
        p = self.tiercel(*args)
        self.assertEqual(p.returncode, 0, f"{args}: {p.stdout}{p.stderr}")
        return p.stdout

    def ask(self, place, request):
        with socket.socket(socket.AF_INET if isinstance(place, tuple) else socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(place)
            try:
                s.sendall(request)
            except (BrokenPipeError, ConnectionResetError):
                return b""  # it has had enough already
            answer = b""
            while True:
                try:
                    got = s.recv(65536)
                except ConnectionResetError:
                    return answer
                if not got:
                    return answer
                answer += got

    def get(self, place):
        head, body = self.ask(place, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").split(b"\r\n\r\n", 1)
        self.assertTrue(head.startswith(b"HTTP/1.0 200 OK\r\n"), head)
        self.assertIn(b"Content-Type: text/plain; version=0.0.4", head)
        self.assertIn(f"Content-Length: {len(body)}".encode(), head)
        return body.decode()

    def test_what_is_served_is_what_happened(self):
        port = free_ports(2)
        self.ok("up", "-N", "2", "--metrics", str(port), "--cache-size", "64M")
        families = parse(self.get(("127.0.0.1", port + 1)))
        self.assertEqual(families.keys(), parse(self.ok("stat", "--prometheus", "--rank", "1")).keys())
        for name in ("hits_total", "misses_total", "received_bytes_total", "failures_total", "slow_children", "cached_bytes",
                     "open_flights", "fuse_requests_total", "source_operations_total", "answer_seconds"):
            self.assertIn("tiercel_" + name, families)
        for _, samples in families.values():
            for _, labels in samples:
                self.assertIn('tier="default",rank="1"', labels)
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            self.skipTest("/dev/fuse cannot be opened")
        os.mkdir(self.dir + "/mnt")
        with open(self.dir + "/file", "w") as f:
            f.write("hello\n")
        self.ok("mount", "--rank", "1", self.dir + "/mnt")
        with open(f"{self.dir}/mnt{self.dir}/file") as f:
            self.assertEqual(f.read(), "hello\n")
        counters = json.loads(self.ok("stat", "--rank", "1", "--json"))["counters"]
        self.ok("umount", self.dir + "/mnt")
        families = parse(self.get(("127.0.0.1", port + 1)))
        value = {name + labels.replace('tier="default",rank="1"', ""): v for f in families.values() for (name, labels), v in
                 f[1].items()}
        self.assertEqual(value["tiercel_requests_total{}"], counters["requests"])
        self.assertGreater(value["tiercel_requests_total{}"], 0)
        self.assertEqual(value['tiercel_received_bytes_total{,from="peer"}'], counters["bytes_from_peer"])
        self.assertGreater(value['tiercel_fuse_requests_total{,operation="lookup"}'], 0)  # also when the mount is gone
        buckets = [v for k, v in value.items() if k.startswith("tiercel_answer_seconds_bucket")]
        self.assertEqual(buckets, sorted(buckets))
        self.assertEqual(len(buckets), 24)
        self.assertEqual(buckets[-1], value["tiercel_answer_seconds_count{}"])
        self.assertGreater(value["tiercel_answer_seconds_sum{}"], 0)

    def test_a_socket_is_the_users_alone_and_goes_with_the_tier(self):
        self.ok("up", "--metrics", "unix")
        path = self.dir + "/rt/default/node-0.metrics"
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        parse(self.get(path))
        self.ok("down")
        self.assertFalse(os.path.exists(path))

    def test_a_taken_port_is_said(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            p = self.tiercel("up", "--metrics", str(s.getsockname()[1]))
        self.assertEqual(p.returncode, 1)
        self.assertIn("Address already in use; name another place, or off", p.stderr)

    def test_enemies_get_an_error_or_nothing_and_others_their_answer(self):
        self.ok("up", "--metrics", "unix")
        path = self.dir + "/rt/default/node-0.metrics"
        for request, code in ((b"POST /metrics HTTP/1.0\r\n\r\n", 405), (b"GET /etc/passwd HTTP/1.0\n\n", 404),
                              (b"\0\xff\n\n", 400), (b"GET /metrics\n\n", 400), (b"x" * 5000, 431),
                              (b"GET /metrics HTTP/1.0\n" + b"a: b\n" * 2000, 431)):
            answer = self.ask(path, request)
            self.assertTrue(answer == b"" or answer.startswith(f"HTTP/1.0 {code} ".encode()), (request[:40], answer))
        silent = []
        for _ in range(40):  # more than it takes at once: the rest is shut out, and soon all of them
            s = socket.socket(socket.AF_UNIX)
            s.connect(path)  # blocks while its queue is full
            silent.append(s)
        for s in silent:
            s.settimeout(20)
            self.assertEqual(s.recv(1), b"")
            s.close()
        parse(self.get(path))
        half = socket.socket(socket.AF_UNIX)  # one that says it has nothing more to say
        half.connect(path)
        half.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        half.shutdown(socket.SHUT_WR)
        half.settimeout(20)
        self.assertTrue(half.recv(15).startswith(b"HTTP/1.0 200 OK"))
        half.close()
        self.assertEqual(self.ok("stat", "--json")[0], "{")


if __name__ == "__main__":
    unittest.main(verbosity=2)
