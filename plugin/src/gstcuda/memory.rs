//! Buffers in CUDA memory, mapped on the device.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use gst::glib::ffi::GFALSE;
use gst::glib::translate::from_glib;
use gst_video::VideoInfo;
use uretinex::{DeviceFrame, DevicePlane, Error, ErrorKind, FrameSpec, MAX_PLANES, RawStream, Result};

use super::context::CudaContext;
use super::library::RawCudaMemory;

/// `GST_MAP_CUDA`: the flag after `GST_MAP_FLAG_LAST`.
const MAP_CUDA: u32 = gst::ffi::GST_MAP_FLAG_LAST << 1;

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidFrame, message)
}

/// A buffer's memory on the GPU, mapped: its address and planes are valid until the value is dropped.
pub(crate) struct MappedCudaMemory<'a> {
    context: &'a CudaContext,
    map: gst::ffi::GstMapInfo,
    _buffer: PhantomData<&'a gst::BufferRef>,
}

impl<'a> MappedCudaMemory<'a> {
    /// To be read.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the buffer is not one memory of that context.
    pub fn read(context: &'a CudaContext, buffer: &'a gst::BufferRef) -> Result<Self> {
        Self::new(context, buffer, gst::ffi::GST_MAP_READ)
    }

    /// To be written.
    ///
    /// # Errors
    /// As [`MappedCudaMemory::read`].
    pub fn write(context: &'a CudaContext, buffer: &'a mut gst::BufferRef) -> Result<Self> {
        Self::new(context, buffer, gst::ffi::GST_MAP_WRITE)
    }

    fn new(context: &'a CudaContext, buffer: &'a gst::BufferRef, access: u32) -> Result<Self> {
        if buffer.n_memory() != 1 {
            return Err(invalid(format!(
                "a buffer in CUDA memory must have one memory, this one has {}",
                buffer.n_memory()
            )));
        }
        let memory = buffer.peek_memory(0).as_mut_ptr();
        // SAFETY: the memory is live as long as the buffer.
        if unsafe { (context.library.functions.is_cuda_memory)(memory) } == GFALSE {
            return Err(invalid(
                "the caps say CUDA memory, but the buffer is in memory of another kind: put cudaupload before uretinexenhance"
                    .into(),
            ));
        }
        // SAFETY: it is a `GstCudaMemory`; its context is live as long as it is.
        let owner = unsafe { CudaContext::borrow(context.library, (*memory.cast::<RawCudaMemory>()).context) };
        if owner.object != context.object && owner.handle() != context.handle() {
            return Err(invalid(format!(
                "the buffer is of another CUDA context (GPU {}) than the element's (GPU {}): give both elements the \
                 same device-id, and let them share a context (application: set_context before PAUSED)",
                owner.device().map_or("?".into(), |d| d.to_string()),
                context.device().map_or("?".into(), |d| d.to_string())
            )));
        }
        let mut map = MaybeUninit::uninit();
        // SAFETY: the memory is live, and `map` is filled in if the call succeeds.
        if unsafe { gst::ffi::gst_memory_map(memory, map.as_mut_ptr(), access | MAP_CUDA) } == GFALSE {
            return Err(invalid(
                "the buffer's CUDA memory cannot be mapped: it is in use elsewhere".into(),
            ));
        }
        Ok(Self {
            context,
            // SAFETY: the call succeeded.
            map: unsafe { map.assume_init() },
            _buffer: PhantomData,
        })
    }

    fn memory(&self) -> *mut RawCudaMemory {
        self.map.memory.cast()
    }

    /// Bytes from its address on.
    pub fn len(&self) -> usize {
        self.map.size
    }

    /// Offsets and strides that the memory gives for frames of `info`, for buffers without a video meta.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if it is for other frames.
    pub fn planes(&self, info: &VideoInfo) -> Result<([usize; 4], [i32; 4])> {
        // SAFETY: the memory is a live `GstCudaMemory`; its info is set before it is handed out, and does not change.
        let own = unsafe { &(*self.memory()).info };
        let format = if own.finfo.is_null() {
            gst_video::VideoFormat::Unknown
        } else {
            // SAFETY: the pointer is to one of GStreamer's static descriptions.
            unsafe { from_glib((*own.finfo).format) }
        };
        if format != info.format() || own.width != info.width() as c_int || own.height != info.height() as c_int {
            return Err(invalid(format!(
                "the CUDA memory is for {} {}x{}, the caps say {} {}x{}",
                format.to_str(),
                own.width,
                own.height,
                info.format().to_str(),
                info.width(),
                info.height()
            )));
        }
        Ok((own.offset, own.stride))
    }

    /// The frame whose planes have these offsets and strides, in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the memory is shorter than that, or the core takes no such frame.
    pub fn frame(&self, spec: FrameSpec, info: &VideoInfo, planes: &[(usize, usize)]) -> Result<DeviceFrame> {
        let address = self.map.data as u64;
        let mut device = [DevicePlane { address, stride: 0 }; MAX_PLANES];
        for (n, (plane, &(offset, stride))) in device.iter_mut().zip(planes).enumerate() {
            let needed = extent(info, n as u32, stride).and_then(|extent| extent.checked_add(offset));
            if needed.is_none_or(|needed| needed > self.len()) {
                return Err(invalid(format!(
                    "the buffer's CUDA memory of {} bytes is shorter than its caps say: plane {n} begins at {offset} \
                     and has rows of {stride} bytes",
                    self.len()
                )));
            }
            *plane = DevicePlane {
                address: address + offset as u64,
                stride,
            };
        }
        // SAFETY: the planes lie within the mapped memory, which `self` keeps.
        unsafe { DeviceFrame::new(spec, &device[..planes.len().min(MAX_PLANES)]) }
    }

    /// The stream in which work on the memory may be pending, if there is one.
    pub fn stream(&self) -> Option<RawStream> {
        let streams = self.context.library.streams.as_ref()?;
        // SAFETY: the memory is a live `GstCudaMemory`, which has a reference to its stream; null stands for none.
        let stream = unsafe { (streams.stream_get_handle)((streams.memory_get_stream)(self.memory())) };
        // SAFETY: it is a stream of the memory's context, and lives while the memory does.
        (!stream.is_null()).then(|| unsafe { RawStream::new(stream) })
    }

    /// Waits until no work on the memory is pending.
    pub fn synchronize(&self) {
        if let Some(streams) = &self.context.library.streams {
            // SAFETY: the memory is a live `GstCudaMemory`.
            unsafe { (streams.memory_sync)(self.memory()) };
        }
    }
}

impl Drop for MappedCudaMemory<'_> {
    fn drop(&mut self) {
        // SAFETY: the map is that of `gst_memory_map`, and is used for the last time.
        unsafe { gst::ffi::gst_memory_unmap(self.map.memory, &mut self.map) };
    }
}

/// Bytes from a plane's beginning to its end, the last row without its padding; none if that is no number.
fn extent(info: &VideoInfo, plane: u32, stride: usize) -> Option<usize> {
    let format = info.format_info();
    let (mut rows, mut row) = (0, 0);
    for component in (0..info.n_components()).filter(|&c| info.comp_plane(c as u8) == plane) {
        let pixels = format.scale_width(component as u8, info.width()) as usize;
        row = row.max(pixels.checked_mul(info.comp_pstride(component as u8) as usize)?);
        rows = rows.max(format.scale_height(component as u8, info.height()) as usize);
    }
    rows.checked_sub(1)?.checked_mul(stride)?.checked_add(row)
}
