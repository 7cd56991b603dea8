//! Measures what the element costs for each frame, without a network unless told otherwise.
//!
//! `cargo run --release -p gst-plugin-uretinex --example measure -- [FORMAT] [WIDTH] [HEIGHT] [BACKEND] [FRAMES] [THREADS]`

use std::time::Instant;

use gst::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &str| arguments.get(i).cloned().unwrap_or_else(|| default.into());
    let (format, width, height) = (argument(0, "NV12"), argument(1, "1920"), argument(2, "1080"));
    let (backend, frames, threads) = (argument(3, "identity"), argument(4, "500"), argument(5, "0"));
    gst::init()?;
    gsturetinex::plugin_register_static()?;
    let element = gst::ElementFactory::make("uretinexenhance")
        .property("threads", threads.parse::<u32>()?)
        .property("auto-bypass", false);
    let element = element.property_from_str("backend", &backend).build()?;
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    let caps: gst::Caps =
        format!("video/x-raw,format={format},width={width},height={height},framerate=25/1").parse()?;
    let size = gst_video::VideoInfo::from_caps(&caps)?.size();
    harness.set_src_caps(caps);
    let noise = (0..size as u32).map(|i| 16 + (i.wrapping_mul(2_654_435_761) >> 26) as u8);
    let frame = gst::Buffer::from_mut_slice(noise.collect::<Vec<_>>());
    // On a GPU a frame may stay until the next one comes.
    let mut one = || {
        harness
            .push(frame.clone())
            .map(|_| while harness.try_pull().is_some() {})
    };
    for _ in 0..5 {
        one()?;
    }
    let (frames, begin) = (frames.parse::<u32>()?, Instant::now());
    for _ in 0..frames {
        one()?;
    }
    let seconds = begin.elapsed().as_secs_f64() / f64::from(frames);
    println!(
        "{format} {width}x{height}, {backend}: {:.2} ms a frame, {:.1} frames/s",
        seconds * 1e3,
        1.0 / seconds
    );
    let stats: gst::Structure = element.property("stats");
    for name in ["total", "ingest", "compose"] {
        let ms = |p: &str| stats.get::<f64>(&format!("{name}-ms-{p}"));
        println!(
            "  {name}: p50 {:.2}, p95 {:.2}, p99 {:.2} ms",
            ms("p50")?,
            ms("p95")?,
            ms("p99")?
        );
    }
    let share = (stats.get::<f64>("ingest-ms-p50")? + stats.get::<f64>("compose-ms-p50")?)
        / stats.get::<f64>("total-ms-p50")?;
    println!("  colour conversion: {:.0} % of the frame", share * 100.0);
    Ok(())
}
