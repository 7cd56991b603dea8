//! Colours against GStreamer's own `videoconvert`, for every format, matrix and range.
//!
//! Test pictures have noise in luma. Where chroma is even, subsampling costs nothing and the arithmetic is compared to
//! within a code; where it slopes, `videoconvert` rounds what it interpolates to whole codes of chroma, and that is
//! allowed for.

mod common;

use common::{Noise, Rig, bytes, caps, formats, model};
use gst_video::{VideoFormat, VideoFormatInfo, VideoInfo, VideoMeta};
use uretinex::{
    BackendChoice, ChromaSite, Colorimetry, Enhancer, Frame, FrameMut, FrameSpec, Matrix, Options, Parameters,
    PixelFormat, Plane, PlaneMut, Quantity, Range,
};

/// One conversion of one frame.
fn convert(input: &gst::Buffer, from: &gst::Caps, to: &gst::Caps) -> gst::Buffer {
    let launch = "videoconvert dither=none chroma-mode=full matrix-mode=full n-threads=1";
    let mut harness = gst_check::Harness::new_parse(launch);
    harness.set_caps(from.clone(), to.clone());
    harness
        .push_and_pull(input.clone())
        .unwrap_or_else(|e| panic!("{from} to {to}: {e}"))
}

/// What codes mean, in GStreamer's words and in the core's.
struct Case {
    /// range:matrix:transfer:primaries
    text: String,
    site: Option<&'static str>,
    colorimetry: Colorimetry,
}

fn cases(format: PixelFormat) -> Vec<Case> {
    let rgb = !is_yuv(format);
    let sites = [
        (
            Some("mpeg2"),
            ChromaSite {
                cosited_x: true,
                cosited_y: false,
            },
        ),
        (
            Some("jpeg"),
            ChromaSite {
                cosited_x: false,
                cosited_y: false,
            },
        ),
    ];
    let mut all = Vec::new();
    for (range_number, range) in [(1, Range::Full), (2, Range::Limited)] {
        for (matrix_number, matrix) in [(4, Matrix::Bt601), (3, Matrix::Bt709), (6, Matrix::Bt2020)] {
            for (site_name, site) in sites {
                let matrix_number = if rgb { 1 } else { matrix_number };
                all.push(Case {
                    text: format!("{range_number}:{matrix_number}:5:1"),
                    site: site_name.filter(|_| !rgb),
                    colorimetry: Colorimetry { matrix, range, site },
                });
            }
        }
        if rgb {
            all.truncate(1); // One case is enough where there is no matrix; its range is full.
        }
    }
    all
}

/// Luma, with or without colour differences.
fn is_yuv(format: PixelFormat) -> bool {
    common::init();
    let format: VideoFormat = format.name().parse().unwrap();
    !VideoFormatInfo::from_format(format).is_rgb()
}

fn caps_of(format: &str, size: (i32, i32), case: &Case) -> gst::Caps {
    let mut caps = caps(format, size.0, size.1);
    let c = caps.make_mut();
    c.set("colorimetry", &case.text);
    let packed = ["AYUV", "ARGB", "ABGR"].iter().any(|name| format.starts_with(name));
    if let Some(site) = case.site.filter(|_| !packed) {
        c.set("chroma-site", site);
    }
    caps
}

/// What a code of chroma is worth in red or blue, in codes: at most 1.8814 · 255 / 224 (blue of BT.2020, limited).
const CHROMA_CODE: f32 = 2.15;

/// The difference that is allowed to `videoconvert`, in steps of 8 bits: one for even chroma, and one code of chroma for
/// sloping chroma of 8 bits. The matrix that `videoconvert` takes 16 bits through is good for no more than that.
fn allowed(depth: u32, slope: bool) -> f32 {
    1.0 + if slope && depth == 8 { CHROMA_CODE } else { 0.0 }
}

/// The same if the matrix is exact and everything else is `videoconvert`'s, in codes of the format. It rounds chroma to 16
/// bits, once for each direction in which it interpolates.
fn allowed_exact(depth: u32) -> f32 {
    match depth {
        10 => 0.1,
        12 => 0.3,
        _ => 3.0,
    }
}

/// A picture of four 16-bit components, A Y U V or A R G B: alpha that varies, noise in the second; U and V even or sloping.
fn picture(yuv: bool, (width, height): (i32, i32), seed: u64, slope: bool) -> gst::Buffer {
    let mut noise = Noise::new(seed);
    let even = [0; 2].map(|_| (100 + noise.next() % 56) as f32);
    let mut words: Vec<u16> = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let luma = 60 + noise.next() % 140;
            let (u, v) = (
                110.0 + 0.4 * x as f32 + 0.1 * y as f32,
                146.0 - 0.2 * x as f32 - 0.3 * y as f32,
            );
            let others = match (yuv, slope) {
                (true, true) => [u, v],
                (true, false) => even,
                (false, _) => [0; 2].map(|_| (noise.next() % 256) as f32),
            };
            words.push(((31 * x + 17 * y) % 256 * 257) as u16);
            words.push((luma * 257) as u16);
            words.extend(others.map(|c| (c * 257.0) as u16));
        }
    }
    gst::Buffer::from_mut_slice(words.into_iter().flat_map(u16::to_ne_bytes).collect::<Vec<_>>())
}

/// What `videoconvert` is given for a format: that one, or the same with U and V swapped. GStreamer 1.22 mistakes one for
/// the other in the last pair of a row of odd width of NV61 and VYUY.
fn twin(format: PixelFormat) -> &'static str {
    match format {
        PixelFormat::Nv61 => "NV16",
        PixelFormat::Vyuy => "UYVY",
        _ => format.name(),
    }
}

/// A frame of the format as one of its twin, and the other way round.
fn swapped(format: PixelFormat, frame: gst::Buffer, size: (i32, i32)) -> gst::Buffer {
    if twin(format) == format.name() {
        return frame;
    }
    let info = VideoInfo::from_caps(&caps(twin(format), size.0, size.1)).unwrap();
    let mut data = bytes(&frame);
    match format {
        PixelFormat::Nv61 => data[info.offset()[1]..].chunks_mut(2).for_each(|pair| pair.swap(0, 1)),
        _ => data.chunks_mut(4).for_each(|group| group.swap(0, 2)),
    }
    gst::Buffer::from_mut_slice(data)
}

/// A picture in a format.
fn frame(format: PixelFormat, size: (i32, i32), case: &Case, seed: u64, slope: bool) -> gst::Buffer {
    let yuv = is_yuv(format);
    let source = caps_of(if yuv { "AYUV64" } else { "ARGB64" }, size, case);
    let made = convert(
        &picture(yuv, size, seed, slope),
        &source,
        &caps_of(twin(format), size, case),
    );
    swapped(format, made, size)
}

/// The frame as the core reads it: R, G, B planes, 0 to 1.
fn read(buffer: &gst::Buffer, caps: &gst::Caps, spec: FrameSpec) -> Vec<f32> {
    let info = VideoInfo::from_caps(caps).unwrap();
    assert!(
        buffer.meta::<VideoMeta>().is_none_or(|m| m.stride() == info.stride()),
        "videoconvert pads"
    );
    let data = bytes(buffer);
    let strides = info.stride().iter().map(|s| *s as usize);
    let planes: Vec<_> = info
        .offset()
        .iter()
        .zip(strides)
        .map(|(&o, stride)| Plane {
            data: &data[o..],
            stride,
        })
        .collect();
    let mut out: Vec<(Vec<u8>, usize)> = (0..spec.format.planes())
        .map(|p| (spec.format.row_bytes(p, spec.width), spec.format.rows(p, spec.height)))
        .map(|(row, rows)| (vec![0; row * rows], row))
        .collect();
    let options = Options {
        backend: BackendChoice::Identity,
        model: model(),
        ..Options::default()
    };
    let mut enhancer = Enhancer::new(&options).unwrap();
    let input = Frame::new(spec, &planes).unwrap();
    let mut output = FrameMut::from_iter(
        spec,
        out.iter_mut().map(|(data, stride)| PlaneMut { data, stride: *stride }),
    )
    .unwrap();
    enhancer.process(&input, &mut output, Parameters::default()).unwrap();
    enhancer.read(Quantity::Image).unwrap()
}

/// Sizes, whether chroma slopes, and seeds.
fn pictures() -> impl Iterator<Item = ((i32, i32), bool, u64)> {
    [(64, 48), (33, 21)]
        .into_iter()
        .flat_map(|size| [(size, false, 7), (size, false, 8), (size, true, 9)])
}

/// R, G, B of each pixel, 0 to 1, as `videoconvert` has them, and with an exact matrix.
///
/// Its 8-bit arithmetic is off by up to six codes, and where it widens 8-bit codes it repeats their bits but offsets
/// them as if they were shifted. So it unpacks the format to Y, U and V at the format's depth; these are widened here,
/// exactly; and it takes them through the matrix at 16 bits.
fn reference(input: &gst::Buffer, format: PixelFormat, size: (i32, i32), case: &Case) -> [Vec<f32>; 2] {
    let rgb = Case {
        text: "1:1:5:1".into(),
        site: None,
        colorimetry: Colorimetry::FULL,
    };
    let input = &swapped(format, input.clone(), size);
    let caps = caps_of(twin(format), size, case);
    let words = |data: &[u8]| -> Vec<f32> {
        data.chunks_exact(2)
            .map(|w| f32::from(u16::from_ne_bytes([w[0], w[1]])))
            .collect()
    };
    let depth = format.depth();
    if !is_yuv(format) {
        let (name, largest) = if depth > 8 {
            ("ARGB64", 65535.0)
        } else {
            ("ARGB", 255.0)
        };
        let data = bytes(&convert(input, &caps, &caps_of(name, size, &rgb)));
        let codes = match depth > 8 {
            true => words(&data),
            false => data.iter().map(|c| f32::from(*c)).collect(),
        };
        let colours = codes.chunks_exact(4).flat_map(|p| [p[1], p[2], p[3]]);
        let colours: Vec<_> = colours.map(|c| c / largest).collect();
        return [colours.clone(), colours];
    }
    // Not AYUV: GStreamer 1.22 crashes on its short cut from UYVY of odd width.
    let unpacked = words(&bytes(&convert(input, &caps, &caps_of("AYUV64", size, case))));
    let (shift, largest, middle) = (
        2f32.powi(16 - depth as i32),
        2f32.powi(depth as i32) - 1.0,
        2f32.powi(depth as i32 - 1),
    );
    let limited = case.colorimetry.range == Range::Limited;
    // GStreamer 1.22 repeats the high bits of a sample below it, but for every second luma of these two.
    let pairs = matches!(format, PixelFormat::Y210 | PixelFormat::Y212le);
    let unit = |i: usize| match i % 4 == 1 && i / 4 % size.0 as usize % 2 == 1 && pairs {
        true => shift,
        false => 65535.0 / largest,
    };
    let codes: Vec<_> = unpacked.iter().enumerate().map(|(i, word)| word / unit(i)).collect();
    let wide = codes.iter().enumerate().flat_map(|(i, code)| {
        let word = match (limited, i % 4) {
            (_, 0) => 65535.0,
            (true, _) => code * shift,
            (false, 1) => code * 65535.0 / largest,
            (false, _) => 32768.0 + (code - middle) * 65535.0 / largest,
        };
        (word.round() as u16).to_ne_bytes()
    });
    let wide = gst::Buffer::from_mut_slice(wide.collect::<Vec<_>>());
    let argb = bytes(&convert(
        &wide,
        &caps_of("AYUV64", size, case),
        &caps_of("ARGB64", size, &rgb),
    ));
    let argb = words(&argb);
    let converted = argb.chunks_exact(4).flat_map(|p| [p[1], p[2], p[3]]);
    let exact = codes.chunks_exact(4).flat_map(|p| {
        let [y, u, v] = [p[1], p[2], p[3]].map(f64::from);
        let (one, middle) = (2f64.powi(depth as i32 - 8), f64::from(middle));
        let (black, luma, chroma) = match limited {
            true => (16.0 * one, 219.0 * one, 224.0 * one),
            false => (0.0, f64::from(largest), f64::from(largest)),
        };
        let (kr, kb) = case.colorimetry.matrix.weights();
        let [kr, kb] = [kr, kb].map(f64::from);
        let (y, u, v) = ((y - black) / luma, (u - middle) / chroma, (v - middle) / chroma);
        let (r, b) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
        let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
        [r, g, b].map(|v| v.clamp(0.0, 1.0) as f32)
    });
    [converted.map(|w| w / 65535.0).collect(), exact.collect()]
}

/// Prints the table of docs/element.md with `-- --nocapture`.
#[test]
fn reading_agrees_with_videoconvert() {
    println!("| format | bits | even chroma | sloping chroma | exact matrix |");
    for format in formats() {
        let (depth, yuv) = (format.depth(), is_yuv(format));
        // Steps of 8 bits, with even and sloping chroma; codes of the format.
        let (mut worst, mut worst_exact) = ([0f32; 2], 0f32);
        for case in cases(format) {
            for (size, slope, seed) in pictures() {
                let caps = caps_of(format.name(), size, &case);
                let input = frame(format, size, &case, seed, slope);
                let [converted, exact] = reference(&input, format, size, &case);
                let spec = FrameSpec {
                    format,
                    width: size.0 as usize,
                    height: size.1 as usize,
                    colorimetry: case.colorimetry,
                };
                let found = read(&input, &caps, spec);
                let (pixels, largest) = (spec.width * spec.height, ((1u32 << depth) - 1) as f32);
                for i in 0..pixels {
                    for channel in 0..3 {
                        let got = found[channel * pixels + i].clamp(0.0, 1.0);
                        let [wanted, exactly] = [converted[i * 3 + channel], exact[i * 3 + channel]];
                        let (off, off_exact) = ((wanted - got).abs() * 255.0, (exactly - got).abs() * largest);
                        let sloping = usize::from(yuv && slope);
                        worst[sloping] = worst[sloping].max(off);
                        worst_exact = worst_exact.max(off_exact);
                        let (x, y) = (i % spec.width, i / spec.width);
                        assert!(
                            off <= allowed(depth, slope) && (depth == 8 || off_exact <= allowed_exact(depth)),
                            "{} {size:?} {} {:?}: channel {channel} at {x},{y} is {got}, videoconvert says {wanted}, \
                             and with an exact matrix {exactly}",
                            format.name(),
                            case.text,
                            case.site
                        );
                    }
                }
            }
        }
        let [even, sloping] = worst;
        let deep = if depth > 8 {
            format!("{worst_exact:.2}")
        } else {
            String::new()
        };
        println!("| {} | {depth} | {even:.2} | {sloping:.2} | {deep} |", format.name());
    }
}

#[test]
fn writing_gives_back_what_was_read() {
    use PixelFormat::{Uyvy, V210, Vyuy, Y210, Y212le, Yuy2, Yvyu};
    let mut worst = 0;
    for format in formats() {
        for case in cases(format) {
            for (size, slope, seed) in pictures() {
                let caps = caps_of(format.name(), size, &case);
                let info = VideoInfo::from_caps(&caps).unwrap();
                let input = frame(format, size, &case, seed, slope);
                let mut rig = Rig::new("identity", &caps);
                let output = rig.harness.push_and_pull(input.clone()).unwrap();
                assert_eq!(rig.count("frames"), 1, "{caps}");
                let (a, b) = (bytes(&input), bytes(&output));
                for plane in 0..info.n_planes() as usize {
                    let stride = info.stride()[plane] as usize;
                    let row = format.row_bytes(plane, size.0 as usize);
                    for y in 0..format.rows(plane, size.1 as usize) {
                        let at = info.offset()[plane] + y * stride;
                        let codes = |data: &[u8]| -> Vec<i32> {
                            let data = &data[at..at + row];
                            if format.depth() == 8 {
                                return data.iter().map(|b| i32::from(*b)).collect();
                            }
                            if format.shares_words() {
                                let words = data.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap()));
                                return words
                                    .flat_map(|w| [0, 10, 20].map(|bit| (w >> bit & 0x3ff) as i32))
                                    .collect();
                            }
                            data.chunks_exact(2)
                                .map(|w| i32::from(u16::from_le_bytes([w[0], w[1]]) >> format.shift()))
                                .collect()
                        };
                        for (x, (before, after)) in codes(&a).into_iter().zip(codes(&b)).enumerate() {
                            // The second luma of the last pair of an odd row belongs to no pixel, nor does what fills the
                            // last group of six.
                            let spare = match format {
                                V210 if x >= 2 * size.0 as usize + size.0 as usize % 2 => Some(x),
                                _ if size.0 % 2 == 0 => None,
                                Yuy2 | Yvyu => Some(row - 2),
                                Uyvy | Vyuy => Some(row - 1),
                                Y210 | Y212le => Some(row / 2 - 2),
                                _ => None,
                            };
                            if spare == Some(x) {
                                continue;
                            }
                            // Chroma that is interpolated and averaged again moves at the edges of a slope, by up to a
                            // fifth of a step of 8 bits.
                            let steps = 1i32 << (format.depth() - 8);
                            let allowed = match plane {
                                // Alpha.
                                3 => 0,
                                _ => 1 + if slope { steps / 5 } else { 0 },
                            };
                            worst = worst.max((before - after).abs() / steps);
                            assert!(
                                (before - after).abs() <= allowed,
                                "{} {size:?} {} {:?}: plane {plane} at {x},{y} was {before}, is {after}",
                                format.name(),
                                case.text,
                                case.site
                            );
                        }
                    }
                }
            }
        }
    }
    println!("largest change by reading and writing: {worst} steps of 8 bits");
}
