#!/bin/sh
# What make demo does after the build: a dark clip through the element, and pictures of before and after in demo/.
#
#   pipelines/demo.sh [CLIP]                                  without a clip, one is made by night-clip.sh
#
# DEMO names another folder than demo/.
set -eu
. "$(dirname "$0")/common.sh"
need x264enc mp4mux pngenc compositor videoanalyse
demo=${DEMO:-demo}
mkdir -p "$demo"
if [ $# -ge 1 ]; then
    [ -r "$1" ] || die "$1 cannot be read: INPUT=clip.mp4 takes a video file"
fi

# Frame 50, or the last of a shorter clip. Frames that come out of a decoder after it has been stopped are unfit.
picture() {
    rm -f "$demo"/.frame-*.png
    gst-launch-1.0 -q filesrc location="$1" ! decodebin ! video/x-raw ! identity eos-after=60 ! videoconvert \
        ! pngenc compression-level=1 ! multifilesink location="$demo/.frame-%03d.png" max-files=20 >/dev/null
    chosen=$demo/.frame-050.png
    [ -e "$chosen" ] || chosen=$(ls "$demo"/.frame-*.png | tail -n 1)
    mv "$chosen" "$2"
    rm -f "$demo"/.frame-*.png
}

luma() {
    gst-launch-1.0 -m filesrc location="$1" ! pngdec ! videoconvert ! video/x-raw,format=I420 ! videoanalyse ! fakesink |
        sed -n 's/.*luma-average=(double)\([0-9.]\{5\}\).*/\1/p' | head -n 1
}

# show CLIP PREFIX: brightens it, with the line of README.md and the audio kept, and takes pictures. Frames are within 640x360.
show() {
    echo "== brightening $1"
    # shellcheck disable=SC2086 # Properties are words.
    "$here/transcode.sh" "$1" "$demo/$2bright.mp4" ${PROPERTIES:-}
    echo "== taking pictures"
    picture "$1" "$demo/$2before.png"
    picture "$demo/$2bright.mp4" "$demo/$2after.png"
    gst-launch-1.0 -q compositor name=both background=black sink_0::width=640 sink_0::height=360 \
        sink_0::sizing-policy=keep-aspect-ratio sink_1::width=640 sink_1::height=360 \
        sink_1::sizing-policy=keep-aspect-ratio sink_1::xpos=640 ! videoconvert ! video/x-raw,format=RGB \
        ! pngenc snapshot=true ! filesink location="$demo/$2before-after.png" \
        filesrc location="$demo/$2before.png" ! pngdec ! imagefreeze num-buffers=1 ! videoconvert ! both.sink_0 \
        filesrc location="$demo/$2after.png" ! pngdec ! imagefreeze num-buffers=1 ! videoconvert ! both.sink_1 >/dev/null
    full=$(cd "$demo" && pwd)
    cat <<END

dark clip        $1
bright clip      $full/$2bright.mp4
before           $full/$2before.png         mean brightness $(luma "$demo/$2before.png")
after            $full/$2after.png          mean brightness $(luma "$demo/$2after.png")
side by side     $full/$2before-after.png
END
}

if [ $# -ge 1 ]; then
    show "$1" ""
else
    echo "== drawing a dark clip"
    "$here/night-clip.sh" "$demo/night.mp4"
    show "$demo/night.mp4" ""
    echo
    echo "== drawing a dark clip as a surveillance camera delivers it"
    "$here/night-clip.sh" "$demo/camera.mp4" 640 360 100 camera
    show "$demo/camera.mp4" camera-
fi
