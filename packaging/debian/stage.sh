#!/bin/sh
# Lays out what goes into the package under target/deb, for `cargo deb`: the plugin in the folder of its architecture, manual pages
# and completions as the program writes them, and scripts.
#
#   packaging/debian/stage.sh                                 after make build
set -eu
cd "$(dirname "$0")/../.."
built=${CARGO_TARGET_DIR:-target}/release
stage=target/deb
rm -rf "$stage"
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
install -D -m 644 "$built/libgsturetinex.so" "$stage/lib/$multiarch/gstreamer-1.0/libgsturetinex.so"
strip --strip-unneeded "$stage/lib/$multiarch/gstreamer-1.0/libgsturetinex.so"
"$built/uretinex" documents "$stage/documents"
mkdir -p "$stage/man/man1" "$stage/man/man8"
for page in "$stage"/documents/man/*.1; do
    gzip -9n <"$page" >"$stage/man/man1/$(basename "$page").gz"
done
gzip -9n <packaging/debian/uretinex-service.8 >"$stage/man/man8/uretinex-service.8.gz"
# What a user runs, and what that reads; not what draws demonstrations and tests.
mkdir -p "$stage/scripts" "$stage/sourced"
for script in archive.py before-after.sh multi-camera.sh rtsp.py stage.py transcode.sh tune.py webcam.sh webrtc.py; do
    cp -p "pipelines/$script" "$stage/scripts/"
done
for file in archive_plan.py archive-requirements.txt common.sh; do
    cp -p "pipelines/$file" "$stage/sourced/"
done
