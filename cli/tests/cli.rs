//! The program as its users run it: files, exit status, messages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use image::{ColorType, DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

/// A folder of its own for one test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("uretinex-cli-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names of the files in a sub-folder, sorted.
    fn names(&self, name: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path(name))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn uretinex(folder: &Folder, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_uretinex"))
        .args(args)
        .current_dir(&folder.0)
        .output()
        .unwrap()
}

/// Runs with no network at all: for what has to do with files only.
fn copy(folder: &Folder, args: &[&str]) -> Output {
    uretinex(
        folder,
        &[&["image"], args, &["--model", "lite", "--backend", "identity"]].concat(),
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_well(out: &Output) {
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
}

/// A dark picture with some structure, wider than high.
fn dark() -> RgbImage {
    RgbImage::from_fn(32, 20, |x, y| {
        Rgb([(8 + x) as u8, (10 + y) as u8, ((x * y) % 23) as u8])
    })
}

fn mean(path: &Path) -> f64 {
    let pixels = image::open(path).unwrap().into_rgb8();
    pixels.as_raw().iter().map(|v| f64::from(*v)).sum::<f64>() / pixels.as_raw().len() as f64
}

#[test]
fn a_dark_picture_becomes_bright() {
    let folder = Folder::new();
    dark().save(folder.path("dark.png")).unwrap();
    let out = uretinex(
        &folder,
        &["image", "dark.png", "bright.png", "--model", "lite", "--ratio", "5"],
    );
    assert_well(&out);
    assert!(text(&out.stdout).contains("32x20"), "{}", text(&out.stdout));
    assert!(mean(&folder.path("bright.png")) > 1.5 * mean(&folder.path("dark.png")));
    // No strength, no change.
    assert_well(&uretinex(
        &folder,
        &["image", "dark.png", "same.png", "--model", "lite", "--strength", "0"],
    ));
    assert_eq!(image::open(folder.path("same.png")).unwrap().into_rgb8(), dark());
}

#[test]
fn pictures_of_every_kind_keep_theirs() {
    let folder = Folder::new();
    let rgba = RgbaImage::from_fn(32, 20, |x, y| Rgba([(8 + x) as u8, (10 + y) as u8, 9, (x * 8) as u8]));
    let rgb = DynamicImage::from(dark());
    for (name, picture, kept) in [
        ("grey", DynamicImage::from(rgb.to_luma8()), ColorType::L8),
        (
            "grey-alpha",
            DynamicImage::from(DynamicImage::from(rgba.clone()).to_luma_alpha8()),
            ColorType::La8,
        ),
        ("rgb", rgb.clone(), ColorType::Rgb8),
        ("rgba", DynamicImage::from(rgba.clone()), ColorType::Rgba8),
        ("grey-16", DynamicImage::from(rgb.to_luma16()), ColorType::L8),
        ("rgb-16", DynamicImage::from(rgb.to_rgb16()), ColorType::Rgb8),
        (
            "rgba-16",
            DynamicImage::from(DynamicImage::from(rgba.clone()).to_rgba16()),
            ColorType::Rgba8,
        ),
    ] {
        let (input, output) = (format!("{name}.png"), format!("{name}-out.png"));
        picture.save(folder.path(&input)).unwrap();
        let out = copy(&folder, &[&input, &output]);
        assert_well(&out);
        assert_eq!(
            text(&out.stderr).contains("16-bit"),
            name.ends_with("16"),
            "{name}: {}",
            text(&out.stderr)
        );
        let made = image::open(folder.path(&output)).unwrap();
        assert_eq!(made.color(), kept, "{name}");
        let (before, after) = (picture.to_rgba8(), made.to_rgba8());
        assert_eq!(before.dimensions(), after.dimensions(), "{name}");
        let alpha = |p: &RgbaImage| p.pixels().map(|p| p[3]).collect::<Vec<_>>();
        assert_eq!(alpha(&before), alpha(&after), "{name}");
        let far = before
            .as_raw()
            .iter()
            .zip(after.as_raw())
            .any(|(a, b)| a.abs_diff(*b) > 1);
        assert!(!far, "{name}: colours moved without a network");
    }
}

#[test]
fn the_cameras_orientation_is_applied() {
    let folder = Folder::new();
    let mut jpeg = Vec::new();
    dark()
        .write_to(&mut std::io::Cursor::new(&mut jpeg), ImageFormat::Jpeg)
        .unwrap();
    // An Exif segment that says "turn by 90°" (tag 0x112, value 6), right behind the start marker.
    let exif = b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    jpeg.splice(2..2, exif.iter().copied());
    fs::write(folder.path("turned.jpg"), jpeg).unwrap();
    assert_well(&copy(&folder, &["turned.jpg", "upright.png"]));
    assert_eq!(image::image_dimensions(folder.path("upright.png")).unwrap(), (20, 32));
}

#[test]
fn a_folder_goes_on_behind_a_bad_file() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("in/deeper")).unwrap();
    dark().save(folder.path("in/a.png")).unwrap();
    dark().save(folder.path("in/b.JPG")).unwrap();
    dark().save(folder.path("in/night.one.jpeg")).unwrap();
    dark().save(folder.path("in/a.jpeg")).unwrap();
    fs::write(folder.path("in/bad.png"), b"\x89PNG\r\n\x1a\nrubbish").unwrap();
    fs::write(folder.path("in/empty.jpg"), b"").unwrap();
    fs::write(folder.path("in/notes.txt"), b"text").unwrap();
    let out = copy(&folder, &["in", "made/out"]);
    let messages = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{messages}");
    // a.jpeg comes first; a.png would give the same name.
    assert_eq!(
        folder.names("made/out"),
        ["a.png", "b.png", "night.one.png"],
        "{messages}"
    );
    for part in [
        "error: in/bad.png",
        "error: in/empty.jpg",
        "error: in/a.png",
        "in/notes.txt is skipped",
        "deeper",
    ] {
        assert!(messages.contains(part), "no '{part}' in {messages}");
    }
    assert!(
        text(&out.stdout).contains("3 written, 3 failed, 2 skipped"),
        "{}",
        text(&out.stdout)
    );
}

#[test]
fn a_good_folder_ends_well() {
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    dark().save(folder.path("in/a.png")).unwrap();
    assert_well(&copy(&folder, &["in", "out"]));
    assert_eq!(folder.names("out"), ["a.png"]);
}

#[test]
fn a_file_goes_into_a_folder_that_is_there() {
    let folder = Folder::new();
    fs::create_dir(folder.path("out")).unwrap();
    dark().save(folder.path("night.one.png")).unwrap();
    assert_well(&copy(&folder, &["night.one.png", "out"]));
    assert_eq!(folder.names("out"), ["night.one.png"]);
    assert_well(&copy(&folder, &["night.one.png", "night.jpg"]));
    assert_eq!(
        image::ImageReader::open(folder.path("night.jpg")).unwrap().format(),
        Some(ImageFormat::Jpeg)
    );
}

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
        (image, &["absent.png", "out.png"], 1, &["absent.png"]),
        (image, &["cut.png", "out.png"], 1, &["cut.png"]),
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
fn a_failure_leaves_the_old_result_alone() {
    let folder = Folder::new();
    fs::write(folder.path("bad.png"), b"rubbish").unwrap();
    fs::write(folder.path("out.png"), b"old").unwrap();
    assert_eq!(copy(&folder, &["bad.png", "out.png"]).status.code(), Some(1));
    assert_eq!(fs::read(folder.path("out.png")).unwrap(), b"old");
    // A result replaces it whole.
    dark().save(folder.path("dark.png")).unwrap();
    assert_well(&copy(&folder, &["dark.png", "out.png"]));
    assert_eq!(
        image::open(folder.path("out.png")).unwrap().into_rgb8().dimensions(),
        (32, 20)
    );
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
        "cpu: ",
        "NVIDIA GPU",
        "TensorRT",
        "GStreamer",
    ] {
        assert!(report.contains(part), "no '{part}' in {report}");
    }
    let lines: Vec<_> = report.lines().collect();
    for (i, line) in lines.iter().enumerate().filter(|(_, l)| l.starts_with("  no ")) {
        assert!(
            lines.get(i + 1).is_some_and(|next| next.contains("to have it")),
            "{line}"
        );
    }
}
