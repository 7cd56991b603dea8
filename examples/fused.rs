//! What the stream's memory hands to the network: `fused WIDTH HEIGHT < frames.rgb > fused.u16`.
//!
//! Reads frames of 8-bit RGB, row by row, and writes for each the fused picture I as three planes of 16-bit codes, little
//! endian, 65535 for 1. `training/prepare_video.py` trains on these.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::process::ExitCode;

use uretinex::{
    BackendChoice, Colorimetry, Enhancer, Frame, FrameMut, FrameSpec, Options, Parameters, PixelFormat, Plane,
    PlaneMut, Quantity,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fused: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut sizes = std::env::args().skip(1).map(|v| v.parse::<usize>());
    let (Some(Ok(width)), Some(Ok(height))) = (sizes.next(), sizes.next()) else {
        return Err("usage: fused WIDTH HEIGHT < frames.rgb > fused.u16".into());
    };
    let spec = FrameSpec {
        format: PixelFormat::Rgb,
        width,
        height,
        colorimetry: Colorimetry::FULL,
    };
    let mut enhancer = Enhancer::new(&Options {
        model: "lite".into(),
        backend: BackendChoice::Cpu,
        ..Options::default()
    })?;
    let stride = width * 3;
    let (mut frame, mut made) = (vec![0u8; stride * height], vec![0u8; stride * height]);
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    loop {
        if input.fill_buf()?.is_empty() {
            return Ok(());
        }
        input.read_exact(&mut frame).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => format!("the last frame is cut off: each has {} bytes", frame.len()),
            _ => error.to_string(),
        })?;
        let parameters = Parameters {
            temporal: 1.0,
            ..Parameters::default()
        };
        enhancer.process(
            &Frame::new(spec, &[Plane { data: &frame, stride }])?,
            &mut FrameMut::new(
                spec,
                [PlaneMut {
                    data: &mut made,
                    stride,
                }],
            )?,
            parameters,
        )?;
        let codes = enhancer.read(Quantity::Image)?;
        let bytes: Vec<u8> = codes
            .iter()
            .flat_map(|v| ((v.clamp(0.0, 1.0) * 65535.0).round() as u16).to_le_bytes())
            .collect();
        output.write_all(&bytes)?;
    }
}
