//! Against a mock of the library, compiled here, and against the real one where it is installed.

pub(crate) mod compiler;
pub(crate) mod mock;
pub(crate) mod on_host;

use gst_video::{VideoFormat, VideoInfo, VideoMeta};
use uretinex::{Colorimetry, DeviceFrame, ErrorKind, FrameSpec, PixelFormat};

use super::library::{FILE, Functions, StreamFunctions, lacking};
use super::*;
use gst::prelude::*;
use mock::{Mock, open};
use on_host::OnHost;

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
    let slot = SharedContext::default();
    assert!(slot.get().is_none());
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
    assert!(slot.get().is_none());
    // The base class keeps what it was given.
    drop((slot, context, element));
    mock.assert_only(0);
}

#[test]
fn contexts_of_other_gpus_are_left_alone() {
    let mock = Mock::version(22);
    let element = gst::ElementFactory::make("identity").build().unwrap();
    let slot = SharedContext::default();
    let given = mock.context(1);
    assert!(!slot.set(mock.library, &element, &given.message(), 0));
    assert!(!slot.set(mock.library, &element, &gst::Context::new("gst.gl.GLDisplay", true), 1));
    assert!(slot.get().is_none());
    assert!(slot.set(mock.library, &element, &given.message(), 1));
    assert!(slot.get().unwrap().object == given.object);
    slot.clear();
    assert_eq!((slot.get().is_none(), given.object.ref_count()), (true, 1));
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
        let map = MappedCudaMemory::read(&context, &buffer).unwrap();
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
    drop(MappedCudaMemory::write(&context, buffer.get_mut().unwrap()).unwrap());
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
        let map = MappedCudaMemory::read(&context, &buffer).unwrap();
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
        let error = MappedCudaMemory::read(&context, &buffer)
            .err()
            .unwrap_or_else(|| panic!("{what}"));
        assert_eq!(error.kind(), ErrorKind::InvalidFrame, "{what}");
        assert!(error.to_string().contains(part), "{what}: {error}");
    }
    let buffer = mock.buffer(&context, None, &nv12);
    let map = MappedCudaMemory::read(&context, &buffer).unwrap();
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
        let map = MappedCudaMemory::write(&context, buffer.get_mut().unwrap()).unwrap();
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
        let slot = SharedContext::default();
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
            SharedContext::default(),
            gst::ElementFactory::make("identity").build().unwrap(),
        );
        assert!(!other.set(library, &neighbour, &message, 1));
        assert!(other.set(library, &neighbour, &message, 0));
        assert!(other.get().unwrap().object == context.object);

        for (format, width, height) in [
            (VideoFormat::Nv12, 65, 35),
            (VideoFormat::P01010le, 64, 48),
            (VideoFormat::Rgba, 33, 17),
            (VideoFormat::Bgra, 33, 17),
            (VideoFormat::Rgb, 65, 16),
            (VideoFormat::Rgbx, 16, 16),
            (VideoFormat::Bgrx, 1920, 1080),
            (VideoFormat::Y444, 65, 35),
            (VideoFormat::P016Le, 65, 35),
            (VideoFormat::Y44416le, 33, 17),
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
                let map = MappedCudaMemory::write(&context, buffer.get_mut().unwrap()).unwrap();
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
