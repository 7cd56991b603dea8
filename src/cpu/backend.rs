//! The processor as a backend: a pack's networks, and executors of any size.

use std::sync::Arc;

use crate::backend::{Backend, Executor, Geometry};
use crate::cpu::capabilities::Capabilities;
use crate::cpu::engine::Kernels;
use crate::cpu::executor::CpuExecutor;
use crate::cpu::networks::{Networks, precisions};
use crate::cpu::threads::Pool;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::{Colorimetry, Frame, FrameMut, FrameSpec, MIN_SIDE, PixelFormat, Plane, PlaneMut};
use crate::pack::{Pack, Precision};
use crate::stages::{Parameters, Plan, Quantity, Step, steps};

/// URetinex-Net on the processor. Weights are shared by all backends of one pack.
pub(crate) struct CpuBackend {
    networks: Arc<Networks>,
    precision: Precision,
    capabilities: Capabilities,
    pool: Pool,
    steps: Arc<[Step]>,
    multiple: usize,
}

impl CpuBackend {
    /// Loads the networks, whose weights have to be finite, and checks with a small picture that their results are too.
    /// The check is in 32-bit floats, whatever the precision.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a precision that the processor does not have; [`ErrorKind::ModelInvalid`] if
    /// the networks give NaN or infinite numbers; errors of the pack's files.
    pub fn new(pack: &Pack, precision: Precision, threads: usize) -> Result<Self> {
        let capabilities = Capabilities::current();
        let kernels = Kernels::new(capabilities, precision).ok_or_else(|| unsupported(precision, capabilities))?;
        let manifest = pack.manifest();
        let backend = |networks, precision| Self {
            networks,
            precision,
            capabilities,
            pool: Pool::new(threads),
            steps: steps(&manifest.schedule).into(),
            multiple: manifest.multiple,
        };
        // Integers have no infinity, so an overflow shows in floats only.
        let floats = backend(Networks::shared(pack, Kernels::floats(capabilities))?, Precision::Fp32);
        floats.check(&manifest.name)?;
        log::debug!(
            "{}: kernels {kernels}, {} threads",
            manifest.name,
            floats.pool.threads()
        );
        Ok(match precision {
            Precision::Fp32 => floats,
            _ => backend(Networks::shared(pack, kernels)?, precision),
        })
    }

    /// Checks that every quantity of a small gradient is finite.
    fn check(&self, model: &str) -> Result<()> {
        let spec = FrameSpec {
            format: PixelFormat::Rgb,
            width: MIN_SIDE,
            height: MIN_SIDE,
            colorimetry: Colorimetry::FULL,
        };
        let pixels: Vec<u8> = (0..MIN_SIDE * MIN_SIDE * 3).map(|i| (i % 256) as u8).collect();
        let (mut out, stride) = (vec![0; pixels.len()], MIN_SIDE * 3);
        let input = Frame::new(spec, &[Plane { data: &pixels, stride }])?;
        let mut output = FrameMut::new(spec, [PlaneMut { data: &mut out, stride }])?;
        let mut executor = self.executor(&Geometry::new(spec, 0, self.multiple))?;
        executor.process(&input, &mut output, &Plan::single(Parameters::default()))?;
        for quantity in [Quantity::P, Quantity::Q, Quantity::R, Quantity::L, Quantity::Adjusted] {
            if Executor::read(&mut executor, quantity)?.iter().any(|v| !v.is_finite()) {
                return Err(Error::new(
                    ErrorKind::ModelInvalid,
                    format!(
                        "model pack '{model}' gives NaN or infinite numbers for {quantity:?} of a plain picture: its \
                         weights are damaged; take another pack or train this one again"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// As [`prepare`](Backend::prepare), with the type of the executor.
    pub fn executor(&self, geometry: &Geometry) -> Result<CpuExecutor> {
        CpuExecutor::new(
            self.networks.clone(),
            self.steps.clone(),
            geometry,
            precisions(self.precision),
            self.capabilities,
            self.pool.clone(),
        )
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn prepare(&mut self, geometry: &Geometry) -> Result<Box<dyn Executor>> {
        Ok(Box::new(self.executor(geometry)?))
    }
}

/// The error for a precision that this processor has no kernel for.
fn unsupported(precision: Precision, capabilities: Capabilities) -> Error {
    let message = match precision {
        Precision::Bfp16 => format!(
            "precision=bfp16 needs a processor with AVX-512 VNNI; this one is used at level {} (URETINEX_CPU limits \
             it): take precision=fp32",
            capabilities.level()
        ),
        Precision::Bf16 => format!(
            "precision=bf16 needs a processor with AVX-512 and AMX (bfloat16), whose tiles the system lets this process \
             use; this one is used at level {} (URETINEX_CPU limits it): take precision=fp32",
            capabilities.level()
        ),
        other => format!(
            "precision={} is not a precision of the cpu backend: take fp32, bfp16 on a processor with AVX-512 VNNI, or \
             bf16 on one with AMX",
            other.name()
        ),
    };
    Error::new(ErrorKind::InvalidOption, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::unfold;
    use crate::testing::{Picture, spec};

    /// The picture that a pack makes of a dark one with noise and lamps.
    fn bright(pack: &Pack, precision: Precision, threads: usize) -> Result<Vec<u8>> {
        const SIZE: (usize, usize) = (376, 104);
        let mut state = 7u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as usize
        };
        let dark: Vec<u8> = (0..3 * SIZE.0 * SIZE.1)
            .map(|i| {
                let (x, y) = (i / 3 % SIZE.0, i / 3 / SIZE.0);
                let lamp = 200 * usize::from(x % 61 < 4 && y % 47 < 4);
                (lamp + noise() + x / 9 + 10 * usize::from((x / 13 + y / 11) % 2 == 0)) as u8
            })
            .collect();
        let spec = FrameSpec {
            format: PixelFormat::Rgb,
            width: SIZE.0,
            height: SIZE.1,
            colorimetry: Colorimetry::FULL,
        };
        let mut bright = vec![0; dark.len()];
        let stride = 3 * SIZE.0;
        let input = Frame::new(spec, &[Plane { data: &dark, stride }])?;
        let plane = PlaneMut {
            data: &mut bright,
            stride,
        };
        let mut output = FrameMut::new(spec, [plane])?;
        let backend = CpuBackend::new(pack, precision, threads)?;
        let mut executor = backend.executor(&Geometry::new(spec, 0, pack.manifest().multiple))?;
        assert_eq!(executor.precisions(), precisions(precision));
        executor.process(&input, &mut output, &Plan::single(Parameters::default()))?;
        Ok(bright)
    }

    #[test]
    fn sixteen_bits_come_near_or_are_refused() {
        let cases = [(Precision::Bfp16, [50.0; 3]), (Precision::Bf16, [50.0; 3])];
        for (name, i) in ["full", "lite", "video"].into_iter().zip(0..) {
            for (precision, least) in cases {
                let pack = Pack::open(name).unwrap();
                let half = bright(&pack, precision, 0);
                if Kernels::new(Capabilities::current(), precision).is_none() {
                    println!("skipped: this processor has no {}", precision.name());
                    let error = half.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::InvalidOption);
                    assert!(error.to_string().contains("precision=fp32"), "{error}");
                    continue;
                }
                let (half, whole) = (half.unwrap(), bright(&pack, Precision::Fp32, 0).unwrap());
                let squares = half
                    .iter()
                    .zip(&whole)
                    .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
                let psnr = 10.0 * (255.0f64.powi(2) * half.len() as f64 / squares.sum::<f64>()).log10();
                let case = format!("{name} in {}", precision.name());
                println!("{case}: {psnr:.1} dB");
                assert!(psnr >= least[i] && psnr.is_finite(), "{case}: {psnr} dB");
            }
        }
    }

    /// A pack with a single round runs as one network. It gives what the subnetworks give one after the other, with a native
    /// and with a reduced working size, and their quantities can still be read.
    #[test]
    fn a_round_in_one_go_is_the_subnetworks_one_after_the_other() {
        let pack = Pack::open("video").unwrap();
        let picture = Picture::dark(spec(PixelFormat::Nv12, (250, 134)), 3);
        let backend = CpuBackend::new(&pack, Precision::Fp32, 0).unwrap();
        let plan = Plan::single(Parameters {
            ratio: 3.5,
            ..Parameters::default()
        });
        for longest in [0, 120] {
            let geometry = Geometry::new(picture.spec, longest, pack.manifest().multiple);
            let (mut whole, mut apart) = (
                backend.executor(&geometry).unwrap(),
                backend.executor(&geometry).unwrap(),
            );
            let bytes = Executor::bytes(&whole);
            let [mut one, mut four] = [(); 2].map(|()| Picture::black(picture.spec));
            Executor::process(&mut whole, &picture.frame(), &mut one.frame_mut(), &plan).unwrap();
            assert_eq!(Executor::bytes(&whole), bytes, "it needs no planes of P and Q");
            unfold(
                &mut apart,
                &Step::OF_ROUND,
                &picture.frame(),
                &plan,
                &mut four.frame_mut(),
            )
            .unwrap();
            assert_eq!(one.difference(&four), 0.0, "{longest}: the pictures differ");
            assert!(one.mean() > picture.mean(), "{longest}: nothing was lifted");
            for quantity in [Quantity::P, Quantity::Q, Quantity::R, Quantity::L, Quantity::Adjusted] {
                let [a, b] = [&mut whole, &mut apart].map(|e| Executor::read(e, quantity).unwrap());
                assert!(a == b && a.iter().any(|&v| v > 0.0), "{longest}: {quantity:?} differs");
            }
        }
    }

    /// The picture is the same to the last bit, whichever thread executes a task, and when.
    #[test]
    fn threads_do_not_change_the_picture() {
        for (name, precision) in [
            ("full", Precision::Fp32),
            ("lite", Precision::Fp32),
            ("video", Precision::Fp32),
            ("full", Precision::Bf16),
            ("video", Precision::Bf16),
        ] {
            let case = format!("{name} in {}", precision.name());
            if Kernels::new(Capabilities::current(), precision).is_none() {
                println!("skipped: {case}: this processor has no {}", precision.name());
                continue;
            }
            let pack = Pack::open(name).unwrap();
            let alone = bright(&pack, precision, 1).unwrap();
            std::thread::scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        for threads in [0, 2, 0] {
                            assert!(bright(&pack, precision, threads).unwrap() == alone, "{case}");
                        }
                    });
                }
            });
        }
    }

    /// A copy of the pack `lite` with one weight of the decomposition replaced, in a folder of its own.
    fn with_weight(weight: f32, folder: &std::path::Path) -> Pack {
        use crate::pack::onnx::Onnx;
        use crate::pack::{Subnetwork, Variant, sha256_hex};

        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/lite");
        std::fs::create_dir_all(folder).unwrap();
        for entry in std::fs::read_dir(&source).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
        let whole = Pack::open("lite").unwrap();
        let mut onnx = whole.onnx(Subnetwork::Decomposition, Variant::Fp32).unwrap().to_vec();
        let old_digest = sha256_hex([&onnx]);
        let weights: Vec<u8> = {
            let parsed = Onnx::parse(&onnx).unwrap();
            let largest = parsed.constants.values().max_by_key(|t| t.floats.len()).unwrap();
            largest.floats[..8].iter().flat_map(|v| v.to_le_bytes()).collect()
        };
        let at = onnx.windows(weights.len()).position(|w| w == weights).unwrap();
        onnx[at + 8..at + 12].copy_from_slice(&weight.to_le_bytes());
        std::fs::write(folder.join("decomposition.onnx"), &onnx).unwrap();
        let manifest = std::fs::read_to_string(folder.join("model.toml")).unwrap();
        let manifest = manifest.replace(&old_digest, &sha256_hex([&onnx]));
        std::fs::write(folder.join("model.toml"), manifest).unwrap();
        Pack::open(folder.to_str().unwrap()).unwrap()
    }

    /// In the first layers, where an activation hides them from the results, and whatever the precision.
    #[test]
    fn damaged_weights_are_refused_in_every_precision() {
        let folder = std::env::temp_dir().join(format!("uretinex-damaged-weights-{}", std::process::id()));
        for weight in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let pack = with_weight(weight, &folder);
            for precision in [Precision::Fp32, Precision::Bfp16, Precision::Bf16] {
                if Kernels::new(Capabilities::current(), precision).is_none() {
                    println!("skipped: this processor has no {}", precision.name());
                    continue;
                }
                let error = CpuBackend::new(&pack, precision, 0).err();
                let error = error.unwrap_or_else(|| panic!("a weight of {weight} is taken in {}", precision.name()));
                assert_eq!(
                    error.kind(),
                    ErrorKind::ModelInvalid,
                    "{weight} {}: {error}",
                    precision.name()
                );
            }
        }
        // The same pack with a sound weight works.
        CpuBackend::new(&with_weight(0.125, &folder), Precision::Fp32, 0).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// Sizes that no memory holds, which the frame types do not allow, are an error and no panic.
    #[test]
    fn a_frame_beyond_all_memory_is_an_error() {
        for name in ["full", "lite", "video"] {
            let backend = CpuBackend::new(&Pack::open(name).unwrap(), Precision::Fp32, 0).unwrap();
            for side in [1 << 22, 1 << 30, 1 << 40] {
                let spec = FrameSpec {
                    format: PixelFormat::Rgb,
                    width: side,
                    height: side,
                    colorimetry: Colorimetry::FULL,
                };
                let geometry = Geometry {
                    spec,
                    working: (side, side),
                    padded: (side, side),
                };
                let error = backend.executor(&geometry).map(|_| ()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{name} {side}: {error}");
            }
        }
    }

    /// Memory that ends anywhere in a preparation is an error, and the next one works. In a process of its own, whose
    /// address space is limited.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_shortage_of_memory_is_an_error() {
        const CHILD: &str = "URETINEX_TEST_SHORT_OF_MEMORY";
        if std::env::var_os(CHILD).is_some() {
            return prepare_with_little_memory();
        }
        let path = concat!(module_path!(), "::a_shortage_of_memory_is_an_error");
        let name = path.split_once("::").unwrap().1;
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", name])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        print!("{text}{}", String::from_utf8_lossy(&child.stderr));
        assert!(child.status.success(), "{}", child.status);
        assert!(text.contains("limits that were too small"), "the child has run no test");
    }

    #[cfg(target_os = "linux")]
    fn prepare_with_little_memory() {
        let backend = CpuBackend::new(&Pack::open("lite").unwrap(), Precision::Fp32, 2).unwrap();
        let spec = FrameSpec {
            format: PixelFormat::Rgb,
            width: 1920,
            height: 1080,
            colorimetry: Colorimetry::FULL,
        };
        let geometry = Geometry::new(spec, 1280 * 720, 16);
        let total = backend.executor(&geometry).unwrap().bytes();
        let mut too_small = 0;
        for share in 0..64 {
            let limit = address_space() + (2 << 20) + share * total / 16;
            limit_address_space(Some(limit));
            let made = backend.executor(&geometry).map(|_| ());
            limit_address_space(None);
            match made {
                Ok(()) => break,
                Err(e) => assert_eq!(e.kind(), ErrorKind::OutOfMemory, "{share}: {e}"),
            }
            too_small += 1;
        }
        println!("{too_small} limits that were too small");
        assert!((4..64).contains(&too_small), "{too_small}");
        backend.executor(&geometry).unwrap();
    }

    /// Bytes of this process's address space.
    #[cfg(target_os = "linux")]
    fn address_space() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes << 10
    }

    /// Sets the most that the address space may grow to; none is the most that is allowed.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code)]
    fn limit_address_space(bytes: Option<usize>) {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `limit` is a structure of the right type for both calls.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &mut limit), 0);
            limit.rlim_cur = bytes.map_or(limit.rlim_max, |b| b as libc::rlim_t);
            assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
        }
    }
}
