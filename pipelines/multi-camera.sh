#!/bin/sh
# Several cameras in one process, two to a row on the screen. The elements share one set of weights.
#
#   pipelines/multi-camera.sh SOURCE ...                      each: /dev/videoN, rtsp://..., a file, or test
#
# Needs plugins-base and -good, and a screen; SINK=fakesink does without one, FRAMES=100 stops after so many.
# WIDTH and HEIGHT of each picture: 640 and 360 unless set.
set -eu
. "$(dirname "$0")/common.sh"
[ $# -ge 1 ] || set -- "$(camera)" test
need compositor
width=${WIDTH:-640} height=${HEIGHT:-360}
branches='' places='' n=0
for name; do
    source_of "$name"
    # A camera that is late or gone must not hold the others: its queue drops, and the compositor shows what it has.
    branches="$branches $source ! $DECODED ! queue leaky=downstream max-size-buffers=2 ! $ENHANCE
        ! videoconvert ! queue ! wall.sink_$n"
    places="$places sink_$n::xpos=$((n % 2 * width)) sink_$n::ypos=$((n / 2 * height)) sink_$n::width=$width
        sink_$n::height=$height sink_$n::sizing-policy=keep-aspect-ratio"
    n=$((n + 1))
done
# shellcheck disable=SC2086 # Several words each.
exec gst-launch-1.0 -e compositor name=wall background=black $places ! videoconvert ! ${SINK:-autovideosink} $branches
