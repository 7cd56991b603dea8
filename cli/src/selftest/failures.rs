//! What may go wrong: memory that grows or runs out, options that are refused, damaged engines.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use uretinex::{BackendChoice, Enhancer, ErrorKind, Options, Parameters, PixelFormat, Precision};

use super::Outcome::{Failed, Passed, Skipped};
use super::{Bench, Checked, is_on_gpu, made, process, spec};
use crate::night::{Picture, Scene};

/// Bytes by which memory may be more after many frames.
const GROWTH: i64 = 16 << 20;

/// The bytes of this process that are in memory.
fn resident() -> Option<i64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split(' ').nth(1)?.parse::<i64>().ok()? * 4096)
}

pub fn memory(bench: &Bench) -> Checked {
    let mut enhancer = bench.enhancer()?;
    let small = Picture::new(spec(PixelFormat::Nv12, (320, 180)), Scene::Night, 1);
    let large = Picture::new(spec(PixelFormat::Nv12, (480, 270)), Scene::Night, 1);
    let mut around = |count| -> uretinex::Result<()> {
        for i in 0..count {
            // A size that comes back now and then takes no new memory.
            let picture = if i % 100 == 99 { &large } else { &small };
            process(&mut enhancer, picture, Parameters::default())?;
        }
        Ok(())
    };
    around(200.min(bench.frames))?;
    let before = resident();
    around(bench.frames)?;
    let after = resident();
    let (Some(before), Some(after)) = (before, after) else {
        return Ok(Skipped("the system does not tell".into()));
    };
    let mebibytes = |bytes: i64| bytes as f64 / f64::from(1 << 20);
    let mut text = format!(
        "{:.1} MiB of this process before, {:.1} after {} frames",
        mebibytes(before),
        mebibytes(after),
        bench.frames
    );
    let mut grown = after - before;
    if matches!(enhancer.backend_name(), "cuda" | "tensorrt") {
        // Other programs may take GPU memory meanwhile, so the text tells the change.
        let free = |enhancer: &Enhancer| enhancer.free_memory().map(|free| free as i64);
        let before = free(&enhancer)?;
        for _ in 0..bench.frames {
            process(&mut enhancer, &small, Parameters::default())?;
        }
        let after = free(&enhancer)?;
        let _ = write!(text, "; GPU memory less by {:.1} MiB", mebibytes(before - after));
        grown = grown.max(before - after);
    }
    Ok(if grown <= GROWTH { Passed(text) } else { Failed(text) })
}

/// What cannot be done is refused by an error of the right kind.
pub fn bad_options(bench: &Bench) -> Checked {
    let with = |change: &dyn Fn(&mut Options)| {
        let mut options = bench.network.clone();
        change(&mut options);
        Enhancer::new(&options).err()
    };
    let mut refused = 0;
    let mut cases = vec![(
        "a pack that is not there",
        with(&|o| o.model = "/nowhere".into()),
        vec![ErrorKind::ModelNotFound],
    )];
    // A precision that the backend does not have.
    let other = match bench.network.backend {
        BackendChoice::Cpu => Some(Precision::Fp16),
        BackendChoice::Cuda | BackendChoice::TensorRt => Some(Precision::Bfp16),
        _ => None,
    };
    if let Some(other) = other {
        cases.push((
            other.name(),
            with(&|o| o.precision = Some(other)),
            vec![ErrorKind::InvalidOption],
        ));
    }
    if is_on_gpu(bench.network.backend) {
        cases.push((
            "device-id 63",
            with(&|o| o.device_id = 63),
            vec![ErrorKind::InvalidOption],
        ));
    }
    for (what, error, kinds) in cases {
        match error {
            Some(e) if kinds.contains(&e.kind()) => refused += 1,
            Some(e) => return Ok(Failed(format!("{what}: {:?}: {e}", e.kind()))),
            None => return Ok(Failed(format!("{what} is taken"))),
        }
    }
    let mut enhancer = bench.enhancer()?;
    let input = Picture::new(spec(PixelFormat::Nv12, (64, 48)), Scene::Night, 1);
    for (ratio, strength) in [(0.5, 1.0), (f32::NAN, 1.0), (4.0, -0.1), (4.0, f32::NAN)] {
        match process(
            &mut enhancer,
            &input,
            Parameters {
                ratio,
                strength,
                brightness: 0.0,
                temporal: 0.0,
            },
        ) {
            Err(e) if e.kind() == ErrorKind::InvalidOption => refused += 1,
            _ => return Ok(Failed(format!("ratio {ratio}, strength {strength} is taken"))),
        }
    }
    process(&mut enhancer, &input, Parameters::default())?;
    Ok(Passed(format!("{refused} refused, and the next frame went through")))
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("uretinex-selftest-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Engines that are cut short, or whose folder cannot be written, are built again.
pub fn damaged_engines(bench: &Bench) -> Checked {
    if bench.network.backend != BackendChoice::TensorRt {
        return Ok(Skipped("this backend has no engines".into()));
    }
    if bench.model == "full" || bench.network.precision == Some(Precision::Fp16) {
        return Ok(Skipped(
            "tried with the other pack in 32 bits: each time all engines are built".into(),
        ));
    }
    let folder = match Folder::new() {
        Ok(folder) => folder,
        Err(e) => return Ok(Skipped(format!("no folder for temporary files: {e}"))),
    };
    let input = Picture::new(spec(PixelFormat::Nv12, (64, 48)), Scene::Night, 1);
    let through = |cache: &Path| -> uretinex::Result<Picture> {
        // No other enhancer holds engines at this moment, so they come from the folder.
        let mut enhancer = made(&Options {
            engine_cache: Some(cache.into()),
            ..bench.network.clone()
        })?;
        process(&mut enhancer, &input, Parameters::default())
    };
    let expected = through(&folder.0)?;
    let mut cut = 0;
    for entry in fs::read_dir(&folder.0).into_iter().flatten().flatten() {
        let length = entry.metadata().map_or(0, |m| m.len());
        if length > 4096
            && fs::OpenOptions::new()
                .write(true)
                .open(entry.path())
                .is_ok_and(|f| f.set_len(length / 2).is_ok())
        {
            cut += 1;
        }
    }
    if cut == 0 {
        return Ok(Failed("no engine was kept".into()));
    }
    let (root, _) = expected.difference(&through(&folder.0)?);
    // A file where the folder should be cannot be written to, whoever tries.
    let file = folder.0.join("file");
    let unwritable = match fs::write(&file, b"") {
        Ok(()) => through(&file)?,
        Err(e) => return Ok(Skipped(format!("no temporary file: {e}"))),
    };
    let (other_root, _) = expected.difference(&unwritable);
    Ok(if root.max(other_root) <= bench.codes().0 {
        Passed(format!(
            "{cut} files cut short and built again; a cache that is no folder"
        ))
    } else {
        Failed(format!(
            "engines built again differ by {root:.2} and {other_root:.2} codes"
        ))
    })
}

/// A shortage of device memory is an error of its kind, and `auto` goes on without the device.
pub fn exhausted(bench: &Bench) -> Checked {
    if !is_on_gpu(bench.network.backend) {
        return Ok(Skipped("this backend has no device memory".into()));
    }
    let mut holder = bench.enhancer()?;
    let tiny = Picture::new(spec(PixelFormat::Nv12, (64, 48)), Scene::Night, 1);
    process(&mut holder, &tiny, Parameters::default())?;
    let mut auto = made(&Options {
        backend: BackendChoice::Auto,
        ..bench.network.clone()
    })?;
    process(&mut auto, &tiny, Parameters::default())?;
    let before = auto.backend_name();
    let mut held = Vec::new();
    // From 256 MiB frames down to small ones, until nothing is left.
    for side in [8192, 2048, 512] {
        loop {
            match holder.device_buffer(&spec(PixelFormat::Rgba, (side, side))) {
                Ok(buffer) => held.push(buffer),
                Err(e) if e.kind() == ErrorKind::OutOfMemory => break,
                Err(e) => return Ok(Failed(format!("{:?} and not OutOfMemory: {e}", e.kind()))),
            }
        }
    }
    let large = Picture::new(spec(PixelFormat::Nv12, (1280, 720)), Scene::Night, 1);
    let refused = process(&mut holder, &large, Parameters::default()).err();
    // The processor does not compute in fp16, so `auto` cannot fall back to it.
    let fell_back = match bench.network.precision {
        Some(Precision::Fp16) => None,
        _ => Some(process(&mut auto, &large, Parameters::default()).map(|_| auto.backend_name())),
    };
    let count = held.len();
    drop(held);
    process(&mut holder, &tiny, Parameters::default())?;
    Ok(match (refused, fell_back) {
        (Some(e), _) if !matches!(e.kind(), ErrorKind::OutOfMemory | ErrorKind::BackendFailed) => {
            Failed(format!("{:?}: {e}", e.kind()))
        }
        (None, _) => Failed("frames go through a full GPU".into()),
        (_, Some(Err(e))) => Failed(format!("auto on {before} does not fall back: {e}")),
        (_, Some(Ok(name))) if name != "cpu" => Failed(format!("auto stays on {name}")),
        _ => Passed(format!("after {count} frames of device memory, and again without them")),
    })
}
