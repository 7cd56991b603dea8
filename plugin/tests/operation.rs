//! A camera that nobody looks after: day and night, infrared, a deadline, regions, comparison, metas.

mod common;

use std::time::Duration;

use common::{Noise, Rig, bytes, caps, formats, frame};
use gst::prelude::*;

const SIZE: (i32, i32) = (64, 48);

/// An I420 frame whose luma is about `luma`, with chroma `u` and `v` in all but the first row of blocks.
fn scene(n: u64, luma: u8, u: u8, v: u8) -> gst::Buffer {
    let (width, height) = (SIZE.0 as usize, SIZE.1 as usize);
    let mut noise = Noise::new(n + 7);
    let mut data: Vec<u8> = (0..width * height)
        .map(|i| luma + (i % width / 8) as u8 * 2 + (noise.next() % 4) as u8)
        .collect();
    data.extend(std::iter::repeat_n(u, width * height / 4));
    data.extend(std::iter::repeat_n(v, width * height / 4));
    let mut buffer = gst::Buffer::from_mut_slice(data);
    let time = gst::ClockTime::from_mseconds(40);
    let r = buffer.get_mut().unwrap();
    r.set_pts(time * n);
    r.set_duration(time);
    buffer
}

fn i420() -> gst::Caps {
    caps("I420", SIZE.0, SIZE.1)
}

/// The element with its defaults, but for what `set` sets, with frames of `caps`.
fn rig(set: impl Fn(&gst::Element), caps: &gst::Caps) -> Rig {
    common::init();
    let element = gst::ElementFactory::make("uretinexenhance").build().unwrap();
    set(&element);
    let mut rig = Rig::around(element);
    rig.harness.set_src_caps(caps.clone());
    rig
}

/// The element's messages of a name, oldest first; others are thrown away.
fn messages(rig: &Rig, name: &str) -> Vec<gst::Structure> {
    let all = std::iter::from_fn(|| rig.bus.pop());
    let structures = all.filter_map(|message| match message.view() {
        gst::MessageView::Element(_) => message.structure().map(|s| s.to_owned()),
        _ => None,
    });
    structures.filter(|s| s.name() == name).collect()
}

fn mean(buffer: &gst::Buffer) -> f64 {
    let luma = &bytes(buffer)[..(SIZE.0 * SIZE.1) as usize];
    luma.iter().map(|&l| f64::from(l)).sum::<f64>() / luma.len() as f64
}

#[test]
fn daylight_goes_through_untouched_and_the_night_comes_back_without_a_step() {
    let mut rig = rig(|_| {}, &i420());
    let mut before = None;
    let mut lights = vec![];
    for n in 0..500 {
        let luma = match n {
            0..100 => 25,
            100..300 => 150,
            _ => 25,
        };
        let input = scene(n, luma, 100, 150);
        let untouched = n >= 226 && (n < 300 || n < 374);
        let pointer = input.as_ptr();
        let output = rig.harness.push_and_pull(input.clone()).unwrap();
        if untouched {
            assert_eq!(bytes(&output), bytes(&input), "frame {n} by day");
            assert_eq!(output.as_ptr(), pointer, "the same buffer");
        }
        let gain = mean(&output) - mean(&input);
        if let Some(before) = before.replace(gain)
            && n != 100
            && n != 300
        {
            assert!((gain - before).abs() < 6.0, "frame {n}: {before} → {gain}");
        }
        for message in messages(&rig, "uretinexenhance-light") {
            lights.push((n, message.get::<String>("light").unwrap()));
        }
    }
    let found: Vec<_> = lights.iter().map(|(_, light)| light.as_str()).collect();
    assert_eq!(found, ["night", "day", "night"], "{lights:?}");
    assert!(
        (173..=177).contains(&lights[1].0) && (373..=377).contains(&lights[2].0),
        "{lights:?}"
    );
    assert!(before.unwrap() > 30.0, "night again: {before:?}");
    assert!(rig.count("passed") >= 145);
    assert_eq!(rig.stats().get::<String>("light").unwrap(), "night");
}

#[test]
fn a_ratio_of_the_users_and_auto_bypass_off_enhance_by_day_too() {
    for set in [
        |e: &gst::Element| e.set_property("ratio", 2.0f32),
        |e: &gst::Element| e.set_property("auto-bypass", false),
    ] {
        let mut rig = rig(set, &i420());
        for n in 0..3 {
            rig.harness.push_and_pull(scene(n, 150, 100, 150)).unwrap();
        }
        assert_eq!((rig.count("passed"), rig.count("frames")), (0, 3));
    }
}

#[test]
fn infrared_comes_out_grey_and_its_switch_does_not_flash() {
    let mut rig = rig(|e| e.set_property("ratio", 3.0f32), &i420());
    let pixels = (SIZE.0 * SIZE.1) as usize;
    let (mut means, mut greys) = (vec![], vec![]);
    for n in 0..120 {
        // Colour, infrared that is off by a code and two, colour.
        let (luma, u, v) = if (40..80).contains(&n) {
            (70, 127, 130)
        } else {
            (40, 100, 150)
        };
        let output = rig.harness.push_and_pull(scene(n, luma, u, v)).unwrap();
        let chroma = bytes(&output)[pixels..].to_vec();
        greys.push(chroma.iter().all(|&c| c == 128));
        means.push(mean(&output));
    }
    assert!(greys[..40].iter().chain(&greys[80..]).all(|grey| !grey), "colour stays");
    assert!(greys[40..80].iter().all(|grey| *grey), "{:?}", &greys[40..80]);
    for (from, to) in [(0, 40), (40, 80), (80, 120)] {
        let steady = means[to - 1];
        for (n, mean) in means.iter().enumerate().take(to).skip(from + 1) {
            assert!((mean / steady - 1.0).abs() < 0.03, "frame {n}: {mean} of {steady}");
        }
    }
    assert!(!rig.stats().get::<bool>("grey").unwrap());
}

#[test]
fn infrared_is_grey_in_every_format() {
    for format in formats() {
        let caps = caps(format.name(), 64, 48);
        let mut rig = rig(|e| e.set_property("ratio", 3.0f32), &caps);
        let info = gst_video::VideoInfo::from_caps(&caps).unwrap();
        let grey = gst::Buffer::from_mut_slice(vec![0u8; info.size()]);
        // Black and dark grey are the same bytes for all formats that way: made by videoconvert's own rules.
        let mut input = grey;
        {
            let data = input.get_mut().unwrap();
            let mut map = data.map_writable().unwrap();
            let code: u32 = if info.is_yuv() || info.is_gray() { 128 } else { 60 };
            match format.depth() {
                depth if format.shares_words() => {
                    let code = code << (depth - 8);
                    let word = code | code << 10 | code << 20;
                    map.chunks_mut(4)
                        .for_each(|bytes| bytes.copy_from_slice(&word.to_le_bytes()));
                }
                8 => map.fill(code as u8),
                depth => {
                    let word = (code << (depth - 8 + format.shift())) as u16;
                    map.chunks_mut(2)
                        .for_each(|bytes| bytes.copy_from_slice(&word.to_le_bytes()));
                }
            }
        }
        let output = rig.harness.push_and_pull(input).unwrap();
        assert!(rig.stats().get::<bool>("grey").unwrap(), "{format:?}");
        let map = output.map_readable().unwrap();
        if info.is_rgb() {
            let n = info.n_components().min(3) as usize;
            for y in 0..48usize {
                for x in 0..64usize {
                    let sample = |c: usize| {
                        let plane = info.comp_plane(c as u8) as usize;
                        let at = info.offset()[plane]
                            + y * info.stride()[plane] as usize
                            + info.comp_poffset(c as u8) as usize
                            + x * info.comp_pstride(c as u8) as usize;
                        &map[at..at + if format.depth() > 8 { 2 } else { 1 }]
                    };
                    assert!((1..n).all(|c| sample(c) == sample(0)), "{format:?} at {x}, {y}");
                }
            }
        }
    }
}

#[test]
fn regions_stay_as_they_came_or_are_all_that_changes() {
    let plain = |set: &dyn Fn(&gst::Element)| {
        let mut rig = rig(
            |e| {
                e.set_property("ratio", 4.0f32);
                set(e)
            },
            &i420(),
        );
        let input = scene(1, 30, 100, 150);
        (bytes(&input), bytes(&rig.harness.push_and_pull(input).unwrap()))
    };
    let (input, enhanced) = plain(&|_| {});
    let region = "24,16,8,8";
    for (mode, inside, outside) in [("leave", &input, &enhanced), ("enhance", &enhanced, &input)] {
        let (_, output) = plain(&|e| {
            e.set_property("regions", region);
            e.set_property_from_str("regions-mode", mode);
        });
        for (x, y) in [(24, 16), (31, 23), (28, 20)] {
            assert_eq!(output[y * 64 + x], inside[y * 64 + x], "{mode} at {x}, {y}");
        }
        for (x, y) in [(2, 2), (60, 40), (28, 44), (60, 20)] {
            assert_eq!(output[y * 64 + x], outside[y * 64 + x], "{mode} at {x}, {y}");
        }
    }
}

#[test]
fn regions_of_interest_of_a_named_type_count() {
    let mut rig = rig(
        |e| {
            e.set_property("ratio", 4.0f32);
            e.set_property("regions-meta", "overlay");
        },
        &i420(),
    );
    let mut input = scene(1, 30, 100, 150);
    for (kind, x) in [("overlay", 0), ("face", 40)] {
        gst_video::VideoRegionOfInterestMeta::add(input.get_mut().unwrap(), kind, (x, 0, 8, 48));
    }
    let output = rig.harness.push_and_pull(input.clone()).unwrap();
    let (input, output) = (bytes(&input), bytes(&output));
    assert_eq!(output[..8], input[..8]);
    assert!(
        output[40] > input[40] + 20,
        "another type is not a region: {} of {}",
        output[40],
        input[40]
    );
}

#[test]
fn text_that_is_no_region_is_a_warning_and_changes_nothing() {
    let rig = rig(|e| e.set_property("regions", "1,2,3,4"), &i420());
    rig.element.set_property("regions", "1,2,3");
    assert_eq!(rig.element.property::<String>("regions"), "1,2,3,4");
    let warnings = rig.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("X,Y,WIDTH,HEIGHT"),
        "{warnings:?}"
    );
}

#[test]
fn before_and_after_can_be_compared_live() {
    let mut rig = rig(
        |e| {
            e.set_property("ratio", 4.0f32);
            e.set_property("temporal", 0.0f32);
        },
        &i420(),
    );
    let mut push = |element: &gst::Element, mode: &str, divider: f32| {
        element.set_property_from_str("compare", mode);
        element.set_property("divider", divider);
        bytes(&rig.harness.push_and_pull(scene(1, 30, 100, 150)).unwrap())
    };
    let element = rig.element.clone();
    let (off, split) = (push(&element, "off", 0.5), push(&element, "split", 0.25));
    let halves = push(&element, "side-by-side", 0.5);
    let input = bytes(&scene(1, 30, 100, 150));
    assert_eq!(split[..16], input[..16]);
    assert_eq!(split[18..64], off[18..64]);
    assert_eq!(halves[..32], input[16..48]);
    assert_eq!(halves[34..64], off[18..48]);
}

#[test]
fn frames_carry_what_was_done_to_them() {
    let mut rig = rig(|e| e.set_property("frame-meta", true), &i420());
    let output = rig.harness.push_and_pull(scene(1, 30, 100, 150)).unwrap();
    let meta = gst::meta::CustomMeta::from_buffer(&output, "GstURetinexEnhanceMeta").unwrap();
    let s = meta.structure();
    assert!(s.get::<bool>("enhanced").unwrap() && s.get::<u32>("rung").unwrap() == 0);
    let [ratio, before, after] = ["ratio", "luma-in", "luma-out"].map(|name| s.get::<f32>(name).unwrap());
    assert!(ratio > 1.5 && after > before && before > 0.0, "{s}");
    assert_eq!(s.get::<&str>("light").unwrap(), "night");
    // Of one frame no noise is known.
    assert!(!s.has_field("noise"), "{s}");
    assert_eq!(
        rig.element.property::<gst::Structure>("stats").get::<f32>("noise"),
        Ok(0.0)
    );
    assert_eq!(s.get::<f32>("night").unwrap(), 1.0);
    rig.element.set_property("enabled", false);
    let output = rig.harness.push_and_pull(scene(2, 30, 100, 150)).unwrap();
    let meta = gst::meta::CustomMeta::from_buffer(&output, "GstURetinexEnhanceMeta").unwrap();
    assert!(!meta.structure().get::<bool>("enhanced").unwrap());
    rig.element.set_property("frame-meta", false);
    let output = rig.harness.push_and_pull(scene(3, 30, 100, 150)).unwrap();
    assert!(gst::meta::CustomMeta::from_buffer(&output, "GstURetinexEnhanceMeta").is_err());
}

/// A deadline that no machine keeps goes down rung by rung; without one the first is taken again.
#[test]
fn a_deadline_that_is_not_kept_goes_down_the_rungs() {
    let caps = caps("NV12", 640, 480);
    let mut rig = rig(|e| e.set_property("ratio", 4.0f32), &caps);
    rig.element.set_property("deadline", 1);
    let mut rungs = vec![];
    for n in 0..40 {
        let output = rig.harness.push_and_pull(frame(&caps, n)).unwrap();
        assert_eq!(output.pts(), frame(&caps, n).pts(), "every frame goes out");
        rungs.extend(
            messages(&rig, "uretinexenhance-rung")
                .iter()
                .map(|s| s.get::<u32>("rung").unwrap()),
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    // The trial frame says where to begin; what follows are steps down and, from the last, a try.
    assert!(rungs.contains(&3), "{rungs:?}");
    assert!(rig.count("passed") > 0);
    rig.element.set_property("deadline", 0);
    rig.harness.push_and_pull(frame(&caps, 40)).unwrap();
    rig.harness.push_and_pull(frame(&caps, 41)).unwrap();
    assert_eq!(rig.stats().get::<u32>("rung").unwrap(), 0);
    assert_eq!(rig.count("failed"), 0);
}
