//! The NVIDIA driver and its GPUs, opened at run time.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult;
use cudarc::driver::{result, sys};
use libloading::Library;

use crate::error::{Error, ErrorKind, Result};
use crate::gpu::driver::library::{SharedLibrary, open, search_path, symbol};

const DRIVER: &[&str] = &["libcuda.so.1"];

/// A GPU, in the driver's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// The name that the driver gives.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute_capability: (i32, i32),
    /// Memory in bytes.
    pub memory: u64,
}

/// The NVIDIA driver.
#[derive(Debug, Clone)]
pub struct Driver {
    /// The driver's library.
    pub library: SharedLibrary,
    /// The newest CUDA version that the driver serves, major and minor.
    pub cuda: Option<(i32, i32)>,
    /// The GPUs; empty if there are none or the driver does not start.
    pub gpus: Vec<Gpu>,
    /// Why the driver is there but no GPU can be used.
    pub fault: Option<String>,
}

/// The driver, looked at once.
pub(crate) fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(Driver::look)
}

impl Driver {
    /// The GPU of that ordinal.
    ///
    /// # Errors
    /// [`ErrorKind::BackendUnavailable`] if no GPU can be used, [`ErrorKind::InvalidOption`] if there is none of that
    /// number.
    pub fn gpu(&self, ordinal: u32) -> Result<&Gpu> {
        if let Some(lack) = self.lacks() {
            return Err(Error::new(ErrorKind::BackendUnavailable, lack));
        }
        self.gpus.get(ordinal as usize).ok_or_else(|| {
            let names: Vec<_> = self
                .gpus
                .iter()
                .enumerate()
                .map(|(i, gpu)| format!("{i} ({})", gpu.name))
                .collect();
            Error::new(
                ErrorKind::InvalidOption,
                format!(
                    "there is no GPU {ordinal}: the driver lists {}; choose one of them with device-id, and mind \
                     CUDA_VISIBLE_DEVICES, which hides GPUs",
                    names.join(", ")
                ),
            )
        })
    }

    /// Why no GPU can be used, with what was looked for and what to do; `None` if one can.
    pub fn lacks(&self) -> Option<String> {
        if self.library.found.is_none() {
            return Some(format!(
                "no NVIDIA driver: {} is not in {}; with an NVIDIA GPU in the machine install its driver \
                 (Debian: nvidia-driver; in a container: the NVIDIA container toolkit and --gpus all)",
                DRIVER.join(", "),
                search_path()
            ));
        }
        self.fault.as_ref().map(|fault| {
            format!(
                "the NVIDIA driver ({}) gives no GPU: {fault}; nvidia-smi should list one",
                self.library
            )
        })
    }

    fn look() -> Self {
        let (library, open) = open(&[], DRIVER);
        let mut driver = Self {
            library,
            cuda: None,
            gpus: Vec::new(),
            fault: None,
        };
        if let Some(open) = open {
            match driver.ask(open) {
                Ok(()) if driver.gpus.is_empty() => driver.fault = Some("the driver lists no GPU".into()),
                Ok(()) => {}
                Err(fault) => driver.fault = Some(fault),
            }
        }
        driver
    }

    /// Starts the driver and lists its GPUs.
    ///
    /// `library` is the driver that was found. `cudarc` opens it again, by the first of several names that the loader has;
    /// the name found is among them. It panics where there is no library or a function is missing, so both are looked for
    /// first.
    fn ask(&mut self, library: &Library) -> std::result::Result<(), String> {
        for function in FUNCTIONS {
            // SAFETY: looked for and not called; all of them are functions.
            unsafe { symbol::<unsafe extern "C" fn()>(library, function) }?;
        }
        let mut cuda = 0;
        // SAFETY: needs no `cuInit`; the pointer is to a live number.
        let told = unsafe { sys::cuDriverGetVersion(&mut cuda) };
        told.result().map_err(fault("cuDriverGetVersion"))?;
        self.cuda = Some((cuda / 1000, cuda % 1000 / 10));
        result::init().map_err(fault("cuInit"))?;
        for ordinal in 0..result::device::get_count().map_err(fault("cuDeviceGetCount"))? {
            let device = result::device::get(ordinal).map_err(fault("cuDeviceGet"))?;
            // SAFETY: the device is one that the driver gave.
            let attribute = |which| unsafe { result::device::get_attribute(device, which) };
            let [major, minor] = [
                sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            ]
            .map(attribute);
            self.gpus.push(Gpu {
                name: result::device::get_name(device).map_err(fault("cuDeviceGetName"))?,
                compute_capability: (
                    major.map_err(fault("cuDeviceGetAttribute"))?,
                    minor.map_err(fault("cuDeviceGetAttribute"))?,
                ),
                // SAFETY: as above.
                memory: unsafe { result::device::total_mem(device) }.map_err(fault("cuDeviceTotalMem"))? as u64,
            });
        }
        Ok(())
    }
}

/// What is called before it is known that the driver works.
const FUNCTIONS: [&str; 7] = [
    "cuDriverGetVersion",
    "cuInit",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
];

/// What to say of a call that failed.
fn fault(call: &'static str) -> impl Fn(DriverError) -> String {
    move |error| match error.0 {
        CUresult::CUDA_ERROR_NO_DEVICE => format!("{call} found no CUDA device (100)"),
        CUresult::CUDA_ERROR_STUB_LIBRARY => format!(
            "{call}: the libcuda.so found is the stub of the CUDA toolkit (34): take its folder out of LD_LIBRARY_PATH"
        ),
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH | CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => format!(
            "{call}: libcuda and the kernel's driver are of different versions ({})",
            error.0 as u32
        ),
        other => format!("{call} returned CUDA error {}", other as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(found: bool, fault: Option<&str>, gpus: &[&str]) -> Driver {
        Driver {
            library: SharedLibrary {
                found: found.then_some(DRIVER[0]),
                ..SharedLibrary::not_looked_for(DRIVER)
            },
            cuda: Some((12, 4)),
            gpus: gpus
                .iter()
                .map(|name| Gpu {
                    name: name.to_string(),
                    compute_capability: (9, 0),
                    memory: 1 << 30,
                })
                .collect(),
            fault: fault.map(String::from),
        }
    }

    #[test]
    fn what_is_lacking_names_library_and_remedy() {
        for (driver, parts) in [
            (seen(false, None, &[]), &["libcuda.so.1", "nvidia-driver"][..]),
            (seen(true, Some("cuInit returned 100"), &[]), &["cuInit", "nvidia-smi"]),
        ] {
            let e = driver.gpu(0).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::BackendUnavailable);
            assert!(parts.iter().all(|part| e.to_string().contains(part)), "{e}");
            assert_eq!(driver.lacks(), Some(e.to_string()));
        }
        assert_eq!(seen(true, None, &["NVIDIA H200"]).lacks(), None);
    }

    #[test]
    fn a_gpu_that_is_not_there_is_refused_with_those_that_are() {
        let driver = seen(true, None, &["NVIDIA H200", "NVIDIA L4"]);
        assert_eq!(driver.gpu(1).unwrap().name, "NVIDIA L4");
        let e = driver.gpu(2).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidOption);
        for part in ["no GPU 2", "0 (NVIDIA H200), 1 (NVIDIA L4)", "CUDA_VISIBLE_DEVICES"] {
            assert!(e.to_string().contains(part), "{e}");
        }
    }
}
