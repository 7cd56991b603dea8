//! Buffers with a memory for each plane, as cameras and display controllers give them: the element works on them where
//! they are, and they keep their memories.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Rig, bytes, caps, frame};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::{VideoFrameFlags, VideoInfo, VideoMeta};

mod pool {
    use super::*;

    /// A pool whose buffers have a memory for each plane, with rows longer than they need to be.
    #[derive(Default)]
    pub struct PlanePool {
        info: std::sync::Mutex<Option<VideoInfo>>,
        pub allocated: AtomicUsize,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for PlanePool {
        const NAME: &'static str = "UretinexTestPlanePool";
        type Type = super::PlanePool;
        type ParentType = gst::BufferPool;
    }

    impl ObjectImpl for PlanePool {}
    impl GstObjectImpl for PlanePool {}

    impl BufferPoolImpl for PlanePool {
        fn options() -> &'static [&'static str] {
            &["GstBufferPoolOptionVideoMeta"]
        }

        fn set_config(&self, config: &mut gst::BufferPoolConfigRef) -> bool {
            let (caps, _, min, max) = config.params().unwrap();
            let info = VideoInfo::from_caps(caps.as_ref().unwrap()).unwrap();
            config.set_params(caps.as_ref(), size(&info), min, max);
            *self.info.lock().unwrap() = Some(info);
            self.parent_set_config(config)
        }

        fn alloc_buffer(&self, _: Option<&gst::BufferPoolAcquireParams>) -> Result<gst::Buffer, gst::FlowError> {
            self.allocated.fetch_add(1, Ordering::SeqCst);
            let info = self.info.lock().unwrap().clone().unwrap();
            let mut buffer = gst::Buffer::new();
            let b = buffer.get_mut().unwrap();
            let (mut offsets, mut strides) = (Vec::new(), Vec::new());
            for (plane, (stride, length)) in planes(&info).into_iter().enumerate() {
                // A plane does not begin at the first byte of its memory.
                let gap = 7 * plane;
                offsets.push(b.size() + gap);
                strides.push(stride as i32);
                b.append_memory(gst::Memory::from_mut_slice(vec![0u8; gap + length]));
            }
            let (flags, format) = (VideoFrameFlags::empty(), info.format());
            VideoMeta::add_full(b, flags, format, info.width(), info.height(), &offsets, &strides).unwrap();
            Ok(buffer)
        }
    }

    /// Stride and bytes of each plane.
    pub fn planes(info: &VideoInfo) -> Vec<(usize, usize)> {
        let rows = |plane: u32| {
            let component = (0..info.n_components()).find(|&c| info.comp_plane(c as u8) == plane);
            info.comp_height(component.unwrap() as u8) as usize
        };
        (0..info.n_planes())
            .map(|plane| {
                let stride = info.stride()[plane as usize] as usize + 13;
                (stride, stride * rows(plane))
            })
            .collect()
    }

    fn size(info: &VideoInfo) -> u32 {
        let planes = planes(info).into_iter().enumerate();
        planes.map(|(n, (_, length))| 7 * n + length).sum::<usize>() as u32
    }
}

glib::wrapper! {
    pub struct PlanePool(ObjectSubclass<pool::PlanePool>) @extends gst::BufferPool, gst::Object;
}

impl PlanePool {
    /// For `buffers` frames of `caps` at most, active.
    fn active(caps: &gst::Caps, buffers: u32) -> Self {
        let pool: Self = glib::Object::new();
        let mut config = pool.config();
        config.set_params(Some(caps), 0, 0, buffers);
        pool.set_config(config).unwrap();
        pool.set_active(true).unwrap();
        pool
    }

    fn allocated(&self) -> usize {
        self.imp().allocated.load(Ordering::SeqCst)
    }
}

/// Copies the rows of a tight frame into a buffer of the pool.
fn fill(buffer: &mut gst::BufferRef, info: &VideoInfo, tight: &[u8]) {
    let gaps: Vec<_> = (0..info.n_planes() as usize).map(|plane| 7 * plane).collect();
    for (plane, (memory, (stride, length))) in buffer.iter_memories_mut().unwrap().zip(pool::planes(info)).enumerate() {
        let mut map = memory.map_writable().unwrap();
        let (own, first) = (info.stride()[plane] as usize, info.offset()[plane]);
        for (row, to) in map[gaps[plane]..][..length].chunks_mut(stride).enumerate() {
            to[..own].copy_from_slice(&tight[first + row * own..][..own]);
        }
    }
}

/// The rows of a buffer of the pool as a tight frame.
fn tight(buffer: &gst::BufferRef, info: &VideoInfo) -> Vec<u8> {
    let mut bytes = vec![0; info.size()];
    for (plane, (memory, (stride, length))) in buffer.iter_memories().zip(pool::planes(info)).enumerate() {
        let map = memory.map_readable().unwrap();
        let (own, first) = (info.stride()[plane] as usize, info.offset()[plane]);
        for (row, from) in map[7 * plane..][..length].chunks(stride).enumerate() {
            bytes[first + row * own..][..own].copy_from_slice(&from[..own]);
        }
    }
    bytes
}

fn memories(buffer: &gst::BufferRef) -> Vec<*mut gst::ffi::GstMemory> {
    buffer.iter_memories().map(|memory| memory.as_mut_ptr()).collect()
}

/// Frames whose rows need no padding in a tight frame, so that all its bytes are of pixels.
const FRAMES: [(&str, i32, i32); 5] = [
    ("NV12", 64, 48),
    ("I420", 64, 48),
    ("YV12", 64, 48),
    ("GBR", 64, 47),
    ("P010_10LE", 64, 48),
];

#[test]
fn frames_that_come_keep_their_memories() {
    for (format, width, height) in FRAMES {
        let caps = caps(format, width, height);
        let info = VideoInfo::from_caps(&caps).unwrap();
        let mut rig = Rig::new("identity", &caps);
        let pool = PlanePool::active(&caps, 1);
        let whole = frame(&caps, 0);
        let expected = bytes(&rig.harness.push_and_pull(whole.clone()).unwrap());
        for n in 1..5 {
            // There is one buffer: the pool gives it again once it has come back as it was.
            let mut buffer = pool.acquire_buffer(None).unwrap();
            let b = buffer.get_mut().unwrap();
            b.set_pts(gst::ClockTime::from_mseconds(40 * n));
            fill(b, &info, &bytes(&whole));
            let output = rig.harness.push_and_pull(buffer).unwrap();
            assert!(bytes(&output) == expected, "{format}, frame {n}");
        }
        assert_eq!(pool.allocated(), 1, "{format}: a buffer has lost its memories");
        assert_eq!(
            (rig.count("frames"), rig.count("failed")),
            (5, 0),
            "{format}: {:?}",
            rig.warnings()
        );
        // One that is passed on is as it came, too.
        rig.element.set_property("enabled", false);
        let buffer = pool.acquire_buffer(None).unwrap();
        let before = memories(&buffer);
        let output = rig.harness.push_and_pull(buffer).unwrap();
        assert_eq!(memories(&output), before, "{format}");
        drop(output);
        pool.set_active(false).unwrap();
    }
}

#[test]
fn frames_that_leave_keep_their_memories() {
    for (format, width, height) in FRAMES {
        let caps = caps(format, width, height);
        let info = VideoInfo::from_caps(&caps).unwrap();
        let mut plain = Rig::new("identity", &caps);
        let input = frame(&caps, 0);
        let expected = bytes(&plain.harness.push_and_pull(input.clone()).unwrap());

        let mut rig = Rig::around(common::element("identity"));
        let pool: PlanePool = glib::Object::new();
        let offered = pool.clone();
        let source = rig.element.static_pad("src").unwrap();
        let (kinds, size) = (gst::PadProbeType::QUERY_DOWNSTREAM, info.size() as u32);
        source.add_probe(kinds, move |_, info| {
            if let Some(gst::PadProbeData::Query(query)) = &mut info.data
                && let gst::QueryViewMut::Allocation(query) = query.view_mut()
            {
                query.add_allocation_pool(Some(&offered), size, 0, 1);
                query.add_allocation_meta::<VideoMeta>(None);
                return gst::PadProbeReturn::Handled;
            }
            gst::PadProbeReturn::Ok
        });
        rig.harness.set_src_caps(caps.clone());
        for n in 0..4 {
            let output = rig.harness.push_and_pull(input.clone()).unwrap();
            assert_eq!(output.n_memory(), info.n_planes() as usize, "{format}, frame {n}");
            assert!(tight(&output, &info) == expected, "{format}, frame {n}");
        }
        assert_eq!(pool.allocated(), 1, "{format}: a buffer has lost its memories");
        assert_eq!(
            (rig.count("frames"), rig.count("failed")),
            (4, 0),
            "{format}: {:?}",
            rig.warnings()
        );
    }
}
