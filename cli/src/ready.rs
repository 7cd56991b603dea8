//! An enhancer prepared for a size, with progress on standard error.

use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::ProgressBar;
use uretinex::{Enhancer, FrameSpec};

/// Loads or builds the engines for frames of `spec`, if the backend has engines. If that fails and the backend was chosen
/// by `auto`, the processor takes over.
pub fn engines(enhancer: &mut Enhancer, spec: &FrameSpec) -> uretinex::Result<()> {
    if let Some(job) = enhancer.preparation(spec)? {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        let done = job.run(&mut |progress| {
            bar.set_message(progress.to_string());
            ControlFlow::Continue(())
        });
        bar.finish_and_clear();
        done.or_else(|e| enhancer.fall_back(e))?;
    }
    Ok(())
}

/// Prepares for frames of `spec`, engines first.
pub fn prepare(enhancer: &mut Enhancer, spec: &FrameSpec) -> uretinex::Result<()> {
    engines(enhancer, spec)?;
    enhancer.prepare(spec)
}
