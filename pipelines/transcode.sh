#!/bin/sh
# File to file: every frame bright and clean, audio and subtitles kept, progress every two seconds. Stopped early, it leaves
# no output.
#
#   pipelines/transcode.sh IN OUT.mp4|OUT.mkv [PROPERTY=VALUE ...]      for example ratio=6 model=full
#
# The output is H.264 High, 8 bits, 4:2:0, upright and of the size of the first frame, whatever the input. Of subtitles, those
# of text are kept, as plain text. ENCODER sets the coder and its properties, "x264enc" unless set.
#
# archive.py runs the same pipeline in stages, which stage.py plays: STAGE=scan looks at each frame, STAGE=segment makes a part of
# the video, STAGE=join puts the parts, the audio and the subtitles into the file.
#
# Needs GStreamer's tools, plugins-base with its apps, -good (MP4, deinterlace), -bad (h264parse), -ugly (x264), and libav
# (AAC, most decoders).
set -eu
. "$(dirname "$0")/common.sh"
[ $# -ge 2 ] || die "usage: $0 IN OUT.mp4|OUT.mkv [PROPERTY=VALUE ...]"
in=$1 out=$2
shift 2
[ -r "$in" ] || die "$in cannot be read"
[ ! "$in" -ef "$out" ] || die "$in is both the input and the output: give the output another name"
case $out in *.mkv) mux=matroskamux ;; *) mux=mp4mux ;; esac
need x264enc $mux h264parse avenc_aac progressreport deinterlace videoflip videocrop
has video "$in" || die "$in has no video that GStreamer can decode; see gst-discoverer-1.0 \"$in\""

caps=$(first_caps "$in")
width=$(field "$caps" width) height=$(field "$caps" height) aspect=$(field "$caps" pixel-aspect-ratio)
[ -n "$width" ] && [ -n "$height" ] || die "$in has video, but its first frame cannot be decoded; see gst-discoverer-1.0 \"$in\""
crop=
if [ $((width % 2 + height % 2)) != 0 ]; then
    echo "note: ${width}x$height becomes $((width / 2 * 2))x$((height / 2 * 2)): 4:2:0 video has even sides" >&2
    crop="! videoconvert ! videocrop right=$((width % 2)) bottom=$((height % 2))"
fi

# Says when the video changes its size, and leaves out the other caps that gst-launch tells.
tell() {
    awk -v first="${width}x$height" '
        /^\/GstPipeline:/ {
            if (!/GstVideoScale:size\.GstPad:sink: caps/ || !match($0, /width=\(int\)[0-9]+/)) next
            size = substr($0, RSTART + 11, RLENGTH - 11)
            match($0, /height=\(int\)[0-9]+/)
            size = size "x" substr($0, RSTART + 12, RLENGTH - 12)
            if (size != last && (last != "" || size != first))
                print "note: the video is " size " from here on: it is scaled to its first size, " first
            last = size
            next
        }
        { print; fflush() }'
}
# Shown as it runs, so that it can be copied.
launch() {
    echo "gst-launch-1.0 $*"
    [ "$stage" = whole ] || { "$here/stage.py" "$@"; return; }
    # A pipe's status is that of its last command: the other one goes round it.
    status=$( { { code=0; gst-launch-1.0 -v -e "$@" 3>&- || code=$?; echo $code >&3; } | tell >&4; } 3>&1 )
    return "$status"
} 4>&1
stage=${STAGE:-whole}
# Holds what one stream of a file is ahead of the others: video while audio or text is read, sound while x264 looks ahead.
queue="queue max-size-time=0 max-size-bytes=0 max-size-buffers=0"
# The words of gst-launch: what is enhanced, what becomes of it, and what else goes into the file.
# shellcheck disable=SC2086 # $ENHANCE and the like are several words.
case $stage in
    join) set -- appsrc name=video format=time block=true ! h264parse ! $queue ! mux. ;;
    *)
        set -- filesrc location="$in" ! decodebin name=d \
            d. ! video/x-raw ! queue ! $DECODED ! videoscale name=size \
            ! "video/x-raw,width=$width,height=$height,pixel-aspect-ratio=${aspect:-1/1}" $crop ! videoconvert \
            ! progressreport name=progress update-freq=2 ! $ENHANCE "$@"
        ;;
esac
# shellcheck disable=SC2086
case $stage in
    scan) set -- "$@" ! fakesink sync=false ;;
    segment)
        set -- "$@" ! $H264 ! video/x-h264,stream-format=avc,alignment=au \
            ! gdppay crc-header=true crc-payload=true ! filesink location="$out.part"
        ;;
    whole) set -- "$@" ! $H264 ! $queue ! mux. ;;
esac
if [ "$stage" = whole ] || [ "$stage" = join ]; then
    set -- "$@" $mux name=mux ! filesink location="$out.part"
    beside=
    # shellcheck disable=SC2046,SC2086 # Words.
    for _ in $(streams audio "$in"); do
        set -- "$@" d. ! audio/x-raw ! $queue ! audioconvert ! audioresample ! avenc_aac ! mux.
        beside=yes
    done
    # The demuxers say that it is text with marks, which no muxer takes.
    # shellcheck disable=SC2046,SC2086
    for _ in $(streams subtitles "$in"); do
        set -- "$@" d. ! text/x-raw ! $queue ! capssetter caps=text/x-raw,format=utf8 ! mux.subtitle_%u
        beside=yes
    done
    [ "$stage" = whole ] || [ -z "$beside" ] || set -- "$@" filesrc location="$in" ! decodebin name=d \
        expose-all-streams=false "caps=audio/x-raw(ANY);text/x-raw(ANY)"
fi
trap 'rm -f "$out.part"' EXIT
trap 'exit 130' INT TERM
launch "$@"
[ "$stage" = scan ] || mv "$out.part" "$out"
