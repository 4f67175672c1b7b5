#!/usr/bin/env bash
# Run all measurements that need a GPU, on one GPU: first the tests of the loss, then the benchmarks.
#   bash benchmarks/run_gpu.sh
# Rows are appended to benchmarks/results/*.csv. Each command may take 10 minutes; those that fail are listed at the end.
# Needs the lengths of LibriSpeech's utterances in ../shared/data/librispeech_shapes.csv.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "torch finds no GPU" >&2; exit 2; }
failed=()
run() {
    echo "== $*"
    timeout 600 "$python" "$@" || failed+=("$*")
}
"$python" -c 'import pytest, hypothesis' || { echo "the tests' packages are missing: bash install.sh dev" >&2; exit 2; }
# The speed of a wrong loss is worth nothing, so test it first.
code=0
timeout 600 "$python" -m pytest tests/loss || code=$?
case $code in
    0) ;;
    1) echo "the loss is wrong on this GPU: nothing is measured" >&2; exit 1 ;;
    *) echo "the tests of the loss did not finish (exit code $code): nothing is measured" >&2; exit 1 ;;
esac
run benchmarks/bench_loss.py --device cuda --cases mlperf --batch 256 --dtypes bfloat16 --save
run benchmarks/bench_input.py --device cuda --save
run benchmarks/bench_decoding.py --device cuda --batch 64 256 --precision bfloat16 --repeats 3 --save
for batch in 192 512 1024 1536; do
    run benchmarks/bench_training.py --device cuda --batch "$batch" --save precision=bfloat16
done
for command in "${failed[@]+"${failed[@]}"}"; do
    echo "failed: $command" >&2
done
[ ${#failed[@]} -eq 0 ]
