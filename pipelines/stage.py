#!/usr/bin/python3
"""Plays a stage of transcode.sh, in place of gst-launch-1.0: takes the words of a pipeline. archive.py has it called.

The environment says what is to be done: STAGE is scan, segment or join; PLAN is a file that scan writes and the others read.

scan decodes all frames and writes to PLAN, a gzipped JSON object:
    frames   for each frame [time, running, ratio, night]: its time in the file and in the pipeline, in nanoseconds; the ratio that
             an automatic one has there, null where the frame goes through untouched; how much of it is to be enhanced, 0 to 1
    keys     the times of key frames
    sizes    the sizes that the video has, "WIDTHxHEIGHT", in the order in which they come
segment makes the frames of the plan's segments[NUMBER], which archive.py adds: {"lead": time of the key frame to begin with,
    "first", "last": numbers of the first frame and of the one after the last}. The element sees the frames from "lead" on, each
    with the ratio of the scan; the coder sees those of the segment alone. The file INFO becomes a JSON object: "frames"; "reorder",
    how many frames the coder holds back; "caps", of the coded video; "lead_in", how many frames the element saw before. With FROM_THE_START, all that is before is decoded too.
join gives the video of the segments, SEGMENTS (one path for a line) and their INFO beside them (.json), to the muxer, with the
    running times of the scan.

Where LIFELINE is set, the end of standard input ends the program. Exit status 3: the file cannot be decoded from "lead" on.

Needs python3-gi and gir1.2-gst-plugins-base-1.0.
"""

import bisect
import gzip
import html
import json
import os
import re
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import GLib, Gst, GstApp  # noqa: E402, F401  GstApp for the methods of appsrc and appsink.

#: Times that are nearer to each other are the same: demuxers round.
TOLERANCE = Gst.MSECOND // 2
#: Where the times of joined video begin, so that no decoding time is below 0, as coders do it.
OFFSET = 1000 * 3600 * Gst.SECOND
#: With networks this small the ratio is the same: it is found on a thumbnail of its own.
SCAN_PIXELS = 256
#: The exit status for a file that cannot be decoded from a key frame on.
NOT_SEEKABLE = 3
#: Seconds without a frame after which a pipeline has failed.
PATIENCE = 300
OK, DROP = Gst.PadProbeReturn.OK, Gst.PadProbeReturn.DROP


class Failed(Exception):
    pass


class NotSeekable(Failed):
    pass


def write_plan(path, plan):
    with gzip.open(path, "wt", compresslevel=3) as file:
        json.dump(plan, file, separators=(",", ":"))


def read_plan(path):
    with gzip.open(path, "rt") as file:
        return json.load(file)


def stream_time(pad, buffer):
    """The time of a buffer in the file, in nanoseconds; None if it has none."""
    event = pad.get_sticky_event(Gst.EventType.SEGMENT, 0)
    if event is None or buffer.pts == Gst.CLOCK_TIME_NONE:
        return None
    sign, time = event.parse_segment().to_stream_time_full(Gst.Format.TIME, buffer.pts)
    return sign * time if sign else None


def running_time(pad, buffer):
    sign, time = pad.get_sticky_event(Gst.EventType.SEGMENT, 0).parse_segment().to_running_time_full(Gst.Format.TIME, buffer.pts)
    return sign * time


class Stage:
    """A pipeline, run until its end."""

    def __init__(self, words):
        try:
            self.pipeline = Gst.parse_launchv(words)
        except GLib.Error as error:
            raise Failed(error.message) from None
        self.error = None
        self.moved = time.monotonic()

    def named(self, factory):
        """The first element of that factory."""
        found, element = self.pipeline.iterate_all_by_element_factory_name(factory).next()
        if found != Gst.IteratorResult.OK:
            raise Failed(f"the pipeline has no {factory}")
        return element

    def fail(self, error):
        """Ends the pipeline, from any thread."""
        self.error = self.error or error
        self.pipeline.get_bus().post(Gst.Message.new_application(self.pipeline, Gst.Structure.new_empty("failed")))

    def run(self, meanwhile=None):
        """Plays until the end; `meanwhile` is called once the pipeline has been started."""
        bus = self.pipeline.get_bus()
        kinds = Gst.MessageType.ERROR | Gst.MessageType.APPLICATION | Gst.MessageType.WARNING | Gst.MessageType.EOS
        try:
            self.pipeline.set_state(Gst.State.PLAYING)
            if meanwhile:
                meanwhile()
            while True:
                message = bus.timed_pop_filtered(10 * Gst.SECOND, kinds)
                if message is None:
                    if time.monotonic() - self.moved > PATIENCE:
                        raise Failed(f"nothing has moved for {PATIENCE} s")
                    continue
                if message.type == Gst.MessageType.ERROR:
                    error, detail = message.parse_error()
                    raise self.error or Failed(f"{message.src.get_name()}: {error.message} ({detail})")
                if message.type == Gst.MessageType.APPLICATION:
                    raise self.error
                if message.type == Gst.MessageType.EOS:
                    return
                print(f"warning: {message.src.get_name()}: {message.parse_warning()[0].message}", file=sys.stderr)
        finally:
            self.pipeline.set_state(Gst.State.NULL)


def scan(words, path):
    stage = Stage(words)
    element = stage.named("uretinexenhance")
    element.set_property("max-pixels", SCAN_PIXELS)
    element.set_property("temporal", 0.0)
    element.set_property("frame-meta", True)
    frames, keys, sizes = [], [], []

    def coded(pad, info):
        buffer = info.get_buffer()
        when = stream_time(pad, buffer)
        if when is not None and not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT):
            keys.append(when)
        return OK

    def added(_pipeline, _bin, child):
        factory = child.get_factory()
        kind = Gst.ELEMENT_FACTORY_TYPE_DECODER | Gst.ELEMENT_FACTORY_TYPE_MEDIA_VIDEO
        if factory and factory.list_is_type(kind) and child.get_static_pad("sink"):
            child.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, coded)

    def decoded(_pad, info):
        event = info.get_event()
        if event.type == Gst.EventType.CAPS:
            caps = event.parse_caps().get_structure(0)
            sizes.append(f"{caps.get_value('width')}x{caps.get_value('height')}")
        return OK

    def enhanced(pad, info):
        stage.moved = time.monotonic()
        buffer = info.get_buffer()
        when = stream_time(pad, buffer)
        if when is None:
            stage.fail(Failed("there are frames without a time"))
            return OK
        ratio, night = None, 1.0
        meta = buffer.get_custom_meta("GstURetinexEnhanceMeta")
        if meta is not None:
            fields = meta.get_structure()
            ratio = fields.get_value("ratio") if fields.has_field("ratio") else None
            night = fields.get_value("night") if fields.has_field("night") else 1.0
        frames.append([when, running_time(pad, buffer), ratio, night])
        return OK

    stage.pipeline.connect("deep-element-added", added)
    stage.pipeline.get_by_name("size").get_static_pad("sink").add_probe(Gst.PadProbeType.EVENT_DOWNSTREAM, decoded)
    element.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, enhanced)
    stage.run()
    if not frames:
        raise Failed("no frame can be decoded")
    if any(before[0] + 2 * TOLERANCE >= after[0] for before, after in zip(frames, frames[1:])):
        # Frames are known by their times: these cannot be told apart, so there is but one segment.
        keys = []
    write_plan(path, {"frames": frames, "keys": sorted(set(keys)), "sizes": sizes})


class Segment:
    """The pipeline of a segment, with what happens before and after the element."""

    def __init__(self, words, path, number, info, from_the_start):
        plan = read_plan(path)
        part = plan["segments"][int(number)]
        self.frames = plan["frames"]
        self.times = [frame[0] for frame in self.frames]
        self.first, self.last, self.lead = part["first"], part["last"], part["lead"]
        self.seeks = not from_the_start and self.lead > self.times[0]
        self.stage = Stage(words)
        self.element = element = self.stage.named("uretinexenhance")
        self.automatic = element.get_property("ratio") == 0
        self.fades = self.automatic and element.get_property("auto-bypass")
        self.strength = element.get_property("strength")
        self.next, self.led = self.first, None
        self.order, self.caps, self.info = [], None, info
        self.blocked = threading.Event()

    def number_of(self, time):
        """The number of the frame of that time; None if the scan had no such frame."""
        at = bisect.bisect_left(self.times, time - TOLERANCE) if time is not None else len(self.times)
        return at if at < len(self.times) and self.times[at] <= time + TOLERANCE else None

    def run(self):
        sink, source = self.element.get_static_pad("sink"), self.element.get_static_pad("src")
        coded = self.stage.named("gdppay").get_static_pad("sink")
        block = None
        if self.seeks:
            block = sink.add_probe(Gst.PadProbeType.BLOCK | Gst.PadProbeType.BUFFER, self.block)
        sink.add_probe(Gst.PadProbeType.BUFFER, self.before)
        source.add_probe(Gst.PadProbeType.BUFFER, self.after)
        coded.add_probe(Gst.PadProbeType.BUFFER, self.coded)
        coded.add_probe(Gst.PadProbeType.EVENT_DOWNSTREAM | Gst.PadProbeType.EVENT_FLUSH, self.written)

        def seek():
            # Nothing gets past the element before the file has been sought in, so nothing has to be taken back.
            self.blocked.wait(120)
            flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT | Gst.SeekFlags.SNAP_BEFORE
            event = Gst.Event.new_seek(1.0, Gst.Format.TIME, flags, Gst.SeekType.SET, self.lead, Gst.SeekType.NONE, 0)
            if not sink.push_event(event):
                raise NotSeekable("the file cannot be sought in")
            sink.remove_probe(block)

        self.stage.run(seek if self.seeks else None)
        if self.next != self.last:
            raise NotSeekable(f"frames {self.next} to {self.last - 1} are missing")
        if len(self.order) != self.last - self.first:
            raise Failed(f"the coder made {len(self.order)} frames of {self.last - self.first}")
        reorder = max(at - (number - self.first) for at, number in enumerate(self.order))
        with open(self.info, "w") as file:
            json.dump({"frames": len(self.order), "reorder": reorder, "caps": self.caps, "lead_in": self.led}, file)

    def block(self, _pad, _info):
        self.blocked.set()
        return OK

    def before(self, pad, info):
        """Sets what the frames before make of this one: what the scan found."""
        self.stage.moved = time.monotonic()
        when = stream_time(pad, info.get_buffer())
        at = self.number_of(when)
        if at is None:
            # After a seek, broken frames can come that refer to some before the key frame.
            if when is None or when >= self.times[self.first]:
                self.stage.fail(NotSeekable(f"the scan had no frame at {when} ns"))
            return DROP
        if self.led is None:
            self.led = self.first - at
            if at > self.first:
                self.stage.fail(NotSeekable(f"the first frame after a seek is {at}, and {self.first} is wanted"))
        _, _, ratio, night = self.frames[at]
        if self.automatic and ratio is not None:
            self.element.set_property("ratio", ratio)
        if self.fades:
            self.element.set_property("strength", self.strength * night)
        return OK

    def after(self, pad, info):
        """Lets the frames of the segment to the coder; behind the last of them, the end."""
        at = self.number_of(stream_time(pad, info.get_buffer()))
        if at is None or at < self.first:
            return DROP
        if at >= self.last:
            pad.push_event(Gst.Event.new_eos())
            return DROP
        if at != self.next:
            self.stage.fail(NotSeekable(f"frame {self.next} is missing, after it comes {at}"))
        self.next = at + 1
        return OK

    def written(self, pad, info):
        """Of events, those that a segment's file can hold and its reader needs."""
        event = info.get_event()
        if event.type == Gst.EventType.STREAM_START and event.parse_stream_start() != "segment":
            pad.send_event(Gst.Event.new_stream_start("segment"))
            return DROP
        kept = (Gst.EventType.STREAM_START, Gst.EventType.CAPS, Gst.EventType.SEGMENT, Gst.EventType.EOS)
        return OK if event.type in kept else DROP

    def coded(self, pad, info):
        self.caps = self.caps or pad.get_current_caps().to_string()
        self.order.append(self.number_of(stream_time(pad, info.get_buffer())))
        return OK


def samples(path):
    """The coded frames of a segment's file, with the times that they have in the recording."""
    reader = Gst.parse_launchv(["filesrc", f"location={path}", "!", "gdpdepay", "!", "appsink", "name=out", "sync=false"])
    out = reader.get_by_name("out")
    reader.set_state(Gst.State.PLAYING)
    try:
        while True:
            sample = out.try_pull_sample(30 * Gst.SECOND)
            if sample is None:
                message = reader.get_bus().pop_filtered(Gst.MessageType.ERROR)
                if message or not out.is_eos():
                    raise Failed(f"{path}: " + (message.parse_error()[0].message if message else "cannot be read"))
                return
            buffer = sample.get_buffer()
            sign, time = sample.get_segment().to_stream_time_full(Gst.Format.TIME, buffer.pts)
            yield sign * time, buffer, sample.get_caps()
    finally:
        reader.set_state(Gst.State.NULL)


def join(words, path, *segments):
    plan = read_plan(path)
    times = [frame[0] for frame in plan["frames"]]
    running = [frame[1] for frame in plan["frames"]]
    infos = []
    for segment in segments:
        with open(f"{segment}.json") as file:
            infos.append(json.load(file))
    if len({info["caps"] for info in infos}) != 1:
        raise Failed("segments have been coded in different ways: give all workers the same version of x264")
    # As coders count: a frame's decoding time is the time of the frame that is shown so many before it.
    reorder = min(max(info["reorder"] for info in infos), len(running) - 1)
    ahead = running[reorder] - running[0]
    stage = Stage(words)
    source = stage.pipeline.get_by_name("video")
    source.set_property("max-bytes", 64 << 20)
    source.get_static_pad("src").set_offset(-OFFSET)

    def feed():
        at = 0
        for segment in segments:
            for when, buffer, caps in samples(segment):
                stage.moved = time.monotonic()
                number = bisect.bisect_left(times, when - TOLERANCE)
                if at == 0:
                    source.set_property("caps", caps)
                copy = buffer.copy_region(Gst.BufferCopyFlags.FLAGS | Gst.BufferCopyFlags.MEMORY, 0, buffer.get_size())
                copy.pts = OFFSET + running[number]
                copy.dts = OFFSET + (running[at - reorder] if at >= reorder else running[at] - ahead)
                copy.duration = running[number + 1] - running[number] if number + 1 < len(running) else buffer.duration
                if source.push_buffer(copy) != Gst.FlowReturn.OK:
                    return
                at += 1
        if at != len(times):
            raise Failed(f"{at} frames in the segments, {len(times)} in the recording")
        source.end_of_stream()

    def feed_or_fail():
        try:
            feed()
        except Failed as error:
            stage.fail(error)
        except Exception as error:  # The main thread waits for this one.
            stage.fail(Failed(repr(error)))

    texts = stage.pipeline.iterate_all_by_element_factory_name("capssetter")
    while (found := texts.next())[0] == Gst.IteratorResult.OK:
        found[1].get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, Unmark())
    stage.run(lambda: threading.Thread(target=feed_or_fail, daemon=True).start())


class Unmark:
    """Subtitles without marks such as <i> and &amp;."""

    def __init__(self):
        self.busy = False

    def __call__(self, pad, info):
        caps, buffer = pad.get_current_caps(), info.get_buffer()
        if self.busy or caps is None or caps.get_structure(0).get_string("format") != "pango-markup":
            return OK
        text = buffer.extract_dup(0, buffer.get_size()).decode(errors="replace")
        plain = Gst.Buffer.new_wrapped(html.unescape(re.sub(r"<[^>]*>", "", text)).encode())
        plain.pts, plain.duration = buffer.pts, buffer.duration
        self.busy = True
        pad.chain(plain)
        self.busy = False
        return DROP


def hold_on_to_life():
    """Ends the process when whoever started it is gone, however that came."""

    def watch():
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(words, given):
    if given.get("LIFELINE"):
        hold_on_to_life()
    Gst.init(None)
    try:
        match given.get("STAGE"):
            case "scan":
                scan(words, given["PLAN"])
            case "segment":
                Segment(words, given["PLAN"], given["NUMBER"], given["INFO"], given.get("FROM_THE_START")).run()
            case "join":
                join(words, given["PLAN"], *given["SEGMENTS"].splitlines())
            case _:
                sys.exit(__doc__)
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_SEEKABLE if isinstance(error, NotSeekable) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
