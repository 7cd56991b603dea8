#!/usr/bin/python3
"""rtsp.py against real servers and real clients over loopback, with H.264.

    test_rtsp.py reconnection     bright frames and audio arrive, a second viewer gets a key frame when it joins; the
                                  camera dies and comes back, and moving frames arrive again on the same connection
    test_rtsp.py password         an interlaced camera with a password: refused with a wrong one, served with the right one
    test_rtsp.py unusable         a stream that the element does not take is no lost camera
    test_rtsp.py calls            addresses with passwords of any kind; when a lost camera is called again
"""

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

sys.dont_write_bytecode = True

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 120  # seconds for each step; a busy machine is slow
PASSWORD = "p@ss#w:rd%2"
DARK = 45  # the scene's mean is below this, on a scale to 255


def scene(size="width=160,height=96", coder="", fields=""):
    return (
        "( videotestsrc is-live=true pattern=ball foreground-color=0xff303030 background-color=0xff181818 "
        f"! video/x-raw,format=I420,{size},framerate=5/1 {fields} ! x264enc tune=zerolatency key-int-max=5 {coder} "
        "! rtph264pay name=pay0 config-interval=1 "
        "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0 )"
    )


SCENES = {
    "plain": scene(),
    "interlaced": scene(coder="interlaced=true", fields="! interlace field-pattern=1:1"),
    "tiny": scene(size="width=14,height=14"),
}


def serve(name, port, password=None):
    """A camera: serves a dark scene until it is killed."""
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
    factory = GstRtspServer.RTSPMediaFactory(shared=True)
    factory.set_launch(SCENES[name])
    if password:
        auth, token, permissions = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken(), GstRtspServer.RTSPPermissions()
        token.set_string("media.factory.role", "viewer")
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic("guard", password), token)
        factory.set_permissions(permissions)
        server.set_auth(auth)
    server.get_mount_points().add_factory("/camera", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {port} is taken")
    print("serving", flush=True)
    GLib.MainLoop().run()


class Process:
    """A program and the lines that it prints."""

    def __init__(self, *command, **environment):
        self.lines = queue.Queue()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
        )
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
    """Watches and hears a stream."""

    def __init__(self, url):
        self.pipeline = Gst.parse_launch(
            f"rtspsrc name=stream location={url} protocols=tcp latency=0 "
            "rtph264depay name=to_video ! h264parse name=parse ! avdec_h264 ! videoconvert "
            "! video/x-raw,format=GRAY8 ! appsink name=out sync=false max-buffers=2 drop=true "
            "rtpmp4gdepay name=to_audio ! avdec_aac ! audioconvert "
            "! audio/x-raw,format=S16LE,channels=1 ! appsink name=sound sync=false max-buffers=2 drop=true"
        )
        # Not in the description: two pads that come at the same time may disturb each other's links there, for good.
        self.pipeline.get_by_name("stream").connect("pad-added", self.link)
        self.out, self.sound = (self.pipeline.get_by_name(name) for name in ("out", "sound"))
        self.frames, self.key_frames = 0, []
        self.pipeline.get_by_name("parse").get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, self.on_frame)
        self.pipeline.set_state(Gst.State.PLAYING)

    def link(self, _stream, pad):
        if branch := self.pipeline.get_by_name("to_" + pad.get_current_caps().get_structure(0).get_string("media")):
            pad.link(branch.get_static_pad("sink"))

    def on_frame(self, _pad, info):
        if not info.get_buffer().has_flags(Gst.BufferFlags.DELTA_UNIT):
            self.key_frames.append(self.frames)
        self.frames += 1
        return Gst.PadProbeReturn.OK

    def key_frame_distance(self, least, most, known=0):
        """Waits for so many frames between two key frames, of which `known` came before."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            keys = self.key_frames[max(0, known - 1):]
            for before, after in zip(keys, keys[1:]):
                if least <= after - before <= most:
                    return after - before
            time.sleep(0.1)
        raise AssertionError(f"no {least} to {most} frames between key frames in {PATIENCE} s: {self.key_frames}")

    def loudness(self):
        """Waits for audio that is not silence; returns its greatest sample."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            sample = self.sound.emit("try-pull-sample", Gst.SECOND)
            if sample:
                loud = max(map(abs, memoryview(sample.get_buffer().extract_dup(0, sample.get_buffer().get_size())).cast("h")))
                if loud > 1000:
                    return loud
        raise AssertionError(f"no audio in {PATIENCE} s")

    def stop(self):
        self.pipeline.set_state(Gst.State.NULL)

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


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


class Bench:
    """What a case starts, ended with it."""

    def __init__(self):
        self.port = free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}/camera"
        self.processes, self.clients = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.stop()
        for process in self.processes:
            process.kill()

    def camera(self, *arguments):
        name, *rest = arguments
        self.processes.append(Process(sys.executable, __file__, "serve", name, self.port, *rest))
        self.processes[-1].wait_for("serving")
        return self.processes[-1]

    def relay(self, url, *options, **environment):
        program = str(HERE / "rtsp.py")
        self.processes.append(Process(sys.executable, program, url, "--port", "0", *options, **environment))
        return self.processes[-1]

    def client(self, relay):
        self.url_of_relay = getattr(self, "url_of_relay", None) or relay.wait_for("ready: (rtsp://.*)")[1]
        self.clients.append(Client(self.url_of_relay))
        return self.clients[-1]


def reconnection():
    with Bench() as bench:
        camera = bench.camera("plain")
        relay = bench.relay(bench.url, "--silence", "8")
        client = bench.client(relay)
        mean = client.moving_frames(5)
        print(f"mean {mean:.0f} of 255, loudness {client.loudness()}")
        assert os.environ.get("ENHANCE") or mean > DARK, f"mean {mean:.0f}: no brighter than the scene"
        # Two seconds of 5 frames between key frames, fewer when a viewer joins.
        client.key_frame_distance(10, 10)
        known = len(client.key_frames)
        bench.client(relay).moving_frames(1)
        print("key frame of the second viewer after", client.key_frame_distance(1, 9, known))
        camera.kill()
        relay.wait_for("camera lost")
        bench.camera("plain")
        relay.wait_for("camera is here")
        client.moving_frames(5)


def password():
    with Bench() as bench:
        bench.camera("interlaced", PASSWORD)
        wrong = bench.relay(bench.url, "--user", "guard", RTSP_PASSWORD="wrong")
        wrong.wait_for("refuses user and password.*in 180 s")
        assert "camera lost" not in "".join(wrong.lines.queue), "a refusal is no lost camera"
        inside = bench.url.replace("//", f"//guard:{PASSWORD.replace('%', '%25')}@")
        for relay in (bench.relay(bench.url, "--user", "guard", RTSP_PASSWORD=PASSWORD), bench.relay(inside)):
            relay.wait_for("camera is here")
        bench.client(relay).moving_frames(3)


def unusable():
    with Bench() as bench:
        bench.camera("tiny")
        relay = bench.relay(bench.url)
        relay.wait_for("video cannot be used.*in 60 s")
        assert "camera lost" not in "".join(relay.lines.queue), "a stream that is not taken is no lost camera"


def calls():
    sys.path.insert(0, str(HERE))
    import rtsp

    for url, expected in {
        "rtsp://camera/stream": ("rtsp://camera/stream", None, None),
        "rtsp://a:b@camera:554/s@1": ("rtsp://camera:554/s@1", "a", "b"),
        "rtsp://a:p@ss#w:d@camera/s?x=1": ("rtsp://camera/s?x=1", "a", "p@ss#w:d"),
        "rtsp://a:p%40%2Fs%25@camera": ("rtsp://camera", "a", "p@/s%"),
        "rtsps://a@camera/": ("rtsps://camera/", "a", None),
    }.items():
        assert rtsp.credentials(url) == expected, (url, rtsp.credentials(url))
    # Each call fails at once.
    now, delays = [0.0], []
    rtsp.time.monotonic = lambda: now[0]
    camera = rtsp.Camera("rtsp://camera", None, None, 8, None)
    camera.again = delays.append
    while now[0] < 120:
        camera.lost("test")
        if now[0] < 60:
            assert delays[-1] <= 5, delays
        now[0] += delays[-1]
    assert delays[:4] == [1, 2, 4, 5] and max(delays) == delays[-1] == 15, delays


def main():
    Gst.init(None)
    name, *rest = sys.argv[1:]
    {"serve": serve, "reconnection": reconnection, "password": password, "unusable": unusable, "calls": calls}[name](*rest)


if __name__ == "__main__":
    main()
