//! Where the units of a step lie.

use crate::cpu::engine::kernels::Strides;

/// Where a unit's pixel (0, 0) is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// In the arena: floats from its beginning.
    Arena(usize),
    /// In an input of the caller: floats from its beginning.
    Input { port: usize, offset: usize },
    /// In an output of the caller: floats from its beginning.
    Output { port: usize, offset: usize },
}

/// Where a unit lies in a workspace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnitAddress {
    /// Where it begins.
    pub source: Source,
    /// Distances of its pixels and rows.
    pub strides: Strides,
}
