//! An enhancer made ready for a size, with a word on what takes long.

use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::ProgressBar;
use uretinex::{Enhancer, FrameSpec};

/// Has the engines for frames of `spec`, if the backend has any; told of on standard error.
pub fn engines(enhancer: &mut Enhancer, spec: &FrameSpec) -> uretinex::Result<()> {
    if let Some(job) = enhancer.engine_job(spec)? {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        let made = job.run(&mut |progress| {
            bar.set_message(progress.to_string());
            ControlFlow::Continue(())
        });
        bar.finish_and_clear();
        made.map(|_| ()).or_else(|e| enhancer.fall_back(e))?;
    }
    Ok(())
}

/// Prepares for frames of `spec`, engines first.
pub fn prepare(enhancer: &mut Enhancer, spec: &FrameSpec) -> uretinex::Result<()> {
    engines(enhancer, spec)?;
    enhancer.prepare(spec)
}
