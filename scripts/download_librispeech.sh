#!/usr/bin/env bash
# Download LibriSpeech (openslr.org/12) and unpack it as DIR/LibriSpeech/<part>.
#
#   bash scripts/download_librispeech.sh DIR                          # all seven parts, 60 GB
#   bash scripts/download_librispeech.sh DIR dev-clean train-clean-100
#
# Run it again after an interruption: a transfer continues where it stopped, and finished parts are left alone.
#   LIBRISPEECH_URL   where the .tar.gz files are, for example on a mirror (default: openslr.org)
#   LIBRISPEECH_MD5   a file in the format of md5sum, used instead of the sums below
set -euo pipefail

url=${LIBRISPEECH_URL:-https://www.openslr.org/resources/12}
sums='42e2234ba48799c1f50f24a7926300a1  dev-clean.tar.gz
c8d0bcc9cca99d4f8b62fcc847357931  dev-other.tar.gz
32fa31d27d2e1cad72775fee3f4849a9  test-clean.tar.gz
fb5a50374b501bb3bac4815ee91d3135  test-other.tar.gz
2a93770f6d5c6c964bc36631d331a522  train-clean-100.tar.gz
c0e676e450a7ff2f54aeade5171606fa  train-clean-360.tar.gz
d1a0fd59409feb2c614ce4d30c387708  train-other-500.tar.gz'

fail() {
    echo "download_librispeech.sh: $*" >&2
    exit 2
}

all_parts() {
    awk '{ sub(/^\*/, "", $2); sub(/\.tar\.gz$/, "", $2); print $2 }' <<<"$sums"
}

md5_of() {
    if command -v md5sum >/dev/null; then
        md5sum <"$1" | cut -d ' ' -f 1
    else
        md5 -q "$1"
    fi
}

size_of() {
    if [ -f "$1" ]; then wc -c <"$1"; else echo 0; fi
}

fetch() { # part archive
    local before code status from=$url/$1.tar.gz partial=$2.partial
    command -v curl >/dev/null || fail "curl is missing: install it (apt-get install curl), or fetch $from yourself into $2"
    # A transfer that takes hours may break several times: continue as long as each attempt brings some bytes.
    while :; do
        before=$(size_of "$partial")
        code=0
        status=$(curl -fL -C - -o "$partial" -w '%{http_code}' "$from") || code=$?
        if [ "$code" -eq 33 ] && [ "$before" -gt 0 ]; then # a server that cannot resume
            rm -f "$partial"
        elif [ "$code" -eq 0 ] || [ "$status" = 416 ]; then # 416: there is nothing after what is here already
            break
        elif [ "$(size_of "$partial")" -le "$before" ]; then
            fail "$from could not be fetched (curl error $code); run the same command again to continue"
        fi
    done
    mv "$partial" "$2"
}

# Print why an archive must not be unpacked: it holds more than files and folders, a file that would run as its owner,
# or a name that leads out of the folder. Print tar's messages too, and return its exit code.
faults() { # archive
    {
        LC_ALL=C tar -tvzf "$1" 2>&3 | awk '
            !/^[-d]/ { print "refused: is neither a file nor a folder: " $0; next }
            !/^.[-r][-w][-x][-r][-w][-x][-r][-w][-x]/ { print "refused: has a setuid, setgid or sticky bit: " $0; next }
            / \// || /(^|[ \/])\.\.(\/|$)/ { print "refused: leads out of the folder: " $0 }
        '
    } 3>&1
}

# Print the reason among tar's messages.
reason() { # messages code
    awk -v code="$2" '
        /Ignoring unknown extended header|Removing leading/ || !NF { next }
        { lines[++n] = $0 }
        /[Nn]o space left|[Qq]uota exceeded/ { full = $0 }
        END {
            if (full) print "the disk is full; make room and run the same command again (" full ")"
            else print n ? lines[1] : "tar ended with code " code
        }' <<<"$1"
}

get_part() { # part
    local part=$1 archive=$dir/archives/$1.tar.gz wanted found code=0 temporary=$dir/.$1.unpacking
    if [ -f "$dir/LibriSpeech/$part/.complete" ]; then
        echo "$part: already there"
        return
    fi
    wanted=$(awk -v name="$part.tar.gz" '{ sub(/^\*/, "", $2) } $2 == name { print $1 }' <<<"$sums")
    [ -n "$wanted" ] || fail "no part $part; there are" $(all_parts)

    # A part without .complete does not come from this script, which therefore must not remove it.
    [ ! -e "$dir/LibriSpeech/$part" ] ||
        fail "$dir/LibriSpeech/$part was not unpacked by this script; move it away, or 'touch' $part/.complete to keep it"

    if [ ! -f "$archive" ]; then
        echo "$part: fetching $url/$part.tar.gz"
        fetch "$part" "$archive"
    fi
    echo "$part: checking"
    found=$(md5_of "$archive")
    if [ "$found" != "$wanted" ]; then
        rm -f "$archive"
        fail "$part.tar.gz has the MD5 $found instead of $wanted; the archive is removed, run the same command again"
    fi

    echo "$part: unpacking"
    rm -rf "$temporary"
    mkdir -p "$temporary" "$dir/LibriSpeech"
    found=$(faults "$archive") || code=$?
    case $found in
        *"refused: "*) fail "$archive is not unpacked: an entry $(awk 'sub(/^refused: /, "") { print; exit }' <<<"$found")" ;;
    esac
    [ "$code" -eq 0 ] || fail "$archive could not be read: $(reason "$found" "$code")"
    found=$(LC_ALL=C tar -xzf "$archive" -C "$temporary" --no-same-owner --no-same-permissions 2>&1) || code=$?
    [ "$code" -eq 0 ] || fail "$archive could not be unpacked into $dir: $(reason "$found" "$code")"
    [ -d "$temporary/LibriSpeech/$part" ] || fail "$archive holds no LibriSpeech/$part"
    touch "$temporary/LibriSpeech/$part/.complete"
    mv "$temporary/LibriSpeech/$part" "$dir/LibriSpeech/$part"
    find "$temporary/LibriSpeech" -maxdepth 1 -type f -exec mv {} "$dir/LibriSpeech/" ';' # READMEs and lists of speakers
    rm -rf "$temporary" "$archive"
    echo "$part: done"
}

[ $# -ge 1 ] || fail "usage: download_librispeech.sh DIR [PART ...]"
dir=$1
shift
mkdir -p "$dir/archives"
if [ -n "${LIBRISPEECH_MD5:-}" ]; then
    sums=$(cat "$LIBRISPEECH_MD5") || fail "LIBRISPEECH_MD5=$LIBRISPEECH_MD5 cannot be read"
fi
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # names of parts hold no spaces
    set -- $(all_parts)
fi
for part; do
    get_part "$part"
done
rmdir "$dir/archives" 2>/dev/null || true
echo "LibriSpeech is in $dir/LibriSpeech"
