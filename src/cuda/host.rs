//! The kernels' own sources compiled by the system's C++ compiler, for tests on machines without a GPU.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString, c_char, c_void};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use libloading::Library;
use sha2::{Digest, Sha256};

use super::launch::Launch;

/// The kernels as functions of the processor. Device addresses are addresses of this process.
pub(super) struct Host {
    library: Library,
    backwards: bool,
}

/// Whether a product and a sum may become one instruction, which is rounded once. GPUs do so, the processor's colour
/// conversion does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    Separate,
    Fused,
}

type RunKernel = unsafe extern "C" fn(*const c_char, *const u32, *const u32, *const c_void, u32, bool) -> *const c_char;

impl Host {
    /// Compiles the kernels, or takes what an earlier test compiled from the same sources.
    pub fn new(rounding: Rounding) -> Self {
        let mut arguments: Vec<OsString> = ["-shared", "-fPIC", "-x", "c++"].map(Into::into).into();
        arguments.extend(sources("cu").into_iter().map(Into::into));
        arguments.push(kernels().join("host/host.cpp").into());
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
pub(super) struct Guarded {
    mapping: *mut u8,
    mapped: usize,
    len: usize,
}

const PAGE: usize = 64 * 1024;

// Of the C library, which every program on Linux has.
unsafe extern "C" {
    fn mmap(address: *mut c_void, length: usize, protection: i32, flags: i32, file: i32, offset: i64) -> *mut c_void;
    fn munmap(address: *mut c_void, length: usize) -> i32;
    fn mprotect(address: *mut c_void, length: usize, protection: i32) -> i32;
}

impl Guarded {
    pub fn new(len: usize) -> Self {
        const READ_WRITE: i32 = 1 | 2;
        const PRIVATE_ANONYMOUS: i32 = 2 | 0x20;
        let mapped = len.next_multiple_of(PAGE) + PAGE;
        // SAFETY: new anonymous memory, and its last page taken away again, checked.
        let mapping = unsafe {
            let mapping = mmap(std::ptr::null_mut(), mapped, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
            assert!(mapping as isize != -1, "mmap of {mapped} bytes");
            assert!(mprotect(mapping.byte_add(mapped - PAGE), PAGE, 0) == 0, "mprotect");
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
        unsafe { munmap(self.mapping.cast(), self.mapped) };
    }
}

/// Where the kernels' sources are.
pub(super) fn kernels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda/kernels")
}

/// Calls the C++ compiler.
pub(super) fn compile(arguments: &[OsString]) {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let output = Command::new(&compiler)
        .args(["-std=c++17", "-I"])
        .arg(kernels())
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{compiler} cannot be started ({e}): install build-essential"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The files with an extension, in the order of their names.
fn sources(extension: &str) -> Vec<PathBuf> {
    let folders = [kernels(), kernels().join("host")];
    let files = folders
        .iter()
        .flat_map(|f| std::fs::read_dir(f).expect("the kernels' folder"));
    let mut paths: Vec<_> = files.map(|f| f.expect("a file").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == extension));
    paths.sort();
    paths
}

/// SHA-256 of all files with one of the extensions, in the order of their names.
pub(super) fn digest(extensions: &[&str]) -> String {
    let mut paths: Vec<_> = extensions.iter().flat_map(|e| sources(e)).collect();
    paths.sort();
    let mut digest = Sha256::new();
    for path in paths {
        digest.update(std::fs::read(path).expect("a source"));
    }
    digest.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
