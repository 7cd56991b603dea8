//! The commands beside `image`: their figures and reports, and what wrong uses are told.

mod common;

use std::fs;

use common::{Folder, assert_well, dark, text, uretinex};
use image::{RgbImage, RgbaImage};

#[test]
fn wrong_uses_say_what_to_do() {
    let folder = Folder::new();
    dark().save(folder.path("dark.png")).unwrap();
    RgbImage::new(15, 40).save(folder.path("small.png")).unwrap();
    RgbaImage::new(20, 20).save(folder.path("glass.png")).unwrap();
    fs::write(
        folder.path("cut.png"),
        &fs::read(folder.path("dark.png")).unwrap()[..60],
    )
    .unwrap();
    fs::create_dir(folder.path("none")).unwrap();
    fs::create_dir(folder.path("pictures")).unwrap();
    dark().save(folder.path("pictures/a.png")).unwrap();
    let image: &[&str] = &["image", "--model", "lite", "--backend", "identity"];
    for (command, args, status, parts) in [
        (&[][..], &[][..], 2, &["Usage"][..]),
        (&["image"], &["dark.png"], 2, &["<OUT>"]),
        (
            image,
            &["dark.png", "out.png", "--ratio", "0.5"],
            2,
            &["--ratio", "1 to 20"],
        ),
        (image, &["dark.png", "out.png", "--ratio", "nan"], 2, &["--ratio"]),
        (
            image,
            &["dark.png", "out.png", "--strength", "1.5"],
            2,
            &["--strength", "0 to 1"],
        ),
        (image, &["dark.png", "out.png", "--threads", "many"], 2, &["--threads"]),
        (
            image,
            &["dark.png", "out.png", "--threads", "100000"],
            2,
            &["--threads", "0 to 1024"],
        ),
        (image, &["/dev/null", "out.png"], 1, &["/dev/null is a pipe", "save it"]),
        (image, &["absent.png", "out.png"], 1, &["absent.png"]),
        (image, &["cut.png", "out.png"], 1, &["cut.png", "cut short, copy"]),
        (image, &["small.png", "out.png"], 1, &["small.png", "15x40", "16x16"]),
        (image, &["dark.png", "out.bmp"], 1, &["out.bmp", ".png"]),
        (image, &["dark.png", "dark.png"], 1, &["dark.png", "another name"]),
        (image, &["dark.png", "absent/out.png"], 1, &["absent/out.png"]),
        (image, &["glass.png", "glass.jpg"], 1, &["alpha", ".png"]),
        (image, &["none", "out"], 1, &["none", "no PNG or JPEG"]),
        (image, &["pictures", "pictures"], 1, &["another folder"]),
        (image, &["pictures", "dark.png"], 1, &["is a file", "give a folder"]),
        (
            &["image", "--model", "absent"],
            &["dark.png", "out.png"],
            1,
            &["absent", "lite"],
        ),
        (
            &["image", "--model", "none"],
            &["dark.png", "out.png"],
            1,
            &["model.toml"],
        ),
        (
            &["image", "--backend", "abacus"],
            &["dark.png", "out.png"],
            2,
            &["abacus", "cpu"],
        ),
        (&["bench"], &["--size", "640"], 2, &["640x360"]),
        (&["bench"], &["--size", "8x8"], 1, &["8x8", "16x16"]),
        (&["bench"], &["--frames", "0"], 2, &["--frames"]),
    ] {
        let out = uretinex(&folder, &[command, args].concat());
        let messages = text(&out.stderr);
        assert_eq!(out.status.code(), Some(status), "{command:?} {args:?}: {messages}");
        assert!(!messages.contains("panicked"), "{command:?} {args:?}: {messages}");
        for part in parts {
            assert!(
                messages.contains(part),
                "{command:?} {args:?}: no '{part}' in {messages}"
            );
        }
    }
    let left: Vec<_> = folder
        .names(".")
        .into_iter()
        .filter(|n| n.contains("out") || n.contains("part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_tensorrt_backend_works_or_says_what_it_looked_for() {
    let folder = Folder::new();
    let out = uretinex(
        &folder,
        &[
            "bench",
            "--model",
            "lite",
            "--backend",
            "tensorrt",
            "--size",
            "64x48",
            "--frames",
            "1",
        ],
    );
    let messages = text(&out.stderr);
    assert!(
        out.status.success() || messages.contains("libcuda.so.1") || messages.contains("libnvinfer"),
        "{messages}"
    );
}

#[test]
fn bench_prints_one_json_object() {
    let folder = Folder::new();
    let args = [
        "bench",
        "--model",
        "lite",
        "--size",
        "65x47",
        "--frames",
        "3",
        "--threads",
        "1",
        "--json",
    ];
    let out = uretinex(&folder, &args);
    assert_well(&out);
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    for key in ["frames_per_second", "gflops"] {
        assert!(found[key].as_f64().unwrap() > 0.0, "{key} in {found}");
    }
    assert_eq!((&found["precision"], &found["model"]), (&"fp32".into(), &"lite".into()));
    let ms = |name: &str| {
        found["milliseconds"][name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} in {found}"))
    };
    let stages = [
        "ingest",
        "decompose",
        "update",
        "restore",
        "illuminate",
        "adjust",
        "compose",
    ];
    assert!(
        stages.map(ms).iter().all(|t| (0.0..=ms("total")).contains(t)),
        "{found}"
    );
    assert_eq!(
        (&found["width"], &found["height"], &found["frames"]),
        (&65.into(), &47.into(), &3.into())
    );

    let out = uretinex(
        &folder,
        &["bench", "--backend", "identity", "--size", "64x48", "--frames", "2"],
    );
    assert_well(&out);
    assert!(text(&out.stdout).contains("frames/s"));
}

#[test]
fn auto_is_video_as_the_help_says() {
    let folder = Folder::new();
    for command in [&["image"][..], &["bench"], &["selftest"], &["engines", "build"]] {
        let out = uretinex(&folder, &[command, &["--help"]].concat());
        assert_well(&out);
        let help = text(&out.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("`auto` (`video`)"), "{command:?}: {help}");
    }
    let args = ["bench", "--model", "auto", "--backend", "identity", "--size", "64x48"];
    let out = uretinex(&folder, &[&args[..], &["--frames", "1", "--json"]].concat());
    assert_well(&out);
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(found["model"], "video");
}

#[test]
fn a_precision_is_used_or_refused_with_those_that_there_are() {
    let folder = Folder::new();
    let bench = |precision| {
        let args = [
            "bench",
            "--backend",
            "cpu",
            "--size",
            "64x48",
            "--frames",
            "1",
            "--json",
        ];
        uretinex(&folder, &[&args[..], &["--precision", precision]].concat())
    };
    for (precision, status, parts) in [
        ("int3", 2, &["int3", "fp32", "fp16", "bfp16", "bf16"][..]),
        ("fp16", 1, &["precision=fp16", "fp32", "bfp16", "bf16"]),
    ] {
        let out = bench(precision);
        let messages = text(&out.stderr);
        assert_eq!(out.status.code(), Some(status), "{precision}: {messages}");
        for part in parts {
            assert!(messages.contains(part), "{precision}: no '{part}' in {messages}");
        }
    }
    for (precision, needs) in [("fp32", ""), ("bfp16", "AVX-512 VNNI"), ("bf16", "AMX")] {
        let out = bench(precision);
        if !needs.is_empty() && !out.status.success() {
            let messages = text(&out.stderr);
            assert!(messages.contains(needs), "{messages}");
            println!("skipped: {precision}: {messages}");
            continue;
        }
        assert_well(&out);
        let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let mixed = if precision == "bf16" { "mixed" } else { precision };
        assert_eq!(found["precision"], mixed);
        assert_eq!(found["precisions"]["restoration"], precision);
    }
}

#[test]
fn selftest_passes_on_the_processor_and_skips_what_it_has_not() {
    let folder = Folder::new();
    let args = ["selftest", "--backend", "cpu", "--model", "lite", "--frames", "20"];
    let out = uretinex(&folder, &args);
    let report = text(&out.stdout);
    assert!(out.status.success(), "{report}{}", text(&out.stderr));
    for (word, check) in [
        ("ok", "stages one by one"),
        ("ok", "formats"),
        ("ok", "two at once"),
        ("skipped", "frames pending together"),
        ("skipped", "frames in device memory"),
        ("skipped", "engines that are damaged"),
    ] {
        let found = report.lines().any(|l| l.starts_with(word) && l.contains(check));
        assert!(found, "no line '{word} … {check}' in {report}");
    }
    assert!(report.contains(", 0 failed"), "{report}");
}

#[test]
fn selftest_fails_where_a_check_does() {
    let folder = Folder::new();
    let out = uretinex(&folder, &["selftest", "--model", "/nowhere"]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stdout));
    assert!(text(&out.stdout).contains("FAILED"), "{}", text(&out.stdout));
}

#[test]
fn doctor_names_what_is_there_and_what_to_do_about_the_rest() {
    let folder = Folder::new();
    let out = uretinex(&folder, &["doctor"]);
    assert_well(&out);
    let report = text(&out.stdout);
    for part in [
        "Processor",
        "cores",
        "Model packs",
        "lite",
        "full",
        "auto: is video",
        "cpu: video takes a picture",
        "NVIDIA GPU",
        "TensorRT",
        "GStreamer",
    ] {
        assert!(report.contains(part), "no '{part}' in {report}");
    }
    let lines: Vec<_> = report.lines().collect();
    for (i, line) in lines.iter().enumerate().filter(|(_, l)| l.starts_with("  no ")) {
        assert!(
            lines.get(i + 1).is_some_and(|next| next.contains("to get it")),
            "{line}"
        );
    }
}

/// Man pages and completions name what the program has, and nothing that it hides.
#[test]
fn documents_are_written_for_packages() {
    let folder = Folder::new();
    assert_well(&uretinex(&folder, &["documents", "out"]));
    for (file, part) in [
        ("man/uretinex.1", "uretinex\\-image(1)"),
        ("man/uretinex-image.1", "\\-\\-ratio"),
        ("man/uretinex-engines-build.1", "\\-\\-size"),
        ("completions/uretinex.bash", "--ratio"),
        ("completions/uretinex.fish", "doctor"),
        ("completions/_uretinex", "#compdef uretinex"),
    ] {
        let found = fs::read_to_string(folder.path("out").join(file)).unwrap();
        assert!(found.contains(part), "{file} has no {part}");
    }
    let pages: Vec<_> = fs::read_dir(folder.path("out/man"))
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        !pages
            .iter()
            .any(|page| page.contains("selftest") || page.contains("help")),
        "{pages:?}"
    );
}
