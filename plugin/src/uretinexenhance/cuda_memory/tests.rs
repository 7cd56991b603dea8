//! The element with a mock of GStreamer's CUDA library, on a machine that it takes for one with a GPU.

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoBufferPool;

use super::super::counters::InUse;
use super::super::{URetinexEnhance, imp};
use super::*;
use crate::gstcuda::FEATURE;
use crate::gstcuda::tests::mock::Mock;
use crate::gstcuda::tests::{peek, planes};

mod own_library;

const FORMATS: [&str; 10] = [
    "NV12",
    "P010_10LE",
    "RGBA",
    "BGRA",
    "RGB",
    "RGBx",
    "BGRx",
    "Y444",
    "P016_LE",
    "Y444_16LE",
];

/// The element in a harness; `backend` is the property, and `in_use` what it is to believe of itself when started.
struct Rig {
    element: URetinexEnhance,
    harness: gst_check::Harness,
    bus: gst::Bus,
}

/// The element in NULL, with the mock.
fn element(mock: &Mock) -> URetinexEnhance {
    element_with(mock.library)
}

fn element_with(library: &'static Library) -> URetinexEnhance {
    let element: URetinexEnhance = gst::glib::Object::new();
    element.set_property("model", "lite");
    assert!(element.cuda().stand_in.set(library).is_ok());
    element
}

impl Rig {
    /// Started. There is no GPU: the element has the CPU's networks, and believes that they are a GPU's.
    fn new(mock: &Mock) -> Self {
        let element = element(mock);
        element.set_property_from_str("backend", "auto");
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        element.believes(Some("tensorrt"));
        Self { element, harness, bus }
    }

    fn messages(&self, kind: gst::MessageType) -> Vec<gst::Message> {
        std::iter::from_fn(|| self.bus.pop_filtered(&[kind])).collect()
    }
}

impl Drop for Rig {
    /// Messages hold the element that they came from, which holds the bus.
    fn drop(&mut self) {
        self.bus.set_flushing(true);
    }
}

impl URetinexEnhance {
    fn believes(&self, backend: Option<&'static str>) {
        let in_use = backend.map(|backend| InUse {
            backend,
            model: "lite".into(),
        });
        imp::URetinexEnhance::from_obj(self).reporter.counters().in_use = in_use;
    }

    fn cuda(&self) -> &CudaMemory {
        &imp::URetinexEnhance::from_obj(self).cuda
    }
}

/// Whether tests that start the element have to be left out: it would take the mock's contexts to the real GPU.
fn has_gpu() -> bool {
    let has = probe().cuda_lacks().is_none();
    if has {
        eprintln!("SKIPPED: this machine has a GPU and TensorRT, and the contexts are a mock's");
    }
    has
}

fn caps(format: &str, width: i32, height: i32) -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .features([FEATURE])
        .field("format", format)
        .field("width", width)
        .field("height", height)
        .field("framerate", gst::Fraction::new(25, 1))
        .build()
}

fn offers(pad: &gst::Pad) -> Vec<String> {
    let caps = pad.query_caps(None);
    let cuda = caps.iter_with_features().filter(|(_, f)| f.contains(FEATURE));
    let mut formats = Vec::new();
    for (structure, _) in cuda {
        match structure.get::<gst::List>("format") {
            Ok(list) => formats.extend(list.iter().map(|f| f.get::<String>().unwrap())),
            Err(_) => formats.extend(structure.get::<String>("format").ok()),
        }
    }
    formats
}

#[test]
fn offered_where_it_would_be_taken() {
    if has_gpu() {
        return;
    }
    let mock = Mock::version(24);
    for (backend, in_use, offered) in [
        ("auto", None, true),
        ("tensorrt", None, true),
        ("cpu", None, false),
        ("identity", None, false),
        ("auto", Some("cpu"), false),
        ("identity", Some("identity"), false),
    ] {
        let element = element(&mock);
        element.set_property_from_str("backend", backend);
        if in_use.is_some() {
            element.believes(in_use);
        }
        for pad in ["sink", "src"] {
            let formats = offers(&element.static_pad(pad).unwrap());
            let expected: &[&str] = if offered { &FORMATS } else { &[] };
            assert_eq!(formats, expected, "{pad} with backend={backend}, in use {in_use:?}");
        }
        // System memory always is.
        let caps = element.static_pad("sink").unwrap().query_caps(None);
        assert!(
            caps.iter_with_features()
                .any(|(_, f)| f.contains("memory:SystemMemory")),
            "{caps}"
        );
    }
    let rig = Rig::new(&mock);
    assert_eq!(offers(&rig.element.static_pad("sink").unwrap()), FORMATS);
}

#[test]
fn memory_is_the_same_on_both_sides() {
    if has_gpu() {
        return;
    }
    let mock = Mock::version(24);
    let filter: gst::Caps = "video/x-raw(memory:CUDAMemory), format=NV12; video/x-raw, format=I420"
        .parse()
        .unwrap();
    for (downstream, expected) in [
        (
            "video/x-raw(memory:CUDAMemory), format={NV12, RGBA}",
            Some((FEATURE, "NV12")),
        ),
        (
            "video/x-raw, format={I420, NV12}",
            Some(("memory:SystemMemory", "I420")),
        ),
        ("video/x-raw(memory:GLMemory), format=RGBA", None),
    ] {
        let mut rig = Rig::new(&mock);
        rig.harness.set_sink_caps(downstream.parse().unwrap());
        let offered = rig.element.static_pad("sink").unwrap().query_caps(Some(&filter));
        let found: Vec<_> = offered
            .iter_with_features()
            .map(|(s, f)| (f.to_string(), s.get::<String>("format").unwrap()))
            .collect();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(f, s)| (f.to_owned(), s.to_owned()))
            .collect();
        assert_eq!(found, expected, "{downstream}: {offered}");
    }
}

#[test]
fn caps_that_cannot_be_taken_are_refused_with_the_remedy() {
    if has_gpu() {
        return;
    }
    let mock = Mock::version(24);
    for (what, in_use, caps, parts) in [
        (
            "on the processor",
            "cpu",
            caps("NV12", 64, 48),
            ["in use is cpu", "cudadownload"],
        ),
        ("planar", "tensorrt", caps("I420", 64, 48), ["I420", "cudaconvert"]),
        ("too small", "tensorrt", caps("NV12", 8, 8), ["8x8", "videoscale"]),
    ] {
        let mut rig = Rig::new(&mock);
        rig.element.believes(Some(in_use));
        let good: gst::Caps = "video/x-raw, format=NV12, width=64, height=48, framerate=25/1"
            .parse()
            .unwrap();
        rig.harness.set_src_caps(good);
        let pad = rig.harness.srcpad().unwrap();
        let _ = pad.push_event(gst::event::Caps::new(&caps));
        assert_eq!(
            pad.push(gst::Buffer::new()),
            Err(gst::FlowError::NotNegotiated),
            "{what}"
        );
        let errors = rig.messages(gst::MessageType::Error);
        assert_eq!(errors.len(), 1, "{what}: {errors:?}");
        let gst::MessageView::Error(error) = errors[0].view() else {
            panic!("{what}")
        };
        let text = error.error().to_string();
        assert!(parts.iter().all(|p| text.contains(p)), "{what}: {text}");
        assert!(error.error().matches(gst::StreamError::Format), "{what}");
    }
}

#[test]
fn neighbours_share_a_context() {
    if has_gpu() {
        return;
    }
    let mock = Mock::version(24);
    {
        let pipeline = gst::Pipeline::new();
        let (first, second) = (element(&mock), element(&mock));
        pipeline.add_many([&first, &second]).unwrap();
        first.link(&second).unwrap();
        let bus = pipeline.bus().unwrap();
        pipeline.set_state(gst::State::Paused).unwrap();
        let contexts = [&first, &second].map(|e| e.cuda().context.get().unwrap());
        assert_eq!(mock.count("contexts"), 1);
        assert!(contexts[0].owns(&contexts[1].pool().unwrap()));
        let told: Vec<_> = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::HaveContext])).collect();
        assert_eq!(told.len(), 1, "the pipeline is told once");
        for pad in [first.static_pad("sink"), second.static_pad("src")] {
            let mut query = gst::query::Context::new(crate::gstcuda::CONTEXT_TYPE);
            assert!(pad.unwrap().query(query.query_mut()));
            assert!(query.context_owned().is_some());
        }
        drop(contexts);
        pipeline.set_state(gst::State::Ready).unwrap();
        assert!(first.cuda().context.get().is_none());
        pipeline.set_state(gst::State::Null).unwrap();
    }
    mock.assert_only(0);
}

#[test]
fn pipelines_of_a_process_share_a_context() {
    if has_gpu() {
        return;
    }
    let mock = Mock::version(24);
    {
        let started = |device: u32| {
            let pipeline = gst::Pipeline::new();
            let element = element(&mock);
            element.set_property("device-id", device);
            pipeline.add(&element).unwrap();
            pipeline.set_state(gst::State::Paused).unwrap();
            let have = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::HaveContext]);
            assert!(have.is_some(), "the pipeline is told");
            (pipeline, element)
        };
        let first = started(0);
        let second = started(0);
        assert_eq!(mock.count("contexts"), 1);
        let other = started(1);
        assert_eq!(mock.count("contexts"), 2);
        // It lives as long as one of them.
        first.0.set_state(gst::State::Null).unwrap();
        drop(first);
        let third = started(0);
        assert_eq!(mock.count("contexts"), 2);
        for (pipeline, element) in [second, other, third] {
            pipeline.set_state(gst::State::Null).unwrap();
            assert!(element.cuda().context.get().is_none());
        }
    }
    mock.assert_only(0);
}

#[test]
fn the_applications_context_is_taken() {
    if has_gpu() {
        return;
    }
    let mock = Mock::version(22);
    let given = [mock.context(0), mock.context(1)];
    {
        let pipeline = gst::Pipeline::new();
        let element = element(&mock);
        element.set_property("device-id", 1u32);
        pipeline.add(&element).unwrap();
        let [zero, one] = given.each_ref().map(CudaContext::message);
        pipeline.bus().unwrap().set_sync_handler(move |_, message| {
            if let gst::MessageView::NeedContext(need) = message.view()
                && need.context_type() == crate::gstcuda::CONTEXT_TYPE
                && let Some(element) = message.src().and_then(|s| s.downcast_ref::<gst::Element>())
            {
                element.set_context(&zero);
                element.set_context(&one);
            }
            gst::BusSyncReply::Drop
        });
        pipeline.set_state(gst::State::Paused).unwrap();
        let shared = element.cuda().context.get().unwrap();
        assert_eq!((shared.device(), mock.count("contexts")), (Some(1), 2), "none was made");
        assert!(given[1].owns(&shared.pool().unwrap()));
        drop(shared);
        pipeline.set_state(gst::State::Null).unwrap();
        pipeline.bus().unwrap().unset_sync_handler();
    }
    drop(given);
    mock.assert_only(0);
}

#[test]
fn a_context_given_before_the_start_is_taken() {
    if has_gpu() {
        return;
    }
    let mock = Mock::version(24);
    let given = [mock.context(0), mock.context(1)];
    {
        let element = element(&mock);
        element.set_property("device-id", 1u32);
        given.iter().for_each(|context| element.set_context(&context.message()));
        assert!(
            element.cuda().context.get().is_none(),
            "nothing is done before the start"
        );
        element.set_state(gst::State::Paused).unwrap();
        let shared = element.cuda().context.get().unwrap();
        assert_eq!((shared.device(), mock.count("contexts")), (Some(1), 2), "none was made");
        assert!(given[1].owns(&shared.pool().unwrap()));
        drop(shared);
        element.set_state(gst::State::Null).unwrap();
    }
    drop(given);
    mock.assert_only(0);
}

#[test]
fn pools_are_of_the_shared_context() {
    if has_gpu() {
        return;
    }
    for version in [22, 24] {
        let mock = Mock::version(version);
        {
            let rig = Rig::new(&mock);
            let cuda = rig.element.cuda();
            let (context, other) = (cuda.context.get().unwrap(), mock.context(0));
            let caps = caps("NV12", 65, 35);
            let size = 256 * (35 + 18);
            for (what, offered, kept) in [
                ("none", None, false),
                ("of the context", Some(context.pool().unwrap()), true),
                ("of another context", Some(other.pool().unwrap()), false),
                ("of system memory", Some(VideoBufferPool::new().upcast()), false),
            ] {
                let mut query = gst::query::Allocation::new(Some(&caps), true);
                if offered.is_some() {
                    query.add_allocation_pool(offered.as_ref(), 1, 3, 7);
                }
                cuda.decide(&mut query, &caps).unwrap();
                let pools: Vec<_> = query.allocation_pools().collect();
                let [(Some(pool), bytes, min, max)] = &pools[..] else {
                    panic!("{what}: {pools:?}")
                };
                assert_eq!(offered.as_ref() == Some(pool), kept, "{what}");
                let limits = if offered.is_some() { (3, 7) } else { (0, 0) };
                assert_eq!((*bytes, (*min, *max)), (size, limits), "{what}");
                assert!(context.owns(pool), "{what}");
                assert_eq!(cuda.stream().is_some(), version == 24, "{what}");
            }

            for need_pool in [false, true] {
                let mut query = gst::query::Allocation::new(Some(&caps), need_pool);
                cuda.propose(&mut query, &caps, need_pool).unwrap();
                let (pool, bytes, ..) = query.allocation_pools().next().unwrap();
                assert_eq!(pool.as_ref().is_some_and(|p| context.owns(p)), need_pool);
                assert!(!need_pool || bytes == size);
                assert!(query.find_allocation_meta::<VideoMeta>().is_some());
            }
        }
        mock.assert_only(0);
    }
}

/// Copies what a kernel would: the bytes of every row, but not what is between rows.
fn copy_rows(from: &DeviceFrame, to: &DeviceFrame, rows: &[(usize, usize)]) {
    for ((a, b), &(rows, bytes)) in planes(from).into_iter().zip(planes(to)).zip(rows) {
        for row in 0..rows {
            let source = peek(a.0 + (row * a.1) as u64, bytes);
            peek(b.0 + (row * b.1) as u64, bytes).copy_from_slice(source);
        }
    }
}

#[test]
fn a_frame_goes_from_device_to_device() {
    for (version, meta, one_stream, syncs) in [
        (22, false, false, 0),
        (22, true, false, 0),
        (24, true, true, 0),
        (24, false, false, 1),
    ] {
        let case = format!("1.{version}, meta {meta}, one stream {one_stream}");
        let mock = Mock::version(version);
        {
            let (context, caps) = (mock.context(0), caps("NV12", 65, 35));
            let video = VideoStream::new(&caps, || None).unwrap();
            let (a, b) = (context.stream(), context.stream());
            let mut input = mock.buffer(&context, a.as_ref(), &video.info);
            let mut output = mock.buffer(&context, if one_stream { a.as_ref() } else { b.as_ref() }, &video.info);
            // Something wrote the input.
            drop(MappedCudaMemory::write(&context, input.get_mut().unwrap()).unwrap());
            if meta {
                let (offsets, strides) = ([0, 256 * 35], [256, 256]);
                for buffer in [&mut input, &mut output] {
                    let (buffer, flags) = (buffer.get_mut().unwrap(), gst_video::VideoFrameFlags::empty());
                    VideoMeta::add_full(buffer, flags, video.info.format(), 65, 35, &offsets, &strides).unwrap();
                }
            }
            let pattern = |row: usize, x: usize| (row * 7 + x) as u8;
            let made = with_mapped(
                &context,
                (&input, output.get_mut().unwrap()),
                &video,
                |from, to, stream| {
                    assert_eq!(mock.count("depth"), 1, "{case}: the context is current");
                    assert_eq!(mock.count("mapped"), 2, "{case}");
                    assert_eq!(stream.is_some(), version == 24, "{case}");
                    for row in 0..35 + 18 {
                        let bytes = peek(from.planes()[0].address + 256 * row as u64, 66);
                        bytes.iter_mut().enumerate().for_each(|(x, b)| *b = pattern(row, x));
                    }
                    copy_rows(from, to, &[(35, 65), (18, 66)]);
                    Ok(7)
                },
            );
            assert_eq!(made.unwrap(), 7, "{case}");
            assert_eq!(
                (mock.count("syncs"), mock.count("mapped"), mock.count("depth")),
                (syncs, 0, 0),
                "{case}"
            );
            let map = MappedCudaMemory::read(&context, &output).unwrap();
            let frame = map
                .frame(video.spec, &video.info, &[(0, 256), (256 * 35, 256)])
                .unwrap();
            for row in 0..35 + 18 {
                let bytes = if row < 35 { 65 } else { 66 };
                let expected: Vec<_> = (0..bytes).map(|x| pattern(row, x)).collect();
                let found = peek(frame.planes()[0].address + 256 * row as u64, bytes);
                assert_eq!(found, expected, "{case}, row {row}");
            }
        }
        mock.assert_only(0);
    }
}

#[test]
fn a_frame_that_fails_is_given_back() {
    let mock = Mock::version(24);
    {
        let (context, caps) = (mock.context(0), caps("NV12", 64, 48));
        let video = VideoStream::new(&caps, || None).unwrap();
        let input = mock.buffer(&context, None, &video.info);
        for (what, mut output, parts) in [
            ("work", mock.buffer(&context, None, &video.info), "no such kernel"),
            ("output", gst::Buffer::with_size(64 * 72).unwrap(), "cudaupload"),
        ] {
            let done: Result<()> = with_mapped(&context, (&input, output.get_mut().unwrap()), &video, |_, _, _| {
                Err(Error::new(ErrorKind::BackendFailed, "no such kernel"))
            });
            let error = done.unwrap_err().to_string();
            assert!(error.contains(parts), "{what}: {error}");
            assert_eq!((mock.count("mapped"), mock.count("depth")), (0, 0), "{what}");
        }
    }
    mock.assert_only(0);
}

#[test]
fn buffers_of_the_pool_come_and_go() {
    if has_gpu() {
        return;
    }
    let mock = Mock::version(24);
    {
        let mut rig = Rig::new(&mock);
        let caps = caps("NV12", 64, 48);
        rig.harness.set_src_caps(caps.clone());
        assert_eq!(rig.harness.sinkpad().unwrap().current_caps(), Some(caps.clone()));
        let mut query = gst::query::Allocation::new(Some(&caps), true);
        assert!(rig.harness.srcpad().unwrap().peer_query(&mut query));
        let pool = query.allocation_pools().next().unwrap().0.unwrap();
        pool.set_active(true).unwrap();
        let input = |pts| {
            let mut buffer = pool.acquire_buffer(None).unwrap();
            buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(pts));
            buffer
        };
        rig.element.set_property("enabled", false);
        let buffer = input(0);
        let pointer = buffer.as_ptr();
        assert_eq!(
            rig.harness.push_and_pull(buffer).unwrap().as_ptr(),
            pointer,
            "passed through"
        );

        // The backend is the CPU's: it says that it takes no such frames, and the stream goes on. What a new buffer holds
        // may well be taken for daylight.
        rig.element.set_property("auto-bypass", false);
        rig.element.set_property("enabled", true);
        for n in 1..4 {
            let buffer = input(40 * n);
            let pointer = buffer.as_ptr();
            assert_eq!(
                rig.harness.push_and_pull(buffer).unwrap().as_ptr(),
                pointer,
                "frame {n}"
            );
        }
        let stats: gst::Structure = rig.element.property("stats");
        assert_eq!((stats.get::<u64>("passed"), stats.get::<u64>("failed")), (Ok(1), Ok(3)));
        let warnings = rig.messages(gst::MessageType::Warning);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!((mock.count("mapped"), mock.count("depth")), (0, 0));
        pool.set_active(false).unwrap();
    }
    mock.assert_only(0);
}
