//! Runs the element for a long time at small, changing sizes, while three threads change its properties at random, and
//! prints the memory at the start and at the end. Light, colour and the machine's load change too.
//!
//! `cargo run --release -p gst-plugin-uretinex --example soak -- [SECONDS] [BACKEND] [MODEL] [SEED]`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::prelude::*;

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

/// Numbers that look random, the same for the same seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % limit
    }
}

/// Sets one live property to one of the values that are good or bad for it.
fn change(element: &gst::Element, random: &mut Random) {
    let number = |random: &mut Random| random.below(400) as f32 / 20.0 - 5.0;
    match random.below(13) {
        0 => element.set_property("ratio", number(random)),
        1 => element.set_property("brightness", number(random) / 5.0),
        2 => element.set_property("strength", number(random) / 5.0),
        3 => element.set_property("temporal", number(random) / 5.0),
        4 => element.set_property("enabled", random.below(4) > 0),
        5 => element.set_property("auto-bypass", random.below(2) > 0),
        6 => element.set_property("fade-time", random.below(3000) as u32),
        7 => element.set_property("deadline", [-1, 0, 1, 2, 40][random.below(5) as usize]),
        8 => element.set_property(
            "regions",
            ["", "0,0,8,8", "5,5,4000,4000;1,1,2,2", "x", "1,2,3"][random.below(5) as usize],
        ),
        9 => element.set_property_from_str("regions-mode", ["leave", "enhance"][random.below(2) as usize]),
        10 => element.set_property_from_str("compare", ["off", "split", "side-by-side"][random.below(3) as usize]),
        11 => element.set_property("divider", number(random) / 5.0),
        _ => element.set_property("frame-meta", random.below(2) > 0),
    }
    let _ = element.property::<gst::Structure>("stats");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(600), |s| s.parse())?;
    let backend = arguments.next().unwrap_or_else(|| "auto".into());
    let model = arguments.next().unwrap_or_else(|| "auto".into());
    let seed: u64 = arguments.next().map_or(Ok(1), |s| s.parse())?;
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
    let (stop, changed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let threads: Vec<_> = (1..=3)
        .map(|i| {
            let (element, stop, changed) = (element.clone(), stop.clone(), changed.clone());
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i) | 1);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    change(&element, &mut random);
                    changed.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(random.below(20)));
                }
            })
        })
        .collect();
    let mut random = Random(seed | 1);
    let (mut frames, mut enhanced, mut changes, mut at_start) = (0u64, 0u64, 0usize, 0);
    while begin.elapsed() < Duration::from_secs(seconds) {
        let (width, height) = sizes[changes % sizes.len()];
        let format = formats[changes / sizes.len() % formats.len()];
        let text = format!("video/x-raw,format={format},width={width},height={height},framerate=25/1");
        let caps: gst::Caps = text.parse()?;
        let size = gst_video::VideoInfo::from_caps(&caps)?.size();
        harness.set_src_caps(caps);
        // From black to daylight, grey or coloured.
        let light = [2, 30, 60, 120, 200][random.below(5) as usize];
        let grey = random.below(3) == 0;
        for _ in 0..100 {
            let byte = |i: usize| {
                if grey {
                    light
                } else {
                    light / 2 + (i as u64 * 7 + frames) as u8 % 32
                }
            };
            let mut buffer = gst::Buffer::from_mut_slice((0..size).map(byte).collect::<Vec<_>>());
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
        if random.below(20) == 0 {
            enhanced += element.property::<gst::Structure>("stats").get::<u64>("frames")?;
            for state in [gst::State::Ready, gst::State::Null, gst::State::Playing] {
                element.set_state(state)?;
            }
            harness.play();
        }
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
    stop.store(true, Ordering::Relaxed);
    threads
        .into_iter()
        .try_for_each(|thread| thread.join())
        .map_err(|_| "a thread panicked")?;
    println!(
        "{} changes of properties, {enhanced} frames enhanced",
        changed.load(Ordering::Relaxed)
    );
    println!("{}", element.property::<gst::Structure>("stats"));
    if at_start > 0 {
        println!("growth: {} KiB", resident() as i64 - at_start as i64);
    }
    Ok(())
}
