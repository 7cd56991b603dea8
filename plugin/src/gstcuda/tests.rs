//! Against a mock of the library, compiled here, and against the real one where it is installed.

use std::ffi::c_uint;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use gst_video::{VideoFormat, VideoMeta};
use uretinex::{Colorimetry, PixelFormat};

use super::*;

/// The mock, and what it counts.
pub(crate) struct Mock {
    pub library: &'static Library,
    counters: libloading::Library,
}

/// What pkg-config says.
fn pkg_config(arguments: &[&str]) -> String {
    let output = Command::new("pkg-config").args(arguments).output().expect("pkg-config");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a shared library of a C file of this folder.
fn compile(source: &str, to: &Path, flags: &[&str]) {
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .arg(to)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gstcuda").join(source))
        .args(flags)
        .status()
        .expect("a C compiler");
    assert!(status.success(), "cc {source} {flags:?}: {status}");
}

/// Opens the mock built with these flags.
fn open(flags: &[&str]) -> Result<Mock> {
    gst::init().unwrap();
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("libgstcuda-mock-{}-{serial}.so", std::process::id()));
    let (serial, found) = (
        format!("-DSERIAL={serial}"),
        pkg_config(&["--cflags", "--libs", "gstreamer-video-1.0"]),
    );
    let flags: Vec<_> = flags
        .iter()
        .copied()
        .chain([serial.as_str()])
        .chain(found.split_whitespace())
        .collect();
    compile("mock.c", &file, &flags);
    let library = Library::open(file.to_str().unwrap());
    // SAFETY: as in `Library::open`.
    let counters = unsafe { libloading::Library::new(&file) }.unwrap();
    std::fs::remove_file(file).unwrap();
    library.map(|library| Mock { library, counters })
}

impl Mock {
    /// Of GStreamer 1.22 (`22`) or 1.24 (`24`), on a machine with a driver.
    pub fn version(version: u32) -> Self {
        open(&["-DDRIVER=1", &format!("-DVERSION={version}")]).unwrap()
    }

    /// One of the mock's counts: `contexts`, `memories`, `streams`, `pools`, `mapped`, `syncs`, `last_flags`, `depth`.
    pub fn count(&self, what: &str) -> i32 {
        // SAFETY: the mock's functions of these names take nothing and return an int.
        unsafe {
            let symbol = format!("mock_{what}");
            let count = self
                .counters
                .get::<unsafe extern "C" fn() -> c_int>(symbol.as_str())
                .unwrap();
            count()
        }
    }

    /// A new context on a GPU.
    pub fn context(&self, device: u32) -> CudaContext {
        // SAFETY: the mock's functions have the types of the header; the new reference is taken over.
        unsafe {
            let new = self
                .counters
                .get::<unsafe extern "C" fn(c_uint) -> *mut gst::ffi::GstObject>("gst_cuda_context_new")
                .unwrap();
            CudaContext {
                library: self.library,
                object: from_glib_full(new(device)),
            }
        }
    }

    /// A buffer for frames of `info`, without a video meta.
    pub fn buffer(&self, context: &CudaContext, stream: Option<&Stream>, info: &VideoInfo) -> gst::Buffer {
        use gst::glib::translate::ToGlibPtr;
        type Alloc = unsafe extern "C" fn(
            *mut RawCudaContext,
            *mut RawCudaStream,
            *const gst_video::ffi::GstVideoInfo,
        ) -> *mut gst::ffi::GstMemory;
        let stream = stream.map_or(ptr::null_mut(), |s| s.0.as_ptr());
        // SAFETY: this is the mock's type of the function; the memory is handed over.
        let memory: gst::Memory = unsafe {
            let alloc = self.counters.get::<Alloc>("mock_alloc").unwrap();
            from_glib_full(alloc(context.as_ptr(), stream, info.to_glib_none().0))
        };
        let mut buffer = gst::Buffer::new();
        buffer.get_mut().unwrap().append_memory(memory);
        buffer
    }

    /// Nothing of it lives, but for `contexts` contexts.
    pub fn assert_only(&self, contexts: i32) {
        for (what, expected) in [
            ("mapped", 0),
            ("depth", 0),
            ("memories", 0),
            ("pools", 0),
            ("streams", 0),
            ("contexts", contexts),
        ] {
            assert_eq!(self.count(what), expected, "{what} that live");
        }
    }
}

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
            // SAFETY: the library is `driver.c`, which has no initialisers.
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
            compile("driver.c", &folder.join(library), &[&format!("-Wl,-soname,{library}")]);
        }
        for (name, file) in names.iter().zip(&files) {
            let _ = std::os::unix::fs::symlink(file, folder.join(name));
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(Self::INSIDE, "1")
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
    fn current(&self) -> *mut c_void {
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

/// The bytes at a device address of the mock or of [`OnHost`], which is a host address.
pub(crate) fn peek(address: u64, length: usize) -> &'static mut [u8] {
    // SAFETY: tests ask for bytes of a mapped memory only, and drop the slice before the map.
    unsafe { std::slice::from_raw_parts_mut(address as *mut u8, length) }
}

/// The planes of a frame: address and stride.
pub(crate) fn planes(frame: &DeviceFrame) -> Vec<(u64, usize)> {
    frame.planes().iter().map(|p| (p.address, p.stride)).collect()
}

/// How many hold the buffer's memory.
fn references_to(buffer: &gst::BufferRef) -> i32 {
    // SAFETY: the memory is live as long as the buffer.
    unsafe { (*buffer.peek_memory(0).as_ptr()).mini_object.refcount }
}

fn info(format: VideoFormat, width: u32, height: u32) -> VideoInfo {
    gst::init().unwrap();
    VideoInfo::builder(format, width, height).build().unwrap()
}

fn spec(format: PixelFormat, width: usize, height: usize) -> FrameSpec {
    FrameSpec {
        format,
        width,
        height,
        colorimetry: Colorimetry::default(),
    }
}

#[test]
fn versions_are_told_by_their_functions() {
    assert!(Mock::version(22).library.streams.is_none());
    assert!(Mock::version(24).library.streams.is_some());
    for (what, flags, parts) in [
        (
            "a function is missing",
            ["-DDRIVER=1", "-DVERSION=22", "-DOMIT_POP"],
            ["lacks gst_cuda_context_pop", "libgstreamer-plugins-bad1.0-0"],
        ),
        (
            "half of 1.24",
            ["-DDRIVER=1", "-DVERSION=24", "-DOMIT_SYNC"],
            ["lacks gst_cuda_memory_sync", "1.22 to 1.26"],
        ),
        (
            "no driver",
            ["-DDRIVER=0", "-DVERSION=24", ""],
            ["no NVIDIA driver", "nvidia-smi"],
        ),
    ] {
        let flags: Vec<_> = flags.into_iter().filter(|f| !f.is_empty()).collect();
        let error = open(&flags).err().unwrap_or_else(|| panic!("{what}: opened"));
        assert_eq!(error.kind(), ErrorKind::BackendUnavailable, "{what}");
        let text = error.to_string();
        assert!(parts.iter().all(|p| text.contains(p)), "{what}: {text}");
    }
    let error = Library::open("libgstcuda-not-there.so").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::BackendUnavailable);
    assert!(error.to_string().contains("libgstreamer-plugins-bad1.0-0"), "{error}");
}

#[test]
fn the_installed_library_has_the_functions_of_its_version() {
    gst::init().unwrap();
    // SAFETY: as in `Library::open`.
    let Ok(library) = (unsafe { libloading::Library::new(FILE) }) else {
        eprintln!("SKIPPED: no {FILE} on this machine");
        return;
    };
    assert_eq!(lacking(&library, Functions::SYMBOLS), [""; 0]);
    let (major, minor, ..) = gst::version();
    let expected = if (major, minor) >= (1, 24) {
        Vec::new()
    } else {
        StreamFunctions::SYMBOLS.to_vec()
    };
    assert_eq!(
        lacking(&library, StreamFunctions::SYMBOLS),
        expected,
        "GStreamer {major}.{minor}"
    );
    match Library::get() {
        Ok(opened) => assert_eq!(opened.streams.is_some(), expected.is_empty()),
        Err(error) => {
            assert!(
                uretinex::probe().driver.library.found.is_none(),
                "with a driver: {error}"
            );
            assert_eq!(error.kind(), ErrorKind::BackendUnavailable);
            assert!(error.to_string().contains("NVIDIA driver"), "{error}");
        }
    }
}

#[test]
fn a_context_is_held_once() {
    let mock = Mock::version(24);
    let element = gst::ElementFactory::make("identity").build().unwrap();
    let slot = ContextSlot::default();
    assert!(slot.shared().is_none());
    let context = slot.ensure(mock.library, &element, 1).unwrap();
    assert_eq!((context.device(), mock.count("contexts")), (Some(1), 1));
    let references = context.object.ref_count();
    // What is there stays.
    for _ in 0..3 {
        assert!(slot.ensure(mock.library, &element, 1).unwrap().object == context.object);
        let other = mock.context(1);
        assert!(slot.set(mock.library, &element, &other.message(), 1));
    }
    assert_eq!(context.object.ref_count(), references);
    assert_eq!(mock.count("contexts"), 1);

    let mut query = gst::query::Context::new(CONTEXT_TYPE);
    assert!(slot.answer(&element, query.query_mut()));
    assert_eq!(context.object.ref_count(), references + 1);
    drop(query);
    let mut other = gst::query::Context::new("gst.gl.GLDisplay");
    assert!(!slot.answer(&element, other.query_mut()));

    // Another GPU, another context.
    assert_eq!(slot.ensure(mock.library, &element, 0).unwrap().device(), Some(0));
    let error = slot.ensure(mock.library, &element, 7).err().unwrap();
    assert!(error.to_string().contains("GPU 7"), "{error}");
    assert!(slot.shared().is_none());
    // The base class keeps what it was given.
    drop((slot, context, element));
    mock.assert_only(0);
}

#[test]
fn contexts_of_other_gpus_are_left_alone() {
    let mock = Mock::version(22);
    let element = gst::ElementFactory::make("identity").build().unwrap();
    let slot = ContextSlot::default();
    let given = mock.context(1);
    assert!(!slot.set(mock.library, &element, &given.message(), 0));
    assert!(!slot.set(mock.library, &element, &gst::Context::new("gst.gl.GLDisplay", true), 1));
    assert!(slot.shared().is_none());
    assert!(slot.set(mock.library, &element, &given.message(), 1));
    assert!(slot.shared().unwrap().object == given.object);
    slot.clear();
    assert_eq!((slot.shared().is_none(), given.object.ref_count()), (true, 1));
    drop(given);
    mock.assert_only(0);
}

#[test]
fn memory_is_mapped_on_the_device_and_given_back() {
    let mock = Mock::version(22);
    let context = mock.context(0);
    let info = info(VideoFormat::Nv12, 65, 35);
    let mut buffer = mock.buffer(&context, None, &info);
    let references = (context.object.ref_count(), references_to(&buffer));
    {
        let map = DeviceMap::read(&context, &buffer).unwrap();
        assert_eq!(
            mock.count("last_flags") as u32,
            gst::ffi::GST_MAP_READ | (1 << 17),
            "GST_MAP_READ | GST_MAP_CUDA"
        );
        assert_eq!(mock.count("mapped"), 1);
        let (offsets, strides) = map.planes(&info).unwrap();
        assert_eq!((&offsets[..2], &strides[..2]), (&[0, 256 * 35][..], &[256, 256][..]));
        let frame = map
            .frame(spec(PixelFormat::Nv12, 65, 35), &info, &[(0, 256), (256 * 35, 256)])
            .unwrap();
        let base = frame.planes()[0].address;
        assert_eq!(planes(&frame), [(base, 256), (base + 256 * 35, 256)]);
        assert_eq!(map.len(), 256 * (35 + 18));
        assert!(map.stream().is_none());
    }
    drop(DeviceMap::write(&context, buffer.get_mut().unwrap()).unwrap());
    assert_eq!(
        mock.count("last_flags") as u32,
        gst::ffi::GST_MAP_WRITE | (1 << 17),
        "GST_MAP_WRITE | GST_MAP_CUDA"
    );
    assert_eq!(mock.count("mapped"), 0);
    assert_eq!((context.object.ref_count(), references_to(&buffer)), references);
    {
        let _outer = context.current().unwrap();
        let _inner = context.current().unwrap();
        assert_eq!(mock.count("depth"), 2);
    }
    drop(buffer);
    mock.assert_only(1);
}

#[test]
fn planes_outside_the_memory_are_refused() {
    let mock = Mock::version(22);
    let context = mock.context(0);
    for (format, pixel, width, height, sets) in [
        (
            VideoFormat::Nv12,
            PixelFormat::Nv12,
            65,
            35,
            // The memory has 53 rows of 256 bytes; the last row of chroma is 66 bytes.
            &[
                (&[(0, 256), (256 * 35, 256)][..], true),
                (&[(0, 256), (256 * 35 + 190, 256)], true),
                (&[(0, 256), (256 * 35 + 191, 256)], false),
                (&[(0, 256), (256 * 35, 512)], false),
                (&[(0, 256), (usize::MAX, 256)], false),
                (&[(0, usize::MAX), (0, 256)], false),
            ][..],
        ),
        (
            VideoFormat::P01010le,
            PixelFormat::P010_10le,
            65,
            35,
            &[
                (&[(0, 256), (256 * 35 + 124, 256)], true),
                (&[(0, 256), (256 * 35 + 126, 256)], false),
            ],
        ),
        (
            VideoFormat::Rgb,
            PixelFormat::Rgb,
            85,
            16,
            &[(&[(1, 256)], true), (&[(2, 256)], false)],
        ),
    ] {
        let info = info(format, width, height);
        let buffer = mock.buffer(&context, None, &info);
        let map = DeviceMap::read(&context, &buffer).unwrap();
        for (planes, fits) in sets {
            let frame = map.frame(spec(pixel, width as usize, height as usize), &info, planes);
            // Alignment is the core's affair: only what lies outside is looked at.
            let short = frame
                .as_ref()
                .err()
                .is_some_and(|e| e.to_string().contains("shorter than its caps"));
            assert_eq!(!short, *fits, "{format:?} {planes:?}: {:?}", frame.err());
        }
    }
    drop(context);
    mock.assert_only(0);
}

#[test]
fn buffers_that_are_not_the_contexts_are_refused() {
    let mock = Mock::version(24);
    let (context, other) = (mock.context(0), mock.context(1));
    let nv12 = info(VideoFormat::Nv12, 64, 48);
    let mut two = mock.buffer(&context, None, &nv12);
    let more = gst::Memory::from_slice([0u8; 4]);
    two.get_mut().unwrap().append_memory(more);
    for (what, buffer, part) in [
        ("system memory", gst::Buffer::with_size(64 * 72).unwrap(), "cudaupload"),
        ("another context", mock.buffer(&other, None, &nv12), "same device-id"),
        ("no memory", gst::Buffer::new(), "has 0"),
        ("two memories", two, "has 2"),
    ] {
        let error = DeviceMap::read(&context, &buffer)
            .err()
            .unwrap_or_else(|| panic!("{what}"));
        assert_eq!(error.kind(), ErrorKind::InvalidFrame, "{what}");
        assert!(error.to_string().contains(part), "{what}: {error}");
    }
    let buffer = mock.buffer(&context, None, &nv12);
    let map = DeviceMap::read(&context, &buffer).unwrap();
    let error = map.planes(&info(VideoFormat::Nv12, 64, 50)).unwrap_err();
    assert!(error.to_string().contains("64x48"), "{error}");
    drop(map);
    drop((buffer, context, other));
    mock.assert_only(0);
}

#[test]
fn pools_have_the_streams_and_the_sizes_of_the_gpu() {
    for version in [22, 24] {
        let mock = Mock::version(version);
        let (context, other) = (mock.context(0), mock.context(0));
        let caps = info(VideoFormat::Nv12, 65, 35).to_caps().unwrap();
        let own = context.stream();
        assert_eq!(own.is_some(), version == 24);
        let pool = context.pool().unwrap();
        assert!(context.owns(&pool) && !other.owns(&pool));
        assert!(!context.owns(gst_video::VideoBufferPool::new().upcast_ref()));

        let (size, stream) = context.configure(&pool, &caps, 1, (2, 0), own.as_ref()).unwrap();
        assert_eq!(size, 256 * (35 + 18), "1.{version}");
        assert_eq!(stream.as_ref().map(|s| s.0), own.as_ref().map(|s| s.0), "1.{version}");
        // A stream that is set already stays.
        let (_, kept) = context
            .configure(&pool, &caps, 1, (2, 0), context.stream().as_ref())
            .unwrap();
        assert_eq!(kept.map(|s| s.0), own.as_ref().map(|s| s.0), "1.{version}");

        pool.set_active(true).unwrap();
        assert!(context.configure(&pool, &caps, 1, (3, 0), None).is_err(), "in use");
        let mut buffer = pool.acquire_buffer(None).unwrap();
        assert_eq!(buffer.meta::<VideoMeta>().unwrap().stride(), [256, 256]);
        let map = DeviceMap::write(&context, buffer.get_mut().unwrap()).unwrap();
        assert_eq!(map.stream().is_none(), version == 22);
        map.synchronize();
        map.synchronize();
        assert_eq!(
            mock.count("syncs"),
            i32::from(version == 24),
            "pending work is waited for once"
        );
        drop(map);
        drop(buffer);
        pool.set_active(false).unwrap();
        drop((pool, own, stream, context, other));
        mock.assert_only(0);
    }
}

#[test]
fn gstreamers_own_library_does_as_its_documentation_says() {
    let Some(host) = OnHost::enter("gstcuda::tests::gstreamers_own_library_does_as_its_documentation_says") else {
        return;
    };
    let library = Library::get().unwrap();
    // GStreamer's plugin leaves contexts current when it asks for codecs and there are none.
    let depth = host.count("depth");
    {
        let element = gst::ElementFactory::make("identity").build().unwrap();
        let slot = ContextSlot::default();
        let context = slot.ensure(library, &element, 0).unwrap();
        assert_eq!((context.device(), host.count("contexts")), (Some(0), 1));
        assert!(slot.ensure(library, &element, 0).unwrap().object == context.object);
        {
            let _current = context.current().unwrap();
            assert_eq!(host.current(), context.handle());
        }
        assert_eq!(host.count("depth"), depth);
        let mut query = gst::query::Context::new(CONTEXT_TYPE);
        assert!(slot.answer(&element, query.query_mut()));
        let message = query.context_owned().unwrap();
        let (other, neighbour) = (
            ContextSlot::default(),
            gst::ElementFactory::make("identity").build().unwrap(),
        );
        assert!(!other.set(library, &neighbour, &message, 1));
        assert!(other.set(library, &neighbour, &message, 0));
        assert!(other.shared().unwrap().object == context.object);

        for (format, width, height) in [
            (VideoFormat::Nv12, 65, 35),
            (VideoFormat::P01010le, 64, 48),
            (VideoFormat::Rgba, 33, 17),
            (VideoFormat::Bgra, 33, 17),
            (VideoFormat::Rgb, 65, 16),
            (VideoFormat::Rgbx, 16, 16),
            (VideoFormat::Bgrx, 1920, 1080),
        ] {
            let info = info(format, width, height);
            let caps = info.to_caps().unwrap();
            let stream = context.stream();
            assert_eq!(stream.is_some(), gst::version() >= (1, 24, 0, 0));
            let pool = context.pool().unwrap();
            assert!(context.owns(&pool));
            let (size, used) = context.configure(&pool, &caps, 1, (1, 0), stream.as_ref()).unwrap();
            assert_eq!(used.is_some(), stream.is_some());
            pool.set_active(true).unwrap();
            let mut buffer = pool.acquire_buffer(None).unwrap();
            assert_eq!(buffer.size(), size as usize, "{format:?}");
            let (offsets, strides) = {
                let meta = buffer.meta::<VideoMeta>().unwrap();
                (meta.offset().to_vec(), meta.stride().to_vec())
            };
            let planes: Vec<_> = offsets
                .iter()
                .copied()
                .zip(strides.iter().map(|&s| s as usize))
                .collect();
            {
                let map = DeviceMap::write(&context, buffer.get_mut().unwrap()).unwrap();
                let (own, own_strides) = map.planes(&info).unwrap();
                assert_eq!(
                    (&own[..planes.len()], &own_strides[..planes.len()]),
                    (&offsets[..], &strides[..]),
                    "{format:?}"
                );
                assert_eq!(map.len(), size as usize, "{format:?}");
                let spec = FrameSpec {
                    format: PixelFormat::from_name(info.format().to_str()).unwrap(),
                    width: width as usize,
                    height: height as usize,
                    colorimetry: Colorimetry::default(),
                };
                let frame = map.frame(spec, &info, &planes).unwrap();
                for (n, plane) in frame.planes().iter().enumerate() {
                    peek(plane.address, 16).fill(n as u8 + 1);
                }
                map.synchronize();
            }
            // Read by the host, it comes through a copy from the device.
            let bytes = buffer.map_readable().unwrap();
            for (n, &(offset, _)) in planes.iter().enumerate() {
                assert_eq!(&bytes[offset..offset + 16], &[n as u8 + 1; 16], "{format:?}, plane {n}");
            }
            drop(bytes);
            drop(buffer);
            pool.set_active(false).unwrap();
        }
    }
    let live = ["contexts", "memories", "streams"].map(|what| host.count(what));
    assert_eq!(
        (live, host.count("depth")),
        ([0; 3], depth),
        "contexts, memories, streams that live, depth"
    );
}
