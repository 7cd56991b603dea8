//! What is done to a finished frame: colour taken out of a grey stream, regions put back, before and after compared.

use std::sync::Arc;

use uretinex::{Comparison, Frame, FrameMut, Region};

use super::choices::{Compare, RegionsMode};
use super::settings::Live;

/// What is done to one frame when it is finished.
#[derive(Debug, Clone, Default)]
pub(super) struct Finish {
    grey: bool,
    regions: Arc<[Region]>,
    outside: bool,
    comparison: Option<Comparison>,
}

impl Finish {
    /// What the settings ask for with `buffer`, of a stream that is grey or not.
    pub fn new(buffer: &gst::BufferRef, live: &Live, grey: bool) -> Self {
        Self {
            grey,
            regions: live.regions.of(buffer),
            outside: live.regions.mode == RegionsMode::Enhance,
            comparison: match live.compare {
                Compare::Off => None,
                Compare::Split => Some(Comparison::Split(live.divider)),
                Compare::SideBySide => Some(Comparison::SideBySide),
            },
        }
    }

    /// Whether the frame stays as the enhancer made it.
    pub fn is_nothing(&self) -> bool {
        !self.grey && self.regions.is_empty() && self.comparison.is_none()
    }

    /// Finishes a frame that came in as `input`.
    pub fn apply(&self, input: &Frame<'_>, output: &mut FrameMut<'_>) {
        if self.grey {
            output.take_out_colour();
        }
        output.put_back(input, &self.regions, self.outside);
        if let Some(comparison) = self.comparison {
            output.compare(input, comparison);
        }
    }
}
