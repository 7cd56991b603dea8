//! The threads of the process, shared by its streams.

mod disjoint;
mod pool;
mod shares;
#[cfg(all(test, target_os = "linux"))]
mod thread_time;

pub(crate) use disjoint::Disjoint;
pub(crate) use pool::Pool;
#[cfg(all(test, target_os = "linux"))]
pub(crate) use thread_time::thread_time;
