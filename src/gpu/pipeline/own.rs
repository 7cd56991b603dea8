//! The networks of a backend by the project's own kernels: nothing to find but the driver, nothing to build.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::frame::RawContext;
use crate::gpu::driver::{Cuda, Device, Entered};
use crate::gpu::engine::{KernelContext, KernelNetwork, Way};
use crate::gpu::kernels::Storage;
use crate::gpu::networks::{Loaded, Source};
use crate::gpu::precision::{Ladder, RUNGS, Reference, choose, compare};
use crate::pack::{Pack, Precision, Precisions, Subnetwork, Variant};
use crate::registry::Registry;

/// What to do where results are wrong in 32 bits too.
const REMEDY: &str = "use backend=cpu and report it with what uretinex doctor lists";

/// What makes networks in use interchangeable: file, subnetwork, type of images, device.
type Shared = (String, Subnetwork, Storage, usize);

/// Networks of one pack on one GPU.
pub(crate) struct KernelSource {
    device: Arc<dyn Device>,
    way: Way,
    pack: Pack,
    reference: Reference,
    ladder: Ladder,
    /// The formats that comparisons have left.
    precisions: Precisions,
    /// The networks, once they have passed the comparison.
    checked: Option<Vec<Arc<KernelNetwork>>>,
}

impl KernelSource {
    /// Networks of `pack` on the GPU of number `ordinal`, in `precision`, or, if that is `None`, in FP16. Subnetworks whose
    /// results in FP16 are too far from the processor's compute in FP32.
    ///
    /// # Errors
    /// [`ErrorKind::BackendUnavailable`] if driver or GPU are missing or too old, [`ErrorKind::InvalidOption`] for a GPU
    /// that is not there or a precision that the kernels do not have, and those of the pack's files.
    pub fn new(
        pack: &Pack,
        ordinal: u32,
        context: Option<RawContext>,
        precision: Option<Precision>,
        threads: usize,
    ) -> Result<Self> {
        let first = first(precision)?;
        let cuda = Cuda::open(ordinal, context)?;
        let way = Way {
            capability: cuda.capability(),
            multiprocessors: cuda.multiprocessors(),
        };
        Self::on(cuda, way, pack, first, threads)
    }

    /// The same on a device that is open, beginning with the format `first`.
    ///
    /// # Errors
    /// Those of the pack's files.
    pub fn on(device: Arc<dyn Device>, way: Way, pack: &Pack, first: Precision, threads: usize) -> Result<Self> {
        Ok(Self {
            device,
            way,
            pack: pack.clone(),
            reference: Reference::new(pack, threads)?,
            ladder: Ladder::from(first, &RUNGS),
            precisions: first.into(),
            checked: None,
        })
    }

    /// The GPU.
    pub fn device(&self) -> Arc<dyn Device> {
        self.device.clone()
    }
}

/// The first format to try.
fn first(precision: Option<Precision>) -> Result<Precision> {
    let first = precision.unwrap_or(Precision::Fp16);
    match RUNGS.contains(&first) {
        true => Ok(first),
        false => Err(Error::new(
            ErrorKind::InvalidOption,
            format!(
                "precision={} is not a precision of the cuda backend: take fp16 or fp32",
                first.name()
            ),
        )),
    }
}

/// The type of images inside a network.
fn blocks(precision: Precision) -> Storage {
    match precision {
        Precision::Fp16 => Storage::F16,
        Precision::Fp32 | Precision::Bfp16 | Precision::Bf16 => Storage::F32,
    }
}

/// The four networks, each in its format; those in use already are shared. All are made of the pack's FP32 files.
fn networks(
    pack: &Pack,
    precisions: Precisions,
    way: Way,
    device: &Arc<dyn Device>,
) -> Result<Vec<Arc<KernelNetwork>>> {
    static IN_USE: Registry<Shared, KernelNetwork> = Registry::new();
    let made = Subnetwork::ALL.into_iter().map(|which| {
        let blocks = blocks(precisions.of(which));
        let place = Arc::as_ptr(device).cast::<()>() as usize;
        let key = (pack.digest(Variant::Fp32), which, blocks, place);
        IN_USE.get_or_make(key, || {
            let onnx = pack.onnx(which, Variant::Fp32)?;
            let loaded = KernelNetwork::load(onnx, which.inputs(), which.outputs(), blocks, way, device);
            loaded.map_err(|e| match e.kind() {
                ErrorKind::ModelInvalid => {
                    let file = pack.describe(which, Variant::Fp32);
                    Error::new(e.kind(), format!("{file}: {e}"))
                }
                _ => e,
            })
        })
    });
    made.collect()
}

/// A context of each network.
fn contexts(networks: &[Arc<KernelNetwork>], precisions: Precisions, device: &Arc<dyn Device>) -> Loaded {
    let mut loaded = Loaded {
        contexts: Vec::new(),
        precisions,
    };
    let planes = loaded.storage();
    for network in networks {
        loaded
            .contexts
            .push(Box::new(KernelContext::new(network, planes, device)));
    }
    loaded
}

impl Source for KernelSource {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn load(&mut self, _padded: (usize, usize)) -> Result<Loaded> {
        let device = self.device.clone();
        let _entered = Entered::new(&device)?;
        if self.checked.is_none() {
            let (pack, way, reference) = (&self.pack, self.way, &self.reference);
            let name = &pack.manifest().name;
            let found = choose(name, REMEDY, &self.ladder, &mut self.precisions, &mut |precisions| {
                let made = networks(pack, precisions, way, &device)?;
                let nearness = compare(&device, contexts(&made, precisions, &device), reference)?;
                Ok((made, nearness))
            });
            self.checked = Some(found?);
        }
        let networks = self.checked.as_deref().unwrap_or_default();
        Ok(contexts(networks, self.precisions, &device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_are_those_of_the_kernels() {
        assert_eq!(first(None).unwrap(), Precision::Fp16);
        assert_eq!(first(Some(Precision::Fp32)).unwrap(), Precision::Fp32);
        let error = first(Some(Precision::Bfp16)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOption);
        assert!(error.to_string().contains("take fp16 or fp32"), "{error}");
    }
}
