#!/usr/bin/env bash
# Install, check the style and run the tests. Arguments go to pytest: bash scripts/test.sh tests/loss -k brute
set -euo pipefail
cd "$(dirname "$0")/.."
bash install.sh synth,triton,formats,dev
.venv/bin/ruff check .
.venv/bin/python -m pytest "$@"
