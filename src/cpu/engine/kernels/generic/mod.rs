//! Kernels written once: functions that are generic over vectors, and inlined where an instruction set is enabled.

#[cfg(target_arch = "x86_64")]
mod block_float;
mod direct;
mod packed;
mod points;
mod pointwise;
mod product;
mod rearrange;
mod simd;
mod winograd;

#[cfg(target_arch = "x86_64")]
pub(super) use block_float::{IntegerProducts, pack as pack_block_float, strip as block_float_strip};
pub(crate) use direct::{TAIL_OUTPUTS, Tail};
pub(super) use direct::{rows, rows_to_planes, tail_rows};
pub(crate) use packed::Packed;
pub(crate) use points::{Five, TILE, Three, transform_filter};
pub(super) use pointwise::apply;
#[cfg(target_arch = "x86_64")]
pub(super) use pointwise::sigmoid;
pub(crate) use pointwise::{Operand, PIECE, scalar};
#[cfg(target_arch = "x86_64")]
pub(super) use product::MAX_CHUNK;
pub(crate) use product::{Product, Strides, constant};
pub(crate) use rearrange::move_rows;
pub(super) use rearrange::{shuffle_rows, sum_row};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use simd::intrinsic;
pub(super) use simd::{SQRT_HALF_BITS, Simd};
pub(super) use winograd::strip as winograd_strip;
pub(crate) use winograd::{STRIP as WINOGRAD_STRIP, Winograd, scratch_len as winograd_scratch_len};
