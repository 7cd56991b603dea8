//! The way of one frame through the network: its stages, their order, what they are told and what they report.

mod parameters;
mod report;
mod step;
mod unfold;

pub use parameters::{AUTOMATIC, BRIGHTNESS_RANGE, Parameters, Plan, RATIO_RANGE, STRENGTH_RANGE, TEMPORAL_RANGE};
pub use report::{Report, Stage, StageTimes};
pub use step::{Step, steps, steps_through_time};
pub use unfold::{Quantity, Stages};
pub(crate) use unfold::{unfold, unfold_watched};
