//! The four subnetworks, run by the engine.

use std::sync::Arc;

use crate::cpu::colour::Planes;
use crate::cpu::engine::{Kernels, Network, Workspace, workspace};
use crate::cpu::threads::Pool;
use crate::error::{Error, ErrorKind, Result};
use crate::pack::{Pack, Precision, Precisions, Subnetwork, Variant};
use crate::registry::Registry;

/// The number format of each subnetwork on a processor that computes in `precision`.
///
/// In bfloat16 the decomposition stays in 32-bit floats: all else is made from its results, and it is 2 % of the work of
/// `full`, which would lose 14 dB by it (docs/performance.md).
pub(crate) fn precisions(precision: Precision) -> Precisions {
    let all = Precisions::from(precision);
    match precision {
        Precision::Bf16 => all.with(Subnetwork::Decomposition, Precision::Fp32),
        _ => all,
    }
}

/// A pack's subnetworks, ready to run from several threads at once.
pub(crate) struct Networks {
    subnetworks: [Network; 4],
}

impl Networks {
    /// The networks of `pack` with weights packed for `kernels`. Streams share them.
    ///
    /// # Errors
    /// [`ErrorKind::ModelInvalid`] if a file is damaged or not of the shape that its subnetwork has;
    /// [`ErrorKind::OutOfMemory`].
    pub fn shared(pack: &Pack, kernels: Kernels) -> Result<Arc<Self>> {
        static LOADED: Registry<(String, Kernels), Networks> = Registry::new();
        let key = (pack.digest(Variant::Fp32), kernels);
        LOADED.get_or_make(key, || Self::load(pack, kernels))
    }

    fn load(pack: &Pack, kernels: Kernels) -> Result<Self> {
        let precisions = precisions(kernels.precision());
        let [a, b, c, d] = Subnetwork::ALL.map(|which| {
            let kernels = match precisions.of(which) {
                Precision::Fp32 => kernels.in_floats(),
                _ => kernels,
            };
            let bytes = pack.onnx(which, Variant::Fp32)?;
            Network::load(bytes, which.inputs(), which.outputs(), kernels).map_err(|e| match e.kind() {
                ErrorKind::OutOfMemory => e,
                kind => Error::new(
                    kind,
                    format!(
                        "{} ({} bytes) is not the {} network: {e}; it is damaged, cut short or swapped with another: copy \
                         it again or make the pack again with training/convert.py",
                        pack.describe(which, Variant::Fp32),
                        bytes.len(),
                        which.name()
                    ),
                ),
            })
        });
        Ok(Self {
            subnetworks: [a?, b?, c?, d?],
        })
    }

    /// Allocates the memory of one stream for planes of `width` × `height`.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`].
    pub fn workspace(&self, (width, height): (usize, usize), threads: usize) -> Result<Workspace> {
        workspace(&self.subnetworks.each_ref(), width, height, threads)
    }

    /// Runs a subnetwork. Inputs are planes of the workspace's size, or single numbers where the subnetwork takes
    /// those.
    pub fn run<const I: usize, const O: usize>(
        &self,
        which: Subnetwork,
        pool: &Pool,
        workspace: &mut Workspace,
        inputs: [&[f32]; I],
        outputs: [&mut Planes; O],
    ) -> Result<()> {
        let mut outputs = outputs.map(|planes| &mut planes.data[..]);
        self.subnetworks[which as usize].run(pool, workspace, which as usize, &inputs, &mut outputs)
    }
}
