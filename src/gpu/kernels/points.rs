//! Element-wise operations and copies of channels (`points.cu`).
#![allow(unsafe_code)]

use crate::gpu::kernels::images::Unit;
use crate::gpu::kernels::launch::{Arguments, Launch, Module, Plain};
use crate::gpu::kernels::storage::Storage;
use crate::network::{Binary, Code, Unary};

/// `points.cu`.
pub(crate) static MODULE: Module = Module {
    name: "points",
    ptx: include_str!("ptx/points.ptx"),
    kernels: &["points_f32", "points_f16", "move_channels"],
    since: (7, 0),
};

/// The most units of a program.
pub(crate) const PROGRAM_UNITS: usize = 64;
/// The most registers of a program: 48 KiB for a block of 64 threads.
pub(crate) const MAX_REGISTERS: usize = 48;
/// Channels of one launch of `move_channels`.
pub(crate) const MOVES: usize = 16;

/// An operand: its kind in the upper three bits, a number of less than 2^13 in the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operand {
    /// A result that stays in shared memory.
    Register(usize),
    /// By its place among the units.
    Unit(usize),
    /// Pooled values from here on, one for each lane.
    Lanes(usize),
    /// One pooled value.
    Repeated(usize),
    /// 4 × 4 pixels of the plane at that place among the units.
    Shuffled(usize),
}

/// Numbers that an operand can have.
pub(crate) const OPERANDS: usize = 1 << 13;

impl Operand {
    fn bits(self) -> u32 {
        let (kind, index) = match self {
            Operand::Register(i) => (0, i),
            Operand::Unit(i) => (1, i),
            Operand::Lanes(i) => (2, i),
            Operand::Repeated(i) => (3, i),
            Operand::Shuffled(i) => (4, i),
        };
        debug_assert!(index < OPERANDS);
        kind << 13 | index as u32
    }
}

/// A code's number in `codes.cuh`, and its parameters.
pub(crate) fn code(code: Code) -> (u32, [f32; 2]) {
    let none = [0.0; 2];
    match code {
        Code::Unary(Unary::Copy) => (0, none),
        Code::Unary(Unary::Leaky(slope)) => (1, [slope, 0.0]),
        Code::Unary(Unary::Clip(low, high)) => (2, [low, high]),
        Code::Unary(Unary::Sigmoid) => (3, none),
        Code::Unary(Unary::Exp) => (4, none),
        Code::Unary(Unary::Log) => (5, none),
        Code::Reciprocal => (6, none),
        Code::Binary(Binary::Add) => (7, none),
        Code::Binary(Binary::Sub) => (8, none),
        Code::Binary(Binary::Mul) => (9, none),
        Code::Binary(Binary::Div) => (10, none),
        Code::Binary(Binary::Max) => (11, none),
        Code::Binary(Binary::Min) => (12, none),
        Code::Binary(Binary::Pow) => (13, none),
    }
}

/// An instruction as the kernel reads it.
pub(crate) fn instruction(operation: Code, out: Operand, a: Operand, b: Operand) -> [u32; 4] {
    let (code, [p, q]) = code(operation);
    [
        code | out.bits() << 16,
        a.bits() | b.bits() << 16,
        p.to_bits(),
        q.to_bits(),
    ]
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct PointsArguments {
    pub units: [Unit; PROGRAM_UNITS],
    pub instructions: u64,
    pub pooled: u64,
    /// Bit by bit, the units that are written. The kernel finds them in the instructions.
    pub written: u64,
    /// Instructions.
    pub count: u32,
    /// Of the images, in pixels.
    pub width: u32,
    pub height: u32,
    /// 1: values lie in blocks.
    pub blocks: u32,
    /// 1: planes are of 32 bits.
    pub wide: u32,
    pub reserved: u32,
}

// SAFETY: 64 units of 16 bytes, three numbers of 8 and six of 4.
unsafe impl Plain for PointsArguments {}

impl PointsArguments {
    /// The launch, with blocks of that type, for a program of so many registers, at most [`MAX_REGISTERS`].
    pub fn launch(&self, blocks: Storage, registers: usize) -> Launch {
        // 16 bytes for each register and thread, in at most 48 KiB.
        let threads: u32 = if registers <= 12 { 256 } else { 64 };
        let pixels = self.width * self.height;
        // A thread has four values.
        let each = threads * if self.blocks == 1 { 1 } else { 4 };
        let count = pixels * if self.blocks == 1 { 4 } else { 1 };
        Launch {
            module: &MODULE,
            kernel: blocks.choose("points_f32", "points_f16"),
            grid: [count.div_ceil(each), 1, 1],
            block: [threads, 1, 1],
            shared: registers as u32 * threads * 16,
            arguments: Arguments::new(self),
        }
    }
}

/// A channel that is copied. The value of row y and column x is number `y · row + x · step` of its unit.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MovedChannel {
    pub from: Unit,
    pub to: Unit,
    /// 1: of 32 bits.
    pub from_wide: u32,
    pub to_wide: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct MoveArguments {
    pub channels: [MovedChannel; MOVES],
    pub width: u32,
    pub height: u32,
}

// SAFETY: 16 channels, each two units of 16 bytes and two numbers of 4, then two numbers of 4.
unsafe impl Plain for MoveArguments {}

impl MoveArguments {
    /// The launch for the first `count` channels.
    pub fn launch(&self, count: usize) -> Launch {
        Launch {
            module: &MODULE,
            kernel: "move_channels",
            grid: [(self.width * self.height).div_ceil(256), count as u32, 1],
            block: [256, 1, 1],
            shared: 0,
            arguments: Arguments::new(self),
        }
    }
}
