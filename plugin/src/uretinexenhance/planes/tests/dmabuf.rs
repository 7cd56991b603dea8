//! Frames in memory that is known by a file descriptor. A file stands in for a device's memory: it is mapped as such, and
//! is a DMABuf to GStreamer if the allocator of these has made it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::os::fd::IntoRawFd;

use gst_allocators::prelude::*;
use gst_allocators::{DmaBufAllocator, FdAllocator, FdMemoryFlags};

use super::*;

/// A file without a name that holds `bytes`.
fn file(bytes: &[u8]) -> File {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("uretinex-dmabuf-{}-{number}", std::process::id()));
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// The same buffer with its memories in files, as DMABufs or as plain descriptors.
fn in_files(buffer: &gst::BufferRef, dmabuf: bool) -> gst::Buffer {
    let memories = buffer.iter_memories().map(|memory| {
        let bytes = memory.map_readable().unwrap();
        // SAFETY: the descriptor is the memory's from here on, and the file is as long as it says.
        unsafe {
            let fd = file(&bytes).into_raw_fd();
            match dmabuf {
                true => DmaBufAllocator::new().alloc_dmabuf(fd, bytes.len()),
                false => FdAllocator::new().alloc_fd(fd, bytes.len(), FdMemoryFlags::NONE),
            }
        }
        .unwrap()
    });
    let mut copy: gst::Buffer = memories.collect();
    let meta = buffer.meta::<VideoMeta>().unwrap();
    VideoMeta::add_full(
        copy.get_mut().unwrap(),
        VideoFrameFlags::empty(),
        meta.format(),
        meta.width(),
        meta.height(),
        meta.offset(),
        meta.stride(),
    )
    .unwrap();
    copy
}

#[test]
fn a_dmabuf_is_copied_once_and_other_memory_is_read_where_it_is() {
    for format in FORMATS {
        let (info, spec) = described(format);
        for layout in [(0, 0), (13, 5)] {
            let buffer = memory_per_plane(format, &info, layout);
            for dmabuf in [true, false] {
                let what = format!("{format:?} {layout:?}, a DMABuf: {dmabuf}");
                let buffer = in_files(&buffer, dmabuf);
                let before = memories(&buffer);
                // While these are mapped, a second map is at the same place.
                let maps: Vec<_> = buffer.iter_memories().map(|m| m.map_readable().unwrap()).collect();
                let planes = ReadablePlanes::map(&buffer, &info, spec).unwrap();
                let frame = planes.frame().unwrap();
                for (plane, map) in maps.iter().enumerate() {
                    let own = map.as_ptr_range();
                    for y in 0..format.rows(plane, HEIGHT) {
                        let row = frame.row(plane, y);
                        let right = row.iter().enumerate().all(|(x, &byte)| byte == pattern(plane, x, y));
                        assert!(right, "{what}: plane {plane}, row {y}");
                        assert_eq!(own.contains(&row.as_ptr()), !dmabuf, "{what}: plane {plane}, row {y}");
                    }
                }
                let copies = planes.maps.iter().flatten();
                let copies = copies.filter(|(_, map)| matches!(map, PlaneMap::Copied(_))).count();
                assert_eq!(copies, if dmabuf { format.planes() } else { 0 }, "{what}");
                drop(planes);
                drop(maps);
                assert_eq!(memories(&buffer), before, "{what}");
            }
        }
    }
}

#[test]
fn planes_in_one_dmabuf_are_one_copy() {
    let (info, spec) = described(PixelFormat::I420);
    let bytes: Vec<u8> = (0..info.size()).map(|i| (i % 251) as u8).collect();
    let mut whole = gst::Buffer::from_mut_slice(bytes.clone());
    with_meta(whole.get_mut().unwrap(), &info, info.offset(), info.stride());
    let buffer = in_files(&whole, true);
    let planes = ReadablePlanes::map(&buffer, &info, spec).unwrap();
    assert_eq!(planes.maps.iter().flatten().count(), 1);
    let frame = planes.frame().unwrap();
    for plane in 0..3 {
        let start = info.offset()[plane] + 3 * info.stride()[plane] as usize;
        let row = frame.row(plane, 3);
        assert!(row == &bytes[start..start + row.len()], "{plane}");
    }
}

/// Output buffers of such memory are written where they are: what comes next reads them.
#[test]
fn a_dmabuf_is_written_where_it_is() {
    let (info, spec) = described(PixelFormat::Nv12);
    let mut buffer = in_files(&memory_per_plane(PixelFormat::Nv12, &info, (0, 3)), true);
    let before = memories(&buffer);
    let mut planes = WritablePlanes::map(buffer.get_mut().unwrap(), &info, spec).unwrap();
    planes.frame().unwrap().row_mut(1, 2).fill(77);
    drop(planes);
    assert_eq!(memories(&buffer), before);
    let planes = ReadablePlanes::map(&buffer, &info, spec).unwrap();
    let frame = planes.frame().unwrap();
    assert!(frame.row(1, 2).iter().all(|&byte| byte == 77));
    assert_eq!(frame.row(0, 2)[5], pattern(0, 5, 2));
}
