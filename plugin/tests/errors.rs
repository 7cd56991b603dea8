//! Bad model packs, backends and curves: what the bus says. `--nocapture` prints every message.

mod common;

use std::path::{Path, PathBuf};

use common::{Rig, caps, frame, messages, model};
use gst::prelude::*;
use gst_controller::prelude::*;
use sha2::{Digest, Sha256};
use uretinex::{Pack, Subnetwork, Variant};

/// A folder that is removed with its contents.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("uretinex-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The pack under test as files; `change` may damage any of them before the manifest is written.
fn write_pack(folder: &Path, change: impl Fn(&str, &mut Vec<u8>)) {
    let pack = Pack::open(&model()).expect("the pack under test");
    let m = pack.manifest();
    let s = &m.schedule;
    let mut toml = format!(
        "name = 'broken'\nversion = '1'\nrounds = {}\ngamma = {:?}\ngamma_step = {:?}\nlambda = {:?}\n\
         lambda_step = {:?}\nmultiple = {}\nmac_per_pixel = {:?}\n",
        s.rounds,
        s.gamma(0),
        s.gamma(1) - s.gamma(0),
        s.lambda(0),
        s.lambda(1) - s.lambda(0),
        m.multiple,
        m.mac_per_pixel
    );
    for (variant, suffix) in [(Variant::Fp32, ""), (Variant::Fp16, ".fp16")] {
        toml += &format!("[variants.{}]\n", variant.name());
        for subnetwork in Subnetwork::ALL {
            let name = subnetwork.name();
            let file = format!("{name}{suffix}.onnx");
            let mut bytes = pack.onnx(subnetwork, variant).unwrap().to_vec();
            change(&file, &mut bytes);
            let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
            toml += &format!("{name} = {{ file = '{file}', sha256 = '{hash}' }}\n");
            std::fs::write(folder.join(file), bytes).unwrap();
        }
    }
    std::fs::write(folder.join("model.toml"), toml).unwrap();
}

/// A protocol buffer's fields: number, wire type, and where the contents are.
fn fields(bytes: &[u8], mut at: usize, end: usize) -> Vec<(u64, u64, std::ops::Range<usize>)> {
    let varint = |at: &mut usize| {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let b = bytes[*at];
            *at += 1;
            value |= u64::from(b & 127) << shift;
            shift += 7;
            if b < 128 {
                return value;
            }
        }
    };
    let mut found = Vec::new();
    while at < end {
        let tag = varint(&mut at);
        let length = match tag & 7 {
            0 => {
                let start = at;
                varint(&mut at);
                let n = at - start;
                at = start;
                n
            }
            1 => 8,
            2 => varint(&mut at) as usize,
            _ => 4,
        };
        found.push((tag >> 3, tag & 7, at..at + length));
        at += length;
    }
    found
}

/// Overwrites every 32-bit weight of an ONNX file with NaN.
fn weights_to_nan(onnx: &mut [u8]) {
    const GRAPH: u64 = 7;
    const INITIALIZER: u64 = 5;
    const DATA_TYPE: u64 = 2;
    const RAW_DATA: u64 = 9;
    let mut weights = Vec::new();
    for (_, _, graph) in fields(onnx, 0, onnx.len()).into_iter().filter(|f| f.0 == GRAPH) {
        for (_, _, tensor) in fields(onnx, graph.start, graph.end)
            .into_iter()
            .filter(|f| f.0 == INITIALIZER)
        {
            let parts = fields(onnx, tensor.start, tensor.end);
            let is_float = parts.iter().any(|(n, _, r)| *n == DATA_TYPE && onnx[r.start] == 1);
            weights.extend(
                parts
                    .into_iter()
                    .filter(|(n, _, _)| is_float && *n == RAW_DATA)
                    .map(|(_, _, r)| r),
            );
        }
    }
    assert!(!weights.is_empty(), "no weights found");
    for range in weights {
        for word in onnx[range].chunks_exact_mut(4) {
            word.copy_from_slice(&f32::NAN.to_le_bytes());
        }
    }
}

/// Tries to start the element; the errors on the bus.
fn start(set: impl Fn(&gst::Element)) -> Vec<String> {
    common::init();
    let element = gst::ElementFactory::make("uretinexenhance").build().unwrap();
    set(&element);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    element.set_state(gst::State::Ready).unwrap();
    let change = element.set_state(gst::State::Paused);
    let errors = messages(&bus, gst::MessageType::Error);
    assert_eq!(
        change.is_err(),
        !errors.is_empty(),
        "a failed start has an error, and only that: {errors:?}"
    );
    element.set_state(gst::State::Null).unwrap();
    errors
}

fn expect(what: &str, errors: &[String], parts: &[&str]) {
    println!("{what}: {errors:?}");
    assert_eq!(errors.len(), 1, "{what}: {errors:?}");
    for part in parts {
        assert!(errors[0].contains(part), "{what}: no '{part}' in {errors:?}");
    }
    assert!(errors[0].matches("damaged").count() <= 1, "{what}: twice: {errors:?}");
}

#[test]
fn damaged_packs_name_the_file_and_the_remedy() {
    type Change = fn(&str, &mut Vec<u8>);
    let half: Change = |file, bytes| {
        if file == "restoration.onnx" {
            bytes.truncate(bytes.len() / 2);
        }
    };
    let empty: Change = |file, bytes| {
        if file == "illumination.onnx" {
            bytes.clear();
        }
    };
    let swapped: Change = |file, bytes| {
        let other = match file {
            "illumination.onnx" => Subnetwork::Decomposition,
            "decomposition.onnx" => Subnetwork::Illumination,
            _ => return,
        };
        *bytes = Pack::open(&model())
            .unwrap()
            .onnx(other, Variant::Fp32)
            .unwrap()
            .to_vec();
    };
    let nan: Change = |file, bytes| {
        if file == "restoration.onnx" {
            weights_to_nan(bytes);
        }
    };
    let text: Change = |file, bytes| {
        if file == "adjustment.onnx" {
            *bytes = b"<html>404 not found</html>".to_vec();
        }
    };
    for (what, change, parts) in [
        ("truncated", half, ["restoration.onnx", "damaged"]),
        ("zero bytes", empty, ["illumination.onnx", "empty"]),
        ("swapped", swapped, ["decomposition.onnx", "expected"]),
        ("NaN weights", nan, ["NaN", "damaged"]),
        ("no ONNX", text, ["adjustment.onnx", "damaged"]),
    ] {
        let folder = Folder::new(&what.replace(' ', "-"));
        write_pack(&folder.0, change);
        let path = folder.0.to_str().unwrap();
        expect(what, &start(|e| e.set_property("model", path)), &parts);
    }
}

#[test]
fn files_changed_after_the_manifest_are_named() {
    type Change = fn(&Path);
    let cut: Change = |folder| {
        let file = folder.join("restoration.onnx");
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    };
    let swap: Change = |folder| {
        let [a, b, c] = ["decomposition.onnx", "illumination.onnx", "c"].map(|f| folder.join(f));
        std::fs::rename(&a, &c)
            .and_then(|()| std::fs::rename(&b, &a))
            .and_then(|()| std::fs::rename(&c, &b))
            .unwrap();
    };
    let zero: Change = |folder| std::fs::write(folder.join("adjustment.onnx"), []).unwrap();
    let missing: Change = |folder| std::fs::remove_file(folder.join("adjustment.onnx")).unwrap();
    let no_manifest: Change = |folder| std::fs::remove_file(folder.join("model.toml")).unwrap();
    let bad_manifest: Change = |folder| std::fs::write(folder.join("model.toml"), "name = 7").unwrap();
    for (what, change, parts) in [
        ("cut", cut, ["restoration.onnx", "expected SHA-256"]),
        ("exchanged", swap, ["decomposition.onnx", "expected SHA-256"]),
        ("emptied", zero, ["adjustment.onnx", "empty"]),
        ("file missing", missing, ["adjustment.onnx", "missing"]),
        ("no manifest", no_manifest, ["model.toml", "missing"]),
        ("bad manifest", bad_manifest, ["model.toml", "name"]),
    ] {
        let folder = Folder::new(&what.replace(' ', "-"));
        write_pack(&folder.0, |_, _| {});
        change(&folder.0);
        let path = folder.0.to_str().unwrap();
        expect(what, &start(|e| e.set_property("model", path)), &parts);
    }
    let folder = Folder::new("sound");
    write_pack(&folder.0, |_, _| {});
    assert_eq!(
        start(|e| e.set_property("model", folder.0.to_str().unwrap())),
        Vec::<String>::new()
    );
}

#[test]
fn folders_that_cannot_be_read_are_named() {
    expect(
        "no folder",
        &start(|e| e.set_property("model", "/no/such/pack")),
        &["/no/such/pack", "neither"],
    );
    let folder = Folder::new("unreadable");
    let file = folder.0.join("file");
    std::fs::write(&file, "x").unwrap();
    let below = file.join("pack");
    expect(
        "below a file",
        &start(|e| e.set_property("model", below.to_str().unwrap())),
        &["file/pack", "cannot be read"],
    );

    use std::os::unix::fs::PermissionsExt;
    let locked = folder.0.join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read_dir(&locked).is_ok() {
        eprintln!("SKIPPED: this user reads folders without permission (root)");
    } else {
        expect(
            "locked",
            &start(|e| e.set_property("model", locked.to_str().unwrap())),
            &["locked", "read permission"],
        );
    }
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn an_absent_backend_is_named() {
    if uretinex::probe().tensorrt_lacks().is_none() {
        eprintln!("SKIPPED: this machine has TensorRT");
        return;
    }
    let errors = start(|e| {
        e.set_property("model", model());
        e.set_property_from_str("backend", "tensorrt");
    });
    expect("tensorrt", &errors, &["tensorrt", "backend=cpu"]);
}

#[test]
fn a_stopped_start_can_be_tried_again() {
    common::init();
    let element = gst::ElementFactory::make("uretinexenhance")
        .property("model", "/no/such/pack")
        .build()
        .unwrap();
    assert!(element.set_state(gst::State::Paused).is_err());
    element.set_state(gst::State::Null).unwrap();
    element.set_property("model", model());
    element.set_property_from_str("backend", "identity");
    let caps = caps("RGB", 32, 32);
    let mut rig = Rig::around(element);
    rig.harness.set_src_caps(caps.clone());
    rig.harness.push_and_pull(frame(&caps, 0)).unwrap();
    assert_eq!(rig.count("frames"), 1);
}

#[test]
fn a_curve_outside_the_range_is_clamped_and_reported_once() {
    let caps = caps("RGB", 32, 32);
    let mut rig = Rig::new("identity", &caps);
    let source = gst_controller::InterpolationControlSource::new();
    source.set_mode(gst_controller::InterpolationMode::Linear);
    // 1 at the start, 31 after 400 ms.
    assert!(source.set(gst::ClockTime::ZERO, 1.0) && source.set(gst::ClockTime::from_mseconds(400), 31.0));
    let binding = gst_controller::DirectControlBinding::new_absolute(&rig.element, "ratio", &source);
    rig.element.add_control_binding(&binding).unwrap();
    for n in 0..10u64 {
        rig.harness.push_and_pull(frame(&caps, n)).unwrap();
        let expected = (1.0 + 3.0 * n as f32).min(20.0);
        let used = rig.stats().get::<f32>("ratio").unwrap();
        assert!(
            (used - expected).abs() < 1e-3,
            "frame {n}: ratio {used}, the curve says {expected}"
        );
    }
    let warnings = rig.warnings();
    println!("curve: {warnings:?}");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("ratio 22, outside 1 to 20"), "{warnings:?}");
    assert_eq!((rig.count("frames"), rig.count("failed")), (10, 0));
}
