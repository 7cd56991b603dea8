# Sourced by the scripts beside it: finds the element, and turns the name of a source into a source.

here=$(cd "$(dirname "$0")" && pwd)
# What make build leaves; URETINEX_BUILD=debug takes what the Rust tests build.
built=${CARGO_TARGET_DIR:-$here/../target}/${URETINEX_BUILD:-release}
if [ -e "$built/libgsturetinex.so" ]; then
    export GST_PLUGIN_PATH="$built${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
fi

# The element with its properties; the environment may say otherwise.
: "${ENHANCE:=uretinexenhance}"

# Between any decoder and the element: one progressive frame for each that comes, in a format that the element takes.
DECODED="videoconvert ! deinterlace mode=auto-strict fields=top ! videoconvert"
# Between the element and a file that every player shows: upright, as the camera's tag says, 8 bits, 4:2:0.
H264="videoconvert ! videoflip video-direction=auto ! videoconvert ! ${ENCODER:-x264enc} ! video/x-h264,profile=high ! h264parse"

die() {
    echo "error: $*" >&2
    exit 1
}

# Elements that a script cannot do without. Unless told otherwise, gst-inspect asks for its own version.
need() {
    for element in uretinexenhance "$@"; do
        gst-inspect-1.0 --exists --atleast-version=0.0 "$element" || die "GStreamer does not know $element: make build builds" \
            "uretinexenhance, make deps installs the packages of the others"
    done
}

# Whether a file has a stream of that kind (audio or video).
has() {
    gst-discoverer-1.0 "$2" 2>/dev/null | grep -q "^ *$1"
}

# One word for each stream of that kind (audio, or subtitles of text) that a file has.
streams() {
    gst-discoverer-1.0 "$2" 2>/dev/null | awk -v kind="$1" '$1 == kind && !/subpicture|DVB|PGS|VobSub|Unknown/ { print kind }'
}

# The caps of a file's first video frame. Of what changes in two threads at once, GStreamer may tell one change alone: so
# a few tries.
first_caps() {
    for _ in 1 2 3 4 5 6; do
        caps=$(gst-launch-1.0 -v filesrc location="$1" ! decodebin ! video/x-raw ! identity name=first eos-after=1 ! fakesink 2>/dev/null |
            sed -n 's/.*GstIdentity:first.GstPad:sink: caps = //p' | head -n 1)
        [ -z "$caps" ] || break
    done
    echo "$caps"
}
# A field of such caps, without its type.
field() {
    echo "$1" | sed -n "s/.*[ ,]$2=(\([a-z]*\))\([^,;]*\).*/\2/p"
}

# The first camera of this machine, or "test".
camera() {
    for device in /dev/video*; do
        if [ -c "$device" ]; then
            echo "$device"
            return
        fi
    done
    echo "note: no camera in /dev/video*: a test source takes its place" >&2
    echo test
}

# Words of gst-launch for a source: a camera's device, an RTSP address, a file, or "test". The result is in $source;
# a file's name must not contain blanks.
source_of() {
    case $1 in
        test) source="videotestsrc is-live=true num-buffers=${FRAMES:--1} pattern=smpte
                ! video/x-raw,width=320,height=180,framerate=10/1 ! timeoverlay
                ! videobalance contrast=0.25 brightness=-0.35" ;;
        rtsp://* | rtsps://*) source="rtspsrc location=$1 latency=200 ! decodebin" ;;
        /dev/*) source="v4l2src device=$1 num-buffers=${FRAMES:--1} ! decodebin" ;;
        *)
            [ -r "$1" ] || die "$1 cannot be read: give a device, an RTSP address, a file, or test"
            case $1 in *[[:space:]]*) die "$1 contains blanks: rename it or make a link" ;; esac
            source="filesrc location=$1 ! decodebin"
            ;;
    esac
}
