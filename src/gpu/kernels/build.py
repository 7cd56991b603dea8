#!/usr/bin/env python3
"""Builds and checks the kernels' PTX with NVRTC, without a GPU, a driver or a CUDA toolkit.

    build.py write      compile every .cu to a .ptx in ptx/
    build.py check      compare the .ptx with what the sources give now, byte by byte; compile the sources for the GPU
                        generations that a recent NVRTC knows, and fail if registers spill

NVRTC comes from PyPI by pip, once, into --cache. Without it `check` says so and succeeds; `write` fails.
"""
import argparse
import ctypes
import hashlib
import pathlib
import re
import subprocess
import sys
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
PTX = HERE / "ptx"
# PTX 8.0 for compute capability 7.0: drivers from 525 on translate it for any later GPU.
SHIPPED = ("nvidia-cuda-nvrtc-cu12==12.0.140", "compute_70")
# Sources whose instructions older GPUs do not have.
SINCE = {"tensor": 80}
RECENT = "nvidia-cuda-nvrtc==13.5.37"
GENERATIONS = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]


def sources():
    return sorted(HERE.glob("*.cu"))


def fetch(requirement, cache):
    """The folder of a wheel's libraries; OSError if it cannot be had."""
    folder = cache / re.sub(r"[^\w.-]+", "-", requirement).strip("-")
    done = folder / "complete"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "-d", str(folder), requirement]
        try:
            subprocess.run(command, check=True, timeout=600, capture_output=True, text=True)
        except subprocess.SubprocessError as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise OSError(f"pip cannot download {requirement}: {said[-1] if said else error}") from None
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.infolist():
                    if re.search(r"/libnvrtc(-builtins)?\.so[.\d]*$", member.filename):
                        (folder / member.filename.rsplit("/")[-1]).write_bytes(archive.read(member))
            wheel.unlink()
        done.touch()
    return folder


class Nvrtc:
    """The few calls of libnvrtc that a compilation takes."""

    def __init__(self, folder):
        for library in folder.glob("libnvrtc-builtins.so*"):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(next(folder.glob("libnvrtc.so*"))))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def call(self, name, *arguments):
        code = getattr(self.library, name)(*arguments)
        if code != 0:
            raise RuntimeError(f"{name}: {self.library.nvrtcGetErrorString(code).decode()}")

    def text(self, what, program):
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def compile(self, source, architecture, *options):
        """PTX for a compute_ architecture, or machine code for an sm_ one, and the compiler's log."""
        headers = sorted(HERE.glob("*.cuh"))
        texts = (ctypes.c_char_p * len(headers))(*[h.read_bytes() for h in headers])
        names = (ctypes.c_char_p * len(headers))(*[h.name.encode() for h in headers])
        program = ctypes.c_void_p()
        self.call("nvrtcCreateProgram", ctypes.byref(program), source.read_bytes(), source.name.encode(), len(headers),
                  texts, names)
        options = [f"--gpu-architecture={architecture}", "--std=c++17", *options]
        options = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
        try:
            failure = None
            try:
                self.call("nvrtcCompileProgram", program, len(options), options)
            except RuntimeError as error:
                failure = error
            log = self.text("ProgramLog", program).rstrip(b"\0").decode().strip()
            if failure:
                raise RuntimeError(f"{source.name} for {architecture}: {failure}\n{log}")
            result = self.text("PTX" if architecture.startswith("compute") else "CUBIN", program)
        finally:
            self.call("nvrtcDestroyProgram", ctypes.byref(program))
        return result, log


def digest():
    """Of all sources: lets a test without NVRTC see that a .ptx is not of today's sources."""
    digest = hashlib.sha256()
    for path in sorted([*HERE.glob("*.cu"), *HERE.glob("*.cuh")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def target(source):
    """The architecture that a source's PTX is for."""
    return f"compute_{SINCE[source.stem]}" if source.stem in SINCE else SHIPPED[1]


def runs_on(source, architecture):
    return int(architecture.split("_")[1]) >= SINCE.get(source.stem, 0)


def shipped(nvrtc, source):
    ptx, _ = nvrtc.compile(source, target(source))
    return ptx.rstrip(b"\0").rstrip() + f"\n// sources: {digest()}\n".encode()


def write(cache):
    nvrtc = Nvrtc(fetch(SHIPPED[0], cache))
    for source in sources():
        ptx = shipped(nvrtc, source)
        (PTX / f"{source.stem}.ptx").write_bytes(ptx)
        print(f"{source.stem}.ptx: {len(ptx)} bytes, NVRTC {nvrtc.version}, {target(source)}")


def resources(log):
    """Kernel, registers, and bytes of stack and spilling of each, from the assembler's words."""
    kernels = re.split(r"Compiling entry function '(\w+)'", log)[1:]
    for name, words in zip(kernels[::2], kernels[1::2]):
        memory = re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", words)
        yield name, int(re.search(r"Used (\d+) registers", words)[1]), sum(map(int, memory))


def check(cache, table):
    failures, rows = [], {}

    def assemble(nvrtc, architectures):
        for architecture in architectures:
            for source in sources():
                if not runs_on(source, architecture):
                    continue
                try:
                    _, log = nvrtc.compile(source, architecture, "--ptxas-options=-v")
                except RuntimeError as error:
                    failures.append(str(error))
                    continue
                for kernel, registers, spilled in resources(log):
                    rows.setdefault(kernel, {})[f"{architecture} ({nvrtc.version})"] = registers
                    if spilled:
                        failures.append(f"{kernel} for {architecture}: {spilled} bytes of registers go to memory")
        print(f"the kernels were compiled with NVRTC {nvrtc.version} for {', '.join(architectures)}")

    try:
        nvrtc = Nvrtc(fetch(SHIPPED[0], cache))
        for source in sources():
            if (PTX / f"{source.stem}.ptx").read_bytes() != shipped(nvrtc, source):
                failures.append(f"{source.stem}.ptx is not what {source.name} gives: run build.py write")
        print(f"the shipped PTX was rebuilt with NVRTC {nvrtc.version} and compared")
        assemble(nvrtc, ["sm_70", "sm_90"])
    except OSError as error:
        print(f"SKIPPED: the shipped PTX was not rebuilt: {error}")
    except RuntimeError as error:
        failures.append(str(error))
    try:
        assemble(Nvrtc(fetch(RECENT, cache)), GENERATIONS)
    except OSError as error:
        print(f"SKIPPED: the kernels were not compiled for {', '.join(GENERATIONS)}: {error}")
    if table:
        columns = list(next(iter(rows.values()), {}))
        print("| kernel |", " | ".join(columns), "|\n" + "|---" * (1 + len(columns)) + "|")
        for kernel, registers in sorted(rows.items()):
            print(f"| `{kernel}` |", " | ".join(str(registers.get(c, "")) for c in columns), "|")
    for failure in failures:
        print(f"FAILED: {failure}")
    return not failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["write", "check"])
    parser.add_argument("--registers", action="store_true", help="with check: a table of each kernel's registers")
    parser.add_argument("--cache", type=pathlib.Path, default=HERE.parents[2] / "target" / "nvrtc")
    arguments = parser.parse_args()
    if arguments.action == "write":
        return write(arguments.cache)
    return 0 if check(arguments.cache, arguments.registers) else 1


if __name__ == "__main__":
    sys.exit(main())
