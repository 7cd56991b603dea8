//! Buffers and caps: what goes in, what comes out, and what is refused.

mod common;

use common::{Rig, bytes, caps, element, formats, frame};
use gst::prelude::*;
use gst_video::{
    VideoCropMeta, VideoFormat, VideoFrameFlags, VideoInfo, VideoMeta, VideoRegionOfInterestMeta, VideoTimeCode,
    VideoTimeCodeFlags, VideoTimeCodeMeta,
};

#[test]
fn every_format_and_odd_sizes_go_through() {
    for format in formats() {
        for (width, height) in [(16, 16), (17, 19), (64, 48)] {
            let caps = caps(format.name(), width, height);
            let mut rig = Rig::new("identity", &caps);
            let input = frame(&caps, 0);
            let output = rig.harness.push_and_pull(input.clone()).unwrap();
            let case = format!("{} {width}x{height}", format.name());
            assert_eq!(output.size(), input.size(), "{case}");
            assert_eq!(rig.count("frames"), 1, "{case}: {:?}", rig.warnings());
            let out_caps = rig.harness.sinkpad().unwrap().current_caps();
            assert_eq!(out_caps.as_ref(), Some(&caps), "{case}");
        }
    }
}

#[test]
fn the_same_buffer_passes_through() {
    let caps = caps("NV12", 64, 48);
    for (what, name, value) in [
        ("disabled", "enabled", false.to_value()),
        ("no strength", "strength", 0f32.to_value()),
    ] {
        let mut rig = Rig::new("identity", &caps);
        rig.element.set_property_from_value(name, &value);
        for n in 0..3 {
            let input = frame(&caps, n);
            let pointer = input.as_ptr();
            let output = rig.harness.push_and_pull(input).unwrap();
            assert_eq!(output.as_ptr(), pointer, "{what}, frame {n}");
        }
        assert_eq!((rig.count("passed"), rig.count("frames")), (3, 0), "{what}");
        // Live: the next frame is another buffer.
        rig.element.set_property("enabled", true);
        rig.element.set_property("strength", 1f32);
        let input = frame(&caps, 3);
        let pointer = input.as_ptr();
        assert_ne!(rig.harness.push_and_pull(input).unwrap().as_ptr(), pointer, "{what}");
    }
}

#[test]
fn size_and_format_change_in_mid_stream() {
    let first = caps("NV12", 64, 48);
    let mut rig = Rig::new("identity", &first);
    for (n, (format, width, height)) in [
        ("NV12", 64, 48),
        ("NV12", 32, 32),
        ("RGB", 32, 32),
        ("I420_10LE", 50, 31),
        ("GRAY8", 16, 16),
        ("NV12", 64, 48),
    ]
    .into_iter()
    .enumerate()
    {
        let caps = caps(format, width, height);
        rig.harness.set_src_caps(caps.clone());
        let input = frame(&caps, n as u64);
        let output = rig.harness.push_and_pull(input.clone()).unwrap();
        assert_eq!(output.size(), input.size(), "{caps}");
        assert_eq!(rig.harness.sinkpad().unwrap().current_caps(), Some(caps));
    }
    assert_eq!(rig.count("frames"), 6, "{:?}", rig.warnings());
}

#[test]
fn metadata_stays() {
    let caps = caps("NV12", 64, 48);
    let mut rig = Rig::new("identity", &caps);
    gst::meta::CustomMeta::register("UretinexTestMeta", &[]);
    let fps = gst::Fraction::new(25, 1);
    rig.harness.push_and_pull(frame(&caps, 0)).unwrap();
    let flags =
        gst::BufferFlags::DISCONT | gst::BufferFlags::GAP | gst::BufferFlags::MARKER | gst::BufferFlags::CORRUPTED;
    let mut input = frame(&caps, 1);
    {
        let b = input.get_mut().unwrap();
        b.set_dts(gst::ClockTime::from_mseconds(33));
        b.set_offset(7);
        b.set_offset_end(8);
        b.set_flags(flags);
        let code = VideoTimeCode::new(fps, None, VideoTimeCodeFlags::empty(), 1, 2, 3, 4, 0);
        VideoTimeCodeMeta::add(b, &code.try_into().expect("a valid time code"));
        VideoRegionOfInterestMeta::add(b, "face", (1, 2, 30, 40));
        let mut custom = gst::meta::CustomMeta::add(b, "UretinexTestMeta").unwrap();
        custom.mut_structure().set("answer", 42);
        let info = VideoInfo::from_caps(&caps).unwrap();
        VideoMeta::add_full(
            b,
            VideoFrameFlags::empty(),
            VideoFormat::Nv12,
            64,
            48,
            info.offset(),
            info.stride(),
        )
        .unwrap();
    }
    let output = rig.harness.push_and_pull(input.clone()).unwrap();
    assert_ne!(output.as_ptr(), input.as_ptr());
    assert_eq!(
        (
            output.pts(),
            output.dts(),
            output.duration(),
            output.offset(),
            output.offset_end()
        ),
        (
            input.pts(),
            input.dts(),
            input.duration(),
            input.offset(),
            input.offset_end()
        )
    );
    assert!(output.flags().contains(flags), "{:?}", output.flags());
    let code = output
        .meta::<VideoTimeCodeMeta>()
        .expect("the time code")
        .tc()
        .to_string();
    assert!(code.starts_with("01:02:03"), "{code}");
    let region = output
        .meta::<VideoRegionOfInterestMeta>()
        .expect("the region of interest");
    assert_eq!((region.rect(), region.roi_type()), ((1, 2, 30, 40), "face"));
    let custom = gst::meta::CustomMeta::from_buffer(&output, "UretinexTestMeta").expect("the custom meta");
    assert_eq!(custom.structure().get::<i32>("answer"), Ok(42));
    assert_eq!(
        output.iter_meta::<VideoMeta>().count(),
        0,
        "the new memory has a layout of its own"
    );
}

/// A frame within a larger one: what a decoder gives whose picture is no whole number of blocks.
#[test]
fn a_crop_is_applied_and_goes_no_further() {
    for (x, y) in [(16, 8), (0, 0), (32, 16)] {
        for format in formats() {
            // Groups of six pixels can be cut between, not within.
            let (x, width) = if format.shares_words() {
                (x / 6 * 6, 48)
            } else {
                (x, 64)
            };
            let case = format!("{} at {x},{y}", format.name());
            let (whole, part) = (caps(format.name(), 96, 64), caps(format.name(), width, 48));
            let [info, small] = [&whole, &part].map(|caps| VideoInfo::from_caps(caps).unwrap());
            let mut input = frame(&whole, 0);
            let b = input.get_mut().unwrap();
            VideoMeta::add_full(
                b,
                VideoFrameFlags::empty(),
                info.format(),
                96,
                64,
                info.offset(),
                info.stride(),
            )
            .unwrap();
            VideoCropMeta::add(b, (x, y, width as u32, 48));
            let mut rig = Rig::new("identity", &part);
            let output = rig.harness.push_and_pull(input.clone()).unwrap();
            assert_eq!(rig.count("frames"), 1, "{case}: {:?}", rig.warnings());
            assert_eq!(output.iter_meta::<VideoCropMeta>().count(), 0, "{case}");
            // The same as from a buffer that has the part alone, cut out as bytes.
            let (from, mut cut) = (bytes(&input), vec![0; small.size()]);
            for plane in 0..format.planes() {
                let columns = if x == 0 { 0 } else { format.row_bytes(plane, x as usize) };
                let length = format.row_bytes(plane, width as usize);
                for row in 0..format.rows(plane, 48) {
                    let y = format.rows(plane, y as usize) + row;
                    let begin = info.offset()[plane] + y * info.stride()[plane] as usize + columns;
                    let to = small.offset()[plane] + row * small.stride()[plane] as usize;
                    cut[to..to + length].copy_from_slice(&from[begin..begin + length]);
                }
            }
            let mut alone = gst::Buffer::from_mut_slice(cut);
            alone.get_mut().unwrap().set_pts(input.pts());
            let mut rig = Rig::new("identity", &part);
            assert!(
                bytes(&output) == bytes(&rig.harness.push_and_pull(alone).unwrap()),
                "{case}"
            );
        }
    }
}

/// A crop of the frame itself is for whoever comes downstream; one that reaches out of its frame is refused.
#[test]
fn other_crops_are_kept_or_refused() {
    let cropped = |format, (width, height), rect| {
        let caps = caps(format, width, height);
        let mut input = frame(&caps, 0);
        let info = VideoInfo::from_caps(&caps).unwrap();
        let b = input.get_mut().unwrap();
        VideoMeta::add_full(
            b,
            VideoFrameFlags::empty(),
            info.format(),
            info.width(),
            info.height(),
            info.offset(),
            info.stride(),
        )
        .unwrap();
        VideoCropMeta::add(b, rect);
        input
    };
    let nv12 = caps("NV12", 64, 48);
    let mut rig = Rig::new("identity", &nv12);
    let output = rig
        .harness
        .push_and_pull(cropped("NV12", (64, 48), (4, 6, 20, 10)))
        .unwrap();
    let crop = output.meta::<VideoCropMeta>().expect("the crop");
    assert_eq!((crop.rect(), rig.count("frames")), ((4, 6, 20, 10), 1));
    for (format, size, rect, said) in [
        ("NV12", (64, 48), (1, 0, 64, 48), "is not within"),
        ("NV12", (64, 48), (0, u32::MAX, 64, 48), "is not within"),
        // Pixels that share words cannot be parted.
        ("v210", (96, 48), (16, 0, 64, 48), "multiples of 6"),
    ] {
        let mut rig = Rig::new("identity", &caps(format, 64, 48));
        rig.harness.push_and_pull(cropped(format, size, rect)).unwrap();
        assert_eq!(rig.count("failed"), 1, "{format} {rect:?}");
        let warnings = rig.warnings();
        assert!(
            warnings[0].contains("crop meta") && warnings[0].contains(said),
            "{format} {rect:?}: {warnings:?}"
        );
    }
}

/// The frame of `caps` in memory with `pad` more bytes in each row and `gap` bytes before each plane, full of `fill`.
fn padded(buffer: &gst::Buffer, info: &VideoInfo, pad: usize, gap: usize, fill: u8) -> gst::Buffer {
    let tight = bytes(buffer);
    let (mut data, mut offsets, mut strides) = (Vec::new(), Vec::new(), Vec::new());
    for plane in 0..info.n_planes() as usize {
        let (offset, stride) = (info.offset()[plane], info.stride()[plane] as usize);
        let end = info.offset().get(plane + 1).copied().unwrap_or(info.size());
        data.extend(std::iter::repeat_n(fill, gap));
        offsets.push(data.len());
        strides.push((stride + pad) as i32);
        for row in tight[offset..end].chunks(stride) {
            data.extend_from_slice(row);
            data.extend(std::iter::repeat_n(fill, pad));
        }
    }
    let mut padded = gst::Buffer::from_mut_slice(data);
    let b = padded.get_mut().unwrap();
    b.set_pts(buffer.pts());
    let (w, h) = (info.width(), info.height());
    VideoMeta::add_full(b, VideoFrameFlags::empty(), info.format(), w, h, &offsets, &strides).unwrap();
    padded
}

#[test]
fn strides_and_offsets_do_not_matter() {
    for format in formats() {
        let caps = caps(format.name(), 33, 21);
        let info = VideoInfo::from_caps(&caps).unwrap();
        let mut rig = Rig::new("identity", &caps);
        let tight = frame(&caps, 0);
        let expected = bytes(&rig.harness.push_and_pull(tight.clone()).unwrap());
        for (pad, gap) in [(0, 64), (16, 0), (40, 12)] {
            for fill in [0, 255] {
                let output = rig
                    .harness
                    .push_and_pull(padded(&tight, &info, pad, gap, fill))
                    .unwrap();
                assert!(
                    bytes(&output) == expected,
                    "{} pad {pad} gap {gap} fill {fill}",
                    format.name()
                );
            }
        }
        assert_eq!(rig.count("failed"), 0, "{}: {:?}", format.name(), rig.warnings());
    }
}

#[test]
fn a_frame_in_several_memories_is_read() {
    let caps = caps("NV12", 64, 48);
    let mut rig = Rig::new("identity", &caps);
    let whole = frame(&caps, 0);
    let expected = bytes(&rig.harness.push_and_pull(whole.clone()).unwrap());
    let mut parts = gst::Buffer::new();
    for part in bytes(&whole).chunks(1000) {
        parts
            .get_mut()
            .unwrap()
            .append_memory(gst::Memory::from_slice(part.to_vec()));
    }
    assert!(parts.n_memory() > 1);
    assert!(bytes(&rig.harness.push_and_pull(parts).unwrap()) == expected);
}

#[test]
fn a_short_buffer_is_passed_on_and_reported_once() {
    let caps = caps("NV12", 64, 48);
    let info = VideoInfo::from_caps(&caps).unwrap();
    let mut rig = Rig::new("identity", &caps);
    let short = |meta: bool| {
        let mut b = gst::Buffer::from_mut_slice(vec![40u8; info.size() - 1]);
        if meta {
            let r = b.get_mut().unwrap();
            VideoMeta::add_full(
                r,
                VideoFrameFlags::empty(),
                VideoFormat::Nv12,
                64,
                48,
                info.offset(),
                info.stride(),
            )
            .unwrap();
        }
        b
    };
    for (n, input) in [short(false), short(true), gst::Buffer::new(), short(false)]
        .into_iter()
        .enumerate()
    {
        let pointer = input.as_ptr();
        let output = rig.harness.push_and_pull(input).unwrap();
        assert_eq!(output.as_ptr(), pointer, "buffer {n}");
    }
    rig.harness.push_and_pull(frame(&caps, 9)).unwrap();
    assert_eq!((rig.count("failed"), rig.count("frames")), (4, 1));
    let warnings = rig.warnings();
    println!("short buffer: {warnings:?}");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("shorter than its caps say"), "{warnings:?}");
}

const GOOD: &str = "video/x-raw, format=NV12, width=64, height=48, framerate=25/1";

/// Caps that are not taken, and parts of what is said of them: the reason, and the remedy.
fn refused() -> Vec<(&'static str, gst::Caps, [&'static str; 2])> {
    common::init();
    let good = GOOD;
    let all = [
        (
            "15x15",
            good.replace("width=64, height=48", "width=15, height=15"),
            ["15x15", "videoscale"],
        ),
        (
            "too wide",
            good.replace("width=64", "width=8193"),
            ["8193x48", "videoscale"],
        ),
        (
            "interleaved",
            format!("{good}, interlace-mode=interleaved"),
            ["interlaced", "deinterlace"],
        ),
        (
            "mixed",
            format!("{good}, interlace-mode=mixed"),
            ["interlaced", "deinterlace"],
        ),
        (
            "fields",
            format!("{good}, interlace-mode=fields"),
            ["interlaced", "deinterlace"],
        ),
        (
            "alternate",
            format!("{good}, interlace-mode=alternate").replace("video/x-raw", "video/x-raw(format:Interlaced)"),
            ["interlaced", "deinterlace"],
        ),
        (
            "8x8, no rate",
            "video/x-raw, format=NV12, width=8, height=8".into(),
            ["8x8", "videoscale"],
        ),
        ("packed words", good.replace("NV12", "UYVP"), ["UYVP", "videoconvert"]),
        (
            "big-endian",
            good.replace("NV12", "GRAY16_BE"),
            ["GRAY16_BE", "videoconvert"],
        ),
        (
            "on a GPU",
            good.replace("video/x-raw", "video/x-raw(memory:GLMemory)"),
            ["GLMemory", "gldownload"],
        ),
    ];
    let parsed = all.map(|(what, text, parts)| (what, text.parse().unwrap_or_else(|_| panic!("{what}")), parts));
    parsed.into()
}

#[test]
fn what_cannot_be_read_is_refused_with_the_remedy() {
    for (what, caps, parts) in refused() {
        // In mid-stream: what came before has gone through.
        let start: gst::Caps = GOOD.parse().unwrap();
        let mut rig = Rig::new("identity", &start);
        rig.harness.push_and_pull(frame(&start, 0)).unwrap();
        let pad = rig.harness.srcpad().unwrap();
        // The pad keeps sticky events whatever comes of them: the next buffer tells.
        let _ = pad.push_event(gst::event::Caps::new(&caps));
        let flow = pad.push(frame(&start, 1));
        assert_eq!(flow, Err(gst::FlowError::NotNegotiated), "{what}");
        let errors = rig.errors();
        println!("{what}: {errors:?}");
        assert_eq!(errors.len(), 1, "{what}: {errors:?}");
        assert!(parts.iter().all(|p| errors[0].contains(p)), "{what}: {errors:?}");
    }
}

#[test]
fn whoever_asks_is_told_which_caps_are_taken() {
    let refused = refused();
    let element = element("identity");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    for state in [gst::State::Null, gst::State::Ready, gst::State::Paused] {
        element.set_state(state).unwrap();
        for pad in ["sink", "src"] {
            let pad = element.static_pad(pad).unwrap();
            for format in formats() {
                for (width, height) in [(16, 16), (64, 48), (8192, 17)] {
                    let caps = caps(format.name(), width, height);
                    assert!(pad.query_accept_caps(&caps), "{state:?} {} {caps}", pad.name());
                }
            }
            for (what, caps, _) in &refused {
                assert!(!pad.query_accept_caps(caps), "{state:?} {} {what}", pad.name());
            }
        }
    }
    // A warning for each, not an error: whoever asks may have other caps to offer.
    let said: Vec<_> = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Warning]))
        .map(|message| match message.view() {
            gst::MessageView::Warning(warning) => warning.error().to_string(),
            _ => panic!("{message:?}"),
        })
        .collect();
    assert_eq!(said.len(), refused.len(), "{said:#?}");
    for (text, (what, _, parts)) in said.iter().zip(&refused) {
        assert!(parts.iter().all(|part| text.contains(part)), "{what}: {text}");
    }
    element.set_state(gst::State::Null).unwrap();
    bus.set_flushing(true);
}

#[test]
fn ten_bits_and_high_dynamic_range_go_through() {
    for (colorimetry, warned) in [("bt2020", false), ("bt2100-pq", true), ("bt2100-hlg", true)] {
        let mut caps = caps("P010_10LE", 64, 48);
        caps.make_mut().set("colorimetry", colorimetry);
        let mut rig = Rig::new("identity", &caps);
        rig.harness.push_and_pull(frame(&caps, 0)).unwrap();
        assert_eq!(rig.count("frames"), 1, "{colorimetry}");
        let warnings = rig.warnings();
        assert_eq!(!warnings.is_empty(), warned, "{colorimetry}: {warnings:?}");
        assert!(
            warnings.iter().all(|w| w.contains("BT.709")),
            "{colorimetry}: {warnings:?}"
        );
    }
}

#[test]
fn strides_are_asked_for_where_downstream_reads_them() {
    for strides in [false, true] {
        let mut rig = Rig::around(element("identity"));
        if strides {
            rig.harness.add_propose_allocation_meta(VideoMeta::meta_api(), None);
        }
        let caps = caps("NV12", 64, 48);
        rig.harness.set_src_caps(caps.clone());
        rig.harness.push_and_pull(frame(&caps, 0)).unwrap();
        let mut query = gst::query::Allocation::new(Some(&caps), true);
        assert!(rig.harness.srcpad().unwrap().peer_query(&mut query));
        assert_eq!(query.find_allocation_meta::<VideoMeta>().is_some(), strides);
    }
}
