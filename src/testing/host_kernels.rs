//! The kernels' own sources compiled by the system's C++ compiler, for tests on machines without a GPU.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_void};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use libloading::Library;

use crate::gpu::Launch;
use crate::pack::sha256_hex;

/// The kernels as functions of the processor. Device addresses are addresses of this process.
pub(crate) struct HostKernels {
    library: Library,
    backwards: bool,
}

/// Whether a product and a sum may become one instruction, which is rounded once. GPUs do so, the processor's colour
/// conversion does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    Separate,
    Fused,
}

type RunKernel = unsafe extern "C" fn(*const c_char, *const u32, *const u32, *const c_void, u32, bool) -> *const c_char;

impl HostKernels {
    /// Compiles the kernels, or takes what an earlier test compiled from the same sources.
    pub fn new(rounding: Rounding) -> Self {
        let mut arguments: Vec<OsString> = ["-shared", "-fPIC", "-x", "c++"].map(Into::into).into();
        arguments.extend(sources(&["cu", "cpp"]).into_iter().map(Into::into));
        // An access that is not aligned to its size faults on a GPU: here it is made to trap.
        // Contexts jump between stacks, which the checks of _FORTIFY_SOURCE take for an error.
        arguments.extend(["-U_FORTIFY_SOURCE".into()]);
        arguments.extend(["-O2", "-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"].map(Into::into));
        arguments.extend(match rounding {
            Rounding::Separate => ["-ffp-contract=off"].map(OsString::from).to_vec(),
            Rounding::Fused => ["-ffp-contract=fast", "-march=native"].map(OsString::from).to_vec(),
        });
        let folder = std::env::current_exe().expect("the test's path");
        let name = format!("kernels-{rounding:?}-{}.so", digest(&["cu", "cuh", "cpp", "h"]));
        let path = folder.with_file_name(name);
        // Tests run side by side, in threads or in processes: one compiles, the others wait.
        let lock = File::create(path.with_extension("lock")).expect("a file to lock");
        lock.lock().expect("lock the file");
        if !path.exists() {
            let made = path.with_extension("new");
            arguments.extend(["-o".into(), made.clone().into()]);
            compile(&arguments);
            std::fs::rename(&made, &path).expect("rename the compiled kernels");
        }
        drop(lock);
        // SAFETY: the library is ours; its initialisers register the kernels and do nothing else.
        let library = unsafe { Library::new(&path) }.expect("open the compiled kernels");
        Self {
            library,
            backwards: false,
        }
    }

    /// The same with blocks and threads in the opposite order.
    pub fn backwards(self) -> Self {
        Self {
            backwards: true,
            ..self
        }
    }

    /// Reads of eight rows from shared memory by all kernels so far, and those in which banks met.
    pub fn banks(&self) -> [u64; 2] {
        // SAFETY: `host.cpp` defines it with this signature.
        let banks = unsafe {
            self.library
                .get::<unsafe extern "C" fn(*mut u64)>(b"uretinex_host_banks\0")
        };
        let mut counts = [0; 2];
        // SAFETY: it writes two numbers.
        unsafe { banks.expect("the shim's counts")(counts.as_mut_ptr()) };
        counts
    }

    /// Runs a launch.
    ///
    /// # Safety
    /// Every address in the launch's arguments, and in the settings that they point to, is of memory that is as long
    /// as the kernel takes it to be.
    pub unsafe fn run(&self, launch: &Launch) {
        // SAFETY: `host.cpp` defines it with this signature.
        let run = unsafe { self.library.get::<RunKernel>(b"uretinex_host_launch\0") }.expect("the shim's entry");
        let name = CString::new(launch.kernel).expect("a kernel's name");
        let bytes = launch.arguments.len() as u32;
        // SAFETY: the name ends in 0, grid and block have three numbers, the arguments `bytes` bytes, and what they
        // point to is the caller's word.
        let fault = unsafe {
            run(
                name.as_ptr(),
                launch.grid.as_ptr(),
                launch.block.as_ptr(),
                launch.arguments.as_ptr(),
                bytes,
                self.backwards,
            )
        };
        if !fault.is_null() {
            // SAFETY: the shim gives a text that ends in 0 and stays until its next call.
            let fault = unsafe { CStr::from_ptr(fault) };
            panic!("{}: {}", launch.kernel, fault.to_string_lossy());
        }
    }
}

/// Zeroed memory that ends where the process's ends: reading or writing behind it stops the test.
pub(crate) struct Guarded {
    mapping: *mut u8,
    mapped: usize,
    len: usize,
}

/// A whole number of pages, however large these are.
const PAGE: usize = 64 * 1024;

impl Guarded {
    pub fn new(len: usize) -> Self {
        let mapped = len.next_multiple_of(PAGE) + PAGE;
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: new anonymous memory, and its last page taken away again, checked.
        let mapping = unsafe {
            let mapping = libc::mmap(std::ptr::null_mut(), mapped, access, kind, -1, 0);
            assert!(mapping != libc::MAP_FAILED, "mmap of {mapped} bytes");
            let guard = mapping.byte_add(mapped - PAGE);
            assert!(libc::mprotect(guard, PAGE, libc::PROT_NONE) == 0, "mprotect");
            mapping.cast::<u8>()
        };
        Self { mapping, mapped, len }
    }

    pub fn address(&self) -> u64 {
        // SAFETY: inside the mapping, which is at least a page longer.
        unsafe { self.mapping.add(self.mapped - PAGE - self.len) as u64 }
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the last `len` bytes before the page that was taken away.
        unsafe { std::slice::from_raw_parts(self.address() as *const u8, self.len) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.address() as *mut u8, self.len) }
    }
}

impl Clone for Guarded {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.len);
        copy.bytes_mut().copy_from_slice(self.bytes());
        copy
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing borrows it any more.
        unsafe { libc::munmap(self.mapping.cast(), self.mapped) };
    }
}

/// Where the kernels' sources are, and what makes them functions of the processor.
fn folders() -> [PathBuf; 2] {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["src/gpu/kernels", "src/testing/host_kernels"].map(|folder| root.join(folder))
}

/// Calls the C++ compiler.
pub(crate) fn compile(arguments: &[OsString]) {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let output = Command::new(&compiler)
        .arg("-std=c++17")
        .args(
            folders()
                .iter()
                .flat_map(|folder| [OsStr::new("-I"), folder.as_os_str()]),
        )
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{compiler} cannot be started ({e}): install build-essential"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The files with one of the extensions, in the order of their names.
fn sources(extensions: &[&str]) -> Vec<PathBuf> {
    let folders = folders();
    let files = folders
        .iter()
        .flat_map(|f| std::fs::read_dir(f).expect("a folder of sources"));
    let mut paths: Vec<_> = files.map(|f| f.expect("a file").path()).collect();
    paths.retain(|p| {
        p.extension()
            .is_some_and(|e| extensions.iter().any(|wanted| e == *wanted))
    });
    paths.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    paths
}

/// SHA-256 of all files with one of the extensions, in the order of their names.
pub(crate) fn digest(extensions: &[&str]) -> String {
    let paths = sources(extensions);
    sha256_hex(paths.iter().map(|path| std::fs::read(path).expect("a source")))
}
