//! Compares engines with the processor.
//!
//! Restoration networks are known to overflow in 16 bits, and an engine can be wrong without an error; so each
//! subnetwork's results are compared with the reference before a frame goes through it.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::error::Result;
use crate::gpu::driver::{Buffer, Device, Entered, Pinned, Stream};
use crate::gpu::kernels::Storage;
use crate::gpu::networks::{Inference, Loaded, index};
use crate::gpu::precision::reference::{Reference, Sample};
use crate::pack::{Precisions, Subnetwork};

/// The least PSNR of a subnetwork's output against the reference, in dB, of values whose peak is 1.
pub(crate) const LEAST_PSNR: f64 = 45.0;

/// How near each subnetwork is to the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Nearness {
    /// The worst PSNR over all runs, in dB, in the order of [`Subnetwork::ALL`]; minus infinity for NaN.
    pub psnr: [f64; 4],
}

impl Nearness {
    /// The subnetworks below [`LEAST_PSNR`].
    pub fn too_far(&self) -> Vec<Subnetwork> {
        let far = |w: &Subnetwork| self.psnr[index(*w)] < LEAST_PSNR;
        Subnetwork::ALL.into_iter().filter(far).collect()
    }

    /// For messages: each subnetwork, its number format and its PSNR.
    pub fn describe(&self, precisions: Precisions) -> String {
        let one = |w: Subnetwork| {
            let figure = match self.psnr[index(w)] {
                f64::NEG_INFINITY => "NaN".to_string(),
                db if db.is_infinite() => "exact".to_string(),
                db => format!("{db:.1} dB"),
            };
            format!("{} {} {figure}", w.name(), precisions.of(w).name())
        };
        Subnetwork::ALL.map(one).join(", ")
    }
}

/// Runs every sample through `loaded` on `device`.
pub(crate) fn compare(device: &Arc<dyn Device>, mut loaded: Loaded, reference: &Reference) -> Result<Nearness> {
    let _entered = Entered::new(device)?;
    let stream = Stream::new(device)?;
    let (storage, mut psnr) = (loaded.storage(), [f64::INFINITY; 4]);
    let outcome = reference.samples.iter().try_for_each(|sample| {
        let context = &mut *loaded.contexts[index(sample.which)];
        let worst = &mut psnr[index(sample.which)];
        *worst = worst.min(run(&stream, context, storage, sample, reference.size)?);
        Ok(())
    });
    // Before the device's context is no longer current.
    drop(loaded);
    outcome.map(|()| Nearness { psnr })
}

fn run(
    stream: &Arc<Stream>,
    context: &mut dyn Inference,
    storage: Storage,
    sample: &Sample,
    size: (usize, usize),
) -> Result<f64> {
    let mut memory = RunMemory::default();
    let issued = issue(stream, context, storage, sample, size, &mut memory);
    // Whatever happened: what was issued ends before its memory goes.
    stream.drain()?;
    issued?;
    let mut worst = f64::INFINITY;
    for ((_, host), expected) in memory.outputs.iter().zip(&sample.outputs) {
        let mut values = Vec::with_capacity(expected.len());
        storage.decode(host.read(), &mut values);
        worst = worst.min(psnr(&values, expected));
    }
    Ok(worst)
}

/// The memory of a run: inputs and outputs on both sides.
#[derive(Default)]
struct RunMemory {
    inputs: Vec<(Buffer, Pinned)>,
    outputs: Vec<(Buffer, Pinned)>,
    scratch: Option<Buffer>,
}

fn issue(
    stream: &Arc<Stream>,
    context: &mut dyn Inference,
    storage: Storage,
    sample: &Sample,
    (width, height): (usize, usize),
    memory: &mut RunMemory,
) -> Result<()> {
    let device = stream.device();
    for (values, &(name, channels)) in sample.inputs.iter().zip(sample.which.inputs()) {
        let bytes = storage.encode(values);
        let mut host = Pinned::new(device, bytes.len())?;
        host.write().copy_from_slice(&bytes);
        memory.inputs.push((Buffer::new(stream, bytes.len())?, host));
        let (buffer, host) = &memory.inputs[memory.inputs.len() - 1];
        buffer.upload(stream, host)?;
        let shape = if name == "ratio" {
            [1; 4]
        } else {
            [1, channels, height, width]
        };
        context.shape(name, shape)?;
        context.address(name, buffer.address())?;
    }
    for (values, &(name, _)) in sample.outputs.iter().zip(sample.which.outputs()) {
        let bytes = values.len() * storage.bytes();
        let buffer = Buffer::new(stream, bytes)?;
        context.address(name, buffer.address())?;
        memory.outputs.push((buffer, Pinned::new(device, bytes)?));
    }
    let scratch = memory
        .scratch
        .insert(Buffer::new(stream, context.scratch_bytes()?.max(256))?);
    // SAFETY: everything lent and bound lives until `run` has drained the stream.
    unsafe {
        context.lend(scratch.address(), scratch.bytes())?;
        context.enqueue(stream.handle())?;
    }
    for (buffer, host) in &mut memory.outputs {
        buffer.download(stream, host)?;
    }
    Ok(())
}

/// Peak signal-to-noise ratio for a peak of 1, in dB; minus infinity if there is a NaN or an infinite value.
fn psnr(values: &[f32], expected: &[f32]) -> f64 {
    let squares = values.iter().zip(expected).map(|(a, b)| f64::from(a - b).powi(2));
    let error = squares.sum::<f64>() / expected.len().max(1) as f64;
    if !error.is_finite() || values.len() != expected.len() {
        return f64::NEG_INFINITY;
    }
    -10.0 * error.log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Precision;

    #[test]
    fn nearness_in_decibels() {
        for (values, expected, db) in [
            (&[0.5, 0.5][..], &[0.5, 0.5][..], f64::INFINITY),
            (&[0.5, 0.6], &[0.5, 0.5], 23.0),
            (&[0.501, 0.499], &[0.5, 0.5], 60.0),
            (&[f32::NAN, 0.5], &[0.5, 0.5], f64::NEG_INFINITY),
            (&[f32::INFINITY, 0.5], &[0.5, 0.5], f64::NEG_INFINITY),
            (&[0.5], &[0.5, 0.5], f64::NEG_INFINITY),
        ] {
            let found = psnr(values, expected);
            assert!(found == db || (found - db).abs() < 0.1, "{values:?}: {found}, not {db}");
        }
        let nearness = Nearness {
            psnr: [60.0, f64::NEG_INFINITY, 44.9, f64::INFINITY],
        };
        assert_eq!(nearness.too_far(), [Subnetwork::Restoration, Subnetwork::Illumination]);
        assert_eq!(
            nearness.describe(Precisions::from(Precision::Fp16).with(Subnetwork::Adjustment, Precision::Fp32)),
            "decomposition fp16 60.0 dB, restoration fp16 NaN, illumination fp16 44.9 dB, adjustment fp32 exact"
        );
    }
}
