#!/usr/bin/env bash
# Prints where the source distribution of an environment's zarr is unpacked; it holds zarr's tests.
#
#   zarr_sources.sh PYTHON FOLDER   gets it into FOLDER with that environment's pip, once
set -euo pipefail
python=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
version=$("$python" -c 'import importlib.metadata; print(importlib.metadata.version("zarr"))')
if [ ! -d "$folder/zarr-$version/tests" ]; then
    work=$(mktemp -d "$folder/download.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    "$python" -m pip download --quiet --no-deps --no-binary zarr --dest "$work" "zarr==$version" >&2
    tar -xzf "$work"/zarr-*.tar.gz -C "$work"
    rm -rf "$folder/zarr-$version"
    mv "$work/zarr-$version" "$folder/"
fi
echo "$folder/zarr-$version"
