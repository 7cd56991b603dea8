#!/bin/sh
# Before and after, side by side: to the screen, or to a file if one is named.
#
#   pipelines/before-after.sh IN [OUT.mp4]                    IN: file, /dev/videoN, rtsp://..., or test
#
# Needs plugins-base and -good, for a file -ugly (x264). WIDTH and HEIGHT of each half: 640 and 360 unless set.
set -eu
. "$(dirname "$0")/common.sh"
[ $# -ge 1 ] || die "usage: $0 IN [OUT.mp4]"
need compositor textoverlay deinterlace videoflip
source_of "$1"
# 4:2:0 video has even sides.
width=${WIDTH:-640} height=$((${HEIGHT:-360} / 2 * 2))
if [ $# -ge 2 ]; then
    need x264enc mp4mux h264parse
    sink="$H264 ! mp4mux ! filesink location=$2"
else
    sink="videoconvert ! ${SINK:-autovideosink}"
fi
half="width=$width sink_N::height=$height sink_N::sizing-policy=keep-aspect-ratio"
left=$(echo "sink_N::$half" | sed 's/sink_N/sink_0/g') right=$(echo "sink_N::$half" | sed 's/sink_N/sink_1/g')
# shellcheck disable=SC2086 # Several words each.
exec gst-launch-1.0 -e $source ! $DECODED ! videoflip video-direction=auto ! videoconvert ! tee name=t \
    t. ! queue ! textoverlay text=before valignment=top ! videoconvert ! both.sink_0 \
    t. ! queue ! $ENHANCE ! textoverlay text=after valignment=top ! videoconvert ! both.sink_1 \
    compositor name=both $left $right sink_1::xpos=$width ! $sink
