//! The kernels against the processor's colour conversion and updates, and their descriptions against their sources.
#![allow(unsafe_code)]

mod cases;
mod fragments;
mod fusion;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::mem::offset_of;

use cases::{Memory, Padding, Random, Tensor, cases, name, worst};

use crate::backend::Geometry;
use crate::cpu::{self, Capabilities, Guide, Level, Planes, Pool, Reduce, Relit, luma_mean};
use crate::frame::{Colorimetry, FrameSpec, PixelFormat};
use crate::gpu::kernels::MODULES;
use crate::gpu::kernels::compose::{Compose, ComposeArguments, MODULE as COMPOSE};
use crate::gpu::kernels::convolution::ConvolutionArguments;
use crate::gpu::kernels::format::{Component, Format};
use crate::gpu::kernels::fusion::{FusionArguments, Parts};
use crate::gpu::kernels::images::{Image, Unit};
use crate::gpu::kernels::ingest::{Ingest, IngestArguments, MODULE as INGEST};
use crate::gpu::kernels::launch::{Launch, Settings, Surface};
use crate::gpu::kernels::points::{MoveArguments, PointsArguments};
use crate::gpu::kernels::pooled::{MeanArguments, PooledArguments, ScaleArguments};
use crate::gpu::kernels::storage::Storage;
use crate::gpu::kernels::update::{MODULE as UPDATE, Update, UpdateArguments};
use crate::testing::{HostKernels, Rounding, compile, digest, spec};

/// Runs the kernel on `memory`; I of 32 and of 16 bits, and mean luma.
fn host_ingest(host: &HostKernels, geometry: &Geometry, memory: &Memory) -> (Launch, Vec<f32>, Vec<f32>, f32) {
    let values = vec![f32::NAN; 3 * geometry.padded.0 * geometry.padded.1];
    let (image, half) = (Tensor::new(Storage::F32, &values), Tensor::new(Storage::F16, &values));
    let settings = Box::new(Settings {
        input: memory.surface(),
        ..Settings::default()
    });
    let settings = Box::into_raw(settings);
    let launch = Ingest {
        settings: settings as u64,
        image: image.address(),
        image_half: half.address(),
    };
    let launch = launch.launch(geometry, memory.alignment());
    // SAFETY: settings, planes and frame are as long as the geometry says, and live until the box is taken back.
    let settings = unsafe {
        host.run(&launch);
        Box::from_raw(settings)
    };
    let mean = luma_mean(settings.luma_in, geometry.working.0 * geometry.working.1);
    (launch, image.values(), half.values(), mean)
}

fn ingest_as_on_the_processor(rounding: Rounding, tolerance: f32) {
    let (host, pool) = (HostKernels::new(rounding), Pool::new(0));
    let mut random = Random(1);
    let mut seen = BTreeSet::new();
    let mut kernels = BTreeSet::new();
    for (spec, multiple, padding) in cases() {
        let geometry = Geometry::new(spec, 0, multiple);
        let memory = Memory::new(spec, padding, || random.next() as u8);
        let mut expected = Planes::new(3, geometry.padded).unwrap();
        let mean = cpu::ingest(
            &pool,
            Capabilities::at(Level::Portable),
            &memory.frame(),
            &geometry,
            None,
            &mut expected,
        );
        let (launch, image, half, host_mean) = host_ingest(&host, &geometry, &memory);
        let name = format!("{} {}", launch.kernel, name(&spec, padding));
        // Random words may reach that many times the greatest code, and rounding with them.
        let layout = spec.format.layout();
        let reach = match layout.shared {
            true => 1.0,
            false => (1 << (8 * layout.sample_bytes() as u32 - layout.depth - layout.shift)) as f32,
        };
        let off = worst(&image, &expected.data);
        assert!(off <= tolerance * reach, "{name}: off by {off}");
        let off = worst(&half, &image);
        assert!(off <= 0.5 / 2048.0, "{name}: 16 bits off by {off}");
        let off = (mean - host_mean).abs();
        assert!(off < 1e-5, "{name}: mean luma {host_mean}, not {mean}");
        let Colorimetry { matrix, range, site } = spec.colorimetry;
        let parts = [format!("{matrix:?}"), format!("{range:?}"), format!("{site:?}")];
        seen.extend(parts.map(|part| (launch.kernel, part)));
        kernels.insert(launch.kernel);
    }
    let all = INGEST.kernels.iter().filter(|k| **k != "ingest_reduced");
    assert_eq!(kernels, all.copied().collect(), "kernels that ran");
    assert_eq!(
        seen.len(),
        kernels.len() * (3 + 2 + 4),
        "colorimetries of each: {seen:?}"
    );
}

#[test]
fn ingest_is_exact() {
    ingest_as_on_the_processor(Rounding::Separate, 0.0);
}

#[test]
fn ingest_with_fused_rounding() {
    ingest_as_on_the_processor(Rounding::Fused, 4e-7);
}

/// Sizes of frames and working pictures: halves, odd shares, widths that do not divide, a long reduction.
const REDUCED: [(usize, usize, usize, usize); 4] = [
    (64, 48, 32 * 24, 1),
    (131, 77, 60 * 33, 8),
    (97, 61, 90 * 60, 1),
    (240, 64, 60 * 16, 4),
];

fn reduced_cases() -> impl Iterator<Item = (Geometry, Padding)> {
    let sizes = REDUCED.into_iter().cycle();
    cases()
        .step_by(7)
        .zip(sizes)
        .map(|((spec, _, padding), (width, height, pixels, multiple))| {
            let spec = FrameSpec { width, height, ..spec };
            (Geometry::new(spec, pixels, multiple), padding)
        })
}

#[test]
fn reduced_copy_as_on_the_processor() {
    let (host, pool) = (HostKernels::new(Rounding::Separate), Pool::new(0));
    let mut random = Random(2);
    for (geometry, padding) in reduced_cases() {
        let memory = Memory::new(geometry.spec, padding, || random.next() as u8);
        let mut expected = Planes::new(3, geometry.padded).unwrap();
        let mean = cpu::ingest(
            &pool,
            Capabilities::at(Level::Portable),
            &memory.frame(),
            &geometry,
            Reduce::new(&geometry).unwrap().as_ref(),
            &mut expected,
        );
        let (launch, image, _, host_mean) = host_ingest(&host, &geometry, &memory);
        let name = format!("{} to {:?}", name(&geometry.spec, padding), geometry.working);
        assert_eq!(launch.kernel, "ingest_reduced", "{name}");
        let off = worst(&image, &expected.data);
        assert!(off < 1e-6, "{name}: off by {off}");
        let off = (mean - host_mean).abs();
        assert!(off < 1e-5, "{name}: mean luma {host_mean}, not {mean}");
    }
}

/// Planes of values that the type of storage holds exactly.
fn planes(random: &mut Random, storage: Storage, channels: usize, size: (usize, usize), from: f32, to: f32) -> Planes {
    let mut planes = Planes::new(channels, size).unwrap();
    planes.data.fill_with(|| random.between(from, to));
    let stored = Tensor::new(storage, &planes.data).values();
    planes.data.copy_from_slice(&stored);
    planes
}

#[test]
fn update_is_exact() {
    let pool = Pool::new(0);
    let hosts = [
        HostKernels::new(Rounding::Separate),
        HostKernels::new(Rounding::Separate).backwards(),
    ];
    let mut random = Random(3);
    let mut kernels = BTreeSet::new();
    for (storage, host) in [Storage::F32, Storage::F16]
        .into_iter()
        .flat_map(|s| hosts.each_ref().map(|h| (s, h)))
    {
        for size in [(64, 32), (65, 33), (1, 1), (2, 2), (36, 2), (1025, 5)] {
            let mut planes = |channels, to| planes(&mut random, storage, channels, size, 0.0, to);
            let (r, l, mut p, mut q) = (planes(3, 1.2), planes(1, 1.2), planes(3, 1.0), planes(1, 1.0));
            let image = planes(3, 1.0);
            let tensors = [&r, &l, &p, &q].map(|planes| Tensor::new(storage, &planes.data));
            let image_tensor = Tensor::new(Storage::F32, &image.data);
            let addresses = tensors.each_ref().map(Tensor::address);
            let update = Update {
                image: image_tensor.address(),
                r: addresses[0],
                l: addresses[1],
                p: addresses[2],
                q: addresses[3],
            };
            let launch = update.launch(storage, size.0 * size.1, 0.15, 0.55);
            // SAFETY: all planes have the size that the launch was made for.
            unsafe { host.run(&launch) };
            cpu::update(
                &pool,
                Capabilities::at(Level::Portable),
                0.15,
                0.55,
                &image,
                &r,
                &l,
                &mut p,
                &mut q,
            );
            for (what, tensor, expected) in [("P", &tensors[2], &p), ("Q", &tensors[3], &q)] {
                // What the storage keeps of the processor's result.
                let expected = Tensor::new(storage, &expected.data).values();
                let off = worst(&tensor.values(), &expected);
                assert!(off == 0.0, "{} {size:?}: {what} is off by {off}", launch.kernel);
            }
            kernels.insert(launch.kernel);
        }
    }
    let all = UPDATE.kernels.iter();
    assert_eq!(kernels, all.copied().collect(), "kernels that ran");
}

/// The kernels' arguments for one frame and where its results go.
fn host_compose(
    host: &HostKernels,
    storage: Storage,
    geometry: &Geometry,
    input: &Memory,
    image: &Planes,
    (r, l): (&Planes, &Planes),
    strength: f32,
) -> (Vec<&'static str>, Memory, f32) {
    let output = input.blank();
    let (r, l) = (Tensor::new(storage, &r.data), Tensor::new(storage, &l.data));
    let image = Tensor::new(Storage::F32, &image.data);
    let scratch = Tensor::new(Storage::F32, &vec![f32::NAN; Compose::scratch_bytes(geometry) / 4]);
    let settings = Box::new(Settings {
        strength,
        input: input.surface(),
        output: output.surface(),
        ..Settings::default()
    });
    let alignment = input.alignment().min(output.alignment());
    let settings = Box::into_raw(settings);
    let compose = Compose {
        settings: settings as u64,
        image: image.address(),
        r: r.address(),
        adjusted: l.address(),
        scratch: scratch.address(),
    };
    let launches = compose.launches(storage, geometry, alignment);
    // SAFETY: settings, planes, scratch memory and frames are as long as the geometry says, and live until the box is
    // taken back.
    let settings = unsafe {
        launches.iter().for_each(|launch| host.run(launch));
        Box::from_raw(settings)
    };
    let kernels = launches.iter().map(|l| l.kernel).collect();
    let mean = luma_mean(settings.luma_out, geometry.spec.width * geometry.spec.height);
    (kernels, output, mean)
}

/// The greatest difference between samples of two frames of one format.
fn codes_apart(a: &Memory, b: &Memory) -> u32 {
    let layout = a.spec.format.layout();
    let mut most = 0;
    for p in 0..a.planes.len() {
        for y in 0..a.spec.format.rows(p, a.spec.height) {
            let (a, b) = (a.frame().row(p, y), b.frame().row(p, y));
            let apart = if layout.shared {
                let thirds = |row: &[u8]| -> Vec<u32> {
                    let words = row.as_chunks().0.iter().map(|w| u32::from_le_bytes(*w));
                    words.flat_map(|w| [0, 10, 20].map(|bit| w >> bit & 0x3ff)).collect()
                };
                thirds(a).into_iter().zip(thirds(b)).map(|(a, b)| a.abs_diff(b)).max()
            } else if !layout.is_wide() {
                a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).max()
            } else {
                let code = |w: &[u8; 2]| u16::from_le_bytes(*w) >> layout.shift;
                let pairs = a.as_chunks().0.iter().zip(b.as_chunks().0);
                pairs.map(|(a, b)| u32::from(code(a).abs_diff(code(b)))).max()
            };
            most = most.max(apart.unwrap_or(0));
        }
    }
    most
}

fn compose_as_on_the_processor(rounding: Rounding, codes: u32) {
    let (host, pool) = (HostKernels::new(rounding), Pool::new(0));
    let mut random = Random(4);
    let mut kernels = BTreeSet::new();
    let cases = cases().flat_map(|case| [(case, Storage::F32), (case, Storage::F16)]);
    let strengths = [1.0, 0.3, 0.75, 1.0, 0.0].into_iter().cycle();
    for (((spec, multiple, padding), storage), strength) in cases.zip(strengths) {
        let geometry = Geometry::new(spec, 0, multiple);
        let input = Memory::new(spec, padding, || random.next() as u8);
        let r = planes(&mut random, storage, 3, geometry.padded, -0.1, 1.1);
        let l = planes(&mut random, storage, 1, geometry.padded, -0.1, 1.4);
        let image = Planes::new(3, geometry.padded).unwrap();
        let (ran, output, host_mean) = host_compose(&host, storage, &geometry, &input, &image, (&r, &l), strength);
        let mut expected = input.blank();
        let relit = Relit::Native(&r, Some(&l));
        let mean = cpu::compose(
            &pool,
            Capabilities::at(Level::Portable),
            &input.frame(),
            relit,
            strength,
            &mut expected.frame_mut(),
        );
        let name = format!("{ran:?} {} strength {strength}", name(&spec, padding));
        let apart = codes_apart(&output, &expected);
        assert!(apart <= codes, "{name}: codes differ by {apart}");
        assert!(
            codes > 0 || output.bytes().eq(expected.bytes()),
            "{name}: bytes that are no samples were written"
        );
        assert!(
            (mean - host_mean).abs() < 1e-5,
            "{name}: mean luma {host_mean}, not {mean}"
        );
        kernels.extend(ran);
    }
    let all = COMPOSE.kernels.iter().filter(|k| !k.contains("guide"));
    assert_eq!(kernels, all.copied().collect(), "kernels that ran");
}

#[test]
fn compose_is_exact() {
    compose_as_on_the_processor(Rounding::Separate, 0);
}

#[test]
fn compose_with_fused_rounding() {
    compose_as_on_the_processor(Rounding::Fused, 1);
}

#[test]
fn guided_filter_as_on_the_processor() {
    let (host, pool) = (HostKernels::new(Rounding::Separate), Pool::new(0));
    let mut random = Random(5);
    let ways = [
        (Storage::F32, 1.0),
        (Storage::F16, 0.6),
        (Storage::F32, 0.6),
        (Storage::F16, 1.0),
    ];
    for ((geometry, padding), (storage, strength)) in reduced_cases().zip(ways.into_iter().cycle()) {
        let input = Memory::new(geometry.spec, padding, || random.next() as u8);
        let image = planes(&mut random, Storage::F32, 3, geometry.padded, 0.0, 1.0);
        let r = planes(&mut random, storage, 3, geometry.padded, 0.0, 1.0);
        let l = planes(&mut random, storage, 1, geometry.padded, 0.0, 1.2);
        let (ran, output, host_mean) = host_compose(&host, storage, &geometry, &input, &image, (&r, &l), strength);
        let mut expected = input.blank();
        let mut guide = Guide::new(&geometry).unwrap().unwrap();
        guide.fit(&pool, Capabilities::at(Level::Portable), &image, &r, Some(&l));
        let relit = Relit::Guided(&guide);
        let mean = cpu::compose(
            &pool,
            Capabilities::at(Level::Portable),
            &input.frame(),
            relit,
            strength,
            &mut expected.frame_mut(),
        );
        let name = format!("{ran:?} {} from {:?}", name(&geometry.spec, padding), geometry.working);
        // The places of pixels between working pixels are rounded once here and twice on the processor.
        let apart = codes_apart(&output, &expected);
        assert!(apart <= 1, "{name}: codes differ by {apart}");
        assert!(
            (mean - host_mean).abs() < 1e-5,
            "{name}: mean luma {host_mean}, not {mean}"
        );
    }
}

#[test]
fn arguments_lie_as_in_the_sources() {
    let mut program = String::from("#include <cstddef>\n");
    for file in [
        "ingest", "pyramid", "motion", "camera", "fuse", "trust", "update", "compose", "points", "pooled",
    ] {
        program += &format!("namespace {file} {{\n#include \"{file}.cu\"\n}}\n");
    }
    macro_rules! same {
        ($($namespace:literal $name:ident: $($field:ident)*;)*) => {$(
            let size = size_of::<$name>();
            let full = concat!($namespace, stringify!($name));
            program += &format!("static_assert(sizeof({full}) == {size}, \"size\");\n");
            $(
                let (field, offset) = (stringify!($field), offset_of!($name, $field));
                program += &format!("static_assert(offsetof({full}, {field}) == {offset}, \"{field}\");\n");
            )*
        )*};
    }
    same! {
        "" Surface: address stride;
        "" Settings: ratio strength most fresh luma_in luma_out cut repeated input output;
        "" Component: plane offset step;
        "" Format: width height model wide shift maximum sub_x sub_y cosited_x cosited_y carried colour fourth kr kg kb
            black scale middle rv gu gv bu code_black code_span code_middle code_u code_v;
        "ingest::" IngestArguments: settings image image_half working_width working_height padded_width padded_height
            format;
        "" FusionArguments: settings image image_half past count expected now before vectors sums cells texture broad trust
            state width height level last;
        "update::" UpdateArguments: image r l p q pixels gamma lambda reserved;
        "" Unit: address row step;
        "" Image: units row step;
        "" ConvolutionArguments: input output residual gated weights bias width height side chunks inputs outputs flags slope
            low high;
        "points::" PointsArguments: units instructions pooled written count width height blocks wide reserved;
        "points::" MoveArguments: channels width height;
        "pooled::" MeanArguments: input sums width height blocks wide;
        "pooled::" PooledArguments: steps constants values sums inputs count wide pixels reserved;
        "pooled::" ScaleArguments: weights factors to count step taps chunks fold side_by_side channels reserved;
        "compose::" ComposeArguments: settings image r adjusted fitted smooth working_width working_height padded_width
            padded_height format;
    }
    // The headers stand outside the namespaces.
    program.insert_str(
        0,
        "#include \"format.cuh\"\n#include \"fusion.cuh\"\n#include \"convolution.cuh\"\n",
    );
    let sizes = Parts::bytes((1, 1));
    for (part, bytes) in [
        ("State", sizes.state),
        ("Cell", sizes.cells),
        ("Trust", sizes.trust),
        ("Vector", sizes.vectors / 4),
    ] {
        program += &format!("static_assert(sizeof({part}) == {bytes}, \"{part}\");\n");
    }
    let path = std::env::temp_dir().join(format!("uretinex-layout-{}.cpp", std::process::id()));
    std::fs::write(&path, program).expect("write a program");
    compile(&[OsString::from("-fsyntax-only"), path.clone().into()]);
    std::fs::remove_file(path).expect("remove the program");
}

#[test]
fn ptx_is_of_these_sources() {
    let digest = digest(&["cu", "cuh"]);
    for module in MODULES {
        let (name, ptx) = (module.name, module.ptx);
        assert!(
            ptx.contains(&format!("// sources: {digest}")),
            "{name}: the PTX is of other sources: run src/gpu/kernels/build.py write"
        );
        assert!(
            ptx.contains(".version 8.0\n")
                && ptx.contains(&format!(".target sm_{}{}\n", module.since.0, module.since.1)),
            "{name}"
        );
        let entries = ptx.lines().filter_map(|l| l.strip_prefix(".visible .entry "));
        let entries: BTreeSet<_> = entries.map(|l| l.trim_end_matches('(')).collect();
        assert_eq!(entries, module.kernels.iter().copied().collect(), "{name}");
    }
}

/// Blocks and threads come in any order on a GPU: neither pictures nor sums may depend on it.
#[test]
fn order_does_not_matter() {
    let hosts = [
        HostKernels::new(Rounding::Separate),
        HostKernels::new(Rounding::Separate).backwards(),
    ];
    let mut random = Random(6);
    let mut kernels = BTreeSet::new();
    let reduced = reduced_cases().step_by(9);
    let native = cases().step_by(9);
    let native = native.map(|(spec, multiple, padding)| (Geometry::new(spec, 0, multiple), padding));
    for (geometry, padding) in native.chain(reduced) {
        let input = Memory::new(geometry.spec, padding, || random.next() as u8);
        let r = planes(&mut random, Storage::F16, 3, geometry.padded, -0.1, 1.1);
        let l = planes(&mut random, Storage::F16, 1, geometry.padded, -0.1, 1.4);
        let image = planes(&mut random, Storage::F32, 3, geometry.padded, 0.0, 1.0);
        let [forwards, backwards] = hosts.each_ref().map(|host| {
            let (ingest, image_out, half, luma_in) = host_ingest(host, &geometry, &input);
            let (compose, output, luma_out) =
                host_compose(host, Storage::F16, &geometry, &input, &image, (&r, &l), 0.5);
            kernels.insert(ingest.kernel);
            kernels.extend(compose);
            let bits: Vec<_> = image_out.iter().chain(&half).map(|v| v.to_bits()).collect();
            (bits, [luma_in, luma_out].map(f32::to_bits), output)
        });
        let name = format!("{} from {:?}", name(&geometry.spec, padding), geometry.working);
        assert!(forwards.0 == backwards.0, "{name}: I");
        assert_eq!(forwards.1, backwards.1, "{name}: luma");
        assert!(forwards.2.bytes().eq(backwards.2.bytes()), "{name}: frame");
    }
    let all = [&INGEST, &COMPOSE].into_iter().flat_map(|module| module.kernels);
    let all = all.copied().filter(|k| !k.ends_with("_f32"));
    assert_eq!(kernels, all.collect(), "kernels that ran");
}

/// Networks that give no numbers give a black picture rather than arbitrary codes.
#[test]
fn nan_is_black() {
    let host = HostKernels::new(Rounding::Separate);
    for (format, width, codes) in [
        (PixelFormat::Nv12, 64, [16, 128]),
        (PixelFormat::I420, 64, [16, 128]),
        (PixelFormat::I420, 35, [16, 128]),
        (PixelFormat::Gbr, 35, [16, 16]),
    ] {
        let spec = spec(format, (width, 16));
        let geometry = Geometry::new(spec, 0, 1);
        let input = Memory::new(spec, (0, 1), || 99);
        let [mut image, mut r, mut l] = [3, 3, 1].map(|channels| Planes::new(channels, geometry.padded).unwrap());
        for planes in [&mut image, &mut r, &mut l] {
            planes.data.fill(f32::NAN);
        }
        for storage in [Storage::F32, Storage::F16] {
            let (ran, output, mean) = host_compose(&host, storage, &geometry, &input, &image, (&r, &l), 1.0);
            assert_eq!(mean, 0.0, "{ran:?}");
            for (plane, bytes) in output.bytes().enumerate() {
                let code = codes[plane.min(1)];
                assert!(bytes.iter().all(|b| *b == code), "{ran:?}, plane {plane}");
            }
        }
    }
}

/// The kernels for groups of four are taken where they can be, and nowhere else.
#[test]
fn kernels_by_format_and_alignment() {
    for (format, width, multiple, alignment, ingest, compose) in [
        (PixelFormat::Nv12, 1920, 1, 16, "ingest_semi8", "compose_semi8_f16"),
        (PixelFormat::Nv21, 1920, 1, 4, "ingest_semi8", "compose_semi8_f16"),
        (PixelFormat::Nv12, 1920, 1, 2, "ingest_any", "compose_any_f16"),
        (PixelFormat::Nv12, 1922, 1, 16, "ingest_any", "compose_any_f16"),
        (PixelFormat::Nv12, 1924, 8, 16, "ingest_semi8", "compose_semi8_f16"),
        (
            PixelFormat::P010_10le,
            1920,
            1,
            8,
            "ingest_semi10",
            "compose_semi10_f16",
        ),
        (PixelFormat::P010_10le, 1920, 1, 4, "ingest_any", "compose_any_f16"),
        (PixelFormat::Argb, 1920, 1, 16, "ingest_packed", "compose_packed_f16"),
        (PixelFormat::Argb, 1920, 1, 8, "ingest_any", "compose_any_f16"),
        (PixelFormat::Rgb, 1920, 1, 16, "ingest_any", "compose_any_f16"),
        (PixelFormat::I420, 1920, 1, 4, "ingest_planar8", "compose_planar8_f16"),
        (PixelFormat::Y42b, 1920, 1, 4, "ingest_planar8", "compose_planar8_f16"),
        (PixelFormat::I420, 1920, 1, 2, "ingest_any", "compose_any_f16"),
        (
            PixelFormat::I420_10le,
            1920,
            1,
            8,
            "ingest_planar10",
            "compose_planar10_f16",
        ),
        (PixelFormat::Yuy2, 1920, 1, 16, "ingest_any", "compose_any_f16"),
        (PixelFormat::Nv16, 1920, 1, 16, "ingest_semi8", "compose_semi8_f16"),
        (PixelFormat::Nv24, 1920, 1, 16, "ingest_any", "compose_any_f16"),
        (PixelFormat::P016le, 1920, 1, 16, "ingest_semi10", "compose_semi10_f16"),
        (PixelFormat::Y444, 1920, 1, 16, "ingest_any", "compose_any_f16"),
        (
            PixelFormat::I422_12le,
            1920,
            1,
            16,
            "ingest_planar10",
            "compose_planar10_f16",
        ),
        (PixelFormat::Ayuv, 1920, 1, 16, "ingest_any", "compose_any_f16"),
        (PixelFormat::Argb64, 1920, 1, 16, "ingest_any", "compose_any_f16"),
    ] {
        let spec = spec(format, (width, 1080));
        let geometry = Geometry::new(spec, 0, multiple);
        let launch = Ingest {
            settings: 0,
            image: 0,
            image_half: 0,
        };
        let launches = Compose {
            settings: 0,
            image: 0,
            r: 0,
            adjusted: 0,
            scratch: 0,
        };
        let name = name(&spec, (0, 16));
        assert_eq!(launch.launch(&geometry, alignment).kernel, ingest, "{name}");
        let launches = launches.launches(Storage::F16, &geometry, alignment);
        let kernels: Vec<_> = launches.iter().map(|l| l.kernel).collect();
        assert_eq!(kernels, [compose], "{name}");
    }
}
