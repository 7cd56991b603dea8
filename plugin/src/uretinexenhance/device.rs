//! Frames in CUDA memory: whether this element takes them, the context that it shares, the pools, one frame's way.

use std::sync::{Mutex, OnceLock, PoisonError};

use gst_video::{VideoInfo, VideoMeta};
use uretinex::{DeviceFrame, Error, ErrorKind, RawStream, Result, probe};

use super::buffers::Layout;
use super::caps::Stream as Video;
use super::{Backend, CAT};
use crate::gstcuda::{self, ContextSlot, CudaContext, DeviceMap, Library, Stream};

#[cfg(test)]
mod tests;

/// The backend that works on a GPU.
const ON_GPU: &str = "tensorrt";

/// The element's side of GStreamer's CUDA library.
#[derive(Default)]
pub(super) struct Device {
    slot: ContextSlot,
    /// The stream of the pools: downstream's, or else the element's own. None before 1.24.
    stream: Mutex<Option<Stream>>,
    /// A library that tests put in the place of the system's, on a machine that is then taken for one with a GPU.
    stand_in: OnceLock<&'static Library>,
}

impl Device {
    fn library(&self) -> Result<&'static Library> {
        self.stand_in.get().map_or_else(Library::get, |&library| Ok(library))
    }

    /// The library, if frames in CUDA memory can be taken with that setting of `backend`, once the element is started.
    fn usable(&self, backend: Backend) -> Result<&'static Library> {
        let unusable = |why: String| Error::new(ErrorKind::Unsupported, why);
        if !matches!(backend, Backend::Auto | Backend::TensorRt) {
            return Err(unusable(format!("only backend={ON_GPU} and auto take such frames")));
        }
        if self.stand_in.get().is_none()
            && let Some(lack) = probe().tensorrt_lacks()
        {
            return Err(unusable(lack));
        }
        self.library()
    }

    /// Why frames in CUDA memory are not taken, `None` if they are. `in_use` is the backend at work, if the element is
    /// started; `backend` is the property.
    pub fn lacks(&self, backend: Backend, in_use: Option<&str>) -> Option<String> {
        match (self.usable(backend), in_use) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(_), None) => None,
            (Ok(_), Some(ON_GPU)) => {
                let context = self.slot.shared();
                context.is_none().then(|| no_context().to_string())
            }
            (Ok(_), Some(other)) => Some(format!("only backend={ON_GPU} takes such frames, in use is {other}")),
        }
    }

    /// From READY to PAUSED: the context that the pipeline shares, if the element may come to need one.
    pub fn start(&self, element: &gst::Element, backend: Backend, device: u32) -> Option<CudaContext> {
        let made = self
            .usable(backend)
            .and_then(|library| self.slot.ensure(library, element, device));
        match made {
            Ok(context) => {
                *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = context.stream();
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
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(stream);
        self.slot.clear();
    }

    /// The application, or an element in the same pipeline, offers a context.
    pub fn set_context(&self, element: &gst::Element, context: &gst::Context, backend: Backend, device: u32) {
        if !is_context(context.context_type()) {
            return;
        }
        match self.usable(backend) {
            Ok(library) if self.slot.set(library, element, context, device) => {
                gst::debug!(CAT, obj = element, "takes part in {context:?}");
            }
            Ok(_) => gst::debug!(CAT, obj = element, "{context:?} is not for GPU {device}"),
            Err(error) => gst::debug!(CAT, obj = element, "{context:?} is of no use: {error}"),
        }
    }

    /// The element has asked for a context, and all who might have given one have been heard.
    pub fn asked(&self, element: &gst::Element, backend: Backend, device: u32) {
        if let Ok(library) = self.usable(backend) {
            self.slot.adopt(library, element, device);
        }
    }

    /// Answers a neighbour's query for a context; false if there is none.
    pub fn answer(&self, element: &gst::Element, query: &mut gst::QueryRef) -> bool {
        self.slot.answer(element, query)
    }

    fn context(&self) -> Result<CudaContext> {
        self.slot.shared().ok_or_else(no_context)
    }

    fn stream(&self) -> Option<Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = stream;
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

/// Whether contexts of that type are CUDA contexts.
pub(super) fn is_context(kind: &str) -> bool {
    kind == gstcuda::CONTEXT_TYPE
}

/// The error of an element that should have a context and has not.
pub(super) fn no_context() -> Error {
    Error::new(
        ErrorKind::BackendFailed,
        "the element has no CUDA context: its debug log says why (GST_DEBUG=uretinexenhance:5)",
    )
}

/// Whether frames of these caps are in CUDA memory.
pub(super) fn holds(caps: &gst::CapsRef) -> bool {
    caps.features(0).is_some_and(|f| f.contains(gstcuda::FEATURE))
}

/// Whether `caps` has CUDA memory among what it allows.
pub(super) fn mentioned(caps: &gst::CapsRef) -> bool {
    caps.iter_with_features().any(|(_, f)| f.contains(gstcuda::FEATURE))
}

/// What `caps` allows beside CUDA memory.
pub(super) fn without(caps: &gst::CapsRef) -> gst::Caps {
    let others = caps.iter_with_features().filter(|(_, f)| !f.contains(gstcuda::FEATURE));
    others.map(|(s, f)| (s.to_owned(), f.to_owned())).collect()
}

/// Bytes of a frame in system memory: the least that a pool has to give.
fn size(caps: &gst::Caps) -> u32 {
    VideoInfo::from_caps(caps).map_or(0, |info| info.size() as u32)
}

/// Does `work` on two buffers of the same caps in CUDA memory, from the one to the other.
///
/// It gets the stream in which work on them may be pending, which it has to come after, and is done when it returns.
///
/// # Errors
/// [`ErrorKind::InvalidFrame`] if a buffer is not what the caps say, or not of the context; those of `work`.
pub(super) fn between<T>(
    context: &CudaContext,
    (input, output): (&gst::BufferRef, &mut gst::BufferRef),
    video: &Video,
    work: impl FnOnce(&DeviceFrame, &DeviceFrame, Option<RawStream>) -> Result<T>,
) -> Result<T> {
    let Video { info, spec, .. } = video;
    let (layout_in, layout_out) = (Layout::of_meta(input, info)?, Layout::of_meta(output, info)?);
    let from = DeviceMap::read(context, input)?;
    let to = DeviceMap::write(context, output)?;
    let frame = |map: &DeviceMap<'_>, layout: Option<Layout>| {
        let layout = layout.map_or_else(
            || {
                let (offsets, strides) = map.planes(info)?;
                Layout::new(
                    &offsets[..info.n_planes() as usize],
                    &strides[..info.n_planes() as usize],
                )
            },
            Ok,
        )?;
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
