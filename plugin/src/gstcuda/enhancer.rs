//! An enhancer that works in a CUDA context of GStreamer's.

use uretinex::{Enhancer, Options, RawContext, Result};

use super::context::CudaContext;

/// An enhancer, and the CUDA context that it was made with, which outlives it.
pub(crate) struct EnhancerInContext {
    /// Dropped first.
    pub enhancer: Enhancer,
    pub context: Option<CudaContext>,
}

impl EnhancerInContext {
    /// Makes the enhancer, in that context if it works on a GPU.
    ///
    /// # Errors
    /// As [`Enhancer::new`].
    pub fn new(options: &Options, context: Option<CudaContext>) -> Result<Self> {
        let raw = context
            .as_ref()
            // SAFETY: the context was asked for by the options' GPU, and is kept until the enhancer has been dropped.
            .map(|c| unsafe { RawContext::new(c.handle()) });
        let options = Options {
            cuda_context: raw,
            ..options.clone()
        };
        Ok(Self {
            enhancer: Enhancer::new(&options)?,
            context,
        })
    }
}
