#!/usr/bin/env bash
# Make .venv and install the package in it. Safe and quick to run again.
set -euo pipefail -f
usage='usage: bash install.sh [EXTRAS]      EXTRAS is a list with commas (default: synth)
       PYTHON=python3.12 bash install.sh    to use another Python than python3'
fail() {
    echo "error: $*" >&2
    exit 2
}
cd "$(dirname "$0")"
known=$(sed -n '/^\[project.optional-dependencies\]/,/^\[/s/^\([a-z0-9-]*\) = .*/\1/p' pyproject.toml | paste -sd ' ' -)
if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
    printf '%s\nextras: %s\n' "$usage" "${known// /, }"
    exit 0
fi
[ $# -le 1 ] || fail "too many arguments; give the extras as one list, such as ${1%,},${2#,}"
extras=${1:-synth}
python=${PYTHON:-python3}
for extra in ${extras//,/ }; do
    case " $known " in *" $extra "*) ;; *) fail "there is no extra '$extra'; there are ${known// /, }" ;; esac
done

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    fail "$python is not Python 3.10 or newer; name one with PYTHON=..."
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    fail "$python has no venv module; on Debian or Ubuntu: apt-get install python3-venv"
fi
# The stamp file lists the installed extras; its last line identifies pyproject.toml and this folder. It is written only
# after a successful installation.
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
# venv installs pip last. If pip does not run, an earlier venv was killed, and .venv is made again.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv .venv
echo "installing into .venv ($extras); the first time takes some minutes"
log=.venv/install.log
if ! .venv/bin/python -m pip install --disable-pip-version-check -e ".[${extras// /}]" >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    fail "pip could not install the package; its whole output is in $PWD/$log"
fi
printf '%s\n%s\n' "${have:+$have,}$extras" "$state" > "$stamp"
echo "installed: .venv/bin/rnnt"
