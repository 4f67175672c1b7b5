#!/usr/bin/env bash
# Train the MLPerf RNN-T on LibriSpeech in one process. train_rnnt_1x4.sh and train_rnnt_1x8.sh set $PROCESSES to use more.
#   bash scripts/train_rnnt_1x1.sh OUTPUT_DIR DATA_DIR [KEY=VALUE ...]
# The same command continues a run that was interrupted; the number of processes may differ. DATA_DIR is the folder that
# was given to preprocess_librispeech.sh. The environment variables listed below change settings. So do KEY=VALUE
# arguments (train.steps=10, data.train=[dev-clean], ...), which win.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: bash scripts/train_rnnt_1x${PROCESSES:-1}.sh OUTPUT_DIR DATA_DIR [KEY=VALUE ...]" >&2
    exit 2
fi
absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
out=$(absolute "$1")
data=$(absolute "$2")
shift 2
cd "$(dirname "$0")/.."
[ -x .venv/bin/rnnt ] || bash install.sh
[ ! -d "$data/prepared" ] || data=$data/prepared

settings=()
while read -r variable key; do
    [ -z "${!variable:-}" ] || settings+=("$key=${!variable}")
done <<'KEYS'
GLOBAL_BATCH_SIZE train.batch
GRAD_ACCUMULATION_STEPS train.accumulation
VAL_BATCH_SIZE decoding.batch
LEARNING_RATE optim.lr
MIN_LEARNING_RATE schedule.minimum
LR_EXP_GAMMA schedule.decay
EPOCHS train.epochs
WARMUP_EPOCHS schedule.warmup
HOLD_EPOCHS schedule.hold
EMA train.ema
SEED seed
NUM_BUCKETS data.buckets
MAX_DURATION data.max_seconds
MAX_SYMBOL_PER_SAMPLE decoding.max_symbols
WEIGHTS_INIT_SCALE model.init_scale
WEIGHT_DECAY optim.weight_decay
BETA1 optim.beta1
BETA2 optim.beta2
CLIP_NORM optim.max_grad_norm
VAL_FREQUENCY train.validate_every
TARGET train.target_wer
KEYS
[ "${AMP:-false}" != true ] || settings+=(precision=bfloat16)
[ ! -f "$data/tokenizer.model" ] || settings+=("tokenizer.path=$data/tokenizer.model")
# The "+" is for Bash before 4.4 (macOS has 3.2), in which an empty array counts as unset, an error under set -u.
exec .venv/bin/rnnt train librispeech-mlperf --data "$data" --out "$out" --processes "${PROCESSES:-1}" \
    ${settings[@]+"${settings[@]}"} "$@"
