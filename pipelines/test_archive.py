#!/usr/bin/python3
"""Tests of archive.py and stage.py; test.sh calls the ones that need no Ray, `make test-archive` those on a cluster of two workers.

    pipelines/test_archive.py logic | formats | ray | timing [CLIP [SECONDS [ORDER]]]
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
BUILT = TARGET / os.environ.get("URETINEX_BUILD", "release")
if (BUILT / "libgsturetinex.so").exists():
    os.environ["GST_PLUGIN_PATH"] = os.pathsep.join(filter(None, [str(BUILT), os.environ.get("GST_PLUGIN_PATH")]))
sys.path.insert(0, str(HERE))

import archive  # noqa: E402
import archive_plan  # noqa: E402

WIDTH, HEIGHT = 160, 96
#: So near to lossless that what is compared is the element, not the coder.
FINE = {"ENCODER": "x264enc pass=quant quantizer=1 speed-preset=veryfast bframes=2"}
#: What a joint has to keep, in dB of a whole frame.
LEAST = 45


# Clips


def clip(path, frames, times, coder, mux, audio=True, text=(), light=lambda _: 0):
    """A dark clip whose frames have these times, in milliseconds. `light` adds to each frame, by its number."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstApp", "1.0")
    from gi.repository import Gst, GstApp  # noqa: F401

    Gst.init(None)
    draw = subprocess.Popen([BUILT / "examples/night_clip", str(WIDTH), str(HEIGHT), str(frames), "camera"], stdout=subprocess.PIPE)
    duration = times[-1] + 40
    words = (
        f"appsrc name=video format=time caps=video/x-raw,format=RGB,width={WIDTH},height={HEIGHT},framerate=25/1 ! videoconvert "
        f"! video/x-raw,format=I420 ! {coder} ! h264parse ! queue max-size-bytes=0 max-size-time=0 max-size-buffers=0 ! mux. "
        f"{mux} name=mux ! filesink location={path} "
    )
    if audio:
        words += (
            f"audiotestsrc wave=ticks volume=0.4 samplesperbuffer=1764 num-buffers={duration // 40} ! audio/x-raw,rate=44100,channels=1 "
            "! audioconvert ! avenc_aac ! queue max-size-bytes=0 max-size-time=0 max-size-buffers=0 ! mux. "
        )
    if text:
        words += "appsrc name=text format=time caps=text/x-raw,format=utf8 ! queue ! mux.subtitle_0 "
    pipeline = Gst.parse_launch(words)
    pipeline.set_state(Gst.State.PLAYING)

    def push(source, data, time, duration):
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.pts, buffer.duration = time * Gst.MSECOND, duration * Gst.MSECOND
        source.push_buffer(buffer)

    if text:
        source = pipeline.get_by_name("text")
        for at, words in text:
            push(source, words.encode(), at, 300)
        source.end_of_stream()
    source = pipeline.get_by_name("video")
    for at, time_ in enumerate(times):
        lit = bytes(min(255, code + light(at)) for code in range(256))
        push(source, draw.stdout.read(WIDTH * HEIGHT * 3).translate(lit), time_, (times[at + 1] if at + 1 < len(times) else duration) - time_)
    source.end_of_stream()
    message = pipeline.get_bus().timed_pop_filtered(60 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
    assert message and message.type == Gst.MessageType.EOS, message and message.parse_error()
    pipeline.set_state(Gst.State.NULL)
    draw.stdout.close()
    draw.wait()


def decoded(path):
    """The frames of a clip: (time in ns, bytes of I420)."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstApp", "1.0")
    from gi.repository import Gst, GstApp  # noqa: F401

    Gst.init(None)
    pipeline = Gst.parse_launch("filesrc name=in ! decodebin ! videoconvert ! video/x-raw,format=I420 ! appsink name=out sync=false")
    pipeline.get_by_name("in").set_property("location", str(path))
    pipeline.set_state(Gst.State.PLAYING)
    out, frames = pipeline.get_by_name("out"), []
    while sample := out.try_pull_sample(20 * Gst.SECOND):
        buffer = sample.get_buffer()
        frames.append((sample.get_segment().to_stream_time(Gst.Format.TIME, buffer.pts), buffer.extract_dup(0, buffer.get_size())))
    assert out.is_eos(), f"{path} cannot be decoded to its end"
    pipeline.set_state(Gst.State.NULL)
    return frames


def psnr(a, b):
    import math

    squares = sum((x - y) ** 2 for x, y in zip(a, b))
    return 10 * math.log10(255**2 * len(a) / squares) if squares else 99.0


def same(one, other):
    """The worst frame's dB; the times have to be the same."""
    one, other = decoded(one), decoded(other)
    times = [time for time, _ in one]
    assert [time for time, _ in other] == times, f"times differ: {len(times)} frames, {len(other)} frames"
    return min(psnr(a, b) for (_, a), (_, b) in zip(one, other))


def run_archive(*words, python="/usr/bin/python3", check=0, **environment):
    command = [python, str(HERE / "archive.py"), *map(str, words)]
    told = subprocess.run(command, capture_output=True, text=True, env=os.environ | FINE | environment)
    assert check is None or told.returncode == check, f"exit status {told.returncode}\n{told.stdout}\n{told.stderr}"
    return told


def report_of(out):
    return json.loads((pathlib.Path(out) / "archive-report.json").read_text())


# What is decided, without any video


def logic():
    divisions()
    names()
    arguments()
    with tempfile.TemporaryDirectory() as folder:
        retries(pathlib.Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        swept(pathlib.Path(folder))


def divisions():
    def frames(*milliseconds):
        return [[ms * 1_000_000, ms * 1_000_000, 2.0, 1.0] for ms in milliseconds]

    steady = frames(*range(0, 10_000, 100))
    keys = [s * 1_000_000_000 for s in range(0, 10)]
    for seconds, lead_in, expected in [
        (3, 5, [(0, 0, 30), (2, 30, 60), (5, 60, 100)]),
        (3, 0, [(0, 0, 30), (3, 30, 60), (6, 60, 100)]),
        (3, 10, [(0, 0, 30), (2, 30, 60), (5, 60, 100)]),
        (3, 11, [(0, 0, 30), (1, 30, 60), (4, 60, 100)]),
        (3, 1000, [(0, 0, 30), (0, 30, 60), (0, 60, 100)]),
        (100, 5, [(0, 0, 100)]),
    ]:
        found = [(p["lead"] // 1_000_000_000, p["first"], p["last"]) for p in archive_plan.divide(steady, keys, seconds, lead_in)]
        assert found == expected, (seconds, lead_in, found)
    # Without key frames, with those of before the beginning, and with frames at odd times.
    assert archive_plan.divide(steady, [], 1, 5) == [{"lead": 0, "first": 0, "last": 100}]
    odd = frames(40, 80, 200, 1000, 1010, 2500, 2540)
    found = archive_plan.divide(odd, [0, 40_000_000, 1_000_300_000], 0.5, 2)
    assert [(p["first"], p["last"]) for p in found] == [(0, 3), (3, 7)] and found[1]["lead"] == 40_000_000, found


def names():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name in ("a.mp4", "a.avi", "night/b c.mkv", "night/notes.txt", ".hidden.mp4", "out/old.mp4"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"x")
        out = folder / "out"
        found, passed_over = archive.find([folder], out, {})
        assert sorted(str(r.target.relative_to(out)) for r in found) == ["a.avi.mp4", "a.mp4.mp4", "night/b c.mkv"], found
        assert passed_over == 2
        with contextlib.suppress(FileNotFoundError):
            archive.find([folder / "absent"], out, {})
            raise AssertionError("a recording that is not there")


def arguments():
    given = archive.parse(["in folder", "x=y.mp4", "--here", "out", "ratio=4", "max-pixels=1000", "--segment", "5"])
    assert (given.inputs, given.out, given.properties) == (["in folder"], "x=y.mp4", ["ratio=4", "max-pixels=1000"]) or (
        given.inputs, given.out, given.properties) == (["in folder"], "out", ["x=y.mp4", "ratio=4", "max-pixels=1000"]), given
    for wrong in (["one"], ["a", "b", "--segment", "0"], ["a", "b", "--tries", "0"]):
        with contextlib.redirect_stderr(open(os.devnull, "w")):
            try:
                archive.parse(wrong)
            except SystemExit as end:
                assert end.code == 2
            else:
                raise AssertionError(wrong)


class Scripted:
    """Workers that do what they are told: `behaviour(worker, job)` returns nothing, or what goes wrong."""

    def __init__(self, count, behaviour):
        self.workers = [f"w{i}" for i in range(count)]
        self.behaviour, self.begun, self.log = behaviour, [], []

    def start(self, worker, job):
        assert worker in self.workers and worker not in [w for w, _ in self.begun], worker
        self.begun.append((worker, job))

    def wait(self):
        worker, job = self.begun.pop()
        wrong = self.behaviour(worker, job)
        self.log.append((worker, job["stage"], job["number"], wrong))
        if wrong == "lost":
            self.workers[self.workers.index(worker)] = f"{worker}'"
            return worker, job, archive.Failed("lost")
        if wrong:
            return worker, job, archive.Failed(wrong)
        output = pathlib.Path(job["output"])
        if job["stage"] == "scan":
            times = [n * 40_000_000 for n in range(100)]
            archive_plan.write(output, {"frames": [[t, t, 2.0, 1.0] for t in times], "keys": times[::25], "sizes": ["64x48"]})
        else:
            output.write_bytes(b"made")
            output.with_name(f"{output.name}.json").write_text('{"frames": 25}')
        return worker, job, {"host": "here", "seconds": 1.0}


def retries(folder):
    (folder / "in").mkdir()
    for name in "ab":
        (folder / f"in/{name}.mp4").write_bytes(b"x" * 100)

    def go(out, behaviour, count=2, tries=4):
        recordings, _ = archive.find([folder / "in"], folder / out, {})
        scripted = Scripted(count, behaviour)
        made = archive.Archive(
            recordings, scripted, properties=[], environment={}, segment=1, lead_in=25, tries=tries, progress=archive.Quiet()
        )
        with contextlib.redirect_stderr(open(os.devnull, "w")):
            made.run()
        return made, scripted

    def states(made):
        return [r.state for r in made.recordings]

    made, scripted = go("plain", lambda *_: None)
    assert states(made) == ["made", "made"] and len(scripted.log) == 2 * (1 + 4 + 1), scripted.log
    # All there: nothing is done again. A recording that has changed is; so is a result that has gone.
    made, scripted = go("plain", lambda *_: None)
    assert states(made) == ["kept", "kept"] and not scripted.log
    (folder / "in/a.mp4").write_bytes(b"y" * 101)
    made, scripted = go("plain", lambda *_: None)
    assert states(made) == ["made", "kept"] and len(scripted.log) == 6
    (folder / "plain/b.mp4").unlink()
    assert states(go("plain", lambda *_: None)[0]) == ["kept", "made"]
    # What one worker cannot do, another does.
    made, scripted = go("bad", lambda worker, job: "bad" if worker == "w0" and job["number"] == 1 else None)
    assert states(made) == ["made", "made"]
    assert all(r.trouble == [] or [t["worker"] for t in r.trouble] == ["w0"] for r in made.recordings), made.recordings
    # What nobody can do is given up after so many tries, and the others are made.
    made, scripted = go("hopeless", lambda _, job: "no" if "a.mp4" in job["source"] and job["stage"] == "join" else None, tries=3)
    assert states(made) == ["failed", "made"] and len(made.recordings[0].trouble) == 3
    # A lost worker's job goes to another; the segments that are there stay.
    lost = []
    made, scripted = go("lost", lambda worker, job: lost.append(job) or "lost" if job["number"] == 2 and len(lost) < 2 else None)
    assert states(made) == ["made", "made"] and len(lost) == 2 and len({w for w, *_ in scripted.log}) >= 3
    # Stopped in the middle, and gone on with.
    count = []

    def stop(_worker, _job):
        count.append(1)
        if len(count) > 7:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        go("stopped", stop)
    made, scripted = go("stopped", lambda *_: None)
    assert sorted(states(made)) == ["kept", "made"] and len(scripted.log) == 12 - 7, scripted.log


# Videos of several kinds, against one machine's result


def swept(folder):
    """What killed workers have left goes with the segments, and nothing else."""
    inside, half = folder / ".archive", "0123456789abcdef" * 2
    inside.mkdir()
    keep = [inside / "done.json", inside / "plan.json.gz", folder / "night[1].mp4", folder / "night[1].day.mp4", folder / f"other.{half}.mp4", folder / f"night1.{half}.mp4"]
    segment = inside / "segment-00000.gdp"
    gone = [segment, f"{segment}.json", inside / f"segment-00001.{half}.gdp", inside / f"segment-00001.{half}.gdp.json", inside / f"segment-00001.{half}.gdp.part",
            inside / f"plan.json.{half}.gz", folder / f"night[1].{half}.mp4", folder / f"night[1].{half}.mp4.part"]
    for path in (*keep, *map(pathlib.Path, gone)):
        path.touch()
    recording = archive.Recording(folder / "source.mp4", folder / "night[1].mp4", inside, {})
    recording.sweep()
    recording.sweep()
    left = {path for path in folder.rglob("*") if path.is_file()}
    assert left == set(keep), left ^ set(keep)


def even(count):
    return [40 * n for n in range(count)]


def uneven(count):
    """Frames at odd times, as of a phone that skips some in the dark."""
    times, at = [], 0
    for n in range(count):
        times.append(at)
        at += (33, 34, 33, 67, 40, 100)[n % 6]
    return times


OPEN = "x264enc key-int-max=12 bframes=3 pass=quant quantizer=12 option-string=open-gop=1:scenecut=0"
CLOSED = "x264enc key-int-max=12 bframes=0 pass=quant quantizer=12"
MARKED = [(100, "<i>one</i> & two"), (900, "three")]


def formats():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        # Light goes out at once, and night comes when it has been dark for three seconds: one machine leaves all frames as they are,
        # and so has to whoever begins in the dark.
        clip("open.mp4", 60, even(60), OPEN, "mp4mux", light=lambda n: max(150 - 15 * n, 0))
        lying = bytearray(pathlib.Path("open.mp4").read_bytes())
        # As a phone that was held upright writes it.
        matrix = lying.index(b"tkhd") + 44
        lying[matrix : matrix + 20] = struct.pack(">5i", 0, 65536, 0, -65536, 0)
        pathlib.Path("lying down.mp4").write_bytes(lying)
        pathlib.Path("open.mp4").unlink()
        clip("uneven.mkv", 50, uneven(50), OPEN, "matroskamux", text=MARKED)
        clip("stream.ts", 50, even(50), CLOSED, "mpegtsmux")
        names = ["lying down.mp4", "uneven.mkv", "stream.ts"]
        run_archive(*names, "out", "--here", "--segment", "0.9", "--lead-in", "12")
        told = report_of("out")
        for name, told in zip(names, told["recordings"]):
            made = pathlib.Path(told["target"])
            one = f"one{made.suffix}"
            subprocess.run([HERE / "transcode.sh", name, one], check=True, capture_output=True, env=os.environ | FINE)
            worst = same(one, made)
            print(f"{name}: {told['frames']} frames, {told['segments']} segments, worst frame {worst:.1f} dB, notes {told['notes']}")
            assert told["segments"] > 1 and worst >= LEAST, told
            assert archive_plan.streams(one) == archive_plan.streams(made), name
            assert archive_plan.streams(made)["audio"] == 1
            assert not told["notes"] and not told["trouble"], told
            if name == "lying down.mp4":
                plan = archive_plan.read(next(p for p in pathlib.Path("out").glob(".archive/*/plan.json.gz") if name in (p.parent / "key.json").read_text()))
                assert all(ratio is None and night == 0 for _, _, ratio, night in plan["frames"]), "this is a day"
            if name == "uneven.mkv":
                assert archive_plan.streams(made)["subtitles"] == 1
                assert b"one & two" in made.read_bytes(), "subtitles keep their text, without marks"
        # Again: all is there. A file cut short fails alone, and is named.
        run_archive(*names, "out", "--here", "--segment", "0.9", "--lead-in", "12")
        assert [r["state"] for r in report_of("out")["recordings"]] == ["kept"] * 3
        pathlib.Path("noise.mp4").write_bytes(os.urandom(1000))
        told = run_archive("stream.ts", "noise.mp4", "other", "ratio=4", "--here", "--segment", "0.9", check=1)
        assert [r["state"] for r in report_of("other")["recordings"]] == ["made", "failed"], told.stdout
        assert "noise.mp4" in told.stdout + told.stderr and "no video" in told.stdout, told.stdout


# On a cluster


def ray():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        cluster(pathlib.Path(folder))


def cluster(folder):
    clip("night.mp4", 240, even(240), OPEN, "mp4mux")
    clip("second.mkv", 100, uneven(100), OPEN, "matroskamux", text=MARKED)
    words = ["night.mp4", "second.mkv"]
    options = ["--segment", "1.4", "--workers", "2", "--cpus", "1", "--lead-in", "48"]
    ones = {}
    for name in words:
        ones[name] = pathlib.Path(f"one-{name}")
        subprocess.run([HERE / "transcode.sh", name, ones[name]], check=True, capture_output=True, env=os.environ | FINE)

    def check(out, what):
        for name in words:
            worst = same(ones[name], pathlib.Path(out) / name)
            told = next(r for r in report_of(out)["recordings"] if r["source"].endswith(name))
            print(f"{what}: {name}, {told['segments']} segments, {told['segments_kept']} from before, {len(told['trouble'])} tries failed, worst frame {worst:.1f} dB")
            assert worst >= LEAST

    run_archive(*words, "out", *options, python=sys.executable)
    assert not any(r["trouble"] for r in report_of("out")["recordings"]), report_of("out")
    check("out", "two workers")

    # A worker is killed while it makes a segment.
    process, out = start(*words, "killed", *options)
    wait_for(lambda: list(pathlib.Path("killed").glob(".archive/*/segment-*.gdp")), out)
    victim = stages(process)[0]
    print("killing a worker:", victim)
    os.kill(victim, signal.SIGKILL)
    assert process.wait(600) == 0, out.read_text()
    assert any(t["error"].endswith(")") and "lost" in t["error"] for r in report_of("killed")["recordings"] for t in r["trouble"])
    check("killed", "a worker killed")

    # The program itself is killed, and called again.
    process, out = start(*words, "crashed", *options)
    wait_for(lambda: len(list(pathlib.Path("crashed").glob(".archive/*/segment-*.gdp"))) >= 2, out)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not running(folder), out)
    run_archive(*words, "crashed", *options, python=sys.executable)
    assert sum(r["segments_kept"] for r in report_of("crashed")["recordings"]) >= 2
    check("crashed", "killed and called again")
    for out in ("out", "killed", "crashed"):
        rest = [path for path in pathlib.Path(out).rglob("*") if "segment-" in path.name or archive.HALF_MADE.search(path.name)]
        assert not rest, f"what has been joined is not kept, nor what was half made: {rest}"


def start(*words):
    out = pathlib.Path(f"{time.monotonic_ns()}.log")
    process = subprocess.Popen(
        [sys.executable, HERE / "archive.py", *words], stdout=out.open("w"), stderr=subprocess.STDOUT, env=os.environ | FINE,
        start_new_session=True,
    )
    return process, out


def wait_for(condition, log, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


def processes():
    """(process, parent, command) of all."""
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            status = (entry / "stat").read_text()
            yield int(entry.name), int(status.rpartition(")")[2].split()[1]), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()


def running(folder):
    """Stages that play files of a folder."""
    found = []
    for process, _, command in processes():
        if "stage.py" in command:
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{process}/cwd").startswith(str(folder)):
                    found.append(process)
    return found


def stages(process):
    """The Ray workers below a process that have a stage playing."""
    table = {p: (parent, command) for p, parent, command in processes()}
    found = []
    for p, (parent, command) in table.items():
        if "transcode.sh" in command and table.get(parent, (0, ""))[1].startswith("ray::"):
            found.append(parent)
    return found


def timing(source=None, seconds="2", order="1212"):
    """Two workers against one, in that order: the seconds of each, Ray's own start left out."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(source).resolve() if source else None
        os.chdir(folder)
        if source is None:
            clip("night.mp4", 400, even(400), OPEN, "mp4mux")
            source = "night.mp4"
        took = {}
        for workers in map(int, order):
            shutil.rmtree("out", ignore_errors=True)
            run_archive(
                source, "out", "--workers", workers, "--cpus", "1", "--segment", seconds, python=sys.executable,
                ENCODER="x264enc threads=1",
            )
            told = report_of("out")
            took.setdefault(workers, []).append(told["seconds"])
            print(f"{workers} workers: {told['seconds']} s, {told['recordings'][0]['segments']} segments, {told['recordings'][0]['worker_seconds']}", flush=True)
        print(f"ratio of the smallest times: {min(took[1]) / min(took[2]):.2f}")


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    # A registry of its own: others on this machine may have other plugins, and write the user's anew meanwhile.
    registry = tempfile.TemporaryDirectory()
    os.environ.setdefault("GST_REGISTRY", f"{registry.name}/registry.bin")
    {"logic": logic, "formats": formats, "ray": ray, "timing": timing}[name](*rest)
