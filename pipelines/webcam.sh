#!/bin/sh
# Camera to screen. Without a camera a test source takes its place.
#
#   pipelines/webcam.sh [/dev/videoN | test]
#
# Needs plugins-base and -good, and a screen; SINK=fakesink does without one, FRAMES=100 stops after so many.
set -eu
. "$(dirname "$0")/common.sh"
need videoconvert
source_of "${1:-$(camera)}"
# A frame that comes too late is dropped before the network (qos), so the picture stays live on a slow machine.
# shellcheck disable=SC2086 # All four are several words.
exec gst-launch-1.0 -e $source ! $DECODED ! queue leaky=downstream max-size-buffers=2 \
    ! $ENHANCE ! videoconvert ! ${SINK:-autovideosink}
