//! The four subnetworks, run by the engine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::engine::{Network, Products, Workspace, workspace};
use crate::colour::Planes;
use crate::error::{Error, Result};
use crate::pack::{Pack, Precision, Subnetwork};
use crate::pool::Pool;
use crate::simd::Level;

/// A pack's subnetworks, ready to run from several threads at once.
pub(crate) struct Networks {
    subnetworks: [Network; 4],
}

/// The networks in use, by the digest of their pack and what they are packed for.
type Loaded = HashMap<(String, Level, Products), Weak<Networks>>;

impl Networks {
    /// The networks of `pack`, loaded unless another stream has them already.
    ///
    /// # Errors
    /// [`ErrorKind::ModelInvalid`](crate::ErrorKind::ModelInvalid) if a file is damaged or not of the shape that its
    /// subnetwork has.
    pub fn shared(pack: &Pack, level: Level, products: Products) -> Result<Arc<Self>> {
        static LOADED: OnceLock<Mutex<Loaded>> = OnceLock::new();
        let table = || {
            LOADED
                .get_or_init(Mutex::default)
                .lock()
                .unwrap_or_else(|e| e.into_inner())
        };
        let key = (pack.digest(Precision::Fp32), level, products);
        if let Some(networks) = table().get(&key).and_then(Weak::upgrade) {
            return Ok(networks);
        }
        // Nobody waits while a pack loads; if two streams load the same one at once, the first to finish is kept.
        let loaded = Arc::new(Self::load(pack, level, products)?);
        let mut table = table();
        table.retain(|_, weak| weak.strong_count() > 0);
        if let Some(networks) = table.get(&key).and_then(Weak::upgrade) {
            return Ok(networks);
        }
        table.insert(key, Arc::downgrade(&loaded));
        Ok(loaded)
    }

    fn load(pack: &Pack, level: Level, products: Products) -> Result<Self> {
        let [a, b, c, d] = Subnetwork::ALL.map(|which| {
            let bytes = pack.onnx(which, Precision::Fp32)?;
            Network::load(&bytes, which.inputs(), which.outputs(), level, products).map_err(|e| {
                Error::new(
                    e.kind(),
                    format!(
                        "{} ({} bytes) is not the {} network: {e}; it is damaged, cut short or swapped with another: copy \
                         it again or make the pack anew with engines/convert.py",
                        pack.describe(which, Precision::Fp32),
                        bytes.len(),
                        which.name()
                    ),
                )
            })
        });
        Ok(Self {
            subnetworks: [a?, b?, c?, d?],
        })
    }

    /// Memory for planes of `width` × `height`, for one stream.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`](crate::ErrorKind::BackendFailed) if memory is short.
    pub fn workspace(&self, (width, height): (usize, usize), threads: usize) -> Result<Workspace> {
        workspace(&self.subnetworks.each_ref(), width, height, threads)
    }

    /// Runs a subnetwork on planes of one size, or single numbers where it takes those.
    pub fn run<const I: usize, const O: usize>(
        &self,
        which: Subnetwork,
        pool: &Pool,
        workspace: &mut Workspace,
        inputs: [&[f32]; I],
        outputs: [&mut Planes; O],
    ) -> Result<()> {
        let mut outputs = outputs.map(|planes| planes.data.as_mut_slice());
        self.subnetworks[which as usize].run(pool, workspace, which as usize, &inputs, &mut outputs)
    }
}
