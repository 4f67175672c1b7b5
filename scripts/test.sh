#!/usr/bin/env bash
# Set-up, lint and tests. Arguments go to pytest: bash scripts/test.sh tests/loss -k brute
set -euo pipefail
cd "$(dirname "$0")/.."
bash install.sh synth,triton,dev
.venv/bin/ruff check .
.venv/bin/python -m pytest "$@"
