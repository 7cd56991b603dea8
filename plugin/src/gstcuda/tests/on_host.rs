//! GStreamer's own CUDA library and elements in a process whose driver is `tests/doubles/cuda_driver.c`: its GPU is the
//! host.

use std::ffi::{c_int, c_void};
use std::path::PathBuf;
use std::process::Command;

use super::compiler::{compile, pkg_config};

/// A process with GStreamer's own library and elements on a driver whose GPU is the host.
pub(crate) struct OnHost {
    driver: libloading::Library,
}

impl OnHost {
    const INSIDE: &str = "URETINEX_TEST_DRIVER";

    /// Runs the test of that name in such a process, and then returns `None`; in that process, returns it.
    pub fn enter(test: &str) -> Option<Self> {
        if std::env::var_os(Self::INSIDE).is_some() {
            gst::init().unwrap();
            // SAFETY: the library is `cuda_driver.c`, which has no initialisers.
            let driver = unsafe { libloading::Library::new("libcuda.so.1") }.unwrap();
            return Some(Self { driver });
        }
        let plugins = PathBuf::from(pkg_config(&["--variable=pluginsdir", "gstreamer-1.0"]).trim());
        let names = ["nvcodec", "coreelements", "videotestsrc"].map(|name| format!("libgst{name}.so"));
        let files = names.each_ref().map(|name| plugins.join(name));
        if let Some(absent) = files.iter().find(|file| !file.exists()) {
            eprintln!("SKIPPED: no {} on this machine", absent.display());
            return None;
        }
        let short = test.rsplit("::").next().unwrap_or(test);
        let folder = std::env::temp_dir().join(format!("uretinex-driver-{}-{short}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for library in ["libcuda.so.1", "libnvcuvid.so.1"] {
            let source = "../../../tests/doubles/cuda_driver.c";
            compile(source, &folder.join(library), &[&format!("-Wl,-soname,{library}")]);
        }
        for (name, file) in names.iter().zip(&files) {
            let _ = std::os::unix::fs::symlink(file, folder.join(name));
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(Self::INSIDE, "1")
            .env("DRIVER_DEVICE", "0")
            .env("LD_LIBRARY_PATH", &folder)
            .env("GST_PLUGIN_PATH_1_0", &folder)
            .env("GST_PLUGIN_SYSTEM_PATH_1_0", "")
            .env("GST_REGISTRY_1_0", folder.join("registry"))
            .env("GST_REGISTRY_FORK", "no")
            .output()
            .unwrap();
        let _ = std::fs::remove_dir_all(folder);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (said(&output.stdout), said(&output.stderr));
        assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
        assert!(!err.contains("CRITICAL"), "{err}");
        None
    }

    /// One of the driver's counts: `contexts`, `memories`, `streams`, `depth`.
    pub fn count(&self, what: &str) -> i32 {
        // SAFETY: the driver's functions of these names take nothing and return an int.
        unsafe {
            let symbol = format!("driver_{what}");
            let count = self
                .driver
                .get::<unsafe extern "C" fn() -> c_int>(symbol.as_str())
                .unwrap();
            count()
        }
    }

    /// The `CUcontext` that is current on this thread.
    pub fn current(&self) -> *mut c_void {
        // SAFETY: as above; it returns a pointer.
        unsafe {
            let current = self
                .driver
                .get::<unsafe extern "C" fn() -> *mut c_void>("driver_current")
                .unwrap();
            current()
        }
    }
}
