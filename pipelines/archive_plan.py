"""How archive.py divides a recording, and what it compares afterwards."""

import bisect
import gzip
import json
import re
import subprocess

#: Frames before a segment, which the stream's memory needs to be as it would be without the cut (docs/archive.md has figures).
LEAD_IN = 24


def read(path):
    """A plan; None if there is none or it is not whole."""
    try:
        with gzip.open(path, "rt") as file:
            return json.load(file)
    except (OSError, EOFError, ValueError):
        return None


def write(path, plan):
    part = path.with_name(f"{path.name}.part")
    with gzip.open(part, "wt", compresslevel=3) as file:
        json.dump(plan, file, separators=(",", ":"))
    part.replace(path)


def divide(frames, keys, seconds, lead_in):
    """Segments of at least `seconds` that begin at key frames: [{"lead", "first", "last"}], `first` and `last` numbers of frames, the
    second of the one behind the segment, `lead` the time of a key frame that is at least `lead_in` frames before the first, or the
    beginning. `frames` are [time, ...], their times rising; `keys` are times.
    """
    times = [frame[0] for frame in frames]
    keys = [key for key in keys if times[0] <= key <= times[-1]]
    begins = [0]
    for key in keys:
        at = bisect.bisect_left(times, key - 500_000)
        rest = times[-1] - key
        # No short piece at the end.
        if key - times[begins[-1]] >= seconds * 1e9 and rest >= seconds * 5e8:
            begins.append(at)
    segments = []
    for first, last in zip(begins, [*begins[1:], len(times)]):
        wanted = times[max(first - lead_in, 0)]
        before = bisect.bisect_right(keys, wanted)
        segments.append({"lead": keys[before - 1] if before else times[0], "first": first, "last": last})
    return segments


def streams(path):
    """How many streams of each kind a file has."""
    told = subprocess.run(["gst-discoverer-1.0", str(path)], capture_output=True, text=True, errors="replace").stdout
    return {kind: len(re.findall(rf"^ *{kind}", told, re.MULTILINE)) for kind in ("audio", "subtitles")}


def left_out(source, target):
    """Sentences about streams of `source` that `target` lacks."""
    before, after = streams(source), streams(target)
    return [f"of {before[kind]} streams of {kind}, {after[kind]} are kept" for kind in before if after[kind] < before[kind]]
