#!/usr/bin/python3
"""Six cameras and their viewers over the loopback interface, for as long as wanted: what docs/service.md says of it.

    soak.py [--minutes 10]

One camera sends H.265, one MJPEG, one H.264 with audio; one dies for 20 seconds every minute, one changes its size every
ten seconds, one has a password that the service does not know. In the end the service is killed and started anew.
"""

import argparse
import json
import os
import pathlib
import tempfile
import threading
import time
import urllib.request

import gi

from cameras import RATE, Camera, Process, free_port, program

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

SCENES = ("h265", "mjpeg", "audio", "dies", "sizes", "locked")
DEAD = 20  # seconds of every minute
BACK = 10  # seconds from a start to the last camera


class Viewer:
    """Counts what arrives of a stream, on one connection."""

    def __init__(self, url, with_audio):
        audio = "rtppcmadepay name=to_audio ! fakesink name=audio sync=false" if with_audio else ""
        self.pipeline = Gst.parse_launch(
            f"rtspsrc name=camera location={url} protocols=tcp latency=0 rtph264depay name=to_video ! h264parse "
            f"! fakesink name=video sync=false {audio}"
        )
        # Not in the description: two pads that come at the same time may disturb each other's links there, for good.
        self.pipeline.get_by_name("camera").connect("pad-added", self.link)
        self.counts = {}
        for name in ("video", "audio") if with_audio else ("video",):
            self.counts[name] = 0
            self.pipeline.get_by_name(name).get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, self.count, name)
        self.pipeline.set_state(Gst.State.PLAYING)

    def link(self, _camera, pad):
        if branch := self.pipeline.get_by_name("to_" + pad.get_current_caps().get_structure(0).get_string("media")):
            pad.link(branch.get_static_pad("sink"))

    def count(self, _pad, _info, name):
        self.counts[name] += 1
        return Gst.PadProbeReturn.OK

    def is_connected(self):
        return self.pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR | Gst.MessageType.EOS) is None

    def stop(self):
        self.pipeline.set_state(Gst.State.NULL)


class Dying(threading.Thread):
    """Kills a camera for DEAD seconds of every minute."""

    def __init__(self, camera):
        super().__init__(daemon=True)
        self.camera, self.deaths, self.done = camera, 0, threading.Event()

    def run(self):
        while not self.done.wait(60 - DEAD):
            self.camera.end()
            self.deaths += 1
            time.sleep(DEAD)
            self.camera = Camera(self.camera.scene, self.camera.port)


def status(process):
    """Resident memory in MiB, threads, open files."""
    lines = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return (int(lines["VmRSS"].split()[0]) / 1024, int(lines["Threads"]), len(os.listdir(f"/proc/{process.pid}/fd")))


def cameras_of(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/cameras") as answer:
        return {camera["name"]: camera for camera in json.load(answer)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    Gst.init(None)
    cameras = {name: Camera(name) for name in SCENES}
    http, rtsp = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "service.toml")
        file.write_text("".join([
            f"[http]\nlisten = '127.0.0.1:{http}'\n[rtsp]\nlisten = '127.0.0.1:{rtsp}'\n",
            *(f"[camera.{name}]\naddress = '{camera.url}'\nencoder = 'x264'\n" for name, camera in cameras.items()),
            "user = 'guard'\npassword-env = 'WRONG'\n",
        ]))
        good = [name for name in SCENES if name != "locked"]

        def start():
            began = time.monotonic()
            service = Process(program(), "--config", file, WRONG="wrong")
            service.wait_for("streams at")
            while True:
                found = cameras_of(http)
                if all(found[name]["state"] == "live" for name in good):
                    return service, time.monotonic() - began, began
                assert time.monotonic() - began < 60, {name: camera["state"] for name, camera in found.items()}
                time.sleep(0.05)

        service, seconds, began = start()
        print(f"all live {seconds:.1f} s after the start", flush=True)
        viewers = {name: Viewer(f"rtsp://127.0.0.1:{rtsp}/{name}", name == "audio") for name in good}
        dying = Dying(cameras["dies"])
        dying.start()
        first, resident = None, []
        while (passed := time.monotonic() - began) < args.minutes * 60:
            time.sleep(1)
            if first is None and passed >= 60:
                first = status(service.process)
                print("at 1 min: %.1f MiB, %d threads, %d files" % first, flush=True)
            if passed >= 60 * (len(resident) + 1):
                resident.append(round(status(service.process)[0]))
        last = status(service.process)
        found, seconds = cameras_of(http), time.monotonic() - began
        print("at %g min: %.1f MiB, %d threads, %d files" % (args.minutes, *last))
        print("MiB at each minute:", *resident)
        print(f"\n| camera | frames sent in {seconds:.0f} s | in | out | dropped | called again | viewer got | connected |")
        print("|---|---|---|---|---|---|---|---|")
        for name, camera in found.items():
            figures, viewer = camera["figures"], viewers.get(name)
            away = dying.deaths * DEAD if name == "dies" else 0
            sent = 0 if name == "locked" else f"about {(seconds - away) * RATE:.0f}"
            got = ", ".join(f"{count} {kind}" for kind, count in viewer.counts.items()) if viewer else "-"
            connected = "-" if viewer is None else "yes" if viewer.is_connected() else "NO"
            print(f"| {name} | {sent} | {figures['frames_in']} | {figures['frames_out']} | "
                  f"{figures['dropped_queue'] + figures['dropped_late']} | {camera['reconnects']} | {got} | {connected} |")
        for viewer in viewers.values():
            viewer.stop()
        dying.done.set()
        dying.join()
        cameras["dies"] = dying.camera

        service.end()
        service, seconds, _ = start()
        print(f"\nkilled and started anew: all live after {seconds:.1f} s")
        assert seconds < BACK, f"more than {BACK} s"
        for name, camera in found.items():
            if name not in ("dies", "locked"):
                assert camera["reconnects"] == 0, f"{name} was called again"
        service.end()
    for camera in cameras.values():
        camera.end()


if __name__ == "__main__":
    main()
