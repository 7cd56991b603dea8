//! What is going on while engines are loaded and built.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::pack::Subnetwork;

/// A step on the way to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// It is looked for in the cache.
    Loading,
    /// Another process builds on this GPU; told once a second.
    Waiting,
    /// It is built, which takes from seconds to minutes.
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
    pub step: Step,
    /// Since the beginning of all.
    pub elapsed: Duration,
}

/// Is told of each step; `Break` gives up before the next one.
pub type Observer<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Loading => "looking in the cache",
            Step::Waiting => "waiting for another process that builds",
            Step::Building => "building",
            Step::Ready => "ready",
        };
        let number = self.index + 1;
        write!(
            f,
            "engine {number} of {} ({}): {step}",
            self.count,
            self.subnetwork.name()
        )
    }
}
