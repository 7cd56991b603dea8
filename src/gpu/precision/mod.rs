//! Which number format each subnetwork computes in: the fastest whose results are near the processor's.

mod gate;
mod ladder;
mod reference;

pub(crate) use gate::compare;
pub(crate) use ladder::{Ladder, RUNGS, choose};
pub(crate) use reference::Reference;
#[cfg(test)]
pub(crate) use reference::{Sample, night};
