#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a test with two web servers that have one folder:  with_web.py TEST  ->  TEST FOLDER PORT PORT"""
import os
import subprocess
import sys
import tempfile

from web import Server

with tempfile.TemporaryDirectory(prefix="tweb-") as folder:
    servers = [Server(folder), Server(folder)]
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    ports = [str(s.server_address[1]) for s in servers]
    sys.exit(subprocess.run([sys.argv[1], folder, *ports], env=env).returncode)
