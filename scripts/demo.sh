#!/usr/bin/env bash
# Install, then run the main job on a small built-in corpus: make the corpus, train, score, transcribe. The last line of
# the output is the error rate.
#   bash scripts/demo.sh [FOLDER]
set -euo pipefail
out=${1:-$(CDPATH= cd "$(dirname "$0")/.." && pwd)/runs/demo}
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$(dirname "$0")/.."
bash install.sh
.venv/bin/rnnt demo --out "$out"
