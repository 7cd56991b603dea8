//! What fuzzers call: readers of bytes that come from outside, each with what must hold of any input.
//!
//! Compiled for tests, which replay the seeds of `fuzz/seeds` and damaged copies of them, and for `cargo fuzz`
//! (`fuzz/README.md`). A target returns for every input; what it finds, it panics with.

use std::cell::RefCell;
use std::sync::LazyLock;

use crate::cpu::{Capabilities, Kernels, Level, Network};
use crate::frame::{ChromaSite, Colorimetry, Frame, FrameMut, FrameSpec, Matrix, PixelFormat, Plane, PlaneMut, Range};
use crate::gpu::cache_file;
use crate::network::Graph;
use crate::pack::onnx::{Onnx, Value, fields, push, widen};
use crate::pack::{Manifest, Pack, Subnetwork, Variant};
use crate::session::{BackendChoice, Enhancer, Options};
use crate::stages::Parameters;

#[cfg(test)]
#[path = "../fuzz/replay.rs"]
mod replay;

/// The wire format of protocol buffers: what is read can be written, and reads as the same again.
pub fn wire(bytes: &[u8]) {
    let Ok(read) = fields(bytes).collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let mut written = Vec::new();
    for &(number, value) in &read {
        push(&mut written, number, value);
        let _ = (value.text(), value.int(), value.float());
        let _ = (value.ints(&mut Vec::new()), value.floats(&mut Vec::new()));
    }
    let again: Vec<_> = fields(&written).map(|field| field.expect("what was written")).collect();
    assert_eq!(again, read);
    for (_, value) in read {
        if let Value::Bytes(inner) = value {
            let _ = fields(inner).count();
        }
    }
}

/// An ONNX file as each of the four subnetworks, alone and joined with the other three of `video`, and its edit for ports
/// of 32 bits.
pub fn onnx(bytes: &[u8]) {
    static VIDEO: LazyLock<[Graph; 4]> = LazyLock::new(|| {
        let pack = Pack::open("video").expect("a pack of the library");
        Subnetwork::ALL.map(|which| {
            let bytes = pack.onnx(which, Variant::Fp32).expect("its file");
            let file = Onnx::parse(bytes).expect("ONNX");
            Graph::new(&file, which.inputs(), which.outputs()).expect("a subnetwork")
        })
    });
    let parsed = Onnx::parse(bytes);
    let kernels = Kernels::floats(Capabilities::at(Level::Portable));
    for which in Subnetwork::ALL {
        let network = Network::load(bytes, which.inputs(), which.outputs(), kernels);
        assert!(
            parsed.is_ok() || network.is_err(),
            "a network of a file that cannot be read"
        );
        let graph = parsed.as_ref().ok();
        let graph = graph.and_then(|file| Graph::new(file, which.inputs(), which.outputs()).ok());
        if let Some(graph) = graph {
            let mut four = VIDEO.clone();
            four[which as usize] = graph;
            let _ = Graph::round(four).and_then(|round| Network::of(&round, kernels));
        }
    }
    if let Ok(wide) = widen(bytes) {
        assert!(widen(&wide).is_err(), "its ports are 32 bits already");
    }
}

/// The text of a `model.toml`.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else {
        return;
    };
    for variant in manifest.variants() {
        for which in Subnetwork::ALL {
            let file = &manifest.file(which, variant).expect("every variant is whole").file;
            assert_eq!(
                std::path::Path::new(file).file_name(),
                Some(file.as_ref()),
                "a plain name"
            );
        }
    }
}

/// A file of the engine cache: it is the bytes of which its key and its body make a file, or it is refused. And bytes
/// of any kind are a body that is read as it was written.
pub fn engine_file(bytes: &[u8]) {
    let write = |key: &cache_file::Key, body: &[u8]| [&cache_file::head(key, body), body].concat();
    if let Ok((key, body)) = cache_file::read(bytes.to_vec()) {
        assert_eq!(write(&key, &body), bytes);
    }
    let (name, body) = bytes.split_at(bytes.len().min(16));
    let key = cache_file::Key::new(&[("gpu", &String::from_utf8_lossy(name))]);
    assert_eq!(cache_file::read(write(&key, body)), Ok((key, body.to_vec())));
}

/// Bytes that stand for numbers; zeros where there are no more.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn byte(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }

    fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }
}

thread_local! {
    /// An enhancer that opens its pack once.
    static ENHANCER: RefCell<Enhancer> = RefCell::new(
        Enhancer::new(&Options {
            backend: BackendChoice::Identity,
            threads: 1,
            ..Options::default()
        })
        .expect("the backend is always there"),
    );
}

/// A frame of any format, size, strides and lengths, all told by `bytes`, through colour conversion and back: it is
/// refused exactly if a plane is too short or a side too small, and what lies between the rows is left as it was.
pub fn frame(bytes: &[u8]) {
    let mut numbers = Numbers(bytes);
    let spec = spec(&mut numbers);
    let planes = spec.format.planes();
    let mut valid = spec.validate().is_ok();
    let mut strides = Vec::new();
    let mut buffers: Vec<Vec<u8>> = Vec::new();
    for plane in 0..planes {
        let (row, rows) = (
            spec.format.row_bytes(plane, spec.width),
            spec.format.rows(plane, spec.height),
        );
        let stride = (row + usize::from(numbers.byte() % 40)).saturating_sub(usize::from(numbers.byte() / 200));
        let length = (stride * rows).saturating_sub(usize::from(numbers.byte() / 4));
        valid &= stride >= row && rows > 0 && length >= stride * (rows - 1) + row;
        let seed = numbers.byte();
        strides.push(stride);
        buffers.push((0..length).map(|i| (i as u8).wrapping_mul(seed | 1) ^ seed).collect());
    }
    let parameters = Parameters {
        ratio: 1.0 + f32::from(numbers.byte()) / 64.0,
        strength: f32::from(numbers.byte()) / 255.0,
        brightness: 0.0,
        temporal: 0.0,
    };
    let mut written: Vec<Vec<u8>> = buffers.iter().map(|buffer| vec![0xa5; buffer.len()]).collect();

    let sources: Vec<_> = buffers
        .iter()
        .zip(&strides)
        .map(|(data, &stride)| Plane { data, stride })
        .collect();
    let goals = written
        .iter_mut()
        .zip(&strides)
        .map(|(data, &stride)| PlaneMut { data, stride });
    let (input, output) = (Frame::new(spec, &sources), FrameMut::from_iter(spec, goals));
    assert_eq!((input.is_ok(), output.is_ok()), (valid, valid), "{spec:?} {strides:?}");
    let (Ok(input), Ok(mut output)) = (input, output) else {
        return;
    };
    let report = ENHANCER.with_borrow_mut(|enhancer| enhancer.process(&input, &mut output, parameters));
    let report = report.expect("a frame that was checked");
    assert!(report.luma_in.is_finite() && report.luma_out.is_finite(), "{report:?}");
    for (plane, (data, stride)) in written.iter().zip(&strides).enumerate() {
        let row = spec.format.row_bytes(plane, spec.width);
        for between in data.chunks(*stride).filter_map(|line| line.get(row..)) {
            assert!(between.iter().all(|&byte| byte == 0xa5), "plane {plane} of {spec:?}");
        }
    }
}

fn spec(numbers: &mut Numbers<'_>) -> FrameSpec {
    let format = PixelFormat::ALL[usize::from(numbers.byte()) % PixelFormat::ALL.len()];
    // A frame now and then has a side that is too small.
    let mut side = || 14 + usize::from(numbers.byte() % 64);
    let (width, height) = (side(), side());
    let matrix = [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020][usize::from(numbers.byte()) % 3];
    FrameSpec {
        format,
        width,
        height,
        colorimetry: Colorimetry {
            matrix,
            range: if numbers.bit() { Range::Full } else { Range::Limited },
            site: ChromaSite {
                cosited_x: numbers.bit(),
                cosited_y: numbers.bit(),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::replay::replay;
    use super::*;

    fn seeds(target: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
    }

    /// The smallest files of the shipped packs.
    fn small_networks() -> Vec<Vec<u8>> {
        let lite = Pack::open("lite").unwrap();
        Variant::ALL
            .map(|variant| lite.onnx(Subnetwork::Adjustment, variant).unwrap().to_vec())
            .to_vec()
    }

    #[test]
    fn fuzz_seeds_of_wire() {
        replay(&seeds("wire"), &small_networks(), 2000, wire);
    }

    #[test]
    fn fuzz_seeds_of_onnx() {
        replay(&seeds("onnx"), &small_networks(), 1000, onnx);
        // Files of some size, a few times.
        let lite = Pack::open("lite").unwrap();
        let large = [Subnetwork::Decomposition, Subnetwork::Illumination];
        let large = large.map(|which| lite.onnx(which, Variant::Fp32).unwrap().to_vec());
        replay(&seeds("onnx"), &large, 20, onnx);
    }

    #[test]
    fn fuzz_seeds_of_manifest() {
        replay(&seeds("manifest"), &[], 1000, manifest);
    }

    #[test]
    fn fuzz_seeds_of_engine_file() {
        replay(&seeds("engine_file"), &[], 1000, engine_file);
    }

    #[test]
    fn fuzz_seeds_of_frame() {
        replay(&seeds("frame"), &[], 100, frame);
    }
}
