#!/usr/bin/python3
"""rtsp.py against a real server and a real client over loopback, with H.264: bright frames arrive, the server dies and
comes back, and moving frames arrive again on the client's same connection."""

import os
import pathlib
import queue
import re
import socket
import subprocess
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 120  # seconds for each step; a busy machine is slow
SCENE = (
    "( videotestsrc is-live=true pattern=ball foreground-color=0xff303030 background-color=0xff181818 "
    "! video/x-raw,width=160,height=96,framerate=5/1 ! x264enc tune=zerolatency key-int-max=5 "
    "! rtph264pay name=pay0 config-interval=1 )"
)
DARK = 45  # the scene's mean is below this, on a scale to 255


def serve(port):
    """A camera: serves the dark scene until it is killed."""
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
    factory = GstRtspServer.RTSPMediaFactory(shared=True)
    factory.set_launch(SCENE)
    server.get_mount_points().add_factory("/camera", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {port} is taken")
    print("serving", flush=True)
    GLib.MainLoop().run()


class Process:
    """A program and the lines that it prints."""

    def __init__(self, *command):
        self.lines = queue.Queue()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            print("   ", line, end="", flush=True)
            self.lines.put(line.strip())

    def wait_for(self, pattern):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                line = self.lines.get(timeout=max(0.1, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line like '{pattern}' in {PATIENCE} s") from None
            if found := re.search(pattern, line):
                return found

    def kill(self):
        self.process.kill()
        self.process.wait()


class Client:
    """Watches a stream."""

    def __init__(self, url):
        self.pipeline = Gst.parse_launch(
            f"rtspsrc location={url} protocols=tcp latency=0 ! rtph264depay ! h264parse ! avdec_h264 ! videoconvert "
            "! video/x-raw,format=GRAY8 ! appsink name=out sync=false max-buffers=2 drop=true"
        )
        self.out = self.pipeline.get_by_name("out")
        self.pipeline.set_state(Gst.State.PLAYING)

    def moving_frames(self, count):
        """Waits for so many frames that differ from the one before them; returns the last one's mean."""
        previous, seen, end = None, 0, time.monotonic() + PATIENCE
        while time.monotonic() < end:
            error = self.pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR | Gst.MessageType.EOS)
            assert error is None, f"the client was cut off: {error.get_structure() and error.get_structure().to_string()}"
            sample = self.out.emit("try-pull-sample", Gst.SECOND)
            if sample is None:
                continue
            frame = sample.get_buffer().extract_dup(0, sample.get_buffer().get_size())
            # Coding alone changes a still picture by a code or two.
            if previous is not None and max(abs(a - b) for a, b in zip(frame, previous)) > 12:
                seen += 1
                if seen == count:
                    return sum(frame) / len(frame)
            previous = frame
        raise AssertionError(f"{seen} of {count} moving frames in {PATIENCE} s")


def main():
    Gst.init(None)
    if len(sys.argv) > 1:
        return serve(sys.argv[1])
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    camera = Process(sys.executable, __file__, port)
    relay = client = None
    try:
        camera.wait_for("serving")
        url = f"rtsp://127.0.0.1:{port}/camera"
        relay = Process(sys.executable, str(HERE / "rtsp.py"), url, "--port", "0", "--silence", "8")
        client = Client(relay.wait_for("ready: (rtsp://.*)")[1])
        mean = client.moving_frames(5)
        print(f"mean {mean:.0f} of 255")
        assert os.environ.get("ENHANCE") or mean > DARK, f"mean {mean:.0f}: no brighter than the scene"
        camera.kill()
        relay.wait_for("camera lost")
        camera = Process(sys.executable, __file__, port)
        relay.wait_for("camera is here")
        client.moving_frames(5)
    finally:
        if client:
            client.pipeline.set_state(Gst.State.NULL)
        for process in filter(None, (relay, camera)):
            process.kill()


if __name__ == "__main__":
    main()
