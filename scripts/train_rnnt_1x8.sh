#!/usr/bin/env bash
# As train_rnnt_1x1.sh, in 8 processes of one machine, each with a GPU of its own (without GPUs: on the CPU).
#   bash scripts/train_rnnt_1x8.sh OUTPUT_DIR DATA_DIR [KEY=VALUE ...]
PROCESSES=8 exec bash "$(dirname "$0")/train_rnnt_1x1.sh" "$@"
