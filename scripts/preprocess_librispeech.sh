#!/usr/bin/env bash
# Prepare every part of LibriSpeech in DIR, and learn a tokenizer of 1023 pieces from the training texts.
#   bash scripts/preprocess_librispeech.sh DIR      DIR/LibriSpeech/<part> -> DIR/prepared/<part>, DIR/prepared/tokenizer.model
set -euo pipefail
if [ $# -ne 1 ] || [ ! -d "$1" ]; then
    echo "usage: bash scripts/preprocess_librispeech.sh DIR   (DIR holds LibriSpeech, as download_librispeech.sh leaves it)" >&2
    exit 2
fi
dir=$(CDPATH= cd "$1" && pwd)
cd "$(dirname "$0")/.."
[ -x .venv/bin/rnnt ] || bash install.sh
out=$dir/prepared
.venv/bin/rnnt prepare librispeech "$dir" --out "$out"
if [ -f "$out/tokenizer.model" ]; then
    echo "tokenizer: $out/tokenizer.model exists already; to learn it again, for example from more parts, remove it first"
    exit 0
fi
shopt -s nullglob
splits=("$out"/train-*/)
if [ ${#splits[@]} -eq 0 ]; then
    echo "warning: found no train-* part; the tokenizer is learned from all parts" >&2
    splits=("$out"/*/)
fi
.venv/bin/rnnt tokenizer "${splits[@]}" --out "$out" --size 1023
