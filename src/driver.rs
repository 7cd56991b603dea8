//! The NVIDIA driver and its GPUs, opened at run time.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
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

    /// Runs `work` with the primary context of a GPU current on this thread, and passes it the context as a number.
    ///
    /// # Errors
    /// As [`gpu`](Self::gpu); [`ErrorKind::BackendFailed`] if the GPU gives no context, for instance because its memory
    /// is full; and those of `work`.
    pub(crate) fn on_device<T>(&self, ordinal: u32, work: impl FnOnce(usize) -> Result<T>) -> Result<T> {
        let gpu = self.gpu(ordinal)?;
        let failed = |fault: String| {
            Error::new(
                ErrorKind::BackendFailed,
                format!(
                    "GPU {ordinal} ({}) gives no CUDA context: {fault}; see nvidia-smi for who else uses it",
                    gpu.name
                ),
            )
        };
        let context = PrimaryContext::push(ordinal).map_err(failed)?;
        work(context.context as usize)
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

/// The primary context of a device, current on this thread until it is dropped.
struct PrimaryContext {
    context: *mut c_void,
    device: i32,
    library: &'static Library,
}

impl PrimaryContext {
    fn push(ordinal: u32) -> std::result::Result<Self, String> {
        let library = open(&[], DRIVER).1.ok_or("the driver's library is gone")?;
        // SAFETY: these are the signatures of the CUDA driver API since CUDA 7.0.
        let (get, retain, push) = unsafe {
            (
                symbol::<unsafe extern "C" fn(*mut i32, i32) -> Status>(library, "cuDeviceGet")?,
                symbol::<unsafe extern "C" fn(*mut *mut c_void, i32) -> Status>(library, "cuDevicePrimaryCtxRetain")?,
                symbol::<unsafe extern "C" fn(*mut c_void) -> Status>(library, "cuCtxPushCurrent_v2")?,
            )
        };
        let (mut device, mut context) = (0, std::ptr::null_mut());
        // SAFETY: the driver has been initialised when it was looked at; the pointers are to live values.
        unsafe {
            check("cuDeviceGet", get(&mut device, ordinal as i32))?;
            check("cuDevicePrimaryCtxRetain", retain(&mut context, device))?;
        }
        let primary = Self {
            context,
            device,
            library,
        };
        // SAFETY: the context has just been retained.
        match check("cuCtxPushCurrent", unsafe { push(context) }) {
            Ok(()) => Ok(primary),
            Err(fault) => {
                primary.release();
                std::mem::forget(primary);
                Err(fault)
            }
        }
    }

    fn release(&self) {
        // SAFETY: the signature since CUDA 11.0; released as often as retained.
        unsafe {
            if let Ok(release) =
                symbol::<unsafe extern "C" fn(i32) -> Status>(self.library, "cuDevicePrimaryCtxRelease_v2")
            {
                release(self.device);
            }
        }
    }
}

impl Drop for PrimaryContext {
    fn drop(&mut self) {
        let mut popped = std::ptr::null_mut();
        // SAFETY: the signature since CUDA 4.0; whoever pushed after `push` has popped again.
        unsafe {
            if let Ok(pop) =
                symbol::<unsafe extern "C" fn(*mut *mut c_void) -> Status>(self.library, "cuCtxPopCurrent_v2")
            {
                pop(&mut popped);
            }
        }
        self.release();
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
