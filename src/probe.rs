//! What this machine offers beside its processor: the NVIDIA driver, its GPUs, TensorRT. All opened at run time, so
//! that one binary serves machines with and without them.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

use libloading::{Library, Symbol};

const DRIVER: &[&str] = &["libcuda.so.1"];
const TENSORRT: &[&str] = &["libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.8"];
const PARSER: &[&str] = &["libnvonnxparser.so.11", "libnvonnxparser.so.10", "libnvonnxparser.so.8"];

/// A shared library that was looked for.
#[derive(Debug, Clone)]
pub struct SharedLibrary {
    /// The names tried, in their order.
    pub names: &'static [&'static str],
    /// The first of them that could be opened.
    pub found: Option<&'static str>,
    /// The file behind it, where the system tells.
    pub path: Option<PathBuf>,
    /// What the loader said of each name that it could not open.
    pub refusals: Vec<String>,
}

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

/// TensorRT, as far as it can be seen without making any of its objects.
#[derive(Debug, Clone)]
pub struct TensorRt {
    /// The inference library.
    pub library: SharedLibrary,
    /// The ONNX parser of the same major version.
    pub parser: SharedLibrary,
    /// Major, minor and patch of the inference library.
    pub version: Option<(i32, i32, i32)>,
}

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
        driver: Driver::look(),
        tensorrt: TensorRt::look(),
    })
}

/// Where the dynamic loader looks.
pub fn search_path() -> String {
    match std::env::var("LD_LIBRARY_PATH") {
        Ok(path) if !path.is_empty() => {
            format!("LD_LIBRARY_PATH={path} and the system's library folders (ldconfig -p)")
        }
        _ => "the system's library folders (ldconfig -p); LD_LIBRARY_PATH is not set".into(),
    }
}

impl SharedLibrary {
    /// Opens the first of `names` that is there. It stays open until the process ends.
    pub fn find(names: &'static [&'static str]) -> Self {
        open(names).0
    }
}

impl fmt::Display for SharedLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, self.found) {
            (Some(path), Some(_)) => write!(f, "{}", path.display()),
            (None, Some(name)) => f.write_str(name),
            (_, None) => write!(f, "no {}", self.names.join(", ")),
        }
    }
}

fn open(names: &'static [&'static str]) -> (SharedLibrary, Option<&'static Library>) {
    let mut seen = SharedLibrary {
        names,
        found: None,
        path: None,
        refusals: Vec::new(),
    };
    for &name in names {
        // SAFETY: opening a library runs its initialisers. The names are of vendors' system libraries, made to be
        // opened at run time from any thread; they are never closed, so nothing runs at an unexpected time later.
        match unsafe { Library::new(name) } {
            Ok(library) => {
                seen.found = Some(name);
                seen.path = mapped_file(name);
                return (seen, Some(Box::leak(Box::new(library))));
            }
            Err(e) => seen.refusals.push(e.to_string()),
        }
    }
    (seen, None)
}

/// The file of an open library, from the process's memory map.
fn mapped_file(name: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let stem = name.split(".so").next().unwrap_or(name);
    maps.lines()
        .filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..])))
        .find(|path| {
            let file = path.file_name().and_then(|f| f.to_str()).unwrap_or("");
            file.strip_prefix(stem).is_some_and(|rest| rest.starts_with(".so"))
        })
}

/// `CUresult`: 0 is success.
type Status = i32;

impl Driver {
    fn look() -> Self {
        let (library, open) = open(DRIVER);
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
    fn ask(&mut self, library: &Library) -> Result<(), String> {
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

impl TensorRt {
    fn look() -> Self {
        let (library, open) = open(TENSORRT);
        // A parser of another major version than the inference library's is of no use.
        let parser = match TENSORRT.iter().position(|name| Some(*name) == library.found) {
            Some(i) => SharedLibrary::find(&PARSER[i..=i]),
            None => SharedLibrary {
                names: PARSER,
                found: None,
                path: None,
                refusals: Vec::new(),
            },
        };
        let version = open.and_then(|open| {
            // SAFETY: `int32_t getInferLibVersion() noexcept` since TensorRT 5: no arguments, no state, no objects.
            unsafe { symbol::<unsafe extern "C" fn() -> i32>(open, "getInferLibVersion").map(|ask| ask()) }.ok()
        });
        Self {
            library,
            parser,
            version: version.map(decode_version),
        }
    }
}

/// 8.6.1 is told as 8601, 10.3.0 as 100300.
fn decode_version(v: i32) -> (i32, i32, i32) {
    if v >= 100_000 {
        (v / 10_000, v / 100 % 100, v % 100)
    } else {
        (v / 1000, v / 100 % 10, v % 100)
    }
}

impl Probe {
    /// What the `tensorrt` backend lacks on this machine, with what was looked for and what to do; `None` if nothing.
    pub fn tensorrt_lacks(&self) -> Option<String> {
        let (driver, tensorrt) = (&self.driver, &self.tensorrt);
        if driver.library.found.is_none() {
            return Some(format!(
                "no NVIDIA driver: {} is not in {}; with an NVIDIA GPU in the machine install its driver \
                 (Debian: nvidia-driver; in a container: the NVIDIA container toolkit and --gpus all)",
                DRIVER.join(", "),
                search_path()
            ));
        }
        if let Some(fault) = &driver.fault {
            return Some(format!(
                "the NVIDIA driver ({}) gives no GPU: {fault}; nvidia-smi should list one",
                driver.library
            ));
        }
        if tensorrt.library.found.is_none() {
            return Some(format!(
                "no TensorRT: none of {} is in {}; install libnvinfer10 and libnvonnxparsers10 from NVIDIA's package \
                 repository, or add the folder that holds them to LD_LIBRARY_PATH",
                TENSORRT.join(", "),
                search_path()
            ));
        }
        tensorrt.parser.found.is_none().then(|| {
            format!(
                "TensorRT ({}) is there without its ONNX parser: {} is not in {}; install the libnvonnxparsers package \
                 of the same version",
                tensorrt.library,
                tensorrt.parser.names.join(", "),
                search_path()
            )
        })
    }
}

/// # Safety
/// `T` has to be the function pointer type of that symbol.
unsafe fn symbol<'a, T>(library: &'a Library, name: &str) -> Result<Symbol<'a, T>, String> {
    // SAFETY: passed on to the caller.
    unsafe { library.get(name.as_bytes()) }.map_err(|e| e.to_string())
}

fn check(call: &str, status: Status) -> Result<(), String> {
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

    #[test]
    fn versions() {
        for (told, version) in [
            (8601, (8, 6, 1)),
            (8510, (8, 5, 10)),
            (100_300, (10, 3, 0)),
            (110_102, (11, 1, 2)),
        ] {
            assert_eq!(decode_version(told), version, "{told}");
        }
    }

    #[test]
    fn libraries_are_found_with_their_file_or_refused_with_a_reason() {
        let libc = SharedLibrary::find(&["libnot-there.so.9", "libc.so.6"]);
        assert_eq!(libc.found, Some("libc.so.6"));
        assert_eq!(libc.refusals.len(), 1);
        if cfg!(target_os = "linux") {
            assert!(libc.path.unwrap().to_string_lossy().contains("libc.so"));
        }
        let none = SharedLibrary::find(&["libnot-there.so.9"]);
        assert_eq!((none.found, none.refusals.len()), (None, 1));
        assert!(none.to_string().contains("libnot-there.so.9"));
    }

    #[test]
    fn what_is_lacking_names_library_and_remedy() {
        let seen = |names, found| SharedLibrary {
            names,
            found,
            path: None,
            refusals: Vec::new(),
        };
        let machine = |driver, fault: Option<&str>, trt, parser| Probe {
            driver: Driver {
                library: seen(DRIVER, driver),
                cuda: None,
                gpus: Vec::new(),
                fault: fault.map(String::from),
            },
            tensorrt: TensorRt {
                library: seen(TENSORRT, trt),
                parser: seen(&PARSER[1..2], parser),
                version: None,
            },
        };
        let (cuda, trt, parser) = (
            Some("libcuda.so.1"),
            Some("libnvinfer.so.10"),
            Some("libnvonnxparser.so.10"),
        );
        for (probe, parts) in [
            (machine(None, None, None, None), &["libcuda.so.1", "nvidia-driver"][..]),
            (
                machine(cuda, Some("cuInit returned 100"), trt, parser),
                &["cuInit", "nvidia-smi"],
            ),
            (machine(cuda, None, None, None), &["libnvinfer.so.8", "LD_LIBRARY_PATH"]),
            (machine(cuda, None, trt, None), &["libnvonnxparser.so.10", "install"]),
        ] {
            let text = probe.tensorrt_lacks().unwrap();
            assert!(parts.iter().all(|p| text.contains(p)), "{text}");
        }
        assert_eq!(machine(cuda, None, trt, parser).tensorrt_lacks(), None);
    }

    #[test]
    fn probing_twice_is_harmless() {
        assert!(std::ptr::eq(probe(), probe()));
    }
}
