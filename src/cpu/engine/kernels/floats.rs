//! Kernels on 32-bit floats as objects: one type for each instruction set, made only where the processor has it.

#![allow(unsafe_code)]

use super::generic::{Operand, Product, Strides, Tail, Winograd};
use crate::network::Code;

/// The kernels on 32-bit floats, compiled for one instruction set.
///
/// # Safety
/// A value of an implementation exists only where the processor has the extensions that its methods are compiled for.
pub unsafe trait FloatKernels: Send + Sync {
    /// The instruction set.
    fn name(&self) -> &'static str;

    /// Blocks of output channels that a product computes at once, at most: the width of a chunk of packed weights.
    fn chunk_blocks(&self) -> usize;

    /// Computes rows `y0` to `y1` of one chunk of output channels, `width` pixels each.
    ///
    /// # Safety
    /// Pointers and strides cover the rows, inputs with a margin of half a kernel and of a whole product; no other
    /// thread writes the rows.
    unsafe fn rows(&self, a: &Product<'_>, width: usize, y0: usize, y1: usize);

    /// The same for one block of output channels of which the first go to `planes`, for any input.
    ///
    /// # Safety
    /// As for [`rows`](Self::rows), with `a.outputs`, `a.residuals` and `a.gated` left out; `residuals` is empty or has
    /// one plane for each output plane.
    #[allow(clippy::too_many_arguments)]
    unsafe fn rows_to_planes(
        &self,
        a: &Product<'_>,
        planes: &[*mut f32],
        output: Strides,
        residuals: &[*const f32],
        residual: Strides,
        width: usize,
        y0: usize,
        y1: usize,
    );

    /// Computes rows `y0` to `y1` of `width` pixels of a few output planes.
    ///
    /// # Safety
    /// Pointers and strides cover the rows, inputs with a margin of half a kernel and 16 pixels; no other thread writes
    /// the rows.
    unsafe fn tail_rows(&self, a: &Tail<'_>, width: usize, y0: usize, y1: usize);

    /// Computes one strip of tiles by Winograd's filtering.
    ///
    /// # Safety
    /// Pointers and strides cover the frame, inputs with the margin that [`Winograd`] asks for; `scratch` holds
    /// [`winograd_scratch_len`](super::generic::winograd_scratch_len) floats; no other thread writes the pixels of the
    /// strip or the scratch memory.
    unsafe fn strip(&self, w: &Winograd<'_>, index: usize, scratch: *mut f32);

    /// Applies an instruction to `groups` groups of 16.
    ///
    /// # Safety
    /// All operands hold that many groups; the result overlaps an operand only if both are the same.
    unsafe fn apply(&self, code: Code, out: Operand, a: Operand, b: Operand, groups: usize);

    /// Rows `y0` to `y1` of a block, whose channel `4 dy + dx` is pixel (4 y + dy, 4 x + dx) of a plane; from the plane
    /// to the block, or back.
    ///
    /// # Safety
    /// Pointers and strides cover the rows; no other thread writes them.
    #[allow(clippy::too_many_arguments)]
    unsafe fn shuffle_rows(
        &self,
        plane: *mut f32,
        plane_strides: Strides,
        block: *mut f32,
        strides: Strides,
        width: usize,
        y0: usize,
        y1: usize,
        back: bool,
    );

    /// Sums groups of 16, `step` floats from one to the next, lane by lane.
    ///
    /// # Safety
    /// `row` covers the groups, `out` 16 floats.
    unsafe fn sum_row(&self, row: *const f32, step: usize, groups: usize, out: *mut f32);
}

/// Defines a type that implements [`FloatKernels`] with vectors of one type, and its function `available`.
///
/// `features` are those that the code is compiled with; `needs`, which is what `available` asks for, names the same as
/// [`Extensions`](crate::cpu::capabilities::Extensions). Both are left out for code that runs everywhere.
macro_rules! float_kernels {
    (
        $(#[$doc:meta])*
        pub $kernels:ident: $vectors:ty, $name:literal, blocks $blocks:expr
        $(, needs $needs:expr, features $features:literal)?
    ) => {
        $(#[$doc])*
        pub struct $kernels(());

        $(impl $kernels {
            /// The kernels, if the processor has what they need.
            pub fn available(
                capabilities: $crate::cpu::capabilities::Capabilities,
            ) -> Option<&'static dyn $crate::cpu::engine::kernels::floats::FloatKernels> {
                capabilities.has($needs).then_some(&$kernels(()) as _)
            }
        })?

        const _: () = {
            use $crate::network::Code;
            use $crate::cpu::engine::kernels::generic::{self, Operand, Product, Strides, Tail, Winograd};

            // SAFETY: a value is made only where the extensions that `features` names are there.
            unsafe impl $crate::cpu::engine::kernels::floats::FloatKernels for $kernels {
                fn name(&self) -> &'static str {
                    $name
                }

                fn chunk_blocks(&self) -> usize {
                    $blocks
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn rows(&self, a: &Product<'_>, width: usize, y0: usize, y1: usize) {
                    // SAFETY: the features are enabled; the caller guarantees the rest.
                    unsafe { generic::rows::<$vectors>(a, width, y0, y1) }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn rows_to_planes(
                    &self,
                    a: &Product<'_>,
                    planes: &[*mut f32],
                    output: Strides,
                    residuals: &[*const f32],
                    residual: Strides,
                    width: usize,
                    y0: usize,
                    y1: usize,
                ) {
                    // SAFETY: as for `rows`.
                    unsafe {
                        generic::rows_to_planes::<$vectors>(a, planes, output, residuals, residual, width, y0, y1)
                    }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn tail_rows(&self, a: &Tail<'_>, width: usize, y0: usize, y1: usize) {
                    // SAFETY: as for `rows`.
                    unsafe { generic::tail_rows::<$vectors>(a, width, y0, y1) }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn strip(&self, w: &Winograd<'_>, index: usize, scratch: *mut f32) {
                    // SAFETY: as for `rows`.
                    unsafe { generic::winograd_strip::<$vectors>(w, index, scratch) }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn apply(&self, code: Code, out: Operand, a: Operand, b: Operand, groups: usize) {
                    // SAFETY: as for `rows`.
                    unsafe { generic::apply::<$vectors>(code, out, a, b, groups) }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn shuffle_rows(
                    &self,
                    plane: *mut f32,
                    plane_strides: Strides,
                    block: *mut f32,
                    strides: Strides,
                    width: usize,
                    y0: usize,
                    y1: usize,
                    back: bool,
                ) {
                    // SAFETY: as for `rows`.
                    unsafe {
                        generic::shuffle_rows::<$vectors>(plane, plane_strides, block, strides, width, y0, y1, back)
                    }
                }

                $(#[target_feature(enable = $features)])?
                unsafe fn sum_row(&self, row: *const f32, step: usize, groups: usize, out: *mut f32) {
                    // SAFETY: as for `rows`.
                    unsafe { generic::sum_row::<$vectors>(row, step, groups, out) }
                }
            }
        };
    };
}
pub(crate) use float_kernels;
