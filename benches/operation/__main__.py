#!/usr/bin/env python3
"""Measures what docs/operation.md tells: python3 benches/operation [CASE ...] [--shared DIR] [--output DIR]

Cases: daylight, cost, infrared, overlay, overload. Needs Debian's python3-gi and python3-numpy, the element
(make build, GST_PLUGIN_PATH), clips in ../shared; overlay also needs tesseract-ocr. Writes a line of JSON for each case,
and of overload a table over time (overload.csv), which plot.py draws.
"""
import argparse
import csv
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import Gst, GstApp  # noqa: E402, F401

import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FPS = 25


def I420(width, height, fps=FPS):
    return f"video/x-raw,format=I420,width={width},height={height},framerate={fps}/1,colorimetry=bt709"


def decode(path, width, height, most, extra=""):
    """The frames of a clip, [n, h·3/2, w], scaled."""
    pipeline = Gst.parse_launch(f'filesrc location="{path}" ! decodebin ! videoconvert ! videoscale ! {extra} {I420(width, height).replace(",framerate=25/1", "")}'
                                " ! appsink name=out sync=false")
    sink, frames = pipeline.get_by_name("out"), []
    pipeline.set_state(Gst.State.PLAYING)
    while len(frames) < most:
        sample = sink.emit("try-pull-sample", 5 * Gst.SECOND)
        if sample is None:
            break
        frames.append(array(sample.get_buffer(), width, height))
    pipeline.set_state(Gst.State.NULL)
    if not frames:
        sys.exit(f"{path} gives no frames: is a decoder missing?")
    return np.stack(frames)


def array(buffer, width, height):
    data = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8)
    return data.reshape(height * 3 // 2, width)


class Stream:
    """The element between what is pushed and what is pulled."""

    def __init__(self, caps, properties="", after=""):
        self.pipeline = Gst.parse_launch(f"appsrc name=in format=time ! uretinexenhance name=e {properties} ! {after} appsink name=out sync=false")
        self.source, self.element, self.sink = (self.pipeline.get_by_name(n) for n in ("in", "e", "out"))
        self.source.set_property("caps", Gst.Caps.from_string(caps))
        self.bus, self.count = self.pipeline.get_bus(), 0
        self.pipeline.set_state(Gst.State.PLAYING)

    def push(self, data, fps=FPS):
        buffer = Gst.Buffer.new_wrapped(data.tobytes())
        buffer.pts, buffer.duration = self.count * Gst.SECOND // fps, Gst.SECOND // fps
        self.count += 1
        self.source.emit("push-buffer", buffer)

    def pull(self):
        sample = self.sink.emit("try-pull-sample", 20 * Gst.SECOND)
        if sample is None:
            message = self.bus.pop_filtered(Gst.MessageType.ERROR)
            sys.exit(f"no frame comes out: {message.parse_error() if message else 'no error'}")
        return sample.get_buffer()

    def messages(self, name):
        found = []
        while message := self.bus.pop_filtered(Gst.MessageType.ELEMENT):
            if message.get_structure().get_name() == name:
                found.append(message.get_structure())
        return found

    def close(self):
        self.pipeline.set_state(Gst.State.NULL)


def darkened(frame, height, factor, rng, noise=2.0):
    """A frame at that share of its light, with noise, as 8-bit codes."""
    gain, out = factor ** (1 / 2.2), frame.astype(np.float32)
    out[:height] = 16 + (out[:height] - 16) * gain
    out[height:] = 128 + (out[height:] - 128) * gain
    out[:height] += rng.standard_normal(out[:height].shape, np.float32) * noise * (1 - 0.5 * gain)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def daylight(arguments):
    """From day to night and back in two minutes."""
    width, height, seconds = 640, 360, 120
    clip = decode(arguments.clips / "normal/street_pedestrians_720p.mp4", width, height, 100)
    clip = np.concatenate([clip, clip[::-1]])
    stream, rng = Stream(I420(width, height)), np.random.default_rng(1)
    switches, means = [], []
    for n in range(seconds * FPS):
        t = n / FPS
        depth = np.interp(t, [0, 20, 50, 70, 100, seconds], [0, 0, 1, 1, 0, 0])
        frame = darkened(clip[n % len(clip)], height, 0.03 ** depth, rng)
        stream.push(frame)
        out = array(stream.pull(), width, height)
        means.append((frame[:height].mean(), out[:height].mean()))
        switches += [(round(t, 2), m.get_string("light")) for m in stream.messages("uretinexenhance-light")]
    stream.close()
    before, after = np.abs(np.diff(np.array(means), axis=0)).T
    passed = sum(abs(a - b) < 1e-9 for a, b in means)
    return {"switches": switches, "largest step above the input's": round(float((after - before).max()), 2),
            "largest step": round(float(after.max()), 2), "input's": round(float(before.max()), 2), "untouched": passed,
            "of": len(means)}


def cost(arguments):
    """Processor time of a daylight frame of 1920×1080 in the element."""
    width, height = 1920, 1080
    clip = decode(arguments.clips / "normal/street_pedestrians_720p.mp4", width, height, 8)
    times = {}
    for _ in range(3):
        for what, properties in (("bypassed", ""), ("not enabled", "enabled=false")):
            stream = Stream(I420(width, height), properties)
            buffers = [Gst.Buffer.new_wrapped(f.tobytes()) for f in clip]
            spent = None
            for n in range(608):
                if n == 8:
                    spent = resource.getrusage(resource.RUSAGE_SELF)
                buffer = buffers[n % 8].copy()
                buffer.pts, buffer.duration = n * Gst.SECOND // FPS, Gst.SECOND // FPS
                stream.source.emit("push-buffer", buffer)
                stream.pull()
            now = resource.getrusage(resource.RUSAGE_SELF)
            stream.close()
            times.setdefault(what, []).append((now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime) / 0.6)
    found = {what: round(float(np.median(t)), 3) for what, t in times.items()}
    own = found["bypassed"] - found["not enabled"]
    return {"ms of processor time per frame": found, "the element's own": round(own, 3), "% of a core at 25 frames/s": round(own * FPS / 10, 2)}


def infrared(arguments):
    """Grey out of grey in; mean luma around a switch."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        grey = Path(folder) / "grey.mkv"
        night = arguments.clips / "real_lowlight/highway_rain_night_720p.mp4"
        subprocess.run(["gst-launch-1.0", "-q", "filesrc", f"location={night}", "!", "decodebin", "!", "videoconvert", "!", "videoscale", "!",
                        "video/x-raw,width=640,height=360", "!", "videobalance", "saturation=0", "!", "x264enc", "bitrate=500", "!",
                        "matroskamux", "!", "filesink", f"location={grey}"], check=True)
        for name, path in (("hikvision_ir", arguments.clips / "real_lowlight/hikvision_ir_360p.mp4"), ("chroma removed, re-encoded", grey)):
            frames = decode(path, 640, 360, 100)
            stream = Stream(I420(640, 360), after="videoconvert ! video/x-raw,format=RGB !")
            worst, came = 0, int(np.abs(frames[:, 360:].astype(int) - 128).max())
            for frame in frames:
                stream.push(frame)
                b = stream.pull()
                rgb = np.frombuffer(b.extract_dup(0, b.get_size()), np.uint8).reshape(360, 640, 3).astype(int)
                worst = max(worst, int((rgb.max(2) - rgb.min(2)).max()))
            stream.close()
            found[name] = {"largest code of chroma in": came, "largest difference of channels out": worst}
        colour = decode(night, 640, 360, 150)
        colour = np.concatenate([colour, colour[::-1]] * 10)[:150]
    lamp = colour.copy()
    lamp[:, :360] = np.clip(16 + (lamp[:, :360].astype(np.float32) - 16) * 1.5, 0, 255)
    lamp[:, 360:] = 129
    stream, means = Stream(I420(640, 360)), []
    for n, frame in enumerate(np.concatenate([colour[:50], lamp[50:100], colour[100:150]])):
        stream.push(frame)
        means.append(array(stream.pull(), 640, 360)[:360].mean())
    stream.close()
    parts = np.array(means).reshape(3, 50)
    steady = np.median(parts[:, 25:], axis=1, keepdims=True)
    found["colour, infrared, colour"] = {"largest deviation of the mean luma, from the second frame on, %":
                                         round(float(np.abs(parts[:, 1:] / steady - 1).max() * 100), 2),
                                         "of the first frame, %": [round(float(x), 2) for x in (parts[:, 0] / steady[:, 0] - 1) * 100]}
    return found


def overlay(arguments):
    """What a text recogniser reads of a clock, before and after."""
    text = "CAM 04 2026-11-30 21:47:05"
    found = {}
    for kind, colour, box in (("bright on dark", "0xffffffff", ""), ("dark on bright", "0xff000000", "box")):
        for size in (12, 24):
            background = "shaded-background=true shading-value=255" if box else ""
            drawn = (f'textoverlay text="{text}" font-desc="Sans {size}px" color={int(colour, 16)} outline-color=0 draw-outline=false '
                     f'draw-shadow=false valignment=top halignment=left {background} !')
            if box:
                # A white plate, as textoverlay only darkens.
                drawn = drawn.replace(background, "")
            frames = decode(arguments.clips / "real_lowlight/walk_night_1080p.mp4", 1280, 720, 20, "" if box else drawn)
            if box:
                plate = frames.copy()
                plate[:, 8:28 + 2 * size, 8:24 * size] = 200
                with tempfile.TemporaryDirectory() as folder:
                    raw = Path(folder) / "raw"
                    raw.write_bytes(plate.tobytes())
                    frames = raw_through(raw, drawn, len(plate))
            row = {}
            for what, properties in (("enhanced", ""), ("region left alone", f"regions=0,0,{24 * size},{3 * size + 20}")):
                stream = Stream(I420(1280, 720), properties)
                reads = []
                for frame in frames:
                    stream.push(frame)
                    out = array(stream.pull(), 1280, 720)
                    reads.append((read(frame, size, text), read(out, size, text), weber(frame, size), weber(out, size)))
                stream.close()
                before, after, w0, w1 = np.mean(reads, 0)
                row[what] = {"characters right before": round(before, 2), "after": round(after, 2),
                             "Weber contrast before": round(w0, 2), "after ": round(w1, 2)}
            found[f"{kind}, {size} pixels"] = row
    return found


def raw_through(raw, element, count):
    pipeline = Gst.parse_launch(f'filesrc location={raw} ! rawvideoparse format=i420 width=1280 height=720 framerate=25/1 ! {element} {I420(1280, 720).replace(",colorimetry=bt709", "")} ! appsink name=out sync=false')
    pipeline.set_state(Gst.State.PLAYING)
    sink = pipeline.get_by_name("out")
    frames = [array(sink.emit("pull-sample").get_buffer(), 1280, 720) for _ in range(count)]
    pipeline.set_state(Gst.State.NULL)
    return np.stack(frames)


def corner(frame, size):
    return frame[:3 * size + 20, :24 * size].astype(np.float32)


def weber(frame, size):
    """(text - around) / around, of the brightest and the middle of the corner's pixels, or the darkest."""
    luma = np.maximum(corner(frame, size)[25:25 + size] - 16, 1)
    around = np.median(luma)
    far = np.percentile(luma, 99) if np.percentile(luma, 99) - around > around - np.percentile(luma, 1) else np.percentile(luma, 1)
    return abs(far - around) / around


def read(frame, size, text):
    """How many characters of the text are read in their order."""
    luma = corner(frame, size)
    luma = np.repeat(np.repeat(luma[12:24 + 2 * size], 4, 0), 4, 1)
    for axis in (0, 1):
        luma = np.mean([np.roll(luma, k, axis) for k in range(-2, 3)], 0)
    luma = np.clip(luma, 0, 255).astype(np.uint8)
    picture = b"P5 %d %d 255\n" % luma.shape[::-1] + luma.tobytes()
    done = subprocess.run(["tesseract", "stdin", "stdout", "--psm", "7"], input=picture, capture_output=True, check=True,
                          env={**os.environ, "OMP_THREAD_LIMIT": "1"})
    rows = [[0] * (len(text) + 1)]
    seen = done.stdout.decode(errors="replace")
    for c in seen:
        row = [0]
        for j, t in enumerate(text):
            row.append(rows[0][j] + 1 if c == t else max(rows[0][j + 1], row[j]))
        rows[0] = row
    return rows[0][-1]


def busy(until):
    while time.time() < until:
        pass


def overload(arguments):
    """A live source on a machine whose load comes and goes."""
    fps, seconds = 30, arguments.seconds
    width, height = map(int, arguments.size.split("x"))
    clip = decode(arguments.clips / "normal/street_pedestrians_720p.mp4", width, height, 24)
    rng = np.random.default_rng(1)
    frames = [darkened(f, height, 0.03, rng).tobytes() for f in clip]
    pipeline = Gst.parse_launch(
        f"appsrc name=in is-live=true format=time do-timestamp=false ! {I420(width, height, fps)} ! "
        f"queue leaky=downstream max-size-buffers=2 ! uretinexenhance name=e {arguments.properties} ! appsink name=out sync=false emit-signals=true")
    source, element, sink = (pipeline.get_by_name(n) for n in ("in", "e", "out"))
    pipeline.set_state(Gst.State.PLAYING)
    pushed, done, steps = {}, [], []

    def arrived(sink):
        buffer = sink.emit("pull-sample").get_buffer()
        done.append((time.monotonic(), buffer.pts))
        return Gst.FlowReturn.OK
    sink.connect("new-sample", arrived)
    start, loads, latencies = time.monotonic(), [], []
    on = [(a * seconds / 120, b * seconds / 120) for a, b in ((20, 50), (70, 90))]
    for n in range(seconds * fps):
        now = time.monotonic() - start
        if n / fps > now:
            time.sleep(n / fps - now)
        for a, b in on:
            if a <= n / fps < a + 1 / fps:
                loads = [multiprocessing.Process(target=busy, args=(time.time() + b - a,), daemon=True) for _ in range(os.cpu_count())]
                [p.start() for p in loads]
        buffer = Gst.Buffer.new_wrapped(frames[n % len(frames)])
        buffer.pts, buffer.duration = n * Gst.SECOND // fps, Gst.SECOND // fps
        pushed[buffer.pts] = time.monotonic()
        source.emit("push-buffer", buffer)
        while message := pipeline.get_bus().pop_filtered(Gst.MessageType.ELEMENT):
            s = message.get_structure()
            if s.get_name() == "uretinexenhance-rung":
                steps.append((round(time.monotonic() - start, 2), s.get_uint("rung")[1]))
        if n % fps == 0:
            query = Gst.Query.new_latency()
            if element.get_static_pad("src").query(query):
                latencies.append(query.parse_latency()[1] / 1e6)
    pipeline.set_state(Gst.State.NULL)
    late = np.array([(t - pushed[pts]) * 1e3 for t, pts in done])
    at = np.array([t - start for t, _ in done])
    rows = []
    for second in range(seconds):
        here = (at >= second) & (at < second + 1)
        rung = next((r for t, r in reversed(steps) if t <= second + 1), 0)
        rows.append([second, int(here.sum()), round(float(np.median(late[here])), 1) if here.any() else "",
                     round(float(np.percentile(late[here], 99)), 1) if here.any() else "", rung,
                     int(any(a <= second < b for a, b in on))])
    with open(arguments.output / "overload.csv", "w", newline="") as file:
        csv.writer(file).writerows([["second", "frames out", "latency p50 ms", "p99 ms", "rung", "load"], *rows])
    ends = [b for _, b in on]
    best = min((r for _, r in steps), default=0)
    settled = [r[4] for r in rows[5:int(on[0][0])]]
    usual = min(settled) if settled else best
    back = [next((round(t - e, 2) for t, r in steps if t >= e and r <= usual), None) for e in ends]
    return {"frames in": seconds * fps, "out": len(done), "latency p50, p99 ms": [round(float(np.percentile(late, p)), 1) for p in (50, 99)],
            "reported latency ms": [round(min(latencies), 1), round(max(latencies), 1)], "load at": on, "steps": len(steps),
            "rung without load": usual, "back there after s": back}


CASES = {f.__name__: f for f in (daylight, cost, infrared, overlay, overload)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--output", type=Path, default=Path("."))
    parser.add_argument("--seconds", type=int, default=120, help="length of overload")
    parser.add_argument("--size", default="1920x1080", help="of overload's frames")
    parser.add_argument("--properties", default="", help="of the element in overload, as gst-launch-1.0 takes them")
    arguments = parser.parse_args()
    arguments.clips = arguments.shared / "data/video"
    os.environ.setdefault("GST_PLUGIN_PATH", str(ROOT / "target/release"))
    Gst.init(None)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.cases or CASES:
        if name not in CASES:
            parser.error(f"there is no case {name}: {', '.join(CASES)}")
        print(json.dumps({name: CASES[name](arguments)}, default=float), flush=True)


if __name__ == "__main__":
    main()
