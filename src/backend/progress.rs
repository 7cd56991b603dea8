//! What is going on while engines are loaded and built.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::pack::Subnetwork;

/// A phase on the way to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It is looked for in the cache.
    Loading,
    /// Another process builds on this GPU; told once a second.
    Waiting,
    /// It is built, which takes from seconds to minutes; told when that begins, and then once a second.
    Building,
    /// It can be used.
    Ready,
}

/// Where the way to the engines of a model pack has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The subnetwork in question.
    pub subnetwork: Subnetwork,
    /// Its number, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// What begins, or has ended.
    pub phase: Phase,
    /// Since the beginning of all.
    pub elapsed: Duration,
}

/// Is told of each phase, on any thread. `Break` cancels the work: at once between phases, and within a build at its next
/// step; TensorRT 8 cannot stop a build, so that the engine under way is finished first.
pub type Observer<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + Send + 'a;

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Loading => "looking in the cache",
            Phase::Waiting => "waiting for another process that builds",
            Phase::Building => "building",
            Phase::Ready => "ready",
        };
        let number = self.index + 1;
        write!(
            f,
            "engine {number} of {} ({}): {phase}",
            self.count,
            self.subnetwork.name()
        )
    }
}
