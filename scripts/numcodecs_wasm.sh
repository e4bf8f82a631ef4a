#!/usr/bin/env bash
# Prints where the numcodecs-wasm packages are that the tests read and compare with.
#
#   numcodecs_wasm.sh PYTHON FOLDER   installs the dependency group `numcodecs-wasm` into FOLDER, once
#
# Apart from the environments, which have to stay as small as a user's, and without their dependencies:
# they ask for a numcodecs older than the one that zarr brings, but run with that too.
set -euo pipefail
python=$1
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
folder=$(cd "$2" && pwd)
wanted=$("$python" "$here/requirements.py" numcodecs-wasm)
if [ "$(cat "$folder/.requirements" 2>/dev/null)" != "$wanted" ]; then
    work=$(mktemp -d "$folder/install.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    printf '%s\n' "$wanted" > "$work/.requirements"
    "$python" -m pip install --quiet --no-deps --target "$work/packages" -r "$work/.requirements" >&2
    rm -rf "$folder/packages"
    mv "$work/packages" "$folder/packages"
    mv "$work/.requirements" "$folder/.requirements"
fi
echo "$folder/packages"
