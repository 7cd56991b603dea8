//! An enhancer prepared for a size, with progress on standard error.

use std::ops::ControlFlow;

use uretinex::{Enhancer, FrameSpec};

use crate::progress::Spinner;

/// Loads or builds the engines for frames of `spec`, if the backend has engines. If that fails and the backend was chosen
/// by `auto`, the processor takes over.
pub fn engines(enhancer: &mut Enhancer, spec: &FrameSpec) -> uretinex::Result<()> {
    if let Some(job) = enhancer.preparation(spec)? {
        let spinner = Spinner::new(String::new());
        let done = job.run(&mut |progress| {
            spinner.say(progress.to_string());
            ControlFlow::Continue(())
        });
        drop(spinner);
        done.or_else(|e| enhancer.fall_back(e))?;
    }
    Ok(())
}

/// Prepares for frames of `spec`, engines first.
pub fn prepare(enhancer: &mut Enhancer, spec: &FrameSpec) -> uretinex::Result<()> {
    engines(enhancer, spec)?;
    enhancer.prepare(spec)
}
