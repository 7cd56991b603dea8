#!/bin/bash
# The GPU path on a machine with an NVIDIA GPU: whether it is right, what happens when something is wrong, how fast it is.
#
#   tests/gpu/run.sh [--release DIR] [--tensorrt DIR] [--models "lite full"] [--sizes "1280x720 …"] [--precisions "fp16 fp32"]
#                    [--frames N] [--cache DIR] [--results DIR] [--only "selftest speed failures sanitizer element"]
#
# The backend cuda comes first, as it needs the driver alone: whether it is right, then how fast. Then TensorRT, whose
# engines are built for every model, precision and size, which takes minutes each time; --cache DIR keeps them from one
# run to the next. BACKEND=cuda or BACKEND=tensorrt runs one of the two. --only runs some of the parts. --results DIR keeps
# what was measured, as JSON. No step ends the others.
#
# Needs the release binaries (uretinex and, for the element, libgsturetinex.so), an NVIDIA driver, and a folder with
# TensorRT's libraries unless the system has them; BACKEND=cuda needs no TensorRT. Nothing is installed and nothing is left behind. Where Python has
# PyTorch it is measured in the same run; where compute-sanitizer is, kernels are checked with it; where GStreamer is,
# the element runs too. Exit status 1 if a check failed.
#
# BACKEND=cpu runs the same script without a GPU, to test the script.
set -u
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
all=("$@")
release=$repository/target/release tensorrt= results= models="video lite full" sizes="1280x720 1920x1080 3840x2160" frames=1000
precisions="fp16 fp32" cache= only="selftest speed failures sanitizer element"
while [ $# -gt 0 ]; do
    case $1 in
        --release) release=$2 ;;
        --tensorrt) tensorrt=$2 ;;
        --models) models=$2 ;;
        --sizes) sizes=$2 ;;
        --frames) frames=$2 ;;
        --precisions) precisions=$2 ;;
        --cache) cache=$2 ;;
        --only) only=$2 ;;
        --results) results=$2 ;;
        *) sed -n '2,20s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift 2 || exit 2
done
if [ -z "${BACKEND:-}" ]; then
    status=0
    for backend in cuda tensorrt; do
        printf '\n#### backend=%s\n' $backend
        BACKEND=$backend bash "$0" "${all[@]}" || status=1
    done
    exit $status
fi
backend=$BACKEND
# Whether the backend works on a GPU.
on_gpu() { [ "$backend" = cuda ] || [ "$backend" = tensorrt ]; }
uretinex=$release/uretinex
[ -x "$uretinex" ] || { echo "no $uretinex: run make build, or give --release DIR" >&2; exit 2; }
if [ -n "$tensorrt" ]; then
    [ -d "$tensorrt" ] || { echo "no folder $tensorrt" >&2; exit 2; }
    export URETINEX_TENSORRT=$tensorrt LD_LIBRARY_PATH=$tensorrt${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
export URETINEX_ENGINE_CACHE=${cache:-$scratch/engines} XDG_CACHE_HOME=$scratch/cache
failures=0

title() { printf '\n== %s\n' "$*"; }
passed() { printf 'ok      %s\n' "$*"; }
skipped() { printf 'skipped %s\n' "$*"; }
failed() { printf 'FAILED  %s\n' "$*"; failures=$((failures + 1)); }
# succeeds WHAT COMMAND...: the command ends well.
succeeds() {
    local what=$1
    shift
    if "$@" >"$scratch/out" 2>&1; then passed "$what"; else failed "$what"; tail -5 "$scratch/out"; fi
}
# refused WHAT TEXT COMMAND...: the command fails without a crash, and says TEXT.
refused() {
    local what=$1 text=$2 status
    shift 2
    "$@" >"$scratch/out" 2>&1
    status=$?
    if [ $status -eq 1 ] && grep -q -- "$text" "$scratch/out" && ! grep -q panicked "$scratch/out"; then
        passed "$what: $(grep -m1 -- "$text" "$scratch/out" | cut -c1-150)"
    else
        failed "$what: exit status $status"
        tail -5 "$scratch/out"
    fi
}
# field NAME: a number or a text of the JSON object in $scratch/json.
field() { grep -o "\"$1\":[^,}]*" "$scratch/json" | head -1 | cut -d: -f2- | tr -d '"'; }
# wanted PART: it is to be run.
wanted() { case " $only " in *" $1 "*) ;; *) return 1 ;; esac; }
bench() { "$uretinex" bench --backend "$backend" "$@"; }

title "Machine"
date -u '+%Y-%m-%d %H:%M UTC'
uname -srm
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
"$uretinex" doctor || failures=$((failures + 1))

for model in $models; do
    wanted selftest || continue
    title "Engines of $model"
    if [ "$backend" = tensorrt ]; then
        for precision in $precisions; do
            SECONDS=0
            succeeds "$model $precision for 1920x1080" \
                "$uretinex" engines build --model "$model" --precision $precision --size 1920x1080
            echo "        $SECONDS s"
        done
        succeeds "whole" "$uretinex" engines verify
    else
        skipped "$backend has none"
    fi
    title "$model against the processor, and what may go wrong"
    for precision in $precisions; do
        on_gpu || [ $precision = fp32 ] || continue
        "$uretinex" selftest --backend "$backend" --model "$model" --precision $precision --frames "$frames" ||
            failures=$((failures + 1))
    done
done

title "Speed"
printf '%-6s %-10s %-7s %-5s %10s %10s %10s  %s\n' model size memory type frames/s "ms/frame" GFLOP/s "ms for each stage"
memories="system device"
on_gpu || memories=system
for model in $models; do
    wanted speed || continue
    for size in $sizes; do
        count=300
        on_gpu || count=3
        for precision in $precisions; do
            on_gpu || [ $precision = fp32 ] || continue
            for memory in $memories; do
                if ! bench --model "$model" --size "$size" --precision $precision --memory $memory --frames $count --json \
                    >"$scratch/json" 2>"$scratch/out"; then
                    failed "$model $size $precision $memory: $(tail -1 "$scratch/out")"
                    continue
                fi
                stages=
                for stage in ingest decompose update restore illuminate adjust compose; do
                    stages="$stages $stage $(printf %.3f "$(field $stage)")"
                done
                [ $memory = device ] && stages=
                printf '%-6s %-10s %-7s %-5s %10.1f %10.2f %10.0f %s\n' "$model" "$size" $memory "$(field precision)" \
                    "$(field frames_per_second)" "$(field total)" "$(field gflops)" "$stages"
                cp "$scratch/json" "$scratch/$model-$size-$precision-$memory.json"
                [ -n "$results" ] && mkdir -p "$results" &&
                    cp "$scratch/json" "$results/$backend-$model-$size-$precision-$memory.json"
            done
        done
    done
done

title "Processes and libraries"
if [ "$backend" = tensorrt ] && wanted failures; then
    cache=$scratch/two
    build() { "$uretinex" engines build --model lite --precision fp16 --size 640x360 --engine-cache "$cache"; }
    build >"$scratch/one" 2>&1 &
    first=$!
    build >"$scratch/other" 2>&1
    second=$?
    wait $first && [ $second -eq 0 ] && passed "two processes build at once" || failed "two processes build at once"
    succeeds "what they built is whole" "$uretinex" engines verify --engine-cache "$cache"

    refused "a GPU that is not there" "GPU 63" bench --device-id 63 --frames 1
    refused "no GPU to be seen" "GPU" env CUDA_VISIBLE_DEVICES= "$uretinex" bench --backend tensorrt --frames 1
    CUDA_VISIBLE_DEVICES= "$uretinex" bench --backend auto --model lite --frames 2 >"$scratch/out" 2>&1
    grep -q " on cpu" "$scratch/out" && passed "auto goes to the processor then" || failed "auto does not go to the processor"
    mkdir "$scratch/empty"
    refused "no TensorRT" "TensorRT" \
        env URETINEX_TENSORRT="$scratch/empty" "$uretinex" bench --backend tensorrt --frames 1
    if [ -n "$tensorrt" ]; then
        mkdir "$scratch/parserless"
        libraries=$tensorrt
        [ -d "$tensorrt/lib" ] && libraries=$tensorrt/lib
        for library in "$libraries"/*; do
            case $library in *nvonnxparser*) ;; *) ln -s "$library" "$scratch/parserless/" ;; esac
        done
        refused "TensorRT without its parser" "parser" \
            env URETINEX_TENSORRT="$scratch/parserless" "$uretinex" bench --backend tensorrt --frames 1
    else
        skipped "TensorRT without its parser: no folder was given"
    fi
    # Whole files in each other's place stand for engines of another TensorRT or GPU: their keys do not match.
    files=("$cache"/*restoration* "$cache"/*illumination*)
    mv "${files[0]}" "$scratch/swap" && mv "${files[1]}" "${files[0]}" && mv "$scratch/swap" "${files[1]}"
    succeeds "engines made for something else are built again" \
        bench --model lite --precision fp16 --size 640x360 --frames 3 --engine-cache "$cache"
else
    skipped "not with --backend $backend, or not wanted"
fi

title "Kernels under compute-sanitizer"
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | tail -1)
if on_gpu && [ -n "$sanitizer" ] && wanted sanitizer; then
    # All kernels for accesses; for races and undefined memory ours alone, if this version can choose.
    ours=
    if "$sanitizer" --help 2>&1 | grep -q -- --kernel-regex; then
        for kernel in ingest pyramid motion camera fuse trust update compose guide convolve tensor points move mean pooled scale; do
            ours="$ours --kernel-regex kns=$kernel"
        done
    fi
    for tool in memcheck racecheck initcheck; do
        chosen=$ours
        [ $tool = memcheck ] && chosen=
        [ $tool = memcheck ] || [ -n "$ours" ] || { skipped "$tool: this version cannot choose kernels"; continue; }
        for size in 640x360 333x187; do
            # $chosen is several words.
            succeeds "$tool at $size" "$sanitizer" --tool $tool --error-exitcode 9 $chosen \
                "$uretinex" bench --backend "$backend" --model lite --size $size --frames 2
            # shellcheck disable=SC2086
            succeeds "$tool at $size, with the stream's memory" "$sanitizer" --tool $tool --error-exitcode 9 $chosen \
                "$uretinex" bench --backend "$backend" --model lite --size $size --frames 4 --temporal 1
        done
    done
else
    skipped "there is none, or it is not wanted"
fi

title "The element"
if command -v gst-launch-1.0 >/dev/null && [ -e "$release/libgsturetinex.so" ] && wanted element; then
    export GST_PLUGIN_PATH=$release GST_REGISTRY=$scratch/registry
    for format in NV12 P010_10LE RGBA Y444 I422_10LE ARGB64; do
        succeeds "200 frames $format" timeout 600 gst-launch-1.0 -q videotestsrc num-buffers=200 pattern=18 ! \
            "video/x-raw,format=$format,width=1280,height=720,framerate=30/1" ! \
            uretinexenhance backend="$backend" model=lite ratio=4 temporal=0 ! fakesink
    done
    if on_gpu && gst-inspect-1.0 --exists cudaupload && gst-inspect-1.0 --exists cudadownload; then
        cuda='video/x-raw(memory:CUDAMemory)'
        for format in NV12 P010_10LE RGBA BGRA RGB RGBx BGRx Y444 P016_LE Y444_16LE; do
            for size in 1280x720 644x362; do # Rows without padding, whose bytes are anybody's.
                source="videotestsrc num-buffers=10 pattern=18 ! video/x-raw,format=$format,width=${size%x*},height=${size#*x},framerate=30/1"
                element="uretinexenhance backend=$backend model=lite ratio=4 temporal=0"
                # shellcheck disable=SC2086 # One word for each word of the pipeline.
                succeeds "$format $size in CUDA memory" timeout 600 gst-launch-1.0 -q $source ! cudaupload ! "$cuda" ! \
                    $element ! "$cuda" ! cudadownload ! video/x-raw ! filesink location="$scratch/device.raw"
                # shellcheck disable=SC2086
                timeout 600 gst-launch-1.0 -q $source ! $element ! filesink location="$scratch/host.raw" >"$scratch/out" 2>&1
                if [ -s "$scratch/device.raw" ] && cmp -s "$scratch/device.raw" "$scratch/host.raw"; then
                    passed "$format $size is what it is in system memory"
                else
                    failed "$format $size differs from system memory in $(cmp -l "$scratch/device.raw" "$scratch/host.raw" 2>&1 | wc -l) bytes"
                fi
            done
        done
        succeeds "two elements, one context" timeout 600 gst-launch-1.0 -q videotestsrc num-buffers=100 ! \
            video/x-raw,format=NV12,width=1280,height=720 ! cudaupload ! "$cuda" ! uretinexenhance ratio=4 backend=$backend ! \
            uretinexenhance ratio=0 backend=$backend ! "$cuda" ! fakesink
        if gst-inspect-1.0 --exists nvh264dec && gst-inspect-1.0 --exists x264enc; then
            succeeds "from the decoder" timeout 600 gst-launch-1.0 -q videotestsrc num-buffers=100 ! \
                video/x-raw,format=NV12,width=1280,height=720 ! x264enc ! h264parse ! nvh264dec ! "$cuda" ! \
                uretinexenhance ratio=4 backend=$backend ! "$cuda" ! fakesink
        fi
    else
        skipped "frames in CUDA memory: backend $backend, or GStreamer has no cudaupload"
    fi
else
    skipped "no GStreamer, no libgsturetinex.so, or not wanted"
fi

title "PyTorch on the same GPU"
pytorch=
if on_gpu && wanted speed && python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null &&
    [ -d "$repository/training/netpack" ]; then
    PYTHONPATH=$repository/training python3 "$here/pytorch.py" $sizes | tee "$scratch/pytorch" && pytorch=1
fi
[ -n "$pytorch" ] || skipped "python3 here has no PyTorch that sees a GPU"

title "Shares"
if on_gpu && wanted speed; then
    matrix=$(sed -n 's/^matrix \([0-9.e+]*\) .*/\1/p' "$scratch/pytorch" 2>/dev/null)
    for model in $models; do
        for size in $sizes; do
            json=$scratch/$model-$size-fp16-system.json
            [ -e "$json" ] || continue
            cp "$json" "$scratch/json"
            # The convolutions' operations over the time of the four networks; the rest over the whole frame, whose time
            # is that of frames in device memory.
            device=$scratch/$model-$size-fp16-device.json
            rate=$(grep -o '"frames_per_second":[^,}]*' "$device" 2>/dev/null | cut -d: -f2)
            awk -v name="$model $size" -v rate="${rate:-0}" -v matrix="${matrix:-0}" -v gflops="$(field gflops)" \
                -v own="$(field frames_per_second)" -v d="$(field decompose)" -v r="$(field restore)" \
                -v i="$(field illuminate)" -v a="$(field adjust)" -v update="$(field update_bytes_per_second)" \
                -v copy="$(field copy_bytes_per_second)" 'BEGIN {
                    networks = d + r + i + a
                    flops = gflops * 1e9 / own
                    printf "%-18s convolutions %.1f TFLOP/s", name, flops / (networks * 1e-3) / 1e12
                    if (matrix > 0) printf ", %.0f %% of the matrix rate", 100 * flops / (networks * 1e-3) / matrix
                    if (rate > 0) printf "; not the networks %.1f %% of a frame in device memory", 100 * (1 - networks * 1e-3 * rate)
                    if (copy > 0) printf "; update %.0f %% of the copy bandwidth (%.0f GB/s)", 100 * update / copy, copy / 1e9
                    printf "\n"
                }'
        done
    done
else
    skipped "$backend"
fi

title "Result"
echo "$failures failed"
[ $failures -eq 0 ]
