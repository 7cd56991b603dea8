//! Runs the element for a long time at small, changing sizes, and prints the memory at the start and at the end.
//!
//! `cargo run --release -p gst-plugin-uretinex --example soak -- [SECONDS] [BACKEND] [MODEL]`

use std::time::{Duration, Instant};

use gst::prelude::*;

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(600), |s| s.parse())?;
    let backend = arguments.next().unwrap_or_else(|| "auto".into());
    let model = arguments.next().unwrap_or_else(|| "auto".into());
    gst::init()?;
    gsturetinex::plugin_register_static()?;

    let bus = gst::Bus::new();
    let element = gst::ElementFactory::make("uretinexenhance").property("model", model);
    let element = element.property_from_str("backend", &backend).build()?;
    element.set_bus(Some(&bus));
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    let sizes = [(64, 48), (96, 64), (48, 80), (33, 17), (128, 72), (16, 16)];
    let formats = ["NV12", "I420", "RGB", "P010_10LE", "GRAY8"];
    let begin = Instant::now();
    let (mut frames, mut changes, mut at_start) = (0u64, 0usize, 0);
    while begin.elapsed() < Duration::from_secs(seconds) {
        let (width, height) = sizes[changes % sizes.len()];
        let format = formats[changes / sizes.len() % formats.len()];
        let text = format!("video/x-raw,format={format},width={width},height={height},framerate=25/1");
        let caps: gst::Caps = text.parse()?;
        let size = gst_video::VideoInfo::from_caps(&caps)?.size();
        harness.set_src_caps(caps);
        for _ in 0..100 {
            let mut buffer = gst::Buffer::from_mut_slice(vec![(frames % 64) as u8; size]);
            let r = buffer.get_mut().ok_or("a new buffer is writable")?;
            r.set_pts(gst::ClockTime::from_mseconds(40) * frames);
            harness.push(buffer)?;
            // On a GPU a frame may stay until the next one comes.
            while harness.try_pull().is_some() {}
            frames += 1;
        }
        while harness.try_pull_event().is_some() || harness.try_pull_upstream_event().is_some() || bus.pop().is_some() {
        }
        changes += 1;
        // Every size in every format has been seen once.
        if changes == sizes.len() * formats.len() {
            at_start = resident();
            println!(
                "after {frames} frames and {changes} sizes, {:?}: {at_start} KiB",
                begin.elapsed()
            );
        }
    }
    println!(
        "after {frames} frames and {changes} sizes, {:?}: {} KiB",
        begin.elapsed(),
        resident()
    );
    println!("{}", element.property::<gst::Structure>("stats"));
    if at_start > 0 {
        println!("growth: {} KiB", resident() as i64 - at_start as i64);
    }
    Ok(())
}
