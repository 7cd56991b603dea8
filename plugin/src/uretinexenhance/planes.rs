//! Buffers as the core's frames. Each plane is mapped where it lies, so that a buffer of several memories keeps them.
//! Whatever strides and offsets a buffer has, nothing is read or written outside it.

use std::ops::Range;

use gst::buffer::BufferMap;
use gst::glib;
use gst::memory::{MappedMemory, MemoryMap, Readable, Writable};
use gst_video::{VideoCropMeta, VideoInfo, VideoMeta};
use uretinex::{Error, ErrorKind, Frame, FrameMut, FrameSpec, MAX_PLANES, PixelFormat, Plane, PlaneMut, Result};

/// Where the planes of a buffer begin, counted over all its memories, and their strides, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PlaneLayout {
    planes: [(usize, usize); MAX_PLANES],
    count: usize,
}

impl PlaneLayout {
    /// The layout that the buffer's video meta gives, or else the one that follows from the caps.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the meta does not describe a frame of the caps.
    pub fn of(buffer: &gst::BufferRef, info: &VideoInfo) -> Result<Self> {
        Self::of_meta(buffer, info)?.map_or_else(|| Self::new(info.offset(), info.stride()), Ok)
    }

    /// The layout that the buffer's video meta gives, if it has one. The meta may describe a larger frame than the caps:
    /// the frame is then the part that a crop meta names, or else its upper left part.
    ///
    /// # Errors
    /// As [`PlaneLayout::of`].
    pub fn of_meta(buffer: &gst::BufferRef, info: &VideoInfo) -> Result<Option<Self>> {
        match buffer.meta::<VideoMeta>() {
            None => Ok(None),
            Some(meta) => {
                if meta.format() != info.format() || meta.width() < info.width() || meta.height() < info.height() {
                    return Err(Error::new(
                        ErrorKind::InvalidFrame,
                        format!(
                            "the buffer's video meta says {} {}x{}, its caps say {} {}x{}",
                            meta.format().to_str(),
                            meta.width(),
                            meta.height(),
                            info.format().to_str(),
                            info.width(),
                            info.height()
                        ),
                    ));
                }
                let layout = Self::new(meta.offset(), meta.stride())?;
                match buffer.meta::<VideoCropMeta>().filter(|crop| is_frame(crop, info)) {
                    None => Ok(Some(layout)),
                    Some(crop) => layout.cropped(&crop, &meta, info).map(Some),
                }
            }
        }
    }

    /// The layout of the part of a larger frame that `crop` names. Where chroma is subsampled it begins at the sample that
    /// holds the part's first pixel.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the part reaches out of the frame, or begins within a group of pixels that share
    /// words.
    fn cropped(mut self, crop: &VideoCropMeta, meta: &VideoMeta, info: &VideoInfo) -> Result<Self> {
        let (x, y, width, height) = crop.rect();
        let within = |start: u32, length: u32, whole| start.checked_add(length).is_some_and(|end| end <= whole);
        if !within(x, width, meta.width()) || !within(y, height, meta.height()) {
            return Err(Error::new(
                ErrorKind::InvalidFrame,
                format!(
                    "the buffer's crop meta says {width}x{height} at {x},{y}, which is not within the {}x{} of its video meta",
                    meta.width(),
                    meta.height()
                ),
            ));
        }
        // Others are refused when the frame is made.
        if let Some(format) = PixelFormat::from_name(info.format().to_str()) {
            if format.shares_words() && !x.is_multiple_of(6) {
                return Err(Error::new(
                    ErrorKind::InvalidFrame,
                    format!(
                        "the buffer's crop meta begins at pixel {x}: rows of {} begin at multiples of 6 only; put \
                         videoconvert before uretinexenhance",
                        format.name()
                    ),
                ));
            }
            let planes = format.planes().min(self.count);
            for (plane, (offset, stride)) in self.planes[..planes].iter_mut().enumerate() {
                let columns = whole_samples(x as usize, |n| format.row_bytes(plane, n));
                let rows = whole_samples(y as usize, |n| format.rows(plane, n));
                *offset = offset
                    .saturating_add(rows.saturating_mul(*stride))
                    .saturating_add(columns);
            }
        }
        Ok(self)
    }

    /// The layout of planes that begin at `offsets`, with these strides.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] for a negative stride.
    pub fn new(offsets: &[usize], strides: &[i32]) -> Result<Self> {
        let mut planes = [(0, 0); MAX_PLANES];
        let count = strides.len().min(MAX_PLANES);
        for (plane, (&offset, &stride)) in planes.iter_mut().zip(offsets.iter().zip(strides)) {
            let stride = usize::try_from(stride).map_err(|_| {
                Error::new(
                    ErrorKind::InvalidFrame,
                    format!("a stride of {stride} bytes cannot be read: rows have to go from top to bottom"),
                )
            })?;
            *plane = (offset, stride);
        }
        Ok(Self { planes, count })
    }

    /// Offset and stride of each plane.
    pub fn planes(&self) -> &[(usize, usize)] {
        &self.planes[..self.count]
    }

    /// The bytes of a plane, from its first row to the end of its last, within a buffer of `size` bytes.
    fn bytes(&self, plane: usize, spec: &FrameSpec, size: usize) -> Range<usize> {
        let (offset, stride) = self.planes[plane];
        // A format with fewer planes than the layout is refused when the frame is made.
        let rows = match plane < spec.format.planes() {
            true => spec.format.rows(plane, spec.height),
            false => 0,
        };
        let row = match rows {
            0 => 0,
            _ => spec.format.row_bytes(plane, spec.width),
        };
        let length = stride.saturating_mul(rows.saturating_sub(1)).saturating_add(row);
        offset.min(size)..offset.saturating_add(length).min(size)
    }
}

/// What `pixels` take up before the sample that holds the next one; `size` says what a number of pixels takes up.
fn whole_samples(pixels: usize, size: impl Fn(usize) -> usize) -> usize {
    let group = (1..=pixels + 1).take_while(|&n| size(n) == size(1)).count();
    match pixels / group {
        0 => 0,
        groups => size(groups * group),
    }
}

/// Whether a crop meta names the frame of the caps, within a larger one. Any other is for whoever comes downstream.
pub(super) fn is_frame(crop: &VideoCropMeta, info: &VideoInfo) -> bool {
    let (_, _, width, height) = crop.rect();
    (width, height) == (info.width(), info.height())
}

fn inaccessible(error: glib::BoolError) -> Error {
    Error::new(ErrorKind::InvalidFrame, format!("no access to the buffer: {error}"))
}

/// The type of memory that a device shares with others.
const DMABUF: &str = "dmabuf";

/// A buffer's own memory, to be read. A frame is read several times, and reading a DMABuf can be many times slower than
/// other memory: drivers may map it without a cache, and do not tell. So it is copied once.
///
/// # Errors
/// [`ErrorKind::InvalidFrame`] if it cannot be mapped, [`ErrorKind::OutOfMemory`] if there is no room for the copy.
fn map_memory(memory: &gst::MemoryRef) -> Result<PlaneMap<'_>> {
    let map = memory.map_readable().map_err(inaccessible)?;
    if !memory.is_type(DMABUF) {
        return Ok(PlaneMap::Memory(map));
    }
    let mut copy = Vec::new();
    copy.try_reserve_exact(map.len())
        .map_err(|e| Error::new(ErrorKind::OutOfMemory, format!("no memory for a copy of a DMABuf: {e}")))?;
    copy.extend_from_slice(&map);
    Ok(PlaneMap::Copied(copy))
}

/// The memories that hold a plane, mapped.
enum PlaneMap<'a> {
    /// The buffer's own memory.
    Memory(MemoryMap<'a, Readable>),
    /// A copy of several memories, as the plane lies across them. The buffer keeps its own.
    Merged(MappedMemory<Readable>),
    /// A copy of a DMABuf, which is not mapped any more.
    Copied(Vec<u8>),
}

impl PlaneMap<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            PlaneMap::Memory(map) => map.as_slice(),
            PlaneMap::Merged(map) => map.as_slice(),
            PlaneMap::Copied(bytes) => bytes,
        }
    }
}

/// The planes of a buffer, mapped to be read.
pub(super) struct ReadablePlanes<'a> {
    layout: PlaneLayout,
    spec: FrameSpec,
    /// Each map, with the numbers of its memories.
    maps: [Option<(Range<usize>, PlaneMap<'a>)>; MAX_PLANES],
    /// For each plane the number of its map, and its bytes there.
    places: [Option<(usize, Range<usize>)>; MAX_PLANES],
}

impl<'a> ReadablePlanes<'a> {
    /// Maps the planes of a frame of `info` and `spec`, those in a DMABuf as a copy. The buffer's memories stay as they are.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the buffer's meta is not of such a frame, or a memory cannot be mapped.
    pub fn map(buffer: &'a gst::BufferRef, info: &VideoInfo, spec: FrameSpec) -> Result<Self> {
        Self::map_as(buffer, PlaneLayout::of(buffer, info)?, spec)
    }

    /// As [`map`](Self::map), where the planes lie as `layout` says.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if a memory cannot be mapped.
    pub fn map_as(buffer: &'a gst::BufferRef, layout: PlaneLayout, spec: FrameSpec) -> Result<Self> {
        let mut planes = Self {
            layout,
            spec,
            maps: [const { None }; MAX_PLANES],
            places: [const { None }; MAX_PLANES],
        };
        let size = buffer.size();
        for plane in 0..layout.count {
            let bytes = layout.bytes(plane, &spec, size);
            // What lies outside the buffer is reported when the frame is made.
            let Some((memories, start)) = buffer.find_memory(bytes.clone()).filter(|_| !bytes.is_empty()) else {
                continue;
            };
            let is_mapped = |map: &Option<(Range<usize>, _)>| map.as_ref().is_none_or(|(of, _)| *of == memories);
            let Some(number) = planes.maps.iter().position(is_mapped) else {
                continue;
            };
            if planes.maps[number].is_none() {
                let map = match memories.len() {
                    1 => map_memory(buffer.peek_memory(memories.start))?,
                    _ => {
                        let merged = buffer.memory_range(memories.clone());
                        let map = merged.and_then(|memory| memory.into_mapped_memory_readable().ok());
                        PlaneMap::Merged(map.ok_or_else(|| {
                            inaccessible(glib::bool_error!("a plane's memories cannot be read as one"))
                        })?)
                    }
                };
                planes.maps[number] = Some((memories, map));
            }
            planes.places[plane] = Some((number, start..start + bytes.len()));
        }
        Ok(planes)
    }

    /// The frame.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if the buffer is shorter than the frame.
    pub fn frame(&self) -> Result<Frame<'_>> {
        let mut planes = [Plane { data: &[], stride: 0 }; MAX_PLANES];
        for (n, plane) in planes.iter_mut().enumerate() {
            let data = self.places[n].as_ref().and_then(|(number, bytes)| {
                let (_, map) = self.maps[*number].as_ref()?;
                map.as_slice().get(bytes.clone())
            });
            *plane = Plane {
                data: data.unwrap_or_default(),
                stride: self.layout.planes[n].1,
            };
        }
        Frame::new(self.spec, &planes[..self.layout.count])
    }
}

/// The memories of a buffer, mapped to be written.
#[allow(clippy::large_enum_variant)] // One for each frame, on the stack.
enum MemoryMaps<'a> {
    /// As one, which merges them if they are several.
    Merged(BufferMap<'a, gst::buffer::Writable>),
    /// Those that hold planes, each with its first byte in the buffer.
    Single([Option<(usize, MemoryMap<'a, Writable>)>; MAX_PLANES]),
}

/// The planes of a buffer, mapped to be written.
pub(super) struct WritablePlanes<'a> {
    layout: PlaneLayout,
    spec: FrameSpec,
    maps: MemoryMaps<'a>,
}

impl<'a> WritablePlanes<'a> {
    /// Maps the planes of a frame of `info` and `spec`. The buffer keeps its memories, unless a plane lies across several
    /// or one of them is not writable: they are then replaced by one.
    ///
    /// # Errors
    /// As [`ReadablePlanes::map`].
    pub fn map(buffer: &'a mut gst::BufferRef, info: &VideoInfo, spec: FrameSpec) -> Result<Self> {
        let layout = PlaneLayout::of(buffer, info)?;
        Self::map_as(buffer, layout, spec)
    }

    /// As [`map`](Self::map), where the planes lie as `layout` says.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFrame`] if a memory cannot be mapped.
    pub fn map_as(buffer: &'a mut gst::BufferRef, layout: PlaneLayout, spec: FrameSpec) -> Result<Self> {
        let size = buffer.size();
        // The memory of each plane; none if there is no such memory.
        let memory_of = |buffer: &gst::BufferRef, plane| {
            let (memories, _) = buffer.find_memory(layout.bytes(plane, &spec, size))?;
            let writable = |n| !buffer.peek_memory(n).flags().contains(gst::MemoryFlags::READONLY);
            (memories.len() == 1 && writable(memories.start)).then_some(memories.start)
        };
        let mut memories = [None; MAX_PLANES];
        for (plane, memory) in memories.iter_mut().enumerate().take(layout.count) {
            *memory = memory_of(buffer, plane);
        }
        let single = buffer.n_memory() > 1
            && buffer.is_all_memory_writable()
            && memories[..layout.count].iter().all(Option::is_some);
        let maps = if single {
            let (mut maps, mut count, mut first) = ([const { None }; MAX_PLANES], 0, 0);
            for (n, memory) in buffer.iter_memories_mut().map_err(inaccessible)?.enumerate() {
                let length = memory.size();
                if memories.contains(&Some(n)) {
                    maps[count] = Some((first, memory.map_writable().map_err(inaccessible)?));
                    count += 1;
                }
                first += length;
            }
            MemoryMaps::Single(maps)
        } else {
            MemoryMaps::Merged(buffer.map_writable().map_err(inaccessible)?)
        };
        Ok(Self { layout, spec, maps })
    }

    /// The frame.
    ///
    /// # Errors
    /// As [`ReadablePlanes::frame`], and if planes overlap.
    pub fn frame(&mut self) -> Result<FrameMut<'_>> {
        // Each stretch of memory with its first byte in the buffer.
        let mut stretches: [(usize, &mut [u8]); MAX_PLANES] = std::array::from_fn(|_| (0, &mut [][..]));
        match &mut self.maps {
            MemoryMaps::Merged(map) => stretches[0].1 = map.as_mut_slice(),
            MemoryMaps::Single(maps) => {
                for (stretch, (first, map)) in stretches.iter_mut().zip(maps.iter_mut().flatten()) {
                    *stretch = (*first, map.as_mut_slice());
                }
            }
        }
        // Planes may lie in any order: cut each stretch from its end, so that every plane begins where it should.
        let mut order: [usize; MAX_PLANES] = std::array::from_fn(|plane| plane);
        order.sort_unstable_by_key(|&plane| self.layout.planes[plane].0);
        let mut planes: [PlaneMut<'_>; MAX_PLANES] = std::array::from_fn(|_| PlaneMut {
            data: &mut [],
            stride: 0,
        });
        for &plane in order.iter().rev().filter(|&&plane| plane < self.layout.count) {
            let (offset, stride) = self.layout.planes[plane];
            planes[plane].stride = stride;
            let within = |(first, bytes): &&mut (usize, &mut [u8])| (*first..*first + bytes.len()).contains(&offset);
            if let Some((first, bytes)) = stretches.iter_mut().find(within) {
                let (head, data) = std::mem::take(bytes).split_at_mut(offset - *first);
                planes[plane].data = data;
                *bytes = head;
            }
        }
        FrameMut::from_iter(self.spec, planes.into_iter().take(self.layout.count))
    }
}

#[cfg(test)]
mod tests;
