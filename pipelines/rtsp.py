#!/usr/bin/python3
"""RTSP camera in, bright RTSP out. When the camera goes away, viewers stay connected and the camera is called again.

    pipelines/rtsp.py rtsp://user:password@camera/stream [--port 8554] [--address 0.0.0.0] [--path /bright]

then, on another machine: gst-play-1.0 rtsp://this-machine:8554/bright

Needs python3-gi, gir1.2-gst-rtsp-server-1.0, plugins-base, -good (RTSP), -bad (inter, watchdog), -ugly (x264) and libav
(H.264). The server has no password: it listens on this machine alone unless --address says otherwise. Audio is left
out. ENHANCE sets the element and its properties, "uretinexenhance" unless set.
"""

import argparse
import os
import pathlib
import signal
import sys

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path(__file__).resolve().parent / "../target"))
BUILT = TARGET / os.environ.get("URETINEX_BUILD", "release")
if (BUILT / "libgsturetinex.so").exists():
    os.environ["GST_PLUGIN_PATH"] = os.pathsep.join(filter(None, [str(BUILT), os.environ.get("GST_PLUGIN_PATH")]))

import gi  # noqa: E402  The plugin path has to be set before.

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

CHANNEL = "uretinex"
FIRST_DELAY, LONGEST_DELAY = 1, 15  # seconds before the camera is called again


def say(text):
    print(text, flush=True)


class Camera:
    """Reads the camera, enhances its frames, and hands them to CHANNEL. Starts anew whenever the camera goes."""

    def __init__(self, url, silence, on_first_frame):
        self.url, self.on_first_frame = url, on_first_frame
        enhance = os.environ.get("ENHANCE", "uretinexenhance")
        # The watchdog turns silence into an error; the queue behind it drops frames that the network has no time for.
        self.description = (
            f"rtspsrc name=camera latency=200 ! decodebin ! videoconvert ! watchdog timeout={int(silence * 1000)} "
            f"! queue leaky=downstream max-size-buffers=2 ! {enhance} ! videoconvert ! video/x-raw,format=I420 "
            f"! intervideosink name=out channel={CHANNEL} sync=false"
        )
        self.delay = FIRST_DELAY
        self.pipeline = None

    def start(self):
        """A new pipeline for each call: links to a camera's streams are made once in a pipeline's life."""
        self.live = False
        self.pipeline = Gst.parse_launch(self.description)
        self.pipeline.get_by_name("camera").set_property("location", self.url)
        self.pipeline.get_by_name("out").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, self.on_frame)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, m: self.lost(m.parse_error()[0].message))
        bus.connect("message::eos", lambda _, m: self.lost("end of stream"))
        self.pipeline.set_state(Gst.State.PLAYING)
        return GLib.SOURCE_REMOVE

    def stop(self):
        if self.pipeline:
            self.pipeline.get_bus().remove_signal_watch()
            self.pipeline.set_state(Gst.State.NULL)
            self.pipeline = None

    def on_frame(self, pad, _info):
        if not self.live:
            self.live = True
            GLib.idle_add(self.came, pad.get_current_caps().get_structure(0))
        return Gst.PadProbeReturn.OK

    def came(self, caps):
        say("camera is here")
        self.delay = FIRST_DELAY
        self.on_first_frame(caps)
        return GLib.SOURCE_REMOVE

    def lost(self, why):
        if self.pipeline:  # One error seldom comes alone.
            say(f"camera lost: {why}; calling it again in {self.delay} s")
            self.stop()
            GLib.timeout_add_seconds(self.delay, self.start)
            self.delay = min(self.delay * 2, LONGEST_DELAY)


class Server:
    """Serves CHANNEL as H.264, in the size and at the rate of the camera's first frame."""

    def __init__(self, address, port, path):
        self.address, self.path = address, path
        self.server = GstRtspServer.RTSPServer(address=address, service=str(port))
        self.started = False

    def start(self, caps):
        if self.started:
            return
        self.started = True
        width, height = caps.get_value("width"), caps.get_value("height")
        has_rate, rate, per = caps.get_fraction("framerate")
        rate, per = (rate, per) if has_rate and rate > 0 else (25, 1)
        # Without a camera the last frame stays for five seconds, then the picture is black.
        factory = GstRtspServer.RTSPMediaFactory(shared=True)
        factory.set_launch(
            f"( intervideosrc channel={CHANNEL} timeout={5 * Gst.SECOND} ! videoscale "
            f"! video/x-raw,width={width},height={height},framerate={rate}/{per} ! videoconvert "
            f"! x264enc tune=zerolatency speed-preset=veryfast key-int-max=50 "
            f"! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )
        self.server.get_mount_points().add_factory(self.path, factory)
        if self.server.attach(None) == 0:
            sys.exit(f"error: cannot listen on {self.address}: the port is taken (see --port) or the address is not ours")
        say(f"ready: rtsp://{self.address}:{self.server.get_bound_port()}{self.path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url", help="the camera, rtsp://...")
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
    camera = Camera(args.url, args.silence, server.start)
    loop = GLib.MainLoop()
    for number in (signal.SIGINT, signal.SIGTERM):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, loop.quit)
    camera.start()
    loop.run()
    camera.stop()


if __name__ == "__main__":
    main()
