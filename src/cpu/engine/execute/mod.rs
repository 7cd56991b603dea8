//! Executes a plan on frames of one size: memory, tasks and their schedule, steps.

mod run;
mod schedule;
mod step;
mod units;
mod workspace;

pub(crate) use run::run;
pub(crate) use workspace::Workspace;
