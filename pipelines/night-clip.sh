#!/bin/sh
# A dark clip of a street at night with a ticking clock for sound, made on this machine: for demonstrations and tests.
#
#   pipelines/night-clip.sh OUT.mp4 [WIDTH HEIGHT FRAMES [camera]]   640 360 100 unless said; 25 frames a second
#
# With `camera` it is as a surveillance camera would deliver it: half of it near-black, cars with beams, 400 kbit/s.
#
# Needs plugins-base, -good (MP4), -ugly (x264), libav (AAC), and make build.
set -eu
. "$(dirname "$0")/common.sh"
[ $# -ge 1 ] || die "usage: $0 OUT.mp4 [WIDTH HEIGHT FRAMES [camera]]"
out=$1 width=${2:-640} height=${3:-360} frames=${4:-100} kind=${5:-}
case $kind in
'') coder="pass=quant quantizer=14" ;;
camera) coder="bitrate=$((400 * width * height / 230400 + 20)) speed-preset=veryfast bframes=0 key-int-max=50" ;;
*) die "'$kind' is no kind of clip: leave it out, or say camera" ;;
esac
draw=$built/examples/night_clip
[ -x "$draw" ] || die "$draw is missing: make build builds it"
# Almost no quantisation, or the coder would take away the sensor's noise.
# shellcheck disable=SC2086 # A kind and properties are words.
"$draw" "$width" "$height" "$frames" $kind | gst-launch-1.0 -q -e \
    fdsrc ! rawvideoparse "width=$width" "height=$height" format=rgb framerate=25/1 ! queue ! videoconvert \
    ! video/x-raw,format=I420,colorimetry=bt709 ! x264enc $coder ! h264parse ! mux. \
    audiotestsrc wave=ticks volume=0.4 samplesperbuffer=1764 "num-buffers=$frames" ! audio/x-raw,rate=44100,channels=1 \
    ! audioconvert ! avenc_aac ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! mux. \
    mp4mux name=mux ! filesink "location=$out"
