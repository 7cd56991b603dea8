#!/bin/sh
# File to file: every frame bright and clean, audio kept, progress every two seconds. Stopped early, it leaves no output.
#
#   pipelines/transcode.sh IN OUT.mp4 [PROPERTY=VALUE ...]      for example ratio=6 model=full
#
# Needs GStreamer's tools, plugins-base with its apps, -good (MP4), -ugly (x264), and libav (AAC, most decoders).
set -eu
. "$(dirname "$0")/common.sh"
[ $# -ge 2 ] || die "usage: $0 IN OUT.mp4 [PROPERTY=VALUE ...]"
in=$1 out=$2
shift 2
[ -r "$in" ] || die "$in cannot be read"
[ ! "$in" -ef "$out" ] || die "$in is both the input and the output: give the output another name"
need x264enc mp4mux avenc_aac progressreport
has video "$in" || die "$in has no video that GStreamer can decode; see gst-discoverer-1.0 \"$in\""

# Shown as it runs, so that it can be copied.
launch() {
    echo "gst-launch-1.0 $*"
    gst-launch-1.0 -e "$@"
}
# shellcheck disable=SC2086 # $ENHANCE is several words.
set -- d. ! video/x-raw ! queue ! videoconvert ! progressreport name=progress update-freq=2 \
    ! $ENHANCE "$@" ! videoconvert ! x264enc ! mux. \
    mp4mux name=mux ! filesink location="$out.part"
if has audio "$in"; then
    # The queue holds the audio while x264 looks ahead.
    set -- "$@" d. ! audio/x-raw ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! audioconvert ! audioresample \
        ! avenc_aac ! mux.
fi
trap 'rm -f "$out.part"' EXIT
trap 'exit 130' INT TERM
launch filesrc location="$in" ! decodebin name=d "$@"
mv "$out.part" "$out"
