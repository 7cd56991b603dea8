//! The inner loops: products, Winograd's filtering, number-by-number programs, rearrangements.
//!
//! | file | what |
//! |---|---|
//! | `generic/` | every kernel, written once over vectors of any width |
//! | `portable.rs`, `neon.rs`, `avx2.rs`, `avx512.rs` | vectors of one instruction set, and kernels for it |
//! | `vnni.rs` | products in 16-bit block floating point |
//! | `amx.rs` | convolutions in bfloat16 |
//! | `floats.rs`, `products.rs`, `matrices.rs` | what such kernels are: objects that exist only where the processor can run them |
//! | `table.rs` | which of them this processor uses |
//!
//! A kernel for another instruction set is one more file and one more line in `table.rs`.

mod floats;
mod generic;
mod matrices;
mod portable;
mod products;
mod table;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub(crate) use generic::{
    Five, Operand, PIECE, Packed, Product, Strides, TAIL_OUTPUTS, TILE, Tail, Three, WINOGRAD_STRIP, Winograd,
    constant, move_rows, scalar, transform_filter, winograd_scratch_len,
};
pub(crate) use matrices::{MatrixConv, MatrixKernel, PackedMatrices, Rounding};
pub(crate) use products::{PackedProducts, ProductKernel};
pub(crate) use table::Kernels;
