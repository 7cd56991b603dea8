//! The automatic ratio of each frame of a clip: lines of seconds, ratio, and mean luma before and after, 0 to 1.
//!
//! `cargo run --release -p gst-plugin-uretinex --example ratios -- CLIP [PROPERTIES]`

use std::io::Write;

use gst::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let clip = arguments.next().ok_or("usage: ratios CLIP [PROPERTIES]")?;
    let properties = arguments.collect::<Vec<_>>().join(" ");
    gst::init()?;
    gsturetinex::plugin_register_static()?;
    let pipeline = gst::parse::launch(&format!(
        "filesrc name=clip ! decodebin ! videoconvert ! \
         uretinexenhance name=element backend=cpu ratio=0 qos=false {properties} ! fakesink name=sink"
    ))?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "no pipeline")?;
    let part = |name: &str| pipeline.by_name(name).ok_or("a part of the pipeline");
    part("clip")?.set_property("location", &clip);
    let element = part("element")?;
    let pad = part("sink")?.static_pad("sink").ok_or("the sink's pad")?;
    // On the processor a frame is counted before it leaves, and the next one waits for this.
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let stats: gst::Structure = element.property("stats");
        let time = info.buffer().and_then(|buffer| buffer.pts()).unwrap_or_default();
        let value = |name: &str| stats.get::<f32>(name).unwrap_or(f32::NAN);
        // Whoever reads may stop early.
        let _ = writeln!(
            std::io::stdout(),
            "{:.3} {:.3} {:.4} {:.4}",
            time.nseconds() as f64 / 1e9,
            value("ratio"),
            value("luma-in"),
            value("luma-out")
        );
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().ok_or("no bus")?;
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::NONE, &ends);
    pipeline.set_state(gst::State::Null)?;
    match end.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => Err(format!("{clip}: {}", error.error()).into()),
        _ => Ok(()),
    }
}
