use gst_video::{VideoFormat, VideoFrameFlags};
use uretinex::{Colorimetry, PixelFormat};

use super::*;

mod dmabuf;

const WIDTH: usize = 37;
const HEIGHT: usize = 21;

fn spec(format: PixelFormat, width: usize, height: usize) -> FrameSpec {
    FrameSpec {
        format,
        width,
        height,
        colorimetry: Colorimetry::default(),
    }
}

fn described(format: PixelFormat) -> (VideoInfo, FrameSpec) {
    gst::init().unwrap();
    let video: VideoFormat = format.name().parse().unwrap();
    let info = VideoInfo::builder(video, WIDTH as u32, HEIGHT as u32).build().unwrap();
    (info, spec(format, WIDTH, HEIGHT))
}

fn with_meta(buffer: &mut gst::BufferRef, info: &VideoInfo, offsets: &[usize], strides: &[i32]) {
    let flags = VideoFrameFlags::empty();
    VideoMeta::add_full(
        buffer,
        flags,
        info.format(),
        info.width(),
        info.height(),
        offsets,
        strides,
    )
    .unwrap();
}

/// The byte of row `y` of a plane at `x`.
fn pattern(plane: usize, x: usize, y: usize) -> u8 {
    (plane * 91 + y * 7 + x * 3 + 1) as u8
}

/// The frame with a memory for each plane: `gap` bytes before the plane, and rows longer by `pad`.
fn memory_per_plane(format: PixelFormat, info: &VideoInfo, (gap, pad): (usize, usize)) -> gst::Buffer {
    let mut buffer = gst::Buffer::new();
    let b = buffer.get_mut().unwrap();
    let (mut offsets, mut strides) = (Vec::new(), Vec::new());
    for plane in 0..format.planes() {
        let (row, rows) = (format.row_bytes(plane, WIDTH), format.rows(plane, HEIGHT));
        let mut bytes = vec![0xee; gap];
        for y in 0..rows {
            bytes.extend((0..row).map(|x| pattern(plane, x, y)));
            bytes.extend(std::iter::repeat_n(0xee, pad));
        }
        offsets.push(b.size() + gap);
        strides.push((row + pad) as i32);
        b.append_memory(gst::Memory::from_mut_slice(bytes));
    }
    with_meta(b, info, &offsets, &strides);
    buffer
}

fn memories(buffer: &gst::BufferRef) -> Vec<*mut gst::ffi::GstMemory> {
    buffer.iter_memories().map(|memory| memory.as_mut_ptr()).collect()
}

/// Formats whose planes lie in another order than their components, too.
const FORMATS: [PixelFormat; 8] = [
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::Yv12,
    PixelFormat::Gbr,
    PixelFormat::P010_10le,
    PixelFormat::I420_10le,
    PixelFormat::A420,
    PixelFormat::Gbra,
];

#[test]
fn a_memory_for_each_plane_is_read_where_it_is() {
    for format in FORMATS {
        let (info, spec) = described(format);
        for layout in [(0, 0), (0, 11), (13, 0), (5, 3)] {
            let buffer = memory_per_plane(format, &info, layout);
            let before = memories(&buffer);
            assert_eq!(before.len(), format.planes());
            let planes = ReadablePlanes::map(&buffer, &info, spec).unwrap();
            let frame = planes.frame().unwrap();
            for plane in 0..format.planes() {
                for y in 0..format.rows(plane, HEIGHT) {
                    let row = frame.row(plane, y);
                    let right = row.iter().enumerate().all(|(x, &byte)| byte == pattern(plane, x, y));
                    assert!(right, "{format:?} {layout:?}: plane {plane}, row {y}");
                }
            }
            drop(planes);
            assert_eq!(memories(&buffer), before, "{format:?} {layout:?}");
        }
    }
}

#[test]
fn a_memory_for_each_plane_is_written_where_it_is() {
    for format in FORMATS {
        let (info, spec) = described(format);
        for layout in [(0, 0), (0, 11), (13, 0), (5, 3)] {
            let mut buffer = memory_per_plane(format, &info, layout);
            let before = memories(&buffer);
            let mut planes = WritablePlanes::map(buffer.get_mut().unwrap(), &info, spec).unwrap();
            let mut frame = planes.frame().unwrap();
            for plane in 0..format.planes() {
                for y in 0..format.rows(plane, HEIGHT) {
                    let row = frame.row_mut(plane, y);
                    row.iter_mut()
                        .enumerate()
                        .for_each(|(x, byte)| *byte = !pattern(plane, x, y));
                }
            }
            drop(planes);
            assert_eq!(memories(&buffer), before, "{format:?} {layout:?}");
            for (plane, memory) in buffer.iter_memories().enumerate() {
                let (row, rows) = (format.row_bytes(plane, WIDTH), format.rows(plane, HEIGHT));
                let (gap, pad) = layout;
                let map = memory.map_readable().unwrap();
                let expected = (0..rows).flat_map(|y| {
                    let row = (0..row).map(move |x| !pattern(plane, x, y));
                    row.chain(std::iter::repeat_n(0xee, pad))
                });
                let expected: Vec<u8> = std::iter::repeat_n(0xee, gap).chain(expected).collect();
                assert!(map.as_slice() == expected, "{format:?} {layout:?}: plane {plane}");
            }
        }
    }
}

/// Two planes in one memory, the third in another; and chroma before luma.
#[test]
fn planes_may_share_a_memory() {
    let format = PixelFormat::I420;
    let (info, spec) = described(format);
    let [luma, chroma] = [0, 1].map(|plane| (format.row_bytes(plane, WIDTH), format.rows(plane, HEIGHT)));
    let [luma_bytes, chroma_bytes] = [luma, chroma].map(|(row, rows)| row * rows);
    for (what, sizes, offsets) in [
        (
            "chroma together",
            [luma_bytes, 2 * chroma_bytes],
            [0, luma_bytes, luma_bytes + chroma_bytes],
        ),
        (
            "chroma first",
            [2 * chroma_bytes, luma_bytes],
            [2 * chroma_bytes, chroma_bytes, 0],
        ),
    ] {
        let mut buffer: gst::Buffer = sizes
            .map(|size| gst::Memory::from_mut_slice(vec![0u8; size]))
            .into_iter()
            .collect();
        let b = buffer.get_mut().unwrap();
        with_meta(b, &info, &offsets, &[luma.0 as i32, chroma.0 as i32, chroma.0 as i32]);
        let before = memories(b);
        let mut planes = WritablePlanes::map(b, &info, spec).unwrap();
        let mut frame = planes.frame().unwrap();
        for plane in 0..3 {
            for y in 0..format.rows(plane, HEIGHT) {
                frame.row_mut(plane, y).fill(plane as u8 + 1);
            }
        }
        drop(planes);
        let planes = ReadablePlanes::map(&buffer, &info, spec).unwrap();
        let frame = planes.frame().unwrap();
        for plane in 0..3 {
            assert!(
                frame.row(plane, 3).iter().all(|&byte| byte == plane as u8 + 1),
                "{what}: {plane}"
            );
        }
        drop(planes);
        assert_eq!(memories(&buffer), before, "{what}");
    }
}

#[test]
fn planes_that_lie_across_memories_are_read_from_a_copy() {
    for format in FORMATS {
        let (info, spec) = described(format);
        let whole = memory_per_plane(format, &info, (2, 5));
        let bytes = whole.map_readable().unwrap().to_vec();
        let mut parts = gst::Buffer::new();
        for part in bytes.chunks(bytes.len() / 10 + 1) {
            parts
                .get_mut()
                .unwrap()
                .append_memory(gst::Memory::from_mut_slice(part.to_vec()));
        }
        let (offsets, strides) = {
            let meta = whole.meta::<VideoMeta>().unwrap();
            (meta.offset().to_vec(), meta.stride().to_vec())
        };
        with_meta(parts.get_mut().unwrap(), &info, &offsets, &strides);
        let before = memories(&parts);
        let (planes, expected) = (
            ReadablePlanes::map(&parts, &info, spec).unwrap(),
            ReadablePlanes::map(&whole, &info, spec).unwrap(),
        );
        let (frame, expected) = (planes.frame().unwrap(), expected.frame().unwrap());
        for plane in 0..format.planes() {
            for y in 0..format.rows(plane, HEIGHT) {
                assert!(
                    frame.row(plane, y) == expected.row(plane, y),
                    "{format:?}: {plane}, {y}"
                );
            }
        }
        drop(planes);
        assert_eq!(memories(&parts), before, "{format:?}: the buffer keeps its memories");
        // To be written, they become one.
        let mut map = WritablePlanes::map(parts.get_mut().unwrap(), &info, spec).unwrap();
        map.frame().unwrap();
    }
}

#[test]
fn a_larger_meta_gives_the_upper_left_part() {
    let (_, spec) = described(PixelFormat::I420);
    let info = VideoInfo::builder(VideoFormat::I420, WIDTH as u32, HEIGHT as u32)
        .build()
        .unwrap();
    let larger = VideoInfo::builder(VideoFormat::I420, 48, 32).build().unwrap();
    let mut buffer = gst::Buffer::from_mut_slice(vec![9u8; larger.size()]);
    with_meta(buffer.get_mut().unwrap(), &larger, larger.offset(), larger.stride());
    ReadablePlanes::map(&buffer, &info, spec).unwrap().frame().unwrap();
    // A smaller one, and one of another format, are not of the caps.
    for other in [
        VideoInfo::builder(VideoFormat::I420, 16, 16).build().unwrap(),
        VideoInfo::builder(VideoFormat::Yv12, 48, 32).build().unwrap(),
    ] {
        let mut buffer = gst::Buffer::from_mut_slice(vec![9u8; larger.size()]);
        with_meta(buffer.get_mut().unwrap(), &other, other.offset(), other.stride());
        let error = ReadablePlanes::map(&buffer, &info, spec).err().expect("a refusal");
        assert_eq!(error.kind(), ErrorKind::InvalidFrame);
        assert!(error.to_string().contains("video meta says"), "{error}");
        assert!(WritablePlanes::map(buffer.get_mut().unwrap(), &info, spec).is_err());
    }
}

#[test]
fn planes_in_any_order_and_padded() {
    gst::init().unwrap();
    let info = VideoInfo::builder(VideoFormat::I420, 16, 16).build().unwrap();
    let spec = spec(PixelFormat::I420, 16, 16);
    for (what, size, offsets, strides, fits) in [
        ("in order", 256 + 128, [0, 256, 320], [16, 8, 8], true),
        ("padded", 32 * 16 + 2 * 16 * 8, [0, 512, 640], [32, 16, 16], true),
        ("chroma first", 384, [128, 0, 64], [16, 8, 8], true),
        ("exchanged", 384, [0, 320, 256], [16, 8, 8], true),
        ("short", 383, [0, 256, 320], [16, 8, 8], false),
        ("overlapping", 384, [0, 250, 320], [16, 8, 8], false),
        ("beyond", 384, [0, 256, 400], [16, 8, 8], false),
        ("upside down", 384, [240, 256, 320], [-16, 8, 8], false),
        ("narrow", 384, [0, 256, 320], [15, 8, 8], false),
    ] {
        // In one memory, and cut in the middle of each plane or between planes.
        for cuts in [vec![], vec![256, 320], vec![100, 280, 350]] {
            let mut buffer = gst::Buffer::new();
            let r = buffer.get_mut().unwrap();
            let ends = cuts.iter().copied().chain([size]);
            ends.fold(0, |start, end| {
                r.append_memory(gst::Memory::from_mut_slice(vec![0u8; end - start]));
                end
            });
            VideoMeta::add_full(
                r,
                VideoFrameFlags::empty(),
                VideoFormat::I420,
                16,
                16,
                &offsets,
                &strides,
            )
            .map(|_| ())
            .unwrap_or_else(|e| assert!(!fits, "{what}: {e}"));
            if r.meta::<VideoMeta>().is_none() {
                continue;
            }
            // To read, planes may overlap.
            let read = ReadablePlanes::map(r, &info, spec).and_then(|planes| planes.frame().map(|_| ()));
            assert_eq!(read.is_ok(), fits || what == "overlapping", "{what} {cuts:?}: {read:?}");
            let written = WritablePlanes::map(r, &info, spec).and_then(|mut planes| planes.frame().map(|_| ()));
            assert_eq!(written.is_ok(), fits, "{what} {cuts:?}: {written:?}");
        }
    }
}
