#!/usr/bin/python3
"""Finds settings by eye: a window with before and after, and keys that change the element while it plays.

    pipelines/tune.py [FILE | /dev/videoN | rtsp://camera/stream] [PROPERTY=VALUE ...]

r R: ratio down, up (0 is automatic)    b B: brightness    s S: strength    t T: temporal
< >: divider    c: compare off, split, side by side    n: enabled    space: pause    q: end

Keys are taken by the window and by the terminal; the settings are printed at the end, as gst-launch-1.0 takes them. Without
an argument there is a test picture. Needs python3-gi, plugins-base (textoverlay) and -good, and a screen; SINK=fakesink
does without one.
"""

import os
import pathlib
import sys
import termios
import tty

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path(__file__).resolve().parent / "../target"))
BUILT = TARGET / os.environ.get("URETINEX_BUILD", "release")
if (BUILT / "libgsturetinex.so").exists():
    os.environ["GST_PLUGIN_PATH"] = os.pathsep.join(filter(None, [str(BUILT), os.environ.get("GST_PLUGIN_PATH")]))

import gi  # noqa: E402  The plugin path has to be set before.

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

#: Key: property, step, smallest, largest; the capital letter steps up.
STEPS = {
    "r": ("ratio", 0.5, 0.0, 20.0),
    "b": ("brightness", 0.1, -1.0, 1.0),
    "s": ("strength", 0.1, 0.0, 1.0),
    "t": ("temporal", 0.1, 0.0, 1.0),
}
COMPARE = ("off", "split", "side-by-side")
#: Names that windows give to keys.
NAMES = {"less": "<", "greater": ">", "comma": "<", "period": ">", "space": " "}


def source_of(what):
    if what is None:
        return "videotestsrc is-live=true pattern=snow ! videobalance brightness=-0.35 ! video/x-raw,width=640,height=360,framerate=25/1"
    if what.startswith("rtsp"):
        return f'rtspsrc location="{what}" latency=200 ! decodebin'
    if what.startswith("/dev/video"):
        return f"v4l2src device={what} ! decodebin"
    if not os.path.isfile(what):
        sys.exit(f"tune.py: there is no file {what}")
    return f'filesrc location="{what}" ! decodebin'


class Tuner:
    def __init__(self, arguments):
        given = [a for a in arguments if "=" in a and not os.path.exists(a) and not a.startswith("rtsp")]
        rest = [a for a in arguments if a not in given]
        if len(rest) > 1:
            sys.exit(f"tune.py: one source, not {len(rest)}: {' '.join(rest)}")
        properties = " ".join(given)
        try:
            self.pipeline = Gst.parse_launch(
                f"{source_of(rest[0] if rest else None)} ! videoconvert ! queue leaky=downstream max-size-buffers=2 "
                f"! uretinexenhance name=enhance compare=split {properties} ! videoconvert "
                f"! textoverlay name=line valignment=bottom halignment=left shaded-background=true font-desc='Sans 12' "
                f"! videoconvert ! {os.environ.get('SINK', 'autovideosink')} name=out")
        except GLib.Error as error:
            sys.exit(f"tune.py: {error.message}")
        self.element, self.line = self.pipeline.get_by_name("enhance"), self.pipeline.get_by_name("line")
        self.element.get_static_pad("src").add_probe(Gst.PadProbeType.EVENT_UPSTREAM, self.on_event)
        self.loop, self.failed = GLib.MainLoop(), False
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.on_error)
        bus.connect("message::eos", lambda *_: self.again())

    def on_event(self, _pad, info):
        event = info.get_event()
        if event.type == Gst.EventType.NAVIGATION:
            s = event.get_structure()
            if s.get_string("event") == "key-press":
                GLib.idle_add(self.key, NAMES.get(s.get_string("key"), s.get_string("key")))
        return Gst.PadProbeReturn.OK

    def on_error(self, _bus, message):
        error, _ = message.parse_error()
        print(f"tune.py: {error.message}", file=sys.stderr)
        self.failed = True
        self.loop.quit()

    def again(self):
        """A file begins anew; what cannot do that ends."""
        flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT
        if "ONCE" in os.environ or not self.pipeline.seek_simple(Gst.Format.TIME, flags, 0):
            self.loop.quit()

    def key(self, key):
        e = self.element
        if key.lower() in STEPS:
            name, step, least, most = STEPS[key.lower()]
            value = e.get_property(name) + (step if key.isupper() else -step)
            if name == "ratio" and value < 1:
                # Between automatic and 1 there is nothing.
                value = 1.0 if key.isupper() else 0.0
            e.set_property(name, min(max(round(value, 2), least), most))
        elif key in "<>" and key:
            e.set_property("divider", min(max(e.get_property("divider") + (0.05 if key == ">" else -0.05), 0), 1))
        elif key == "c":
            at = COMPARE.index(e.get_property("compare").value_nick)
            Gst.util_set_object_arg(e, "compare", COMPARE[(at + 1) % len(COMPARE)])
        elif key == "n":
            e.set_property("enabled", not e.get_property("enabled"))
        elif key == " ":
            playing = self.pipeline.get_state(0).state == Gst.State.PLAYING
            self.pipeline.set_state(Gst.State.PAUSED if playing else Gst.State.PLAYING)
        elif key in ("q", "Escape", "\x03", "\x04"):
            self.loop.quit()
        self.show()
        return False

    def show(self):
        e, s = self.element, self.element.get_property("stats")
        ratio = e.get_property("ratio")
        self.line.set_property("text", (
            f"ratio {s.get_value('ratio'):.1f}{' (automatic)' if ratio == 0 else ''}  brightness {e.get_property('brightness'):+.1f}  "
            f"strength {e.get_property('strength'):.1f}  temporal {e.get_property('temporal'):.1f}  "
            f"{s.get_value('light') or ''}{' grey' if s.get_value('grey') else ''}\n"
            f"{s.get_value('backend')} {s.get_value('model')}  {s.get_value('total-ms-p50'):.1f} ms, p99 {s.get_value('total-ms-p99'):.1f}  "
            f"rung {s.get_value('rung')}  luma {s.get_value('luma-in'):.2f} to {s.get_value('luma-out'):.2f}  "
            f"noise {s.get_value('noise'):.1f}  "
            f"{'' if e.get_property('enabled') else 'not enabled'}"))
        return True

    def on_terminal(self, stream, _condition):
        keys = os.read(stream.fileno(), 64).decode(errors="replace")
        for key in keys:
            self.key(key)
        return bool(keys)

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add(250, self.show)
        GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, self.on_terminal)
        before = termios.tcgetattr(sys.stdin) if sys.stdin.isatty() else None
        if before:
            tty.setcbreak(sys.stdin)
        try:
            self.loop.run()
        except KeyboardInterrupt:
            pass
        finally:
            if before:
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
            settings = {name: round(self.element.get_property(name), 2) for name, *_ in STEPS.values()}
            self.pipeline.set_state(Gst.State.NULL)
        print("uretinexenhance " + " ".join(f"{name}={value:g}" for name, value in settings.items()))
        return 1 if self.failed else 0


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        sys.exit(0)
    Gst.init(None)
    if not Gst.ElementFactory.find("uretinexenhance"):
        sys.exit("tune.py: GStreamer does not find uretinexenhance: make build, or set GST_PLUGIN_PATH")
    sys.exit(Tuner(sys.argv[1:]).run())
