#!/bin/sh
# Figures of docs/performance.md, which says at its end what is not among them: about a quarter of an hour on two quiet
# cores.
# PYTHON has numpy, pillow and onnx, and onnxruntime, openvino and torch as far as they are to be measured.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
cargo build --release --locked --workspace --bins --lib
release=${CARGO_TARGET_DIR:-target}/release
bench="$release/uretinex bench --backend cpu"

peers() { "$python" benches/peers.py --binary "$release/uretinex" "$@"; }
peers --model full --sizes 640x360 --rounds 7
peers --model full --sizes 1280x720 --rounds 4 --frames 2 --peers OnnxRuntime OpenVino
peers --model lite --sizes 1280x720 1920x1080 --rounds 7 --frames 30
for model in full lite; do
    peers --model $model --sizes 1920x1080 --memory
done

printf '\nStages\n'
$bench --model full --size 640x360 --frames 10
$bench --model lite --size 1280x720 --frames 100

figure() { # name, arguments: milliseconds, nanoseconds for a pixel, bytes for a pixel
    name=$1
    shift
    $bench --json "$@" | "$python" -c '
import json, sys
j = json.load(sys.stdin)
ms = j["milliseconds"]["total"]
print("%-34s%10.2f ms%9.1f ns/pixel%7.0f bytes/pixel" % (sys.argv[1], ms, ms * 1e6 / (j["width"] * j["height"]), j["bytes_per_pixel"]))
' "$name"
}
printf '\nThreads\n'
for precision in fp32 bfp16; do
    for threads in 1 2; do
        set -- --threads $threads --precision $precision
        figure "full 640x360 $precision, $threads" --model full --size 640x360 --frames 8 "$@"
        figure "lite 1280x720 $precision, $threads" --model lite --size 1280x720 --frames 60 "$@"
    done
done
printf '\nSizes\n'
for precision in fp32 bfp16; do
    for size in 320x180 640x360 1280x720 1920x1080 3840x2160; do
        case $size in
            3840*) full=1 lite=10 ;;
            1920*) full=2 lite=30 ;;
            *) full=4 lite=60 ;;
        esac
        figure "full $size $precision" --model full --size $size --frames $full --precision $precision
        figure "lite $size $precision" --model lite --size $size --frames $lite --precision $precision
    done
done

printf '\nThe element, NV12 in and out, frames/s\n'
GST_PLUGIN_PATH=$(pwd)/$release
case $release in /*) GST_PLUGIN_PATH=$release ;; esac
export GST_PLUGIN_PATH
for precision in fp32 bfp16; do
    for size in 1280,height=720 1920,height=1080; do
        gst-launch-1.0 -v videotestsrc pattern=black num-buffers=300 \
            ! "video/x-raw,format=NV12,width=$size,framerate=1000/1" \
            ! uretinexenhance model=lite ratio=4 temporal=0 backend=cpu precision=$precision \
            ! fpsdisplaysink video-sink=fakesink text-overlay=false sync=false 2>&1 |
            sed -n "s|.*average: \([0-9.]*\).*|lite $size $precision: \1|p" | tail -n 1
    done
done
