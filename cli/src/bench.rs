//! `uretinex bench`: how fast the network runs here.

mod arguments;
mod measure;
mod report;

use std::process::ExitCode;

use indicatif::ProgressBar;
use uretinex::{Colorimetry, Enhancer, FrameSpec, Parameters, PixelFormat};

use crate::night::{Picture, Scene};
use crate::ready;
pub use arguments::Args;
use arguments::Memory;
use measure::{DIFFERENT, WARM_UP};
use report::Figures;

pub fn run(args: &Args) -> Result<ExitCode, String> {
    let failed = |e: uretinex::Error| e.to_string();
    let (width, height) = args.size;
    let spec = FrameSpec {
        format: PixelFormat::Nv12,
        width,
        height,
        colorimetry: Colorimetry::default(),
    };
    spec.validate().map_err(failed)?;
    let frames: Vec<_> = (0..DIFFERENT as u32)
        .map(|seed| Picture::new(spec, Scene::Night, seed))
        .collect();
    let mut enhancer = Enhancer::new(&args.network.options(&args.model)).map_err(failed)?;
    ready::prepare(&mut enhancer, &spec).map_err(failed)?;
    let bar = ProgressBar::new((WARM_UP + args.frames).into());
    let parameters = Parameters {
        temporal: args.temporal,
        ..Parameters::default()
    };
    let measured = match args.memory {
        Memory::System => measure::from_system(&mut enhancer, &frames, args.frames, parameters, &bar),
        Memory::Device => measure::from_device(&mut enhancer, &frames, args.frames, &bar),
    };
    bar.finish_and_clear();
    let figures = Figures::new(args, &enhancer, &measured.map_err(failed)?);
    crate::print(&match args.json {
        true => format!("{}\n", figures.json()),
        false => figures.text(),
    })?;
    Ok(ExitCode::SUCCESS)
}
