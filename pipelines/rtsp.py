#!/usr/bin/python3
"""RTSP camera in, bright RTSP out. When the camera goes away, viewers stay connected and the camera is called again.

    RTSP_PASSWORD=... pipelines/rtsp.py rtsp://camera/stream --user NAME [--port 8554] [--address 0.0.0.0] [--path /bright]

then, on another machine: gst-play-1.0 rtsp://this-machine:8554/bright

The environment variable RTSP_PASSWORD takes a password as it is. User and password may stand in the address too,
rtsp://user:password@camera/stream: there a slash is written %2F and a percent sign %25.

Needs python3-gi, gir1.2-gst-rtsp-server-1.0, plugins-base, -good (RTSP), -bad (inter, watchdog), -ugly (x264) and libav
(H.264, AAC). The server has no password: it listens on this machine alone unless --address says otherwise. The camera's
audio goes along, as AAC. ENHANCE sets the element and its properties, "uretinexenhance" unless set.
"""

import argparse
import os
import pathlib
import signal
import sys
import time
import urllib.parse

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path(__file__).resolve().parent / "../target"))
BUILT = TARGET / os.environ.get("URETINEX_BUILD", "release")
if (BUILT / "libgsturetinex.so").exists():
    os.environ["GST_PLUGIN_PATH"] = os.pathsep.join(filter(None, [str(BUILT), os.environ.get("GST_PLUGIN_PATH")]))

import gi  # noqa: E402  The plugin path has to be set before.

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstRtspServer, GstVideo  # noqa: E402

CHANNEL = "uretinex"
# Seconds before the camera is called again: at first, within the first minute, and after it.
FIRST_DELAY, EARLY_DELAY, LONGEST_DELAY, EARLY = 1, 5, 15, 60
# After a refusal, which more calls would turn into a lock-out, and after a stream that cannot be used.
REFUSED_DELAY, UNUSABLE_DELAY = 180, 60
KEY_FRAME_INTERVAL = 2  # seconds
AUDIO = "audio/x-raw,format=S16LE,rate=48000,channels=2,layout=interleaved"


def say(text):
    print(text, flush=True)


def credentials(url):
    """The address without user and password, and the two; None for those that it does not have."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    given, at, host = host.rpartition("@")
    user, colon, password = given.partition(":")
    return (
        f"{scheme}{separator}{host}{slash}{path}",
        urllib.parse.unquote(user) if at else None,
        urllib.parse.unquote(password) if colon else None,
    )


def is_refusal(error):
    return error.matches(Gst.ResourceError.quark(), Gst.ResourceError.NOT_AUTHORIZED)


def is_unusable(error, debug):
    """Whether an error is about what the camera sends, not about whether it sends."""
    return (
        any(error.matches(Gst.StreamError.quark(), code) for code in (
            Gst.StreamError.NOT_IMPLEMENTED, Gst.StreamError.TYPE_NOT_FOUND, Gst.StreamError.WRONG_TYPE,
            Gst.StreamError.CODEC_NOT_FOUND, Gst.StreamError.FORMAT,
        ))
        or any(error.matches(Gst.CoreError.quark(), code) for code in (
            Gst.CoreError.NEGOTIATION, Gst.CoreError.CAPS, Gst.CoreError.MISSING_PLUGIN,
        ))
        or "not-negotiated" in (debug or "")
    )


class Camera:
    """Reads the camera, enhances its frames, and hands them to CHANNEL. Starts anew whenever the camera goes."""

    def __init__(self, url, user, password, silence, on_first_frame):
        self.url, self.user, self.password, self.on_first_frame = url, user, password, on_first_frame
        enhance = os.environ.get("ENHANCE", "uretinexenhance")
        # The watchdog turns silence into an error; the queue behind it drops frames that the network has no time for.
        self.video = (
            f"decodebin name=decoder ! videoconvert ! deinterlace mode=auto-strict fields=top ! videoconvert "
            f"! watchdog timeout={int(silence * 1000)} ! queue leaky=downstream max-size-buffers=2 ! {enhance} "
            f"! videoconvert ! video/x-raw,format=I420 ! intervideosink name=out channel={CHANNEL} sync=false"
        )
        self.audio = (
            f"decodebin name=decoder ! audioconvert ! audioresample ! {AUDIO} ! queue leaky=downstream max-size-time={Gst.SECOND} "
            f"! interaudiosink channel={CHANNEL} sync=false"
        )
        self.with_audio = True
        self.delay = FIRST_DELAY
        self.lost_since = None
        self.pipeline = None

    def start(self):
        """A new pipeline for each call: links to a camera's streams are made once in a pipeline's life."""
        self.live = self.has_audio = False
        self.refusal = None  # what the element says of frames that it does not take
        self.branches = {}
        self.pipeline = Gst.Pipeline()
        camera = Gst.ElementFactory.make("rtspsrc", "camera")
        camera.set_property("latency", 200)
        camera.set_property("location", self.url)
        if self.user is not None:
            camera.set_property("user-id", self.user)
            camera.set_property("user-pw", self.password or "")
        camera.connect("on-sdp", self.on_sdp)
        camera.connect("pad-added", self.on_stream)
        self.pipeline.add(camera)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.on_error)
        bus.connect("message::warning", self.on_warning)
        bus.connect("message::eos", lambda *_: self.pipeline and self.lost("end of stream"))
        self.pipeline.set_state(Gst.State.PLAYING)
        return GLib.SOURCE_REMOVE

    def stop(self):
        if self.pipeline:
            self.pipeline.get_bus().remove_signal_watch()
            self.pipeline.set_state(Gst.State.NULL)
            self.pipeline = None

    def on_sdp(self, _camera, sdp):
        medias = [sdp.get_media(i).get_media() for i in range(sdp.medias_len())]
        self.has_audio = "audio" in medias and self.with_audio

    def on_stream(self, _camera, pad):
        """Links the first stream of video and the first of audio."""
        media = pad.get_current_caps().get_structure(0).get_string("media")
        description = {"video": self.video, "audio": self.audio if self.with_audio else None}.get(media)
        if description is None or media in self.branches:
            return
        branch = self.branches[media] = Gst.parse_bin_from_description(description, False)
        # What follows a decoder is linked when it has found a stream: only the decoder's own pad is the branch's.
        branch.add_pad(Gst.GhostPad.new("sink", branch.get_by_name("decoder").get_static_pad("sink")))
        if media == "video":
            branch.get_by_name("out").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, self.on_frame)
        self.pipeline.add(branch)
        pad.link(branch.get_static_pad("sink"))
        branch.sync_state_with_parent()

    def on_frame(self, pad, _info):
        if not self.live:
            self.live = True
            GLib.idle_add(self.came, pad.get_current_caps().get_structure(0))
        return Gst.PadProbeReturn.OK

    def came(self, caps):
        say("camera is here")
        self.delay = FIRST_DELAY
        self.lost_since = None
        self.on_first_frame(caps, self.has_audio)
        return GLib.SOURCE_REMOVE

    def on_warning(self, _bus, message):
        factory = message.src.get_factory() if isinstance(message.src, Gst.Element) else None
        if factory and factory.get_name() == "uretinexenhance":
            self.refusal = message.parse_warning()[0].message

    def on_error(self, _bus, message):
        if not self.pipeline:  # One error seldom comes alone.
            return
        error, debug = message.parse_error()
        audio = self.branches.get("audio")
        if audio and message.src.has_as_ancestor(audio):
            say(f"the camera's audio is left out: {error.message}")
            self.with_audio = False
            self.again(FIRST_DELAY)
        elif is_refusal(error):
            say(f"the camera refuses user and password: {error.message} Give the right ones with --user and RTSP_PASSWORD; "
                f"calling it again in {REFUSED_DELAY} s, since cameras lock out who tries too often")
            self.again(REFUSED_DELAY)
        elif is_unusable(error, debug) or (self.refusal and not self.live):
            say(f"the camera's video cannot be used: {self.refusal or error.message}; choose another format in its "
                f"settings; calling it again in {UNUSABLE_DELAY} s")
            self.again(UNUSABLE_DELAY)
        else:
            self.lost(error.message)

    def lost(self, why):
        say(f"camera lost: {why}; calling it again in {self.delay} s")
        now = time.monotonic()
        self.lost_since = self.lost_since or now
        early = now - self.lost_since < EARLY
        delay, self.delay = self.delay, min(self.delay * 2, EARLY_DELAY if early else LONGEST_DELAY)
        self.again(delay)

    def again(self, delay):
        self.stop()
        GLib.timeout_add_seconds(delay, self.start)


class Server:
    """Serves CHANNEL as H.264, in the size and at the rate of the camera's first frame, and its audio as AAC."""

    def __init__(self, address, port, path):
        self.address, self.path = address, path
        self.server = GstRtspServer.RTSPServer(address=address, service=str(port))
        self.server.connect("client-connected", lambda _, client: client.connect("play-request", self.on_play))
        self.started = False

    def start(self, caps, has_audio):
        if self.started:
            return
        self.started = True
        # 4:2:0 video has even sides.
        width, height = caps.get_value("width") // 2 * 2, caps.get_value("height") // 2 * 2
        has_rate, rate, per = caps.get_fraction("framerate")
        rate, per = (rate, per) if has_rate and rate > 0 else (25, 1)
        # Without a camera the last frame stays for five seconds, then the picture is black.
        launch = (
            f"intervideosrc channel={CHANNEL} timeout={5 * Gst.SECOND} ! videoscale "
            f"! video/x-raw,width={width},height={height},framerate={rate}/{per} ! videoconvert "
            f"! x264enc name=coder tune=zerolatency speed-preset=veryfast "
            f"key-int-max={max(1, round(KEY_FRAME_INTERVAL * rate / per))} ! video/x-h264,profile=high "
            f"! rtph264pay name=pay0 pt=96 config-interval=1"
        )
        if has_audio:
            launch += (
                f" interaudiosrc channel={CHANNEL} ! {AUDIO} ! audioconvert ! avenc_aac bitrate=64000 "
                f"! rtpmp4gpay name=pay1 pt=97"
            )
        factory = GstRtspServer.RTSPMediaFactory(shared=True)
        factory.set_launch(f"( {launch} )")
        self.server.get_mount_points().add_factory(self.path, factory)
        if self.server.attach(None) == 0:
            sys.exit(f"error: cannot listen on {self.address}: the port is taken (see --port) or the address is not ours")
        say(f"ready: rtsp://{self.address}:{self.server.get_bound_port()}{self.path}")

    def on_play(self, _client, context):
        """A viewer who joins sees nothing before a key frame: the coder makes one now."""
        coder = context.media and context.media.get_element().get_by_name("coder")
        if coder:
            coder.send_event(GstVideo.video_event_new_upstream_force_key_unit(Gst.CLOCK_TIME_NONE, True, 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url", help="the camera, rtsp://...")
    parser.add_argument("--user", help="name to give the camera; the password is in the environment, RTSP_PASSWORD")
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on, 0.0.0.0 for all (%(default)s)")
    parser.add_argument("--port", type=int, default=8554, help="port to listen on, 0 for any (%(default)s)")
    parser.add_argument("--path", default="/bright", help="path to serve (%(default)s)")
    parser.add_argument("--silence", type=float, default=10, help="seconds without a frame until the camera counts "
                        "as gone (%(default)s)")
    args = parser.parse_args()
    Gst.init(None)
    if not Gst.ElementFactory.find("uretinexenhance"):
        sys.exit("error: GStreamer does not know uretinexenhance: make build builds it")
    server = Server(args.address, args.port, args.path)
    url, user, password = credentials(args.url)
    password = os.environ.get("RTSP_PASSWORD", password)
    camera = Camera(url, args.user if args.user is not None else user, password, args.silence, server.start)
    loop = GLib.MainLoop()
    for number in (signal.SIGINT, signal.SIGTERM):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, loop.quit)
    camera.start()
    loop.run()
    camera.stop()


if __name__ == "__main__":
    main()
