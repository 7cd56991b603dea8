#!/usr/bin/env python3
"""An archive of night recordings, made bright by all machines of a Ray cluster.

    pipelines/archive.py RECORDING_OR_FOLDER ... OUT_FOLDER [PROPERTY=VALUE ...] [--address HOST:PORT] [--workers N]

Each recording becomes OUT_FOLDER/NAME.mp4, or .mkv where it was in Matroska, with its audio, its subtitles of text and its
timestamps, as pipelines/transcode.sh would make it. It is looked through once, for the times of its frames and for the ratio that
the stream comes to at each of them; then segments that begin at key frames are made by workers, each with a lead-in that fills
the stream's memory, and joined without being encoded again. A segment that fails is tried on another worker.

Started again, it goes on from what is done (OUT_FOLDER/.archive), and makes again what has changed. At the end a report is printed
and written to OUT_FOLDER/archive-report.json. Exit status 0: all recordings are there; 1: some are not; 2: wrong arguments.

All machines need the same paths for recordings, OUT_FOLDER and this folder, and the packages of transcode.sh and stage.py. Ray and
tqdm: pip install -r pipelines/archive-requirements.txt. With --here, without Ray: this machine alone.
"""

import argparse
import concurrent.futures
import dataclasses
import glob
import hashlib
import heapq
import json
import os
import pathlib
import queue
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid

import archive_plan

HERE = pathlib.Path(__file__).resolve().parent
#: What is taken from a folder.
SUFFIXES = set(".mp4 .m4v .mov .mkv .webm .avi .ts .m2ts .mts .mpg .mpeg .flv .3gp .wmv .asf .ogv .mxf".split())
MATROSKA = {".mkv", ".webm"}
#: Of the environment, what makes a difference to the result; workers get it too.
VARIABLES = ("ENHANCE", "ENCODER")
WORKERS_VARIABLES = (*VARIABLES, "URETINEX_BUILD", "CARGO_TARGET_DIR", "GST_PLUGIN_PATH")
#: transcode.sh's exit status for a file that cannot be decoded from a key frame on.
NOT_SEEKABLE = 3
#: Bumped when work of an earlier version cannot be gone on with.
FORM = 1
# What is in the name of a file that a worker has not finished.
HALF_MADE = re.compile(r"\.[0-9a-f]{32}\.")


class Failed(Exception):
    """A stage that a worker could not do: the message says why."""


# What workers do. Runs on other machines, so it knows nothing but its arguments.


def perform(job):
    """Does one stage: {"stage", "source", "output", "properties", "environment", "folder", "number", "segments"}. Returns where it
    was done and the seconds that it took.

    Raises Failed with the last lines of the log.
    """
    began = time.monotonic()
    folder, output = pathlib.Path(job["folder"]), pathlib.Path(job["output"])
    # Two that make the same, one of them given up, do not meet.
    made = output.with_name(f"{output.stem}.{uuid.uuid4().hex}{output.suffix}")  # as HALF_MADE says
    environment = job["environment"] | {"STAGE": job["stage"], "LIFELINE": "1", "PLAN": str(folder / "plan.json.gz")}
    if job["stage"] == "scan":
        environment["PLAN"] = str(made)
    elif job["stage"] == "segment":
        environment |= {"NUMBER": str(job["number"]), "INFO": f"{made}.json"}
    else:
        environment["SEGMENTS"] = "\n".join(job["segments"])
    try:
        status, log = run_transcode(job, made, environment)
        if status == NOT_SEEKABLE and job["stage"] == "segment":
            status, log = run_transcode(job, made, environment | {"FROM_THE_START": "1"})
        if status != 0:
            raise Failed(f"{job['stage']} on {socket.gethostname()}: {last_words(log)}")
        if job["stage"] == "segment":
            os.replace(f"{made}.json", f"{output}.json")
        os.replace(made, output)
    finally:
        for rest in (made, pathlib.Path(f"{made}.json"), pathlib.Path(f"{made}.part")):
            rest.unlink(missing_ok=True)
    return {"host": socket.gethostname(), "seconds": round(time.monotonic() - began, 2)}


def run_transcode(job, made, environment):
    command = [job["transcode"], job["source"], str(made), *job["properties"]]
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        # Standard input is the lifeline: it ends with this process, however that ends.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=os.environ | environment)
        try:
            process.wait()
        finally:
            process.stdin.close()
        log.seek(0)
        return process.returncode, log.read()


def last_words(log):
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith(("progress", "gst-launch-1.0"))]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it ended without a word"])[-1].removeprefix("error: ")


# Workers. Each has `start(worker, job)`, `wait()`, which gives (worker, job, result or exception), and `workers`.


class ThreadsHere:
    """Workers of this machine, without Ray."""

    def __init__(self, count):
        self.workers = [f"here-{i}" for i in range(count)]
        self.pool = concurrent.futures.ThreadPoolExecutor(count)
        self.done = queue.Queue()

    def start(self, worker, job):
        def work():
            try:
                self.done.put((worker, job, perform(job)))
            except Exception as error:
                self.done.put((worker, job, error))

        self.pool.submit(work)

    def wait(self):
        return self.done.get()

    def close(self):
        self.pool.shutdown(wait=False, cancel_futures=True)


class RayWorkers:
    """Actors of a Ray cluster. One that dies is replaced by another, which Ray puts where there is room."""

    def __init__(self, address, count, cpus, gpus):
        import ray

        self.ray = ray
        # A cluster of this machine alone has as many processors as the workers need, whatever the machine has.
        processors = count * cpus if count and not address else None
        try:
            ray.init(address=address, num_cpus=processors, log_to_driver=False, logging_level="error", include_dashboard=False)
        except Exception as error:
            raise Failed(f"Ray cannot be {'reached' if address else 'started'}: {error}") from error
        if not count:
            resources = ray.cluster_resources()
            count = int(min(resources.get("CPU", 1) // cpus, resources.get("GPU", 0) // gpus if gpus else float("inf")))
        self.kind = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, scheduling_strategy="SPREAD")(Worker)
        self.workers, self.pending = {}, {}
        for _ in range(max(count, 1)):
            self.add()

    def add(self):
        worker = self.kind.remote()
        self.workers[worker._actor_id.hex()] = worker

    def start(self, worker, job):
        self.pending[self.workers[worker].perform.remote(job)] = (worker, job)

    def wait(self):
        done, _ = self.ray.wait(list(self.pending), num_returns=1)
        worker, job = self.pending.pop(done[0])
        try:
            return worker, job, self.ray.get(done[0])
        except self.ray.exceptions.RayActorError as error:
            del self.workers[worker]
            self.add()
            return worker, job, Failed(f"{job['stage']}: a worker was lost ({type(error).__name__})")
        except self.ray.exceptions.RayTaskError as error:
            return worker, job, error.cause if isinstance(error.cause, Failed) else error

    def close(self):
        for worker in self.workers.values():
            self.ray.kill(worker)
        self.ray.shutdown()


class Worker:
    """What runs on a machine of the cluster."""

    def perform(self, job):
        return perform(job)


# The recordings and what has been done of them.


@dataclasses.dataclass
class Recording:
    """One recording: where it comes from, where it goes, what has been done and what went wrong."""

    source: pathlib.Path
    target: pathlib.Path
    folder: pathlib.Path
    key: dict
    state: str = "waiting"
    frames: int = 0
    segments: int = 0
    kept: int = 0  # segments that were there from an earlier run
    missing: set = dataclasses.field(default_factory=set)
    seconds: dict = dataclasses.field(default_factory=lambda: {"scan": 0.0, "segment": 0.0, "join": 0.0})
    trouble: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)

    def segment(self, number):
        return self.folder / f"segment-{number:05}.gdp"

    def sweep(self):
        """Removes the segments, and what workers that were killed have left half made."""
        beside = self.target.parent.glob(f"{glob.escape(self.target.stem)}.*")
        half_made = [path for path in (*self.folder.iterdir(), *beside) if HALF_MADE.search(path.name.removeprefix(self.target.stem))]
        for path in (*self.folder.glob("segment-*"), *half_made):
            path.unlink(missing_ok=True)

    @property
    def plan(self):
        return self.folder / "plan.json.gz"

    @property
    def weight(self):
        return max(self.key["size"], 1)


def read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def write_json(path, value):
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(part, path)


def find(arguments, out, settings):
    """The recordings of files and folders. Names that would meet get their suffix in between."""
    found, passed_over = [], 0
    for given in arguments:
        given = pathlib.Path(given).absolute()
        if given.is_dir():
            inside = sorted(p for p in given.rglob("*") if p.is_file() and out not in p.parents)
            taken = [p for p in inside if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
            passed_over += len(inside) - len(taken)
            found += [(p, p.relative_to(given)) for p in taken]
        elif given.is_file():
            found.append((given, pathlib.Path(given.name)))
        else:
            raise FileNotFoundError(f"{given}: there is no such file or folder")
    names = {}
    for source, name in found:
        names.setdefault(name.with_suffix(".mkv" if name.suffix.lower() in MATROSKA else ".mp4"), []).append((source, name))
    recordings = []
    for target, those in names.items():
        for source, name in those:
            if len(those) > 1:
                target = name.with_name(name.name + target.suffix)
            status = source.stat()
            key = {"source": str(source), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "form": FORM} | settings
            folder = out / ".archive" / hashlib.sha256(str(target).encode()).hexdigest()[:16]
            recordings.append(Recording(source, out / target, folder, key))
    if len({r.target for r in recordings}) != len(recordings):
        raise FileExistsError("two recordings have the same name: give the folder that both are in, so that their paths differ")
    return recordings, passed_over


class Archive:
    """What is to be done next, and by whom."""

    def __init__(self, recordings, executor, *, properties, environment, segment, lead_in, tries, progress):
        self.recordings, self.executor, self.progress = recordings, executor, progress
        self.properties, self.environment = properties, environment
        self.segment_seconds, self.lead_in, self.tries = segment, lead_in, tries
        self.ready, self.count = [], 0
        self.idle, self.working, self.of_job = list(executor.workers), set(), {}
        self.hosts = {}
        for recording in recordings:
            self.resume(recording)

    # Joins first, so that what is nearly done is done; new recordings last.
    ORDER = {"join": 0, "segment": 1, "scan": 2}

    def put(self, recording, stage, number=None, tried=()):
        self.count += 1
        output = {"scan": recording.plan, "join": recording.target}.get(stage) or recording.segment(number)
        job = {
            "stage": stage,
            "number": number,
            "transcode": str(HERE / "transcode.sh"),
            "source": str(recording.source),
            "output": str(output),
            "folder": str(recording.folder),
            "properties": self.properties,
            "environment": self.environment,
            "segments": [str(recording.segment(n)) for n in range(recording.segments)] if stage == "join" else [],
        }
        heapq.heappush(self.ready, (self.ORDER[stage], self.count, job, recording, list(tried)))

    def resume(self, recording):
        """Finds what an earlier run has done with the same settings; forgets all else."""
        done = read_json(recording.folder / "done.json")
        if done and done["key"] == recording.key and recording.target.exists() and recording.target.stat().st_size == done["bytes"]:
            recording.state, recording.frames, recording.segments = "kept", done["frames"], done["segments"]
            recording.kept, recording.notes = recording.segments, done["notes"]
            self.progress.update(recording.weight)
            return
        if read_json(recording.folder / "key.json") != recording.key:
            shutil.rmtree(recording.folder, ignore_errors=True)
            recording.folder.mkdir(parents=True)
            write_json(recording.folder / "key.json", recording.key)
        recording.target.parent.mkdir(parents=True, exist_ok=True)
        if recording.plan.exists() and self.begin(recording):
            return
        self.put(recording, "scan")

    def begin(self, recording):
        """Divides a recording that has been looked through. False if its plan is not whole."""
        plan = archive_plan.read(recording.plan)
        if plan is None:
            return False
        if "segments" not in plan:
            plan["segments"] = archive_plan.divide(plan["frames"], plan["keys"], self.segment_seconds, self.lead_in)
            archive_plan.write(recording.plan, plan)
        recording.state, recording.frames, recording.segments = "begun", len(plan["frames"]), len(plan["segments"])
        if len(plan["sizes"]) > 1:
            recording.notes.append(f"the video changes its size ({', '.join(plan['sizes'])}): it is scaled to the first")
        for n, part in enumerate(plan["segments"]):
            there = recording.segment(n)
            if there.exists() and read_json(there.with_name(f"{there.name}.json")):
                recording.kept += 1
                self.progress.update(self.share(recording))
            else:
                recording.missing.add(n)
                self.put(recording, "segment", n)
        if not recording.missing:
            self.put(recording, "join")
        return True

    @staticmethod
    def share(recording):
        return recording.weight / recording.segments

    def run(self):
        busy = 0
        while self.ready or busy:
            busy += self.hand_out()
            if not busy:
                continue
            worker, job, result = self.executor.wait()
            busy -= 1
            # One that was lost is no longer among them; what has taken its place is.
            known = set(self.idle) | self.working
            self.working.discard(worker)
            self.idle += [w for w in self.executor.workers if w == worker or w not in known]
            recording, tried = self.of_job.pop(id(job))
            if isinstance(result, Exception):
                self.failed(recording, job, worker, tried, result)
            else:
                self.done(recording, job, result)

    def hand_out(self):
        """Gives ready jobs to idle workers; a job that failed goes to one that has not had it, if there is one."""
        given, later = 0, []
        while self.ready and self.idle:
            entry = heapq.heappop(self.ready)
            _, _, job, recording, tried = entry
            if recording.state == "failed":
                continue
            others = [w for w in self.idle if w not in tried]
            if not others and set(self.executor.workers) - set(tried):
                later.append(entry)
                continue
            worker = (others or self.idle)[0]
            self.idle.remove(worker)
            self.working.add(worker)
            self.of_job[id(job)] = (recording, tried)
            self.executor.start(worker, job)
            given += 1
        for entry in later:
            heapq.heappush(self.ready, entry)
        return given

    def failed(self, recording, job, worker, tried, error):
        message = str(error) if isinstance(error, Failed) else f"{job['stage']}: {error!r}"
        recording.trouble.append({"stage": job["stage"], "segment": job["number"], "worker": worker, "error": message})
        tried = [*tried, worker]
        if recording.state == "failed":
            return
        if len(tried) < self.tries:
            self.put(recording, job["stage"], job["number"], tried)
        else:
            recording.state = "failed"
            self.progress.write(f"{recording.source}: {message}; tried {len(tried)} times")

    def done(self, recording, job, result):
        recording.seconds[job["stage"]] += result["seconds"]
        self.hosts[result["host"]] = self.hosts.get(result["host"], 0) + 1
        if recording.state == "failed":
            return
        if job["stage"] == "scan":
            if not self.begin(recording):
                raise SystemExit(f"archive.py: {recording.plan} has been written by a worker and cannot be read here: is it a shared folder?")
        elif job["stage"] == "segment":
            recording.missing.discard(job["number"])
            self.progress.update(self.share(recording))
            if not recording.missing:
                self.put(recording, "join")
        else:
            self.finish(recording)

    def finish(self, recording):
        recording.state = "made"
        recording.notes += archive_plan.left_out(recording.source, recording.target)
        write_json(recording.folder / "done.json", {
            "key": recording.key, "bytes": recording.target.stat().st_size, "frames": recording.frames,
            "segments": recording.segments, "notes": recording.notes,
        })
        recording.sweep()


def report(archive, seconds, passed_over):
    recordings = [
        {
            "source": str(r.source), "target": str(r.target), "state": r.state, "frames": r.frames, "segments": r.segments,
            "segments_kept": r.kept, "worker_seconds": {k: round(v, 2) for k, v in r.seconds.items()}, "trouble": r.trouble, "notes": r.notes,
        }
        for r in archive.recordings
    ]
    return {
        "seconds": round(seconds, 1),
        "frames": sum(r.frames for r in archive.recordings if r.state == "made"),
        "jobs_by_host": archive.hosts,
        "passed_over": passed_over,
        "recordings": recordings,
    }


def for_people(told):
    lines = []
    for r in told["recordings"]:
        work = sum(r["worker_seconds"].values())
        lines.append(f"{r['state']:7} {r['source']}: {r['frames']} frames, {r['segments']} segments ({r['segments_kept']} from before), {work:.0f} s of work")
        lines += [f"        note: {note}" for note in r["notes"]]
        lines += [f"        trouble: {t['error']}" for t in r["trouble"]]
    count = {state: sum(r["state"] == state for r in told["recordings"]) for state in ("made", "kept", "failed")}
    lines.append(
        f"{count['made']} made, {count['kept']} there from before, {count['failed']} failed; {told['passed_over']} files of folders passed over; "
        f"{told['frames']} frames in {told['seconds']:.0f} s"
    )
    return "\n".join(lines)


class Quiet:
    """Stands in for a progress bar where tqdm is not installed."""

    def update(self, _n):
        pass

    def write(self, text):
        print(text, file=sys.stderr, flush=True)

    def close(self):
        pass


def progress_bar(total):
    try:
        from tqdm import tqdm
    except ImportError:
        return Quiet()
    return tqdm(total=total, unit="B", unit_scale=True, smoothing=0.05, dynamic_ncols=True, desc="archive")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="RECORDING_OR_FOLDER ... OUT_FOLDER [PROPERTY=VALUE ...]", help="what is done, where it goes, and how")
    parser.add_argument("--segment", type=float, default=60, metavar="SECONDS", help="the shortest segment (default 60)")
    parser.add_argument("--lead-in", type=int, default=archive_plan.LEAD_IN, metavar="FRAMES", help=f"frames before a segment that fill the memory (default {archive_plan.LEAD_IN})")
    parser.add_argument("--address", default=os.environ.get("RAY_ADDRESS"), help="a Ray cluster: HOST:PORT, ray://HOST:PORT, or auto; without, one of this machine is started")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="as many at once (default: what the cluster's processors are enough for)")
    parser.add_argument("--cpus", type=int, default=2, metavar="N", help="processors of each worker (default 2)")
    parser.add_argument("--gpus", type=float, default=0, metavar="N", help="GPUs of each worker (default 0)")
    parser.add_argument("--tries", type=int, default=4, metavar="N", help="how often a stage is tried (default 4)")
    parser.add_argument("--here", action="store_true", help="without Ray, on this machine alone")
    given = parser.parse_intermixed_args(arguments)
    paths = [w for w in given.words if not re.match(r"[a-z][a-z-]*=", w) or os.path.exists(w)]
    given.properties = [w for w in given.words if w not in paths]
    if len(paths) < 2:
        parser.error("recordings or folders, and behind them the folder for the results")
    if given.segment <= 0 or given.lead_in < 0 or given.cpus < 1 or given.gpus < 0 or given.tries < 1 or given.workers < 0:
        parser.error("numbers have to be positive")
    *given.inputs, given.out = paths
    return given


def main(arguments):
    given = parse(arguments)
    out = pathlib.Path(given.out).absolute()
    if out.is_file():
        print(f"archive.py: {out} is a file: name a folder for the results", file=sys.stderr)
        return 2
    settings = {
        "properties": given.properties, "segment": given.segment, "lead_in": given.lead_in,
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    try:
        recordings, passed_over = find(given.inputs, out, settings)
    except OSError as error:
        print(f"archive.py: {error}", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    properties = list(given.properties)
    if not any(word.startswith("threads=") for word in properties):
        properties.append(f"threads={given.cpus}")
    environment = {name: os.environ[name] for name in WORKERS_VARIABLES if name in os.environ}
    try:
        executor = ThreadsHere(given.workers or 1) if given.here else RayWorkers(given.address, given.workers, given.cpus, given.gpus)
    except ImportError:
        print("archive.py: Ray is not installed: pip install -r pipelines/archive-requirements.txt, or --here for this machine alone", file=sys.stderr)
        return 2
    except Failed as error:
        print(f"archive.py: {error}", file=sys.stderr)
        return 1
    bar = progress_bar(sum(r.weight for r in recordings))
    began = time.monotonic()
    try:
        archive = Archive(
            recordings, executor, properties=properties, environment=environment, segment=given.segment,
            lead_in=given.lead_in, tries=given.tries, progress=bar,
        )
        archive.run()
    except KeyboardInterrupt:
        bar.write("archive.py: stopped; the same command goes on from here")
        return 130
    finally:
        bar.close()
        executor.close()
    told = report(archive, time.monotonic() - began, passed_over)
    write_json(out / "archive-report.json", told)
    print(for_people(told))
    return 1 if any(r["state"] == "failed" for r in told["recordings"]) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
