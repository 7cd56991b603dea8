// Convolutions with 32-bit products, for 32-bit blocks and for GPUs whose tensor cores `tensor.cu` does not use.
//
// A block of threads computes 32 × 8 pixels, a thread one pixel and 16 channels; blockIdx.z counts these. Weights lie as
// [group of outputs][chunk][row and column of the filter][input lane][16 outputs], and are the same for all threads.
#include "convolution.cuh"

enum { WIDE = 32, HIGH = 8, MOST = 4, PITCH = 20 };

template <class Blocks> DEVICE void convolve(const ConvolutionArguments &a) {
    // Sixteen lanes and four more: neighbouring pixels are then in different banks.
    __shared__ float4 tile[(WIDE + MOST) * (HIGH + MOST) * PITCH / 4];
    const u32 thread = threadIdx.x, tx = thread % WIDE, ty = thread / WIDE, group = blockIdx.z;
    const u32 x0 = blockIdx.x * WIDE, y0 = blockIdx.y * HIGH;
    const Reach around = reach(a);
    const u32 wide = WIDE + around.across - 1, high = HIGH + a.side - 1;
    const float4 *weights = (const float4 *)a.weights + (u64)group * a.chunks * around.across * a.side * 64;
    float sum[16];
    UNROLL
    for (u32 o = 0; o < 16; ++o) sum[o] = load((const float *)a.bias + group * 16 + o);
    UNROLL_NOT
    for (u32 chunk = 0; chunk < a.chunks; ++chunk) {
        __syncthreads();
        UNROLL_NOT
        for (u32 i = thread; i < wide * high * 4; i += 256) {
            const u32 p = i / 4, lane = i % 4 * 4;
            const int y = (int)(y0 + p / wide) - (int)around.up, x = (int)(x0 + p % wide) - (int)around.left;
            float v[4] = {0.0f, 0.0f, 0.0f, 0.0f};
            if (a.flags & FROM_PLANES) {
                UNROLL
                for (u32 k = 0; k < 4; ++k) v[k] = plane_lane(a, chunk * 16 + lane + k, y, x);
            } else if (inside(a, y, x)) {
                Blocks::four(a.input.units[chunk], pixel(a.input, y, x) * 16 + lane, v);
                // The last lanes of a block may be none of the image's.
                UNROLL
                for (u32 k = 0; k < 4; ++k) v[k] = chunk * 16 + lane + k < a.inputs ? v[k] : 0.0f;
            }
            tile[p * (PITCH / 4) + lane / 4] = make_float4(v[0], v[1], v[2], v[3]);
        }
        __syncthreads();
        UNROLL_NOT
        for (u32 tap = 0; tap < around.across * a.side; ++tap, weights += 64) {
            const u32 p = (ty + tap / around.across) * wide + tx + tap % around.across;
            UNROLL_NOT
            for (u32 quad = 0; quad < 4; ++quad) {
                const float4 four = tile[p * (PITCH / 4) + quad];
                const float v[4] = {four.x, four.y, four.z, four.w};
                UNROLL
                for (u32 k = 0; k < 4; ++k) {
                    UNROLL
                    for (u32 o = 0; o < 4; ++o) {
                        const float4 w = load(weights + (quad * 4 + k) * 4 + o);
                        sum[o * 4] += v[k] * w.x;
                        sum[o * 4 + 1] += v[k] * w.y;
                        sum[o * 4 + 2] += v[k] * w.z;
                        sum[o * 4 + 3] += v[k] * w.w;
                    }
                }
            }
        }
    }
    const u32 x = x0 + tx, y = y0 + ty;
    if (x >= a.width || y >= a.height) return;
    if (a.flags & TO_PLANES) {
        UNROLL
        for (u32 o = 0; o < 8; ++o) {
            if (o < a.outputs) finish_plane(a, o, y, x, sum[o]);
        }
        return;
    }
    UNROLL
    for (u32 lane = 0; lane < 16; lane += 4) finish_lanes<Blocks>(a, group, lane, y, x, sum + lane);
}

KERNEL(convolve_f32, ConvolutionArguments, 2) { convolve<F32>(arguments); }
KERNEL(convolve_f16, ConvolutionArguments, 2) { convolve<F16>(arguments); }
