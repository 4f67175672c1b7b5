#!/usr/bin/env bash
# Install, check the style and run the tests, in a process for each core. Arguments go to pytest:
#   bash scripts/test.sh tests/loss -k brute
set -euo pipefail
cd "$(dirname "$0")/.."
bash install.sh synth,triton,formats,vad,serve,export,cluster,dev
.venv/bin/ruff check .
# The tests of a file share fixtures that take long to make, so they stay in one process.
.venv/bin/python -m pytest -n auto --dist loadfile "$@"
