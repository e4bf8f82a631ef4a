#!/usr/bin/env bash
# Prints the path of a Python for one of the two test environments, or nothing when there is none.
#
#   find_python.sh oldest   Python 3.11 (the oldest supported); else the default python3 if it is 3.11 or newer
#   find_python.sh newest   3.13, 3.12 or 3.14, in this order: the best tested first
#
# Looks on PATH, then among the versions that pyenv and uv keep.
set -uo pipefail

# Prints the real path of the interpreter if it runs and is of the version asked for.
real_path() {
    local candidate=$1 wanted=$2
    command -v "$candidate" >/dev/null 2>&1 || return 1
    "$candidate" - "$wanted" 2>/dev/null <<'PY'
import os, sys
import ensurepip, venv  # an interpreter without them cannot make an environment
wanted = sys.argv[1]
found = "%d.%d" % sys.version_info[:2]
if found != wanted and not (wanted == "any" and sys.version_info >= (3, 11)):
    sys.exit(1)
print(os.path.realpath(sys.executable))
PY
}

find_version() {
    local version=$1 candidate root
    for candidate in python3 "python$version"; do
        real_path "$candidate" "$version" && return 0
    done
    for root in "${PYENV_ROOT:-}" "$(pyenv root 2>/dev/null)" "$HOME/.pyenv"; do
        [ -n "$root" ] || continue
        for candidate in "$root/versions/$version".*/bin/python3; do
            real_path "$candidate" "$version" && return 0
        done
    done
    if command -v uv >/dev/null 2>&1; then
        candidate=$(UV_PYTHON_DOWNLOADS=never uv python find --system "$version" 2>/dev/null) &&
            real_path "$candidate" "$version" && return 0
    fi
    return 1
}

case ${1:-} in
    oldest) find_version 3.11 || real_path python3 any ;;
    newest) find_version 3.13 || find_version 3.12 || find_version 3.14 ;;
    *) echo "usage: find_python.sh oldest|newest" >&2; exit 2 ;;
esac
exit 0
