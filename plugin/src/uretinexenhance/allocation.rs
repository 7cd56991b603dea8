//! Allocation queries: the pool of the frames that leave, and what is offered to those who make the frames that come.

use gst::prelude::*;
use gst_video::{VideoBufferPool, VideoInfo, VideoMeta};

use super::category::CAT;
use super::cuda_memory::CudaMemory;
use super::memory_features;

/// Bytes of a frame of these caps.
pub(super) fn frame_size(caps: &gst::Caps) -> Option<usize> {
    VideoInfo::from_caps(caps).ok().map(|info| info.size())
}

/// Sees to a pool for the frames that leave, where downstream offers none that can be used. True if downstream reads
/// strides from video metas.
pub(super) fn decide(query: &mut gst::query::Allocation, cuda: &CudaMemory) -> Result<bool, gst::LoggableError> {
    let strides = query.find_allocation_meta::<VideoMeta>().is_some();
    let caps = query.get_owned().0;
    if let Some(caps) = caps.as_ref().filter(|caps| memory_features::is_cuda(caps)) {
        cuda.decide(query, caps).map_err(|e| gst::loggable_error!(CAT, "{e}"))?;
    } else if query.allocation_pools().next().is_none()
        && let Some(caps) = &caps
    {
        let size = frame_size(caps).unwrap_or(0) as u32;
        let pool = VideoBufferPool::new();
        let mut config = pool.config();
        config.set_params(Some(caps), size, 0, 0);
        pool.set_config(config).map_err(|e| gst::loggable_error!(CAT, "{e}"))?;
        query.add_allocation_pool(Some(&pool), size, 0, 0);
    }
    Ok(strides)
}

/// Offers upstream a pool of CUDA memory, or asks its pool for one buffer more where frames are `held` in the element; and
/// asks for strides where downstream reads them.
pub(super) fn propose(
    query: &mut gst::query::Allocation,
    cuda: &CudaMemory,
    held: bool,
    strides_downstream: bool,
) -> Result<(), gst::LoggableError> {
    let (caps, need_pool) = query.get_owned();
    if let Some(caps) = caps.as_ref().filter(|caps| memory_features::is_cuda(caps)) {
        let proposed = cuda.propose(query, caps, need_pool);
        return proposed.map_err(|e| gst::loggable_error!(CAT, "{e}"));
    }
    if held && let Some(caps) = &caps {
        // One stays here while the next one is on its way.
        let size = frame_size(caps).unwrap_or(0) as u32;
        query.add_allocation_pool(None::<&gst::BufferPool>, size, 2, 0);
    }
    // Buffers may go downstream as they came: their strides have to be welcome there.
    if strides_downstream && query.find_allocation_meta::<VideoMeta>().is_none() {
        query.add_allocation_meta::<VideoMeta>(None);
    }
    Ok(())
}
