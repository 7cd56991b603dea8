//! GStreamer's own CUDA library and elements, in a process whose driver has the host for a GPU.

use super::super::super::choices::Compare;
use super::super::super::finish::Finish;
use super::super::super::memory_features::is_cuda;
use super::super::super::settings::Settings;
use super::*;
use crate::gstcuda::tests::on_host::OnHost;

/// `frames` frames through GStreamer's own uploader, the element and the downloader. The caps between the first two are
/// `first`, and `second` after a frame. What went in and what came out, the element's counts, and whether it was given
/// CUDA memory to the end.
fn through_own_elements(
    host: &OnHost,
    format: &str,
    frames: usize,
    (first, second): (&str, &str),
    configure: &dyn Fn(&URetinexEnhance, &gst::Element),
) -> ([Vec<Vec<u8>>; 2], gst::Structure, bool) {
    let pipeline = gst::Pipeline::new();
    let element = element_with(Library::get().unwrap());
    let make = |name: &str| gst::ElementFactory::make(name).build().unwrap();
    let (source, filter, upload, memory) = (
        make("videotestsrc"),
        make("capsfilter"),
        make("cudaupload"),
        make("capsfilter"),
    );
    let (download, last, sink) = (make("cudadownload"), make("capsfilter"), make("fakesink"));
    source.set_property("num-buffers", frames as i32);
    configure(&element, &source);
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", format)
        .field("width", 65)
        .field("height", 35);
    filter.set_property("caps", caps.build());
    memory.set_property_from_str("caps", first);
    last.set_property_from_str("caps", "video/x-raw");
    let all = [
        &source,
        &filter,
        &upload,
        &memory,
        element.upcast_ref(),
        &download,
        &last,
        &sink,
    ];
    pipeline.add_many(all).unwrap();
    gst::Element::link_many(all).unwrap();
    let seen = [Vec::new(), Vec::new()].map(|v| std::sync::Arc::new(Mutex::new(v)));
    for (pad, seen) in [filter.static_pad("src"), sink.static_pad("sink")]
        .into_iter()
        .zip(&seen)
    {
        let seen = seen.clone();
        pad.unwrap().add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let (buffer, caps) = (info.buffer().unwrap(), pad.current_caps().unwrap());
            seen.lock()
                .unwrap()
                .push(rows(buffer, &VideoInfo::from_caps(&caps).unwrap()));
            gst::PadProbeReturn::Ok
        });
    }
    // From the second frame on, other memory is allowed as well.
    let (weak, second) = (memory.downgrade(), second.to_owned());
    memory
        .static_pad("src")
        .unwrap()
        .add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if let Some(memory) = weak.upgrade() {
                memory.set_property_from_str("caps", &second);
            }
            gst::PadProbeReturn::Remove
        });
    // Started by itself first, to make it believe that it works on a GPU.
    element.set_state(gst::State::Paused).unwrap();
    assert_eq!(host.count("contexts"), 1);
    element.believes(Some("tensorrt"));
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline
        .bus()
        .unwrap()
        .timed_pop_filtered(gst::ClockTime::from_seconds(180), &ends);
    let ended = message.as_ref().is_some_and(|m| m.type_() == gst::MessageType::Eos);
    let contexts = host.count("contexts");
    let on_gpu = is_cuda(
        &element
            .static_pad("sink")
            .unwrap()
            .current_caps()
            .unwrap_or_else(gst::Caps::new_empty),
    );
    let stats: gst::Structure = element.property("stats");
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(ended, "{format}: {message:?}");
    assert_eq!(contexts, 1, "{format}: all elements work in one context");
    (seen.each_ref().map(|s| s.lock().unwrap().clone()), stats, on_gpu)
}

/// GStreamer's own uploader and downloader on both sides, on a driver whose GPU is the host.
#[test]
fn frames_come_from_and_go_to_gstreamers_own_elements() {
    if has_gpu() {
        return;
    }
    let name = "uretinexenhance::cuda_memory::tests::own_library::frames_come_from_and_go_to_gstreamers_own_elements";
    let Some(host) = OnHost::enter(name) else { return };
    let (cuda, any) = (
        "video/x-raw(memory:CUDAMemory)",
        "video/x-raw(memory:CUDAMemory); video/x-raw",
    );
    for format in ["NV12", "RGBA"] {
        let ([sent, received], stats, on_gpu) = through_own_elements(&host, format, 5, (cuda, cuda), &|element, _| {
            element.set_property("enabled", false);
        });
        assert!(on_gpu, "{format}");
        assert_eq!(stats.get::<u64>("passed"), Ok(5), "{format}: {stats}");
        assert_eq!(sent.len(), 5, "{format}");
        assert!(sent == received, "{format}: up and down again");

        // The backend turns out to be the processor: what it cannot reach goes on untouched, and the rest of the stream
        // comes in system memory.
        let ([sent, received], stats, on_gpu) = through_own_elements(&host, format, 30, (cuda, any), &|element, _| {
            element.set_property("auto-bypass", false);
        });
        assert!(!on_gpu, "{format}");
        let count = |name| stats.get::<u64>(name).unwrap() as usize;
        assert!(count("failed") >= 1 && count("frames") >= 1, "{format}: {stats}");
        assert_eq!(count("failed") + count("frames"), 30, "{format}: {stats}");
        let untouched = count("failed");
        assert!(sent[..untouched] == received[..untouched], "{format}");
        assert!(
            sent[untouched..]
                .iter()
                .zip(&received[untouched..])
                .all(|(a, b)| a != b),
            "{format}"
        );

        let live = ["contexts", "memories", "streams"].map(|what| host.count(what));
        assert_eq!(live, [0; 3], "{format}: contexts, memories, streams that live");
    }
}

/// By day nothing is done to frames in CUDA memory. At night they go to the backend, which here is the processor's and
/// refuses them.
#[test]
fn daylight_in_cuda_memory_goes_through_untouched() {
    if has_gpu() {
        return;
    }
    let name = "uretinexenhance::cuda_memory::tests::own_library::daylight_in_cuda_memory_goes_through_untouched";
    let Some(host) = OnHost::enter(name) else { return };
    let (cuda, any) = (
        "video/x-raw(memory:CUDAMemory)",
        "video/x-raw(memory:CUDAMemory); video/x-raw",
    );
    // The element finds out that it works on the processor: after a frame or more in CUDA memory the rest is in system memory.
    let through = |format, pattern| {
        through_own_elements(&host, format, 5, (cuda, any), &|_, source| {
            source.set_property_from_str("pattern", pattern);
        })
    };
    for format in ["NV12", "RGBA"] {
        let ([sent, received], stats, _) = through(format, "white");
        assert!(sent.len() == 5 && sent == received, "{format}");
        assert_eq!(stats.get::<u64>("passed"), Ok(5), "{format}: {stats}");
        assert_eq!(stats.get::<&str>("light"), Ok("day"), "{format}: {stats}");
        let (_, stats, _) = through(format, "black");
        assert!(stats.get::<u64>("failed").unwrap() >= 1, "{format}: {stats}");
        assert_eq!(stats.get::<u64>("passed"), Ok(0), "{format}: {stats}");
        assert_eq!(stats.get::<&str>("light"), Ok("night"), "{format}: {stats}");
    }
}

/// Colour is taken out, regions are put back and halves compared in CUDA memory too.
#[test]
fn frames_in_cuda_memory_are_finished() {
    let name = "uretinexenhance::cuda_memory::tests::own_library::frames_in_cuda_memory_are_finished";
    let Some(host) = OnHost::enter(name) else { return };
    {
        let element = gst::ElementFactory::make("identity").build().unwrap();
        let slot = SharedContext::default();
        let context = slot.ensure(Library::get().unwrap(), &element, 0).unwrap();
        let caps = caps("NV12", 64, 48);
        let video = VideoStream::new(&caps, || None).unwrap();
        let pool = context.pool().unwrap();
        context.configure(&pool, &caps, size(&caps), (2, 0), None).unwrap();
        pool.set_active(true).unwrap();
        // As GPU's work leaves them.
        let filled = |value: u8| {
            let mut buffer = pool.acquire_buffer(None).unwrap();
            let map = MappedCudaMemory::write(&context, buffer.get_mut().unwrap()).unwrap();
            let (offsets, _) = map.planes(&video.info).unwrap();
            let address = map.frame(video.spec, &video.info, &[(offsets[0], 256), (offsets[1], 256)]);
            peek(address.unwrap().planes()[0].address, map.len()).fill(value);
            drop(map);
            buffer
        };
        let settings = |name: &str, value: &dyn Fn() -> gst::glib::Value| {
            let mut settings = Settings::default();
            settings.set(name, &value()).unwrap();
            settings.live
        };
        let plain = Settings::default().live;
        let regions = settings("regions", &|| "0,0,16,16".to_value());
        let split = settings("compare", &|| Compare::Split.to_value());
        // What the output has in luma left, luma right, chroma; in it are 200, in the input 100.
        for (what, live, grey, expected) in [
            ("nothing", &plain, false, [200, 200, 200]),
            ("grey", &plain, true, [200, 200, 128]),
            ("regions", &regions, false, [100, 200, 100]),
            ("split", &split, false, [100, 200, 100]),
        ] {
            let (input, mut output) = (filled(100), filled(200));
            let how = Finish::new(&input, live, grey);
            finish(&context, (&input, output.get_mut().unwrap()), &video, &how).unwrap();
            // On the device, where downstream finds it.
            let map = MappedCudaMemory::read(&context, &output).unwrap();
            let (offsets, _) = map.planes(&video.info).unwrap();
            let frame = map.frame(video.spec, &video.info, &[(offsets[0], 256), (offsets[1], 256)]);
            let frame = frame.unwrap();
            let [luma, chroma] = [0, 1].map(|n| peek(frame.planes()[n].address, 60));
            assert_eq!([luma[2], luma[56], chroma[2]], expected, "{what}");
        }
        pool.set_active(false).unwrap();
    }
    let live = ["contexts", "memories", "streams"].map(|what| host.count(what));
    assert_eq!(live, [0; 3], "contexts, memories, streams that live");
}

/// The bytes of a buffer's rows, without what is between them.
fn rows(buffer: &gst::BufferRef, info: &VideoInfo) -> Vec<u8> {
    let layout = PlaneLayout::of(buffer, info).unwrap();
    let map = buffer.map_readable().unwrap();
    let mut bytes = Vec::new();
    for (n, &(offset, stride)) in layout.planes().iter().enumerate() {
        let (rows, row) = match (info.n_planes(), n) {
            (1, _) => (info.height(), info.width() * 4),
            (_, 0) => (info.height(), info.width()),
            _ => (info.height().div_ceil(2), info.width().div_ceil(2) * 2),
        };
        for y in 0..rows as usize {
            bytes.extend_from_slice(&map[offset + y * stride..][..row as usize]);
        }
    }
    bytes
}

/// Each of two elements asks the other for a context while that one asks it.
#[test]
fn elements_that_start_at_once_do_not_wait_for_each_other() {
    if has_gpu() {
        return;
    }
    let name =
        "uretinexenhance::cuda_memory::tests::own_library::elements_that_start_at_once_do_not_wait_for_each_other";
    let Some(host) = OnHost::enter(name) else { return };
    for round in 0..20 {
        let pipeline = gst::Pipeline::new();
        let elements: Vec<_> = (0..4).map(|_| element_with(Library::get().unwrap())).collect();
        pipeline.add_many(&elements).unwrap();
        gst::Element::link_many(&elements).unwrap();
        let barrier = std::sync::Barrier::new(elements.len());
        let (sender, done) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for element in &elements {
                let (sender, barrier) = (sender.clone(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    sender.send(element.set_state(gst::State::Paused)).unwrap();
                });
            }
            for _ in &elements {
                let change = done.recv_timeout(std::time::Duration::from_secs(120));
                if !change.is_ok_and(|change| change.is_ok()) {
                    // A thread that waits for ever would keep the scope open.
                    eprintln!("round {round}: an element did not start");
                    std::process::exit(1);
                }
            }
        });
        assert_eq!(host.count("contexts"), 1, "round {round}");
        pipeline.set_state(gst::State::Null).unwrap();
        pipeline.bus().unwrap().set_flushing(true);
    }
    assert_eq!(host.count("contexts"), 0);
}
