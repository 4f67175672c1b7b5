#!/usr/bin/env bash
# Set-up and the main job on an embedded default: corpus, training, scores, transcripts. The last line is the error rate.
#   bash scripts/demo.sh [FOLDER]
set -euo pipefail
out=${1:-$(CDPATH= cd "$(dirname "$0")/.." && pwd)/runs/demo}
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$(dirname "$0")/.."
bash install.sh
.venv/bin/rnnt demo --out "$out"
