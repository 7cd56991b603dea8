//! Frames in CUDA memory: whether the element takes them, the context that it shares, pools, mapping.
//!
//! Whether the machine has what it takes is looked at when the element is started, not before: looking opens CUDA's
//! libraries.

use std::sync::Mutex;
#[cfg(test)]
use std::sync::OnceLock;

use gst_video::{VideoInfo, VideoMeta};
use uretinex::{DeviceFrame, Error, ErrorKind, RawStream, Result, probe};

use super::caps::VideoStream;
use super::category::CAT;
use super::choices::Backend;
use super::finish::Finish;
use super::panics::lock;
use super::planes::{PlaneLayout, ReadablePlanes, WritablePlanes};
use crate::gstcuda::{CONTEXT_TYPE, CudaContext, CudaStream, Library, MappedCudaMemory, SharedContext};

/// The backends that work on a GPU.
const ON_GPU: [&str; 2] = ["cuda", "tensorrt"];

/// What is known of the machine.
enum Machine {
    /// Nothing, as the element is not started. Contexts that it was given meanwhile.
    Unknown(Vec<gst::Context>),
    /// GStreamer's CUDA library, and with it all that frames in CUDA memory need.
    Has(&'static Library),
    /// Why such frames cannot be taken.
    Lacks(String),
}

impl Default for Machine {
    fn default() -> Self {
        Self::Unknown(Vec::new())
    }
}

/// The element's side of GStreamer's CUDA library.
#[derive(Default)]
pub(super) struct CudaMemory {
    context: SharedContext,
    /// The stream of the pools: downstream's, or else the element's own. None before 1.24.
    stream: Mutex<Option<CudaStream>>,
    machine: Mutex<Machine>,
    /// A library in the place of the system's, on a machine that is then taken for one with a GPU.
    #[cfg(test)]
    stand_in: OnceLock<&'static Library>,
}

impl CudaMemory {
    /// The library, if frames in CUDA memory can be taken on this machine.
    fn find_library(&self) -> Result<&'static Library> {
        #[cfg(test)]
        if let Some(library) = self.stand_in.get() {
            return Ok(library);
        }
        match probe().cuda_lacks() {
            Some(lack) => Err(Error::new(ErrorKind::Unsupported, lack)),
            None => Library::get(),
        }
    }

    /// The library, once the element is started on a machine that has it.
    fn library(&self) -> Option<&'static Library> {
        match &*lock(&self.machine) {
            Machine::Has(library) => Some(library),
            _ => None,
        }
    }

    /// Why frames in CUDA memory are not taken, as far as that is known; `None` if they are. `backend` is the property,
    /// `in_use` the backend at work, if the element is started. Opens no library.
    pub fn lacks(&self, backend: Backend, in_use: Option<&str>) -> Option<String> {
        if !takes_cuda(backend) {
            return Some(format!("only backend={} and auto take such frames", ON_GPU.join(", ")));
        }
        let in_use = in_use?;
        if let Machine::Lacks(why) = &*lock(&self.machine) {
            return Some(why.clone());
        }
        if !ON_GPU.contains(&in_use) {
            let on_gpu = ON_GPU.join(" and ");
            return Some(format!("only backend={on_gpu} take such frames, in use is {in_use}"));
        }
        let context = self.context.get();
        context.is_none().then(|| no_context().to_string())
    }

    /// From READY to PAUSED: looks at the machine, and shares a context if the element may come to need one.
    pub fn start(&self, element: &gst::Element, backend: Backend, device: u32) -> Option<CudaContext> {
        if !takes_cuda(backend) {
            return None;
        }
        let found = self.find_library();
        let machine = match &found {
            Ok(library) => Machine::Has(library),
            Err(error) => Machine::Lacks(error.to_string()),
        };
        let before = std::mem::replace(&mut *lock(&self.machine), machine);
        // Contexts are set from within the search, too: no lock is held.
        let made = found.and_then(|library| {
            if let Machine::Unknown(contexts) = before {
                contexts
                    .iter()
                    .for_each(|context| self.take(library, element, context, device));
            }
            self.context.ensure(library, element, device)
        });
        match made {
            Ok(context) => {
                *lock(&self.stream) = context.stream();
                gst::info!(CAT, obj = element, "frames in CUDA memory: on GPU {device}");
                Some(context)
            }
            Err(error) => {
                gst::info!(CAT, obj = element, "frames in CUDA memory are not taken: {error}");
                None
            }
        }
    }

    /// From PAUSED to READY, when nothing uses the context any more.
    pub fn stop(&self) {
        let stream = lock(&self.stream).take();
        drop(stream);
        self.context.clear();
        *lock(&self.machine) = Machine::default();
    }

    /// The application, or an element in the same pipeline, offers a context.
    pub fn set_context(&self, element: &gst::Element, context: &gst::Context, device: u32) {
        if !is_context(context.context_type()) {
            return;
        }
        let library = match &mut *lock(&self.machine) {
            Machine::Unknown(contexts) => {
                contexts.push(context.clone());
                return;
            }
            Machine::Has(library) => *library,
            Machine::Lacks(why) => {
                gst::debug!(CAT, obj = element, "{context:?} is of no use: {why}");
                return;
            }
        };
        self.take(library, element, context, device);
    }

    fn take(&self, library: &'static Library, element: &gst::Element, context: &gst::Context, device: u32) {
        match self.context.set(library, element, context, device) {
            true => gst::debug!(CAT, obj = element, "takes part in {context:?}"),
            false => gst::debug!(CAT, obj = element, "{context:?} is not for GPU {device}"),
        }
    }

    /// The element has asked for a context, and all who might have given one have been heard.
    pub fn asked(&self, element: &gst::Element, device: u32) {
        if let Some(library) = self.library() {
            self.context.adopt(library, element, device);
        }
    }

    /// Answers a neighbour's query for a context; false if there is none.
    pub fn answer(&self, element: &gst::Element, query: &mut gst::QueryRef) -> bool {
        self.context.answer(element, query)
    }

    fn context(&self) -> Result<CudaContext> {
        self.context.get().ok_or_else(no_context)
    }

    fn stream(&self) -> Option<CudaStream> {
        lock(&self.stream).clone()
    }

    /// The pool for frames of `caps` that leave: downstream's if it is of the shared context, or a new one.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if there is neither.
    pub fn decide(&self, query: &mut gst::query::Allocation, caps: &gst::Caps) -> Result<()> {
        let context = self.context()?;
        let own = self.stream();
        let first = query.allocation_pools().next();
        let (min, max) = first.as_ref().map_or((0, 0), |&(_, _, min, max)| (min, max));
        let size = size(caps);
        let theirs = first.as_ref().and_then(|(pool, ..)| pool.clone());
        let theirs = theirs.filter(|pool| context.owns(pool)).and_then(|pool| {
            // One that is in use already keeps its configuration.
            let set = context.configure(&pool, caps, size, (min, max), own.as_ref());
            set.ok().map(|(size, stream)| (pool, size, stream))
        });
        let (pool, size, stream) = match theirs {
            Some(theirs) => theirs,
            None => {
                let pool = context.pool()?;
                let (size, stream) = context.configure(&pool, caps, size, (min, max), own.as_ref())?;
                (pool, size, stream)
            }
        };
        *lock(&self.stream) = stream;
        match first {
            Some(_) => query.set_nth_allocation_pool(0, Some(&pool), size, min, max),
            None => query.add_allocation_pool(Some(&pool), size, min, max),
        }
        Ok(())
    }

    /// Offers upstream a pool for frames of `caps`, in the shared context.
    ///
    /// # Errors
    /// [`ErrorKind::BackendFailed`] if there is none.
    pub fn propose(&self, query: &mut gst::query::Allocation, caps: &gst::Caps, need_pool: bool) -> Result<()> {
        let context = self.context()?;
        let mut size = size(caps);
        let pool = if need_pool {
            let pool = context.pool()?;
            (size, _) = context.configure(&pool, caps, size, (0, 0), self.stream().as_ref())?;
            Some(pool)
        } else {
            None
        };
        query.add_allocation_pool(pool.as_ref(), size, 0, 0);
        if query.find_allocation_meta::<VideoMeta>().is_none() {
            query.add_allocation_meta::<VideoMeta>(None);
        }
        Ok(())
    }
}

/// Whether that setting of `backend` can come to a backend that takes frames in CUDA memory.
fn takes_cuda(backend: Backend) -> bool {
    matches!(backend, Backend::Auto | Backend::Cuda | Backend::TensorRt)
}

/// Whether contexts of that type are CUDA contexts.
pub(super) fn is_context(kind: &str) -> bool {
    kind == CONTEXT_TYPE
}

/// The error of an element that needs a context and does not have one.
pub(super) fn no_context() -> Error {
    Error::new(
        ErrorKind::BackendFailed,
        "the element has no CUDA context: its debug log says why (GST_DEBUG=uretinexenhance:5)",
    )
}

/// Bytes of a frame in system memory: the least that a pool has to give.
fn size(caps: &gst::Caps) -> u32 {
    VideoInfo::from_caps(caps).map_or(0, |info| info.size() as u32)
}

/// Where the planes of a buffer in CUDA memory lie, which is the same in GStreamer's copy of it in system memory.
///
/// # Errors
/// [`ErrorKind::InvalidFrame`] if the buffer is not what the caps say, or not of the context.
fn layout(context: &CudaContext, buffer: &gst::BufferRef, info: &VideoInfo) -> Result<PlaneLayout> {
    match PlaneLayout::of_meta(buffer, info)? {
        Some(layout) => Ok(layout),
        None => own_layout(&MappedCudaMemory::read(context, buffer)?, info),
    }
}

/// Where the planes lie as the memory itself says, for a buffer without a video meta.
fn own_layout(map: &MappedCudaMemory<'_>, info: &VideoInfo) -> Result<PlaneLayout> {
    let (offsets, strides) = map.planes(info)?;
    let planes = info.n_planes() as usize;
    PlaneLayout::new(&offsets[..planes], &strides[..planes])
}

/// A frame in CUDA memory as a copy in system memory, which GStreamer makes.
///
/// # Errors
/// As [`with_mapped`].
pub(super) fn download<'a>(
    context: &CudaContext,
    buffer: &'a gst::BufferRef,
    video: &VideoStream,
) -> Result<ReadablePlanes<'a>> {
    ReadablePlanes::map_as(buffer, layout(context, buffer, &video.info)?, video.spec)
}

/// Finishes a frame in CUDA memory in copies that GStreamer makes in system memory.
///
/// # Errors
/// As [`with_mapped`].
pub(super) fn finish(
    context: &CudaContext,
    (input, output): (&gst::BufferRef, &mut gst::BufferRef),
    video: &VideoStream,
    finish: &Finish,
) -> Result<()> {
    if finish.is_nothing() {
        return Ok(());
    }
    let before = download(context, input, video)?;
    let layout = layout(context, output, &video.info)?;
    let mut after = WritablePlanes::map_as(output, layout, video.spec)?;
    finish.apply(&before.frame()?, &mut after.frame()?);
    Ok(())
}

/// Does `work` on two buffers of the same caps in CUDA memory, from the first to the second.
///
/// It gets the stream in which work on them may be pending, which it has to come after, and is done when it returns.
///
/// # Errors
/// [`ErrorKind::InvalidFrame`] if a buffer is not what the caps say, or not of the context; those of `work`.
pub(super) fn with_mapped<T>(
    context: &CudaContext,
    (input, output): (&gst::BufferRef, &mut gst::BufferRef),
    video: &VideoStream,
    work: impl FnOnce(&DeviceFrame, &DeviceFrame, Option<RawStream>) -> Result<T>,
) -> Result<T> {
    let VideoStream { info, spec, .. } = video;
    let (layout_in, layout_out) = (PlaneLayout::of_meta(input, info)?, PlaneLayout::of_meta(output, info)?);
    let from = MappedCudaMemory::read(context, input)?;
    let to = MappedCudaMemory::write(context, output)?;
    let frame = |map: &MappedCudaMemory<'_>, layout: Option<PlaneLayout>| {
        let layout = layout.map_or_else(|| own_layout(map, info), Ok)?;
        map.frame(*spec, info, layout.planes())
    };
    let (frame_in, frame_out) = (frame(&from, layout_in)?, frame(&to, layout_out)?);
    let after = from.stream();
    if to.stream() != after {
        // What still reads the output from its last use does so in a stream of its own.
        to.synchronize();
    }
    let _current = context.current()?;
    work(&frame_in, &frame_out, after)
}

#[cfg(test)]
mod tests;
