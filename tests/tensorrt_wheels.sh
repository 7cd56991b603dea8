#!/bin/sh
# Fetches NVIDIA's TensorRT libraries from PyPI, as far as tests of the binding use them without a GPU, and unpacks them
# in target/tensorrt. Arguments: lean (44 MB: opens and tells its version), full (549 MB: has the ONNX parser).
# They are NVIDIA's, under NVIDIA's licence, and no part of this project.
set -eu
cd "$(dirname "$0")/.."
into=target/tensorrt

# fetch FOLDER PLATFORM REQUIREMENT FILE...: the files of a wheel, unless they are there.
fetch() {
    folder=$into/$1 platform=$2 requirement=$3
    shift 3
    missing=
    for file; do
        [ -s "$folder/${file##*/}" ] || missing=$file
    done
    [ -n "$missing" ] || return 0
    .ci/install python3-pip
    download=$into/download
    rm -rf "$download"
    mkdir -p "$download" "$folder"
    echo "fetching $requirement from PyPI"
    /usr/bin/python3 -m pip --quiet --disable-pip-version-check download --no-deps --only-binary=:all: \
        --python-version 3.10 --implementation cp --abi none --platform "$platform" --dest "$download" "$requirement"
    for file; do
        /usr/bin/python3 - "$download"/*.whl "$file" "$folder/${file##*/}" <<'EOF'
import os, shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target + ".part", "wb") as file:
    shutil.copyfileobj(source, file, 1 << 20)
os.rename(target + ".part", target)
EOF
    done
    rm -rf "$download"
}

for which; do
    case $which in
    lean)
        fetch lean-11.4 "manylinux_2_28_$(uname -m)" tensorrt-lean-cu13-libs==11.4.0.106 \
            tensorrt_lean_libs/libnvinfer_lean.so.11
        ;;
    full)
        fetch full-8.5 manylinux_2_17_x86_64 tensorrt==8.5.3.1 \
            tensorrt/libnvinfer.so.8 tensorrt/libnvonnxparser.so.8
        ;;
    *)
        echo "usage: $0 [lean] [full]" >&2
        exit 2
        ;;
    esac
done
