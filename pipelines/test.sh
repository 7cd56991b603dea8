#!/bin/sh
# Runs every script of this folder, and what README.md and docs/recipes.md say, on small clips made here. Prints one line for each case,
# and at the end how many passed, failed and were skipped.
#
#   pipelines/test.sh [CASE ...]                              all unless named
#
# Needs make build and the packages of .ci/packages; no camera, no screen, no network.
set -u
. "$(dirname "$0")/common.sh"
root=$(cd "$here/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PATH="$built:$PATH" SINK=fakesink GST_REGISTRY="$work/registry.bin"
# The tests are of the pipelines: small frames, so that the network takes little of their time.
width=160 height=96 frames=12
cd "$work" || exit 1

# Presentation times of a clip's frames.
stamps() {
    gst-launch-1.0 -m filesrc location="$1" ! decodebin ! videoconvert ! video/x-raw,format=I420 ! videoanalyse ! fakesink |
        sed -n 's/.*GstVideoAnalyse, timestamp=(guint64)\([0-9]*\).*/\1/p'
}
# Mean brightness of a clip's or picture's first frame, in thousandths.
luma() {
    gst-launch-1.0 -m filesrc location="$1" ! decodebin ! videoconvert ! video/x-raw,format=I420 ! videoanalyse ! fakesink |
        sed -n 's/.*luma-average=(double)0*\.\([0-9]\{3\}\).*/\1/p' | sed -n '1s/^0*//p'
}
seconds() { gst-discoverer-1.0 "$1" | sed -n 's/.*Duration: .*:0*\([0-9]*\.[0-9]\{2\}\).*/\1/p'; }
brighter() {
    before=$(luma "$1") after=$(luma "$2")
    echo "mean brightness: ${before:-?} before, ${after:-?} after (of 1000)"
    [ "${after:-0}" -gt "$((${before:-1000} * 3 / 2))" ]
}
is() { [ "$1" = "$2" ] || { echo "expected '$2', found '$1'"; return 1; }; }

case_night_clip() {
    has video night.mp4 && has audio night.mp4 && is "$(stamps night.mp4 | wc -l)" $frames
}
# Whether a clip is what every player shows, and of that size.
plays() {
    gst-discoverer-1.0 -v "$1" >info || return 1
    for part in 'profile=(string)high,' 'chroma-format=(string)4:2:0' 'bit-depth-luma=(uint)8' "Width: ${2%x*}" "Height: ${2#*x}"; do
        grep -qF "$part" info || { echo "$1: no '$part'"; grep video info; return 1; }
    done
}
# draw FORMAT SIZE REST: a small clip in that pixel format.
draw() {
    raw="format=$1,width=${2%x*},height=${2#*x},framerate=25/1"
    shift 2
    # shellcheck disable=SC2086 # Elements are words.
    gst-launch-1.0 -q videotestsrc pattern=ball num-buffers=6 ! video/x-raw,"$raw" ! $*
}

case_transcode() {
    "$here/transcode.sh" night.mp4 bright.mp4 && stamps night.mp4 >a && stamps bright.mp4 >b && cmp a b &&
        is "$(wc -l <b)" $frames && has audio bright.mp4 && brighter night.mp4 bright.mp4
}
case_transcode_keeps_audio_length() {
    for kind in night bright; do
        timeout 60 gst-launch-1.0 -v filesrc location=$kind.mp4 ! decodebin expose-all-streams=false caps=audio/x-raw ! audio/x-raw ! identity silent=false ! fakesink 2>&1 |
            grep -c 'chain ' >$kind.audio
    done
    before=$(cat night.audio) after=$(cat bright.audio)
    # The coder begins and ends with at most two blocks of its own.
    echo "$before and $after blocks of audio"
    [ "$before" -gt 0 ] && [ "$((after - before))" -ge -2 ] && [ "$((after - before))" -le 2 ]
}
case_transcode_without_audio() {
    gst-launch-1.0 -q filesrc location=night.mp4 ! qtdemux ! h264parse ! mp4mux ! filesink location=silent.mp4 &&
        "$here/transcode.sh" silent.mp4 silent-bright.mp4 && is "$(stamps silent-bright.mp4 | wc -l)" $frames &&
        ! has audio silent-bright.mp4
}
case_transcode_takes_properties() {
    "$here/transcode.sh" night.mp4 plain.mp4 enabled=false && ! brighter night.mp4 plain.mp4
}
case_transcode_takes_every_format() {
    field="interlace field-pattern=1:1 !"
    # One line each: the clip, its pixel format, its size, its coder, the size of the result.
    while read -r clip format size result rest; do
        draw "$format" "$size" "$rest ! filesink location=$clip" && "$here/transcode.sh" "$clip" made.mp4 >log 2>&1 &&
            plays made.mp4 "$result" || { echo "$clip"; cat log; return 1; }
    done <<END
odd.webm I420 85x49 84x48 vp8enc ! webmmux
odd-rgb.avi BGR 33x48 32x48 avimux
rgb.avi BGR 64x48 64x48 avimux
444.mkv Y444 64x48 64x48 x264enc ! matroskamux
10-bit.mkv I420_10LE 64x48 64x48 x264enc ! matroskamux
prores.mov I422_10LE 64x48 64x48 avenc_prores_ks ! qtmux
interlaced.mkv I420 64x48 64x48 $field x264enc interlaced=true ! matroskamux
interlaced.mov I422_10LE 64x48 64x48 $field avenc_prores_ks ! qtmux
END
}
# As the decoders give them, with and without what the scripts put between: no converter changes them before the element.
case_decoded_video_needs_no_converter() {
    while read -r clip format rest; do
        draw "$format" 64x48 "$rest ! filesink location=$clip" || return 1
        for between in queue "$DECODED"; do
            # shellcheck disable=SC2086 # Elements are words.
            GST_DEBUG=uretinexenhance:4 timeout 60 gst-launch-1.0 filesrc location="$clip" ! decodebin ! $between ! \
                uretinexenhance backend=identity ! videoconvert ! x264enc ! video/x-h264,profile=high ! h264parse ! mp4mux ! \
                filesink location=made.mp4 >log 2>&1 &&
                grep -q "frames are .*format=(string)$format," log && plays made.mp4 64x48 ||
                { echo "$clip $between"; cat log; return 1; }
        done
    done <<END
444.mp4 Y444 x264enc ! mp4mux
422.mkv I422_10LE x264enc ! matroskamux
prores.mov I422_10LE avenc_prores_ks ! qtmux
profile1.webm Y444 vp9enc ! webmmux
profile3.webm I422_12LE vp9enc ! webmmux
END
}
# A phone writes how it was held into the track's matrix.
case_transcode_turns_upright() {
    draw I420 64x48 "x264enc ! mp4mux ! filesink location=lying.mp4" &&
        python3 - <<'END' && "$here/transcode.sh" lying.mp4 upright.mp4 && plays upright.mp4 48x64 &&
import struct
clip = bytearray(open("lying.mp4", "rb").read())
matrix = clip.index(b"tkhd") + 44
clip[matrix : matrix + 20] = struct.pack(">5i", 0, 65536, 0, -65536, 0)
open("lying.mp4", "wb").write(clip)
END
        ! gst-discoverer-1.0 -v upright.mp4 | grep -q rotate &&
        WIDTH=64 HEIGHT=48 "$here/before-after.sh" lying.mp4 both.mp4 && plays both.mp4 128x48
}
case_transcode_keeps_the_first_size() {
    for size in 64x48 48x64; do
        draw I420 $size "x264enc ! video/x-h264,profile=high,stream-format=byte-stream ! filesink location=$size.h264"
    done
    cat 64x48.h264 48x64.h264 >change.h264
    "$here/transcode.sh" change.h264 made.mp4 >log && plays made.mp4 64x48 && is "$(stamps made.mp4 | wc -l)" 12 &&
        grep "^note: the video is 48x64 from here on: it is scaled to its first size, 64x48" log &&
        is "$(grep -c '^note' log)" 1
}
case_transcode_bad_input() {
    head -c 1000 /dev/urandom >noise.mp4
    for bad in absent.mp4 noise.mp4; do
        ! "$here/transcode.sh" $bad out.mp4 2>message || return 1
        grep -q "^error: $bad" message && [ ! -e out.mp4 ] && [ ! -e out.mp4.part ] || return 1
    done
}
case_transcode_spares_its_input() {
    cp night.mp4 own.mp4 && ! "$here/transcode.sh" own.mp4 ./own.mp4 2>message &&
        grep -q "^error: own.mp4 is both" message && cmp night.mp4 own.mp4
}
case_before_after() {
    WIDTH=$width HEIGHT=$((height + 1)) "$here/before-after.sh" night.mp4 both.mp4 && plays both.mp4 $((2 * width))x$height && is "$(stamps both.mp4 | wc -l)" $frames &&
        gst-discoverer-1.0 -v both.mp4 | grep -q "Width: $((2 * width))"
}
case_webcam_falls_back_to_a_test_source() {
    if [ "$(camera 2>/dev/null)" = test ]; then
        FRAMES=$frames "$here/webcam.sh" >log 2>&1
        ended=$?
        cat log
        [ $ended = 0 ] && grep -q "^note: no camera" log
    else
        FRAMES=$frames "$here/webcam.sh" test
    fi
}
case_tune() {
    { sleep 1.5; printf 'RRbTs<cn q'; sleep 1; printf q; } | "$here/tune.py" night.mp4 >log 2>&1
    cat log
    grep -q "^uretinexenhance ratio=1.5 brightness=-0.1 strength=0.9 temporal=1$" log &&
    ! "$here/tune.py" missing.mp4 && ! "$here/tune.py" night.mp4 wrong=1
}
case_multi_camera() {
    FRAMES=$frames "$here/multi-camera.sh" test test night.mp4
}
case_rtsp_with_reconnection() {
    /usr/bin/python3 "$here/test_rtsp.py" reconnection
}
case_rtsp_with_a_password() {
    /usr/bin/python3 "$here/test_rtsp.py" password
}
case_rtsp_with_an_unusable_stream() {
    /usr/bin/python3 "$here/test_rtsp.py" unusable
}
case_rtsp_calls() {
    /usr/bin/python3 "$here/test_rtsp.py" calls
}
case_rtsp_bad_arguments() {
    ! "$here/rtsp.py" 2>message && grep -q usage message
}
case_webrtc() {
    /usr/bin/python3 "$here/test_webrtc.py" view && /usr/bin/python3 "$here/test_webrtc.py" refuse
}
case_archive_logic() {
    /usr/bin/python3 "$here/test_archive.py" logic
}
case_archive_formats() {
    /usr/bin/python3 "$here/test_archive.py" formats
}
case_demo() {
    DEMO=demo "$here/demo.sh" night.mp4 >log 2>&1
    ended=$?
    cat log
    [ $ended = 0 ] && brighter demo/before.png demo/after.png && grep -q "mean brightness 0\." log &&
        gst-discoverer-1.0 -v demo/before-after.png | grep -q "Width: 1280"
}
case_demo_bad_input() {
    ! DEMO=demo "$here/demo.sh" absent.mp4 2>message && grep -q "absent.mp4 cannot be read" message
}
case_clip_of_a_camera() {
    "$here/night-clip.sh" camera.mp4 160 96 8 camera && [ "$(stamps camera.mp4 | wc -l)" = 8 ] &&
        ! "$here/night-clip.sh" other.mp4 160 96 8 wrong 2>message && grep -q "'wrong' is no kind of clip" message &&
        [ ! -e other.mp4 ]
}
# The blocks of README.md that begin with ```sh test, each in a folder with the dark clip night.mp4, a dark picture
# dark.png and a folder photos.
case_readme() {
    mkdir -p readme/photos
    cp night.mp4 readme/
    # dark.png is the clip's first picture.
    gst-launch-1.0 -q filesrc location=night.mp4 ! decodebin ! video/x-raw ! videoconvert ! pngenc snapshot=true \
        ! filesink location=readme/dark.png || return 1
    cp readme/dark.png readme/photos/one.png
    cp readme/dark.png readme/photos/two.png
    ln -sf "$root/pipelines" readme/pipelines
    awk '/^```/ { if (!on && $0 == "```sh test") { on = 1; n++; next } on = 0 } on { print > ("readme/block" n ".sh") }' \
        "$root/README.md"
    [ -e readme/block1.sh ] || { echo "README.md has no block to test"; return 1; }
    for block in readme/block*.sh; do
        echo "-- $(cat "$block")"
        (cd readme && sh -eu "$(basename "$block")") || return 1
    done
    brighter readme/night.mp4 readme/bright.mp4 || return 1
    for clip in bright fast with-audio compared; do
        gst-discoverer-1.0 -v readme/$clip.mp4 | grep -q 'profile=(string)high,.*4:2:0' || { echo "$clip"; return 1; }
    done
    # The first of them with a clip that x264 would keep in 4:4:4.
    draw Y444 64x48 "x264enc ! mp4mux ! filesink location=readme/night.mp4" &&
        (cd readme && sh -eu block1.sh) && plays readme/bright.mp4 64x48
}
# The pipelines of docs/recipes.md, those that need other machines or programs with stand-ins: what runs is the rest of the line.
case_recipes() {
    mkdir -p recipes/recordings
    cp night.mp4 recipes/recordings/
    cp night.mp4 recipes/
    ln -sf "$root/pipelines" recipes/pipelines
    awk '/^```/ { on = ($0 ~ /^```sh test$/) ? "test" : ($0 ~ /^```sh stand-in$/) ? "stand" : ($0 ~ /^```yaml$/) ? "yaml" : ""; next }
        on == "test" { print > "recipes/test.sh" }
        on == "stand" { print > "recipes/stand.sh" }
        on == "yaml" && match($0, /gst-launch-1\.0 [^"]*/) { print substr($0, RSTART, RLENGTH) > "recipes/stand.sh" }' \
        "$root/docs/recipes.md"
    (cd recipes && sh -eu test.sh) && has video recipes/bright-recordings/night.mp4 || return 1
    # Each name in the recipes stands for what this machine has. A pipeline for a browser goes on until it is stopped.
    sed -e 's/^pipelines\/webrtc.py .*/pipelines\/webrtc.py night.mp4 --port 0/' \
        -e 's/rtspsrc location=[^ ]* latency=200/filesrc location=night.mp4/' -e 's/v4l2src device=[^ ]*/filesrc location=night.mp4/' \
        -e 's/rtspclientsink location=[^ ]*/h264parse ! fakesink/' -e 's/v4l2sink device=[^ ]* sync=false/fakesink/' \
        -e 's/\(va\|nv\|v4l2\)h264dec/avdec_h264/' -e 's/\(vapostproc\|cudadownload\)/videoconvert/g' \
        -e 's/v4l2h264enc ! video\/x-h264,level=(string)4/x264enc/' -e 's/\(va\|nv\)h264enc bitrate=4000/x264enc bitrate=4000/' \
        -e 's/backend=tensorrt/backend=cpu/' -e 's/! fdsink$/! fakesink/' recipes/stand.sh >recipes/stood.sh
    lines=0
    while read -r line; do
        echo "-- $line"
        (cd recipes && timeout 60 sh -euc "$line" </dev/null) || return 1
        lines=$((lines + 1))
    done <recipes/stood.sh
    is "$lines" 8
}

all=$(sed -n 's/^case_\([a-z_]*\)() {$/\1/p' "$here/test.sh")
passed=0 failed=0
"$here/night-clip.sh" night.mp4 $width $height $frames || exit 1
for name in ${*:-$all}; do
    began=$(date +%s)
    if (set -e; "case_$name") >"$work/output" 2>&1; then
        verdict=ok passed=$((passed + 1))
    else
        verdict=FAILED failed=$((failed + 1))
    fi
    echo "$verdict  $name ($(($(date +%s) - began)) s)"
    [ $verdict = ok ] || sed 's/^/    /' "$work/output"
done
echo "pipelines: $passed passed, $failed failed"
[ $failed = 0 ]
