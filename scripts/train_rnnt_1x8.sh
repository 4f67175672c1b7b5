#!/usr/bin/env bash
# Train as train_rnnt_1x1.sh does, in 8 processes on one machine, one for each GPU (on the CPU if there are no GPUs).
#   bash scripts/train_rnnt_1x8.sh OUTPUT_DIR DATA_DIR [KEY=VALUE ...]
PROCESSES=8 exec bash "$(dirname "$0")/train_rnnt_1x1.sh" "$@"
