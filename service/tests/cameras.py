#!/usr/bin/python3
"""Cameras to try the service with: RTSP servers of dark scenes on the loopback interface.

    cameras.py NAME PORT    serves one of SCENES or DRAWN at rtsp://127.0.0.1:PORT/NAME until it is ended
"""

import atexit
import os
import pathlib
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

PASSWORD = "p@ss#w:rd%2"
RATE = 5  # frames per second
CHANGE = int(os.environ.get("CHANGE", 10))  # seconds from size to size

DARK = "videotestsrc is-live=true pattern=ball foreground-color=0xff303030 background-color=0xff181818"
X264 = f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={RATE}"
H264 = f"{X264} ! rtph264pay name=pay0 config-interval=1"


def size(width, height):
    return f"video/x-raw,format=I420,width={width},height={height},framerate={RATE}/1"


def raw(width=160, height=96):
    return f"{DARK} ! {size(width, height)}"


SCENES = {
    "h264": f"( {raw()} ! {H264} )",
    "h265": f"( {raw()} ! x265enc tune=zerolatency speed-preset=ultrafast key-int-max={RATE} "
            "! rtph265pay name=pay0 config-interval=1 )",
    # Its audio is of a kind that is not passed on.
    "mjpeg": f"( {raw()} ! jpegenc ! rtpjpegpay name=pay0 "
             "audiotestsrc is-live=true ! audioconvert ! vorbisenc ! rtpvorbispay name=pay1 )",
    "audio": f"( {raw()} ! {H264} audiotestsrc is-live=true volume=0.3 ! audio/x-raw,rate=8000,channels=1 ! alawenc "
             "! rtppcmapay name=pay1 )",
    "dies": f"( {raw()} ! {H264} )",
    "sizes": f"( {DARK} ! videoscale ! capsfilter name=size caps={size(160, 96)} ! {H264} )",
    "interlaced": f"( {raw()} ! interlace field-pattern=1:1 ! {X264} interlaced=true ! rtph264pay name=pay0 config-interval=1 )",
    "tiny": f"( {raw(14, 14)} ! {H264} )",
    "locked": f"( {raw()} ! {H264} )",
}

# Scenes that the example night_clip draws, with what it is told.
DRAWN = {"street": [], "yard": ["camera"]}
DRAWN_SIZE, DRAWN_FRAMES = (640, 360), 50


def drawn(name):
    """A scene from frames that are drawn now and then repeated."""
    width, height = DRAWN_SIZE
    file = tempfile.NamedTemporaryFile(suffix=".rgb")
    draw = program().parent / "examples/night_clip"
    subprocess.run([draw, str(width), str(height), str(DRAWN_FRAMES), *DRAWN[name]], stdout=file, check=True)
    launch = (
        f"( multifilesrc location={file.name} loop=true blocksize={width * height * 3} "
        f"! rawvideoparse width={width} height={height} format=rgb framerate={RATE}/1 ! identity sync=true "
        f"! videoconvert ! video/x-raw,format=I420 ! {X264} bitrate=3000 ! rtph264pay name=pay0 config-interval=1 )"
    )
    return launch, file


def serve(name, port):
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
    factory = GstRtspServer.RTSPMediaFactory(shared=True)
    launch, _file = (SCENES[name], None) if name in SCENES else drawn(name)
    factory.set_launch(launch)
    if name == "locked":
        auth, token, permissions = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken(), GstRtspServer.RTSPPermissions()
        token.set_string("media.factory.role", "viewer")
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic("guard", PASSWORD), token)
        factory.set_permissions(permissions)
        server.set_auth(auth)
    if name == "sizes":
        sizes = [(160, 96), (240, 144)]

        def on_configure(_factory, media):
            filter_of_size = media.get_element().get_by_name("size")

            def change():
                sizes.reverse()
                filter_of_size.set_property("caps", Gst.Caps.from_string(size(*sizes[0])))
                return GLib.SOURCE_CONTINUE

            GLib.timeout_add_seconds(CHANGE, change)

        factory.connect("media-configure", on_configure)
    server.get_mount_points().add_factory(f"/{name}", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {port} is taken")
    print("serving", flush=True)
    loop = GLib.MainLoop()
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, loop.quit)
    loop.run()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """A program and the lines that it prints."""

    def __init__(self, *command, show=False, **environment):
        self.lines, self.log = queue.Queue(), []
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **environment},
        )
        # Whatever becomes of the caller.
        atexit.register(self.end)
        threading.Thread(target=self.read, args=(show,), daemon=True).start()

    def read(self, show):
        for line in self.process.stdout:
            if show:
                print("   ", line, end="", flush=True)
            self.log.append(line.strip())
            self.lines.put(line.strip())

    def wait_for(self, pattern, patience=60):
        end = time.monotonic() + patience
        while True:
            try:
                line = self.lines.get(timeout=max(0.1, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line like '{pattern}' in {patience} s: {self.log[-20:]}") from None
            if found := re.search(pattern, line):
                return found

    def end(self, with_signal=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        return self.process.wait(30)


class Camera(Process):
    """A camera of SCENES, at `url`."""

    def __init__(self, scene, port=None):
        self.scene, self.port = scene, port or free_port()
        self.url = f"rtsp://127.0.0.1:{self.port}/{scene}"
        super().__init__(sys.executable, "-B", __file__, scene, self.port)
        self.wait_for("serving")


def program():
    """The program as it was built: release, or what URETINEX_BUILD says."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path(__file__).resolve().parents[2] / "target"))
    return target / os.environ.get("URETINEX_BUILD", "release") / "uretinex-service"


if __name__ == "__main__":
    serve(*sys.argv[1:3])
