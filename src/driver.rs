//! The NVIDIA driver and its GPUs, opened at run time.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use libloading::Library;

use crate::error::{Error, ErrorKind, Result};
use crate::shared::{SharedLibrary, open, search_path, symbol};

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

/// `CUresult`: 0 is success.
type Status = i32;

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
    fn ask(&mut self, library: &Library) -> std::result::Result<(), String> {
        // SAFETY: these are the signatures of the CUDA driver API, stable since CUDA 3.2; `CUdevice` is an int.
        let (init, version, count, get, name, memory, attribute) = unsafe {
            (
                symbol::<unsafe extern "C" fn(u32) -> Status>(library, "cuInit")?,
                symbol::<unsafe extern "C" fn(*mut i32) -> Status>(library, "cuDriverGetVersion")?,
                symbol::<unsafe extern "C" fn(*mut i32) -> Status>(library, "cuDeviceGetCount")?,
                symbol::<unsafe extern "C" fn(*mut i32, i32) -> Status>(library, "cuDeviceGet")?,
                symbol::<unsafe extern "C" fn(*mut c_char, i32, i32) -> Status>(library, "cuDeviceGetName")?,
                symbol::<unsafe extern "C" fn(*mut usize, i32) -> Status>(library, "cuDeviceTotalMem_v2")?,
                symbol::<unsafe extern "C" fn(*mut i32, i32, i32) -> Status>(library, "cuDeviceGetAttribute")?,
            )
        };
        let (mut cuda, mut gpus) = (0, 0);
        // SAFETY: `cuDriverGetVersion` needs no `cuInit`; the pointer is to a live i32.
        check("cuDriverGetVersion", unsafe { version(&mut cuda) })?;
        self.cuda = Some((cuda / 1000, cuda % 1000 / 10));
        // SAFETY: flags have to be 0; may be called any number of times.
        check("cuInit", unsafe { init(0) })?;
        // SAFETY: the driver has been initialised; the pointer is to a live i32.
        check("cuDeviceGetCount", unsafe { count(&mut gpus) })?;
        for ordinal in 0..gpus {
            let (mut device, mut bytes, mut major, mut minor) = (0, 0usize, 0, 0);
            let mut text = [0 as c_char; 256];
            // SAFETY: `ordinal` is below the count, `device` is what the driver gave for it, all pointers are to live
            // values, and the text's length is passed with it. Attributes 75 and 76 are the compute capability.
            unsafe {
                check("cuDeviceGet", get(&mut device, ordinal))?;
                check("cuDeviceGetName", name(text.as_mut_ptr(), text.len() as i32, device))?;
                check("cuDeviceTotalMem", memory(&mut bytes, device))?;
                check("cuDeviceGetAttribute", attribute(&mut major, 75, device))?;
                check("cuDeviceGetAttribute", attribute(&mut minor, 76, device))?;
            }
            let text = text.map(|c| c as u8);
            self.gpus.push(Gpu {
                name: CStr::from_bytes_until_nul(&text).map_or_else(|_| String::new(), |s| s.to_string_lossy().into()),
                compute_capability: (major, minor),
                memory: bytes as u64,
            });
        }
        Ok(())
    }
}

fn check(call: &str, status: Status) -> std::result::Result<(), String> {
    match status {
        0 => Ok(()),
        100 => Err(format!("{call} found no CUDA device (100)")),
        803 | 804 => Err(format!(
            "{call}: libcuda and the kernel's driver are of different versions ({status})"
        )),
        _ => Err(format!("{call} returned CUDA error {status}")),
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
