//! `uretinex doctor`: what this machine offers, and for each absent thing what to do.

mod backends;
mod gpu;
mod gstreamer;
mod packs;
mod processor;

use std::process::ExitCode;

/// Say what this machine offers, and what to do about what it lacks
///
/// Exit status 1 if nothing works here: no model pack, or no backend that takes a picture through one.
#[derive(clap::Args)]
pub struct Args {}

/// One line of the report.
enum Finding {
    /// It is there.
    Here(String),
    /// It is not there, and how to get it.
    Absent(String, String),
    /// Nothing works without it, and how to repair it.
    Broken(String, String),
}
use Finding::{Absent, Broken, Here};

pub fn run(_: &Args) -> Result<ExitCode, String> {
    let mut report = format!("uretinex {}\n", env!("CARGO_PKG_VERSION"));
    let mut broken = false;
    for (title, findings) in [
        ("Processor", processor::findings()),
        ("Model packs", packs::findings()),
        ("Backends", backends::findings()),
        ("NVIDIA GPU", gpu::driver()),
        ("TensorRT", gpu::tensorrt()),
        ("GStreamer", gstreamer::findings()),
    ] {
        report += &format!("\n{title}\n");
        for finding in findings {
            report += &match finding {
                Here(what) => format!("  yes  {what}\n"),
                Absent(what, remedy) => format!("  no   {what}\n       to get it: {remedy}\n"),
                Broken(what, remedy) => {
                    broken = true;
                    format!("  BAD  {what}\n       to repair it: {remedy}\n")
                }
            };
        }
    }
    crate::print(&report)?;
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
