#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the command draws on a terminal.

    terminal_test.py [CLASS[.test]]...
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
import unittest

from case import TIERCEL, Case


class Terminal(Case):
    """What is drawn on a terminal."""

    def spawn(self, *args, lines=24, columns=80, env=None):
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(TIERCEL, [TIERCEL, *args], {**self.env, "TERM": "xterm", **(env or {})})
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        return pid, fd

    def read_until(self, fd, pattern, seconds=20):
        text, end = "", time.monotonic() + seconds
        while not re.search(pattern, text):
            ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            self.assertTrue(ready, f"no {pattern!r} in {text!r}")
            try:
                text += os.read(fd, 65536).decode()
            except OSError:
                break
        return text

    def finish(self, pid, fd):
        rest = ""
        while True:
            try:
                got = os.read(fd, 65536).decode()
            except OSError:
                break
            if not got:
                break
            rest += got
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), rest

    def test_top_draws_and_puts_the_terminal_back(self):
        self.ok("up", "-N", "3")
        for end in ("q", signal.SIGTERM, signal.SIGINT):
            pid, fd = self.spawn("top")
            before = termios.tcgetattr(fd)
            text = self.read_until(fd, r"requests/s(?s:.*)requests/s")
            self.assertIn("\033[?1049h", text)
            self.assertIn("3 of 3 nodes up", text)
            self.assertFalse(termios.tcgetattr(fd)[3] & termios.ICANON)
            if end == "q":
                os.write(fd, b"sq")
            else:
                os.kill(pid, end)
            rest = self.read_until(fd, r"\x1b\[\?1049l")
            after = termios.tcgetattr(fd)
            code, _ = self.finish(pid, fd)
            self.assertEqual(code, 128 + end if end == signal.SIGTERM else 0)
            self.assertIn("\033[?25h", rest)
            self.assertEqual(after[3], before[3])

    def test_top_fits_the_window_and_follows_its_size(self):
        self.ok("up", "-N", "3")
        pid, fd = self.spawn("top", lines=24, columns=80)
        self.read_until(fd, "nodes 1 to 3 of 3")
        for lines, columns in ((9, 40), (50, 200)):
            fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            os.kill(pid, signal.SIGWINCH)
            text = self.read_until(fd, rf"\x1b\[{lines};1H(?s:.*)\x1b\[{lines};1H")
            frame = text.split("\033[H")[-1] if f"\033[{lines};1H" in text.split("\033[H")[-1] else text.split("\033[H")[-2]
            rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).replace("\r", "").split("\n")
            self.assertLessEqual(len(rows), lines)
            self.assertLessEqual(max(map(len, rows)), columns)
        os.write(fd, b"q")
        self.assertEqual(self.finish(pid, fd)[0], 0)

    def test_top_shows_the_tree(self):
        self.ok("up", "-N", "7")
        pid, fd = self.spawn("top", lines=24, columns=80)
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.read_until(fd, "nodes 1 to 7 of 7")).replace("\r", "")
        for rank, place in enumerate(("0 ", r"\+- 1 ", "`- 2 ", r"\|  \+- 3 ", r"\|  `- 4 ", r"   \+- 5 ", "   `- 6 ")):
            self.assertRegex(text, rf"(?m)^{place} +127\.0\.0\.1:\d+ +\d")
        os.write(fd, b"s")
        self.assertRegex(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.read_until(fd, "s as a tree")), r"(?m)^6  +127")
        os.write(fd, b"q")
        self.assertEqual(self.finish(pid, fd)[0], 0)

    def test_top_says_when_the_tier_goes_and_finds_it_again(self):
        self.ok("up", "-N", "2")
        pid, fd = self.spawn("top")
        self.read_until(fd, "2 of 2 nodes up")
        self.ok("down")
        self.read_until(fd, "no tier of that name|went away")
        self.ok("up", "-N", "2")
        self.read_until(fd, r"2 of 2 nodes up(?s:.*)requests/s(?s:.*)2 of 2 nodes up")
        os.write(fd, b"q")
        self.assertEqual(self.finish(pid, fd)[0], 0)

    def test_top_needs_a_terminal_and_a_tier(self):
        self.bad(1, "top", says="needs a terminal")
        pid, fd = self.spawn("top")
        text = self.read_until(fd, "no tier of that name")
        self.assertNotIn("\033[?1049h", text)
        self.assertEqual(self.finish(pid, fd)[0], 1)

    def test_interrupting_up_takes_everything_down(self):
        pid, fd = self.spawn("up", "-N", "3", env={"FAKE_TIERCELD": "silent=2"})
        self.read_until(fd, "2 of 3 nodes ready")
        os.kill(pid, signal.SIGINT)
        code, rest = self.finish(pid, fd)
        self.assertEqual(code, 1, rest)
        self.assertEqual(self.files("sock"), [], rest)

    def test_up_shows_progress_on_a_terminal_only(self):
        pid, fd = self.spawn("up", "-N", "3", "--timeout", "1", env={"FAKE_TIERCELD": "silent=1"})
        self.read_until(fd, "2 of 3 nodes ready")
        self.assertEqual(self.finish(pid, fd)[0], 1)
        self.assertEqual(self.ok("up", "-N", "3").err, "")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
