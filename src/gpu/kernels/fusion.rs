//! Temporal fusion on the GPU: the arithmetic of `cpu/fusion/` as kernels (`pyramid.cu`, `motion.cu`, `camera.cu`, `fuse.cu`,
//! `trust.cu`) that follow each other on one stream.
#![allow(unsafe_code)]

use std::convert::Infallible;

use crate::gpu::kernels::launch::{Arguments, Launch, Module, Plain};

/// `pyramid.cu`.
pub(crate) static PYRAMID: Module = Module {
    name: "pyramid",
    ptx: include_str!("ptx/pyramid.ptx"),
    kernels: &["pyramid_half", "pyramid_next"],
    since: (7, 0),
};
/// `motion.cu`.
pub(crate) static MOTION: Module = Module {
    name: "motion",
    ptx: include_str!("ptx/motion.ptx"),
    kernels: &["motion_search", "motion_follow", "motion_vectors"],
    since: (7, 0),
};
/// `camera.cu`.
pub(crate) static CAMERA: Module = Module {
    name: "camera",
    ptx: include_str!("ptx/camera.ptx"),
    kernels: &["camera_start", "camera_sums", "camera_step"],
    since: (7, 0),
};
/// `fuse.cu`.
pub(crate) static FUSE: Module = Module {
    name: "fuse",
    ptx: include_str!("ptx/fuse.ptx"),
    kernels: &["fuse_expect", "fuse_cells", "fuse_merge"],
    since: (7, 0),
};
/// `trust.cu`.
pub(crate) static TRUST: Module = Module {
    name: "trust",
    ptx: include_str!("ptx/trust.ptx"),
    kernels: &["trust_limit", "trust_flat", "trust_learn", "trust_share"],
    since: (7, 0),
};

/// The levels of the small copies, and the border of each.
const LEVELS: usize = 4;
const BORDER: usize = 16;
/// Pixels between the blocks of a small copy, and the side of a cell.
const STEP: usize = 4;
const CELL: usize = 4;
/// Sums of a row for the camera's motion.
const SUMS: usize = 27;
/// Bytes of `State` in `fusion.cuh`.
const STATE: usize = 37_624;
/// The levels on which the camera's motion is refined, and how often.
const REFINEMENT: [(usize, usize); 2] = [(1, 2), (0, 3)];

/// Threads of a block of pixels or cells, across and down.
const BLOCK: [usize; 2] = [32, 8];
/// Threads of a block that works alone, and of one that compares windows.
const THREADS: usize = 256;
const WINDOWS: usize = 64;

/// What fusion has in device memory: each a `T`, such as its bytes, a buffer or its address, aligned to 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Parts<T> {
    /// The fused picture of the frame before: 3 planes of 32 bits.
    pub past: T,
    /// How many frames are in each of its pixels: a plane of 32 bits.
    pub count: T,
    /// The two moved to where they are expected: 4 planes of 32 bits.
    pub expected: T,
    /// Small copies of the new picture and of the one before.
    pub now: T,
    pub before: T,
    /// The vectors of all levels, of two numbers of 16 bits each, the picture's first.
    pub vectors: T,
    /// Sums of rows for the camera's motion.
    pub sums: T,
    /// For each cell: its innovations (32 bytes), texture, mean square over 3 × 3 cells, and how far its memory is believed.
    pub cells: T,
    pub texture: T,
    pub broad: T,
    pub trust: T,
    /// What is known of the stream's noise, and what a frame is counted in; 0 at first.
    pub state: T,
}

impl<T> Parts<T> {
    /// The same parts as something else, made one after the other.
    pub fn try_map<U, E>(self, mut make: impl FnMut(T) -> Result<U, E>) -> Result<Parts<U>, E> {
        Ok(Parts {
            past: make(self.past)?,
            count: make(self.count)?,
            expected: make(self.expected)?,
            now: make(self.now)?,
            before: make(self.before)?,
            vectors: make(self.vectors)?,
            sums: make(self.sums)?,
            cells: make(self.cells)?,
            texture: make(self.texture)?,
            broad: make(self.broad)?,
            trust: make(self.trust)?,
            state: make(self.state)?,
        })
    }

    /// The same parts as something else.
    pub fn map<U>(self, mut make: impl FnMut(T) -> U) -> Parts<U> {
        let Ok(parts) = self.try_map(|part| Ok::<_, Infallible>(make(part)));
        parts
    }

    /// References to the parts.
    pub fn each_ref(&self) -> Parts<&T> {
        Parts {
            past: &self.past,
            count: &self.count,
            expected: &self.expected,
            now: &self.now,
            before: &self.before,
            vectors: &self.vectors,
            sums: &self.sums,
            cells: &self.cells,
            texture: &self.texture,
            broad: &self.broad,
            trust: &self.trust,
            state: &self.state,
        }
    }
}

impl Parts<usize> {
    /// The bytes of each part for pictures of a size.
    pub fn bytes((width, height): (usize, usize)) -> Self {
        let pixels = width * height;
        let copies = (0..LEVELS).map(|level| copy((width, height), level));
        let bordered = |(w, h): (usize, usize)| (w + 2 * BORDER) * (h + 2 * BORDER);
        let pyramid = 4 * copies.map(bordered).sum::<usize>();
        let vectors: usize = (0..LEVELS)
            .map(|level| field((width, height), level))
            .map(|(columns, rows)| columns * rows)
            .sum();
        let cells = width.div_ceil(CELL) * height.div_ceil(CELL);
        Self {
            past: 12 * pixels,
            count: 4 * pixels,
            expected: 16 * pixels,
            now: pyramid,
            before: pyramid,
            vectors: 4 * vectors,
            sums: 4 * SUMS * height.div_ceil(2),
            cells: 32 * cells,
            texture: 4 * cells,
            broad: 4 * cells,
            trust: 8 * cells,
            state: STATE,
        }
    }
}

/// The size of a small copy.
fn copy((width, height): (usize, usize), level: usize) -> (usize, usize) {
    (width.div_ceil(2 << level), height.div_ceil(2 << level))
}

/// How many vectors a level has, across and down.
fn field(size: (usize, usize), level: usize) -> (usize, usize) {
    let (width, height) = copy(size, level);
    (width.div_ceil(STEP), height.div_ceil(STEP))
}

/// Device addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fusion {
    /// [`Settings`](crate::gpu::kernels::launch::Settings): `most`, `fresh` and `repeated` are read, `cut` is set.
    pub settings: u64,
    /// I `[3, h, w]`, 32 bits, which is fused in place, aligned to 16 bytes.
    pub image: u64,
    /// The same in 16 bits for networks that take them; 0: not wanted.
    pub image_half: u64,
    pub parts: Parts<u64>,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct FusionArguments {
    pub settings: u64,
    pub image: u64,
    pub image_half: u64,
    pub past: u64,
    pub count: u64,
    pub expected: u64,
    pub now: u64,
    pub before: u64,
    pub vectors: u64,
    pub sums: u64,
    pub cells: u64,
    pub texture: u64,
    pub broad: u64,
    pub trust: u64,
    pub state: u64,
    /// The padded size.
    pub width: u32,
    pub height: u32,
    /// The small copy in question, 0 for the half-size one.
    pub level: u32,
    /// 1: the camera's motion is not refined any further.
    pub last: u32,
}

// SAFETY: 15 numbers of 8 bytes, then four of 4: 136 bytes in all.
unsafe impl Plain for FusionArguments {}

impl Fusion {
    /// The launches for pictures of `size`, in their order.
    pub fn launches(&self, size: (usize, usize)) -> Vec<Launch> {
        let (columns, rows) = (size.0.div_ceil(CELL), size.1.div_ceil(CELL));
        let at = |level| self.arguments(size, level, false);
        let mut launches = Vec::new();
        let mut add = |module, kernel, grid: [usize; 3], block: [usize; 2], arguments: &FusionArguments| {
            launches.push(Launch {
                module,
                kernel,
                grid: grid.map(|n| n as u32),
                block: [block[0] as u32, block[1] as u32, 1],
                shared: 0,
                arguments: Arguments::new(arguments),
            });
        };
        let over = |width: usize, height: usize, deep| [width.div_ceil(BLOCK[0]), height.div_ceil(BLOCK[1]), deep];
        for level in 0..LEVELS {
            let (width, height) = copy(size, level);
            let kernel = if level == 0 { "pyramid_half" } else { "pyramid_next" };
            let grid = over(width + 2 * BORDER, height + 2 * BORDER, 2);
            add(&PYRAMID, kernel, grid, BLOCK, &at(level));
        }
        for level in (1..LEVELS).rev() {
            let (across, down) = field(size, level);
            match level {
                3 => add(
                    &MOTION,
                    "motion_search",
                    [across, down, 1],
                    [2 * WINDOWS, 1],
                    &at(level),
                ),
                _ => {
                    let grid = [(across * down).div_ceil(WINDOWS), 1, 1];
                    add(&MOTION, "motion_follow", grid, [WINDOWS, 1], &at(level));
                }
            }
        }
        add(&CAMERA, "camera_start", [1, 1, 1], [THREADS, 1], &at(1));
        for (level, steps) in REFINEMENT {
            // A warp for each row.
            let grid = [copy(size, level).1.div_ceil(THREADS / 32), 1, 1];
            for step in 1..=steps {
                add(&CAMERA, "camera_sums", grid, [THREADS, 1], &at(level));
                let last = level == 0 && step == steps;
                let arguments = self.arguments(size, level, last);
                add(&CAMERA, "camera_step", [1, 1, 1], [WINDOWS, 1], &arguments);
            }
        }
        let (across, down) = field(size, 0);
        let grid = [(across * down).div_ceil(WINDOWS), 1, 1];
        add(&MOTION, "motion_vectors", grid, [WINDOWS, 1], &at(0));
        add(&FUSE, "fuse_expect", over(size.0, size.1, 1), BLOCK, &at(0));
        add(&FUSE, "fuse_cells", over(columns, rows, 1), BLOCK, &at(0));
        add(&TRUST, "trust_limit", [1, 1, 1], [THREADS, 1], &at(0));
        add(&TRUST, "trust_flat", over(columns, rows, 1), BLOCK, &at(0));
        add(&TRUST, "trust_learn", [3, 1, 1], [THREADS, 1], &at(0));
        add(&TRUST, "trust_share", over(columns, rows, 1), BLOCK, &at(0));
        add(&FUSE, "fuse_merge", over(size.0, size.1, 1), BLOCK, &at(0));
        launches
    }

    fn arguments(&self, (width, height): (usize, usize), level: usize, last: bool) -> FusionArguments {
        let parts = &self.parts;
        FusionArguments {
            settings: self.settings,
            image: self.image,
            image_half: self.image_half,
            past: parts.past,
            count: parts.count,
            expected: parts.expected,
            now: parts.now,
            before: parts.before,
            vectors: parts.vectors,
            sums: parts.sums,
            cells: parts.cells,
            texture: parts.texture,
            broad: parts.broad,
            trust: parts.trust,
            state: parts.state,
            width: width as u32,
            height: height as u32,
            level: level as u32,
            last: last.into(),
        }
    }
}
