// Means over the picture, and the few numbers that come of them: dense layers, element-wise operations, factors of weights.
#include "codes.cuh"
#include "images.cuh"

struct MeanArguments {
    Image input;
    // [part][unit][16] sums.
    u64 sums;
    u32 width, height;
    // Whether values lie in blocks, and whether planes are of 32 bits.
    u32 blocks, wide;
};

// Sums of a part of the pixels of a unit: blockIdx.x counts parts, blockIdx.y units. In an order that is always the same.
template <class Blocks> DEVICE void mean(const MeanArguments &a) {
    __shared__ float4 threads[256];
    const u32 thread = threadIdx.x, pixels = a.width * a.height, lane = thread % 4 * 4;
    const u32 each = (pixels + gridDim.x - 1) / gridDim.x;
    const u32 first = blockIdx.x * each, end = min(first + each, pixels);
    const u64 unit = a.input.units[blockIdx.y];
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    UNROLL_NOT
    for (u32 i = first + (a.blocks ? thread / 4 : thread); i < end; i += a.blocks ? 64 : 256) {
        const u32 at = pixel(a.input, i / a.width, i % a.width);
        float v[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (a.blocks)
            Blocks::four(unit, at * 16 + lane, v);
        else
            v[0] = plane_value(a.wide, unit, at);
        UNROLL
        for (u32 k = 0; k < 4; ++k) sum[k] += v[k];
    }
    threads[thread] = make_float4(sum[0], sum[1], sum[2], sum[3]);
    UNROLL_NOT
    for (u32 distance = 128; distance >= 4; distance /= 2) {
        __syncthreads();
        if (thread < distance) {
            const float4 own = threads[thread], other = threads[thread + distance];
            threads[thread] = make_float4(own.x + other.x, own.y + other.y, own.z + other.z, own.w + other.w);
        }
    }
    __syncthreads();
    if (thread >= 16) return;
    float *out = (float *)a.sums + (blockIdx.x * gridDim.y + blockIdx.y) * 16;
    if (a.blocks) {
        out[thread] = ((const float *)threads)[thread];
    } else {
        const float one = threads[0].x + threads[1].x + (threads[2].x + threads[3].x);
        out[thread] = thread == 0 ? one : 0.0f;
    }
}

KERNEL(mean_f32, MeanArguments, 4) { mean<F32>(arguments); }
KERNEL(mean_f16, MeanArguments, 4) { mean<F16>(arguments); }

// Steps on the pooled values, by one block of threads.
struct PooledArguments {
    // Twelve words of 32 bits for each step; constants and weights, 32 bits.
    u64 steps, constants;
    // The values; sums of means.
    u64 values, sums;
    // Pooled inputs of the network, whose numbers are of 32 bits if `wide`.
    u64 inputs[2];
    u32 count, wide;
    // Of the frame.
    u32 pixels, reserved;
};

enum { CONSTANTS, INPUT, MEAN, DENSE, EACH };

KERNEL(pooled_steps, PooledArguments, 1) {
    const PooledArguments &a = arguments;
    float *values = (float *)a.values;
    const float *constants = (const float *)a.constants;
    UNROLL_NOT
    for (u32 step = 0; step < a.count; ++step) {
        // kind, to, count, and what the kind takes
        const u32 *w = (const u32 *)a.steps + step * 12;
        const u32 kind = load(w), to = load(w + 1), count = load(w + 2);
        const u32 b = load(w + 3), c = load(w + 4), d = load(w + 5), e = load(w + 6), f = load(w + 7);
        UNROLL_NOT
        for (u32 i = threadIdx.x; i < count; i += 256) {
            float v = 0.0f;
            if (kind == CONSTANTS) {
                v = load(constants + b + i);
            } else if (kind == INPUT) {
                v = plane_value(a.wide, b == 0 ? a.inputs[0] : a.inputs[1], i);
            } else if (kind == MEAN) {
                // b parts of c units, d channels in each; a pixel for every e of the frame's
                UNROLL_NOT
                for (u32 part = 0; part < b; ++part) v += ((const float *)a.sums)[(part * c + i / d) * 16 + i % d];
                v /= (float)(a.pixels / e);
            } else if (kind == DENSE) {
                // from b, c inputs, weights at d, biases at e
                UNROLL_NOT
                for (u32 k = 0; k < c; ++k) v += load(constants + d + i * c + k) * values[b + k];
                v += load(constants + e + i);
            } else if (kind == EACH) {
                // code b; operands from c in steps of d, from e in steps of f
                const float p = __uint_as_float(load(w + 8)), q = __uint_as_float(load(w + 9));
                v = applied(b, values[c + i * d], values[e + i * f], p, q);
            } else {
                v = values[b + i];
            }
            values[to + i] = v;
        }
        __syncthreads();
    }
}

// Weights of a convolution multiplied by factors of its input channels.
struct ScaleArguments {
    // Weights of 32 bits; factors; where the products go.
    u64 weights, factors, to;
    u32 count;
    // Weights of a step of the filter, steps of a chunk, chunks, and lanes of the input in a channel.
    u32 step, taps, chunks, fold;
    // Weights that a lane of a warp has side by side, as `tensor.cu` reads them, in 16 bits; 0: as `convolve.cu` does, in 32.
    u32 side_by_side;
    u32 channels, reserved;
};

KERNEL(scale_weights, ScaleArguments, 4) {
    const ScaleArguments &a = arguments;
    const u32 i = blockIdx.x * 256 + threadIdx.x;
    if (i >= a.count) return;
    u32 lane = i / 16 % 16;
    if (a.side_by_side) lane = i / a.side_by_side % 4 * 2 + i % 2 + i / 2 % 2 * 8;
    const u32 channel = (i / (a.step * a.taps) % a.chunks * 16 + lane) / a.fold;
    const float factor = channel < a.channels ? ((const float *)a.factors)[channel] : 0.0f;
    const float v = load((const float *)a.weights + i) * factor;
    if (a.side_by_side)
        F16::put_one(a.to, i, v);
    else
        F32::put_one(a.to, i, v);
}
