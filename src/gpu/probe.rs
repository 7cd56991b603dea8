//! What this machine offers beside its processor: the NVIDIA driver, its GPUs, TensorRT. All opened at run time, so
//! that one binary serves machines with and without them.

use std::sync::OnceLock;

use crate::gpu::driver::{Driver, driver};
use crate::gpu::tensorrt::{TensorRt, tensorrt};

/// All that [`probe`] looks for.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The NVIDIA driver and its GPUs.
    pub driver: Driver,
    /// TensorRT.
    pub tensorrt: TensorRt,
}

/// Looks at the machine once; later calls return what the first one saw.
///
/// The libraries that are found stay open until the process ends.
pub fn probe() -> &'static Probe {
    static PROBE: OnceLock<Probe> = OnceLock::new();
    PROBE.get_or_init(|| Probe {
        driver: driver().clone(),
        tensorrt: tensorrt().clone(),
    })
}

impl Probe {
    /// What the `cuda` backend lacks on this machine, with what was looked for and what to do; `None` if nothing.
    pub fn cuda_lacks(&self) -> Option<String> {
        self.driver.lacks()
    }

    /// What the `tensorrt` backend lacks on this machine, with what was looked for and what to do; `None` if nothing.
    pub fn tensorrt_lacks(&self) -> Option<String> {
        self.driver.lacks().or_else(|| self.tensorrt.lacks())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probing_twice_is_harmless() {
        assert!(std::ptr::eq(probe(), probe()));
    }

    #[test]
    fn the_driver_is_asked_before_tensorrt() {
        let probe = probe();
        match (probe.driver.lacks(), probe.tensorrt_lacks()) {
            (Some(driver), lack) => assert_eq!(lack, Some(driver)),
            (None, lack) => assert_eq!(lack, probe.tensorrt.lacks()),
        }
    }
}
