#!/usr/bin/env bash
# setproctitle 1.3.8 (vLLM names its engine processes with it) and psutil 7.2.2, Linux, CPython 3.11.
#
# Expected: `psutil.Process(pid).environ()` of a running process shows the variables that it was
# started with, whatever the process is called.
# Seen: once a process has set a title, the kernel's copy of its environment is overwritten to make
# room for the title. psutil then returns an incomplete environment, without any error, while
# `os.environ` within the process is still complete. A supervisor that recognises the engines of a
# run by a variable (as VLLM::EngineCore and VLLM::Worker are renamed after their start) does not
# find them.
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet setproctitle==1.3.8 psutil==7.2.2
cat > "$directory/named.py" <<'PYTHON'
import os
import subprocess
import sys

import psutil

CHILD = """
import os, sys
from setproctitle import setproctitle
print(os.environ["RUN_MARK"], flush=True)
sys.stdin.readline()
setproctitle("VLLM::EngineCore")
print(os.environ["RUN_MARK"], flush=True)
sys.stdin.readline()
"""
child = subprocess.Popen(
    [sys.executable, "-c", CHILD],
    env={**os.environ, "RUN_MARK": "mine"},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)
assert child.stdout.readline() == "mine\n"
before = psutil.Process(child.pid).environ()
child.stdin.write("\n")
child.stdin.flush()
inside = child.stdout.readline().strip()
after = psutil.Process(child.pid).environ()
child.communicate("\n")
print(f"before the title: {len(before)} variables, RUN_MARK={before.get('RUN_MARK')}")
print(f"after the title: {len(after)} variables, RUN_MARK={after.get('RUN_MARK')}; within the process: {inside}")
assert before.get("RUN_MARK") == inside == "mine"
assert after.get("RUN_MARK") is None, "the environment is complete: the behaviour has changed"
PYTHON
"$directory/venv/bin/python" "$directory/named.py"
