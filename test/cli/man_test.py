#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual pages: without complaints of mandoc, with every verb and option of the command, and with examples that run.

    man_test.py

Environment as cli_test.py has it, and MAN, the folder of the pages.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

MAN = os.environ["MAN"]
TIERCEL = os.environ["TIERCEL"]


def page(name):
    with open(f"{MAN}/{name}") as f:
        return f.read()


def examples(name):
    """Each literal block's lines that begin with `$ `, as a script."""
    text = page(name).split(".Sh EXAMPLES")[1]
    for block in re.findall(r"^\.Bd.*?$(.*?)^\.Ed$", text, re.S | re.M):
        lines = [line[2:].replace("\\e", "\\") for line in block.splitlines() if line.startswith("$ ")]
        if lines:
            yield "\n".join(lines)


class Man(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="tm-")
        self.addCleanup(shutil.rmtree, self.dir)
        clean = ("TIERCEL_", "SLURM_", "PBS_", "XDG_RUNTIME_DIR")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(clean)}
        self.env.update(TIERCEL_LIBEXEC=os.environ["FAKE_LIBEXEC"], TIERCEL_RUNTIME_DIR=self.dir + "/rt",
                        TIERCEL_SSH=os.environ["FAKE_BIN"] + "/fake_ssh.sh",
                        PATH=os.path.dirname(TIERCEL) + ":" + os.environ["FAKE_LIBEXEC"] + ":" + self.env["PATH"])

    def test_mandoc_has_no_complaints(self):
        for name in os.listdir(MAN):
            if name.endswith((".1", ".8")):
                p = subprocess.run(["mandoc", "-Tlint", "-Wstyle", name], cwd=MAN, capture_output=True, text=True)
                # Other packages' pages may not be installed, or not indexed.
                complaints = [s for s in p.stdout.splitlines() if "referenced manual not found" not in s]
                self.assertEqual(complaints, [])

    def test_every_verb_and_option_is_described(self):
        text = (page("tiercel.1") + page("tiercel-pool.1")).replace("\\-", "-")

        def verbs_of(*group):
            overview = subprocess.run([TIERCEL, *group, "--help"], capture_output=True, text=True).stdout
            return [(*group, verb) for verb in re.findall(r"(?m)^  (\w+) ", overview)]

        verbs = verbs_of()
        self.assertGreater(len(verbs), 10)
        for verb in verbs + verbs_of("pool") + verbs_of("cont"):
            self.assertRegex(text, rf"(?m)^\.Ss .*\b{verb[-1]}\b")
            if verb[-1] == "sim":
                continue
            help_text = subprocess.run([TIERCEL, *verb, "--help"], capture_output=True, text=True).stdout
            for option in re.findall(r"(?m)^  .*?--([a-z-]+)", help_text):
                self.assertTrue(f"-{option}" in text, f"tiercel {' '.join(verb)} --{option}")

    def test_every_option_of_the_daemon_is_described(self):
        if "TIERCELD" not in os.environ:
            self.skipTest("no daemon")
        text = page("tierceld.8").replace("\\-", "-")
        help_text = subprocess.run([os.environ["TIERCELD"], "--help"], capture_output=True, text=True).stdout
        for option in re.findall(r"--([a-z-]+)", help_text):
            self.assertTrue(f"-{option}" in text, f"tierceld --{option}")

    def test_examples_run(self):
        count = 0
        for name in ("tiercel.1", "tiercel-pool.1", "tierceld.8"):
            for script in examples(name):
                count += 1
                if name == "tierceld.8":  # by hand there is no --runtime, which the stand-in wants
                    script = script.replace("--daemonise", f"--runtime {self.dir}/rt --daemonise --rank 0")
                env = {k: v for k, v in self.env.items() if name != "tiercel-pool.1" or k != "TIERCEL_LIBEXEC"}
                p = subprocess.run(["sh", "-euc", script], cwd=self.dir, env=env, capture_output=True, text=True)
                self.assertEqual(p.returncode, 0, f"{name}:\n{script}\n{p.stdout}{p.stderr}")
        self.assertEqual(count, 6)


if __name__ == "__main__":
    if shutil.which("mandoc") is None:
        print("skipped: mandoc is not installed (apt-get install mandoc)")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
