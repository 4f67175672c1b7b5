#!/usr/bin/env bash
# Make .venv and install the package in it. Safe and quick to run again.
#   bash install.sh [EXTRAS]      extras, comma-separated: synth (default), mlperf, triton, dev
#   PYTHON=python3.12 bash install.sh
set -euo pipefail
cd "$(dirname "$0")"
extras=${1:-synth}
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: $python is not Python 3.10 or newer; name one with PYTHON=..." >&2
    exit 2
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    echo "error: $python has no venv module; on Debian or Ubuntu: apt-get install python3-venv" >&2
    exit 2
fi
# The stamp holds the extras installed and, last, with what and where; it is written at the end.
stamp=.venv/installed
state="$(cksum < pyproject.toml) $PWD"
have=
if [ -x .venv/bin/rnnt ] && [ "$(tail -n 1 "$stamp" 2>/dev/null)" = "$state" ]; then
    have=$(head -n 1 "$stamp")
fi
missing=
for extra in ${extras//,/ }; do
    case ",$have," in *",$extra,"*) ;; *) missing="$missing $extra" ;; esac
done
if [ -z "$missing" ]; then
    echo "up to date: .venv ($have)"
    exit 0
fi
# Asked for pip, the last thing that venv puts there: one that was killed before is made again.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv .venv
echo "installing into .venv ($extras); the first time takes some minutes"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]"
printf '%s\n%s\n' "${have:+$have,}$extras" "$state" > "$stamp"
echo "installed: .venv/bin/rnnt"
