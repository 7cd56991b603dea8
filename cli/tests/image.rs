//! `uretinex image`: files and folders in and out.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{Folder, assert_well, dark, text, uretinex};
use image::{
    ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Rgba, RgbaImage,
};

/// Runs with no network at all: for what has to do with files only.
fn copy(folder: &Folder, args: &[&str]) -> Output {
    uretinex(
        folder,
        &[&["image"], args, &["--model", "lite", "--backend", "identity"]].concat(),
    )
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
        ("grey-16", DynamicImage::from(rgb.to_luma16()), ColorType::L16),
        (
            "grey-alpha-16",
            DynamicImage::from(DynamicImage::from(rgba.clone()).to_luma_alpha16()),
            ColorType::La16,
        ),
        ("rgb-16", DynamicImage::from(rgb.to_rgb16()), ColorType::Rgb16),
        (
            "rgba-16",
            DynamicImage::from(DynamicImage::from(rgba.clone()).to_rgba16()),
            ColorType::Rgba16,
        ),
    ] {
        let (input, output) = (format!("{name}.png"), format!("{name}-out.png"));
        picture.save(folder.path(&input)).unwrap();
        let out = copy(&folder, &[&input, &output]);
        assert_well(&out);
        assert_eq!(text(&out.stderr), "", "{name}");
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
fn sixteen_bits_stay_sixteen() {
    let folder = Folder::new();
    // Every sample another one, of which 8 bits could not tell most apart.
    let sample = |x: u32, y: u32, channel: u32| (20_000 + 97 * x + 31 * y + 7 * channel) as u16;
    let pixels = ImageBuffer::<Rgba<u16>, _>::from_fn(40, 24, |x, y| Rgba([0, 1, 2, 3].map(|c| sample(x, y, c))));
    let rgba = DynamicImage::from(pixels);
    for (name, picture) in [
        ("rgba", rgba.clone()),
        ("rgb", rgba.to_rgb16().into()),
        ("grey-alpha", rgba.to_luma_alpha16().into()),
        ("grey", rgba.to_luma16().into()),
    ] {
        let (input, output) = (format!("{name}.png"), format!("{name}-out.png"));
        picture.save(folder.path(&input)).unwrap();
        assert_well(&copy(&folder, &[&input, &output]));
        let made = image::open(folder.path(&output)).unwrap();
        assert_eq!(made.color(), picture.color(), "{name}");
        let [before, after] = [&picture, &made].map(|p| p.to_rgba16());
        let apart = before
            .as_raw()
            .iter()
            .zip(after.as_raw())
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(apart <= Some(1), "{name}: off by {apart:?}");
    }
    // JPEG holds 8.
    assert_well(&copy(&folder, &["rgb.png", "rgb.jpg"]));
    assert_eq!(image::open(folder.path("rgb.jpg")).unwrap().color(), ColorType::Rgb8);
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
    let last = messages.lines().last();
    assert_eq!(last, Some("failed: in/a.png, in/bad.png, in/empty.jpg"), "{messages}");
}

#[test]
fn a_folders_other_entries_are_passed_over() {
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    let names = ["a.png", "._b.png"];
    for name in names {
        dark().save(folder.path(&format!("in/{name}"))).unwrap();
    }
    // What macOS leaves beside a picture.
    fs::write(folder.path("in/._a.png"), b"\0\x05\x16\x07\0\x02\0\0Mac OS X        ").unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(folder.path("in/pipe.png"))
        .status();
    let out = copy(&folder, &["in", "out"]);
    assert_well(&out);
    let messages = text(&out.stderr);
    assert_eq!(folder.names("out"), ["._b.png", "a.png"], "{messages}");
    assert!(messages.contains("in/._a.png is skipped: macOS's data"), "{messages}");
    assert_eq!(
        messages.contains("in/pipe.png is skipped: not a file"),
        pipe.is_ok(),
        "{messages}"
    );
    if pipe.is_ok() {
        let out = copy(&folder, &["in/pipe.png", "out.png"]);
        assert_eq!(out.status.code(), Some(1));
        assert!(
            text(&out.stderr).contains("in/pipe.png is a pipe"),
            "{}",
            text(&out.stderr)
        );
    }
}

#[test]
fn names_of_any_length_are_kept() {
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    let mut names: Vec<_> = [240, 241, 255]
        .map(|length| format!("{}.png", "n".repeat(length - 4)))
        .into();
    for name in &names {
        dark().save(folder.path("in").join(name)).unwrap();
    }
    assert_well(&copy(&folder, &["in", "out"]));
    names.sort();
    assert_eq!(folder.names("out"), names);
}

/// EXIF data: orientation 6, a date, no thumbnail.
const EXIF: &[u8] =
    b"II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x32\x01\x02\0\x14\0\0\0\x26\0\0\0\0\0\0\0\
    2024:11:05 23:10:00\0";

#[test]
fn exif_data_are_kept_and_say_upright() {
    let folder = Folder::new();
    let picture = dark();
    let save = |name: &str, exif: &[u8]| {
        let file = fs::File::create(folder.path(name)).unwrap();
        let (pixels, kind) = (picture.as_raw(), ColorType::Rgb8.into());
        if name.ends_with("png") {
            let mut encoder = image::codecs::png::PngEncoder::new(file);
            encoder.set_exif_metadata(exif.to_vec()).unwrap();
            encoder.write_image(pixels, 32, 20, kind).unwrap();
        } else {
            let mut encoder = image::codecs::jpeg::JpegEncoder::new(file);
            encoder.set_exif_metadata(exif.to_vec()).unwrap();
            encoder.write_image(pixels, 32, 20, kind).unwrap();
        }
    };
    let kept = |name: &str| {
        let mut decoder = ImageReader::open(folder.path(name)).unwrap().into_decoder().unwrap();
        (decoder.dimensions(), decoder.exif_metadata().unwrap())
    };
    let mut upright = EXIF.to_vec();
    upright[18] = 1;
    for input in ["in.png", "in.jpg"] {
        save(input, EXIF);
        for output in ["out.png", "out.jpg"] {
            let out = copy(&folder, &[input, output]);
            assert_well(&out);
            assert_eq!(text(&out.stderr), "", "{input} {output}");
            assert_eq!(kept(output), ((20, 32), Some(upright.clone())), "{input} {output}");
        }
    }
    // What no reader understands, and what JPEG has no place for, goes, with a note.
    save("in.png", b"rubbish!");
    let out = copy(&folder, &["in.png", "out.png"]);
    assert!(
        text(&out.stderr).contains("EXIF data are damaged"),
        "{}",
        text(&out.stderr)
    );
    assert_eq!(kept("out.png"), ((32, 20), None));
    save("in.png", &[EXIF, &[0; 70_000]].concat());
    let out = copy(&folder, &["in.png", "out.jpg"]);
    assert!(text(&out.stderr).contains("too long for JPEG"), "{}", text(&out.stderr));
    assert_eq!(kept("out.jpg"), ((20, 32), None));
}

/// Where no thread can be started, the calling one does all the work.
#[cfg(target_os = "linux")]
#[test]
fn no_thread_is_no_reason_to_fail() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
    dark().save(folder.path("dark.png")).unwrap();
    let program = folder.path("uretinex");
    fs::copy(env!("CARGO_BIN_EXE_uretinex"), &program).unwrap();
    // The limit does not bind root: another user runs it. It counts all processes of that user.
    let limited = |command: &[&str]| {
        std::process::Command::new("setpriv")
            .args([
                "--reuid=64999",
                "--regid=64999",
                "--clear-groups",
                "prlimit",
                "--nproc=1",
            ])
            .args(command)
            .current_dir(&folder.0)
            .output()
    };
    match limited(&["true"]) {
        Ok(out) if out.status.success() => {}
        _ => return println!("SKIPPED: needs root, setpriv and prlimit"),
    }
    let made = format!("{} image dark.png bright.png --model lite", program.display());
    assert_well(&limited(&made.split(' ').collect::<Vec<_>>()).unwrap());
    assert!(folder.path("bright.png").exists());
    // Where standard error is a terminal there is progress to show.
    let shown = format!("setpriv --reuid=64999 --clear-groups prlimit --nproc=1 {made}");
    let out = std::process::Command::new("script")
        .args(["-qec", &shown, "/dev/null"])
        .current_dir(&folder.0)
        .output();
    match out {
        Ok(out) => assert_well(&out),
        Err(e) => println!("SKIPPED: the progress on a terminal: script: {e}"),
    }
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

/// An automatic ratio is the picture's own, whichever came before it.
#[test]
fn pictures_of_a_folder_stand_alone() {
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    let shade = |step: u32| image::RgbImage::from_fn(64, 48, |x, y| [(step * (1 + (x + y) % 5)) as u8; 3].into());
    shade(6).save(folder.path("in/a.png")).unwrap();
    shade(8).save(folder.path("in/b.png")).unwrap();
    let automatic = ["--model", "lite", "--ratio", "0"];
    assert_well(&uretinex(&folder, &[&["image", "in", "out"][..], &automatic].concat()));
    assert_well(&uretinex(
        &folder,
        &[&["image", "in/b.png", "alone.png"][..], &automatic].concat(),
    ));
    let read = |name| image::open(folder.path(name)).unwrap();
    assert!(read("out/b.png") == read("alone.png"));
}
