//! What the program says of TensorRT libraries that cannot be used, and of the engine cache. Needs no GPU: the libraries
//! are small ones, compiled here, that do no more than tell a version.

mod common;

use std::fs;
use std::process::{Command, Output};

use common::{Folder, command, text};

/// Compiles a shared library in the folder.
fn library(folder: &Folder, soname: &str, source: &str, needs: &[&str]) {
    let (c, library) = (folder.path("source.c"), folder.path(soname));
    fs::write(&c, source).unwrap();
    let out = Command::new("cc")
        .args([
            "-shared",
            "-fPIC",
            "-Wl,--no-as-needed",
            &format!("-Wl,-soname,{soname}"),
            "-o",
        ])
        .args([&library, &c])
        .args(needs.iter().map(|name| folder.path(name)))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
}

/// Compiles a library that tells the version of TensorRT.
fn inference(folder: &Folder, soname: &str, told: u32) {
    let source = format!("int getInferLibVersion(void) {{ return {told}; }}\n");
    library(folder, soname, &source, &[]);
}

/// Runs the program with TensorRT and the engine cache in the folder.
fn uretinex(args: &[&str], folder: &Folder) -> Output {
    command(folder, args)
        .env("URETINEX_TENSORRT", &folder.0)
        .env("URETINEX_ENGINE_CACHE", folder.path("cache"))
        .output()
        .unwrap()
}

#[test]
fn doctor_names_what_is_wrong_with_tensorrt() {
    type Make = fn(&Folder);
    let cases: [(&str, Make, &[&str]); 6] = [
        (
            "empty",
            |_| (),
            &["none of libnvinfer.so.11", "URETINEX_TENSORRT", "install libnvinfer10"],
        ),
        (
            "nine",
            |folder| inference(folder, "libnvinfer.so.9", 9300),
            &[
                "TensorRT 9.3.0",
                "none that this program knows",
                "8.5, 8.6, 10.x and 11.x",
            ],
        ),
        (
            "twelve",
            |folder| inference(folder, "libnvinfer.so.12", 120_003),
            &["TensorRT 12.0.3", "none that this program knows"],
        ),
        (
            "without-parser",
            |folder| {
                fs::create_dir(folder.path("lib")).unwrap();
                inference(folder, "libnvinfer.so.10", 100_300);
                fs::rename(folder.path("libnvinfer.so.10"), folder.path("lib/libnvinfer.so.10")).unwrap();
            },
            &[
                "TensorRT 10.3.0",
                "without its ONNX parser",
                "libnvonnxparser.so.10",
                "install the libnvonnxparsers",
            ],
        ),
        (
            "without-plugins",
            |folder| {
                inference(folder, "libnvinfer.so.8", 8503);
                library(folder, "libnvinfer_plugin.so.8", "int plugins;\n", &[]);
                library(
                    folder,
                    "libnvonnxparser.so.8",
                    "int parser;\n",
                    &["libnvinfer_plugin.so.8"],
                );
                fs::remove_file(folder.path("libnvinfer_plugin.so.8")).unwrap();
            },
            &[
                "libnvonnxparser.so.8, cannot be opened",
                "install libnvinfer_plugin.so.8",
            ],
        ),
        (
            "without-cublas",
            |folder| {
                inference(folder, "libnvinfer.so.8", 8503);
                library(folder, "libcublas.so.11", "int cublas;\n", &[]);
                library(folder, "libnvinfer_plugin.so.8", "int plugins;\n", &["libcublas.so.11"]);
                library(
                    folder,
                    "libnvonnxparser.so.8",
                    "int parser;\n",
                    &["libnvinfer_plugin.so.8"],
                );
                fs::remove_file(folder.path("libcublas.so.11")).unwrap();
            },
            &["libnvonnxparser.so.8, cannot be opened", "install libcublas.so.11"],
        ),
    ];
    for (name, make, parts) in cases {
        let folder = Folder::new();
        make(&folder);
        let out = uretinex(&["doctor"], &folder);
        let report = text(&out.stdout);
        assert!(out.status.success(), "{name}: {report}");
        let section = report
            .split("\nTensorRT\n")
            .nth(1)
            .unwrap()
            .split("\n\n")
            .next()
            .unwrap();
        for part in parts {
            assert!(section.contains(part), "{name}: no '{part}' in {section}");
        }
    }
}

#[test]
fn the_parser_is_found_with_its_plugins_beside_it() {
    let folder = Folder::new();
    inference(&folder, "libnvinfer.so.8", 8601);
    library(&folder, "libnvinfer_plugin.so.8", "int plugins;\n", &[]);
    library(
        &folder,
        "libnvonnxparser.so.8",
        "int parser;\n",
        &["libnvinfer_plugin.so.8"],
    );
    let out = uretinex(&["doctor"], &folder);
    let report = text(&out.stdout);
    for part in [
        "yes  TensorRT 8.6.1: ",
        "yes  ONNX parser: ",
        "yes  engine cache: 0 files",
    ] {
        assert!(report.contains(part), "no '{part}' in {report}");
    }
}

#[test]
fn a_tensorrt_that_crashes_or_gives_nothing_does_not_harm_doctor() {
    let driver = r#"
        int cuInit(unsigned flags) { return 0; }
        int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
        int cuDeviceGetCount(int *count) { *count = 1; return 0; }
        int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
        int cuDeviceGetName(char *name, int length, int device) { name[0] = 'X'; name[1] = 0; return 0; }
        int cuDeviceTotalMem_v2(unsigned long *bytes, int device) { *bytes = 1ul << 34; return 0; }
        int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 9 : 0; return 0; }
        int cuDevicePrimaryCtxRetain(void **context, int device) { return 2; /* out of memory */ }
        int cuGetErrorName(int error, const char **name) { *name = "CUDA_ERROR_OUT_OF_MEMORY"; return 0; }
        int cuGetErrorString(int error, const char **text) { *text = "out of memory"; return 0; }
    "#;
    let parser =
        "int getNvOnnxParserVersion(void) { return 100; }\nvoid *createNvOnnxParser_INTERNAL() { return 0; }\n";
    for (name, runtime, parts) in [
        ("crash", "__builtin_trap()", &["crashes when it is used", "signal"][..]),
        ("near-null", "return (void *)0x228", &["no runtime (0x228)"]),
        ("null", "return 0", &["no runtime (0x0)"]),
    ] {
        let folder = Folder::new();
        library(&folder, "libcuda.so.1", driver, &[]);
        library(&folder, "libnvonnxparser.so.10", parser, &[]);
        let inference = format!(
            "int getInferLibVersion(void) {{ return 100300; }}\n\
             void *createInferRuntime_INTERNAL(void *logger, int version) {{ {runtime}; }}\n\
             void *createInferBuilder_INTERNAL(void *logger, int version) {{ return 0; }}\n"
        );
        library(&folder, "libnvinfer.so.10", &inference, &[]);
        let out = command(&folder, &["doctor"])
            .env("LD_LIBRARY_PATH", &folder.0)
            .env("URETINEX_TENSORRT", &folder.0)
            .output()
            .unwrap();
        let report = text(&out.stdout);
        assert!(out.status.success(), "{name}: {report}{}", text(&out.stderr));
        let backends = report
            .split("\nBackends\n")
            .nth(1)
            .unwrap()
            .split("\n\n")
            .next()
            .unwrap();
        for part in parts {
            assert!(backends.contains(part), "{name}: no '{part}' in {backends}");
        }
        assert!(
            report.contains("device 0: X, compute capability 9.0, 16 GiB"),
            "{name}: {report}"
        );
    }
}

#[test]
fn engines_are_built_or_refused_with_a_reason() {
    let folder = Folder::new();
    let size = ["engines", "build", "--size", "8x8"];
    let model = ["engines", "build", "--model", "absent"];
    let usual = ["engines", "build", "--model", "lite"];
    for (args, parts) in [
        (&size[..], &["8x8", "16 to 8192"][..]),
        (&model, &["no model pack 'absent'"]),
        // Without a driver that is what is missing, with one it is TensorRT, which is not in the empty folder.
        (&usual, &["install"]),
    ] {
        let out = uretinex(args, &folder);
        let messages = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {messages}");
        assert!(!messages.contains("panicked"), "{args:?}: {messages}");
        for part in parts {
            assert!(
                messages.contains(part) || messages.contains("libcuda.so.1"),
                "{args:?}: no '{part}': {messages}"
            );
        }
    }
    assert!(!folder.path("cache").exists());
}

#[test]
fn the_engine_cache_is_listed_verified_and_cleared() {
    let folder = Folder::new();
    let cache = folder.path("cache");
    for (action, part) in [
        ("list", "0 files"),
        ("verify", "all of them whole"),
        ("clear", "removed 0 files"),
    ] {
        let out = uretinex(&["engines", action], &folder);
        assert!(
            out.status.success() && text(&out.stdout).contains(part),
            "{action}: {}",
            text(&out.stdout)
        );
    }
    assert!(!cache.exists());

    fs::create_dir(&cache).unwrap();
    fs::write(
        cache.join("lite-restoration-fp16.engine"),
        b"URXENG1\n\x05\0\0\0\0\0\0\0kind",
    )
    .unwrap();
    fs::write(cache.join("letter.txt"), b"not ours").unwrap();
    for (action, status, part) in [
        ("list", 0, "DAMAGED: it is cut short"),
        ("verify", 1, "BAD  lite-restoration-fp16.engine: it is cut short"),
    ] {
        let out = uretinex(&["engines", action], &folder);
        assert_eq!(out.status.code(), Some(status), "{action}");
        assert!(text(&out.stdout).contains(part), "{action}: {}", text(&out.stdout));
    }
    let doctor = text(&uretinex(&["doctor"], &folder).stdout);
    assert!(doctor.contains("engine cache: 1 of the 1 files"), "{doctor}");

    let other = cache.to_str().unwrap();
    // The option comes before the environment.
    let out = uretinex(&["engines", "clear", "--engine-cache", other], &Folder::new());
    assert!(
        out.status.success() && text(&out.stdout).contains("removed 1 files"),
        "{}",
        text(&out.stdout)
    );
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);

    let file = cache.join("letter.txt");
    let out = uretinex(&["engines", "list", "--engine-cache", file.to_str().unwrap()], &folder);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        text(&out.stderr).contains("letter.txt cannot be read"),
        "{}",
        text(&out.stderr)
    );
}
