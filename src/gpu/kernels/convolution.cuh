// What a convolution does beside its products:
//
//     act(Σ weight · input + bias + residual) · gated
//
// Input lanes come in chunks of 16. Of blocks a chunk is a block, and the products go over side × side pixels around each.
// Of planes, lane i of all chunks is plane i / side moved by i % side − side / 2 pixels, and the products go over the rows
// alone: few planes then fill the lanes that the products have anyway.
#pragma once

#include "codes.cuh"
#include "images.cuh"

// Bits of `flags`.
enum { FROM_PLANES = 1, TO_PLANES = 2, WIDE_PLANES = 4, RESIDUAL = 8, GATED = 16, SIGMOID = 32 };

struct ConvolutionArguments {
    Image input, output, residual, gated;
    // Weights as the kernel reads them, then one zero for each value of a step; biases, 32 bits, in whole groups.
    u64 weights, bias;
    u32 width, height, side, chunks;
    // Channels of the input and of the output.
    u32 inputs, outputs, flags;
    // Without SIGMOID the activation is max(x, slope · x), limited to low … high.
    float slope, low, high;
};

// Sizes of the area that products read around a tile, in pixels.
struct Reach {
    // Products in a row, above and to the left.
    u32 across, up, left;
};

DEVICE Reach reach(const ConvolutionArguments &a) {
    const bool planes = a.flags & FROM_PLANES;
    return {planes ? 1 : a.side, a.side / 2, planes ? 0 : a.side / 2};
}

DEVICE bool inside(const ConvolutionArguments &a, int y, int x) {
    return (u32)y < a.height && (u32)x < a.width;
}

// A lane of a pixel, of planes.
DEVICE float plane_lane(const ConvolutionArguments &a, u32 lane, int y, int x) {
    const u32 plane = lane / a.side;
    const int from = x + (int)(lane % a.side) - (int)(a.side / 2);
    if (plane >= a.inputs || !inside(a, y, from)) return 0.0f;
    return plane_value(a.flags & WIDE_PLANES, a.input.units[plane], pixel(a.input, y, from));
}

// The fast functions are within a few units of the last place of 32 bits.
DEVICE float activated(const ConvolutionArguments &a, float v) {
    if (a.flags & SIGMOID) return __fdividef(1.0f, 1.0f + fast_exp(fminf(-v, 80.0f)));
    return fminf(fmaxf(fmaxf(v, a.slope * v), a.low), a.high);
}

// Four lanes of a block, sums with bias, of a pixel inside.
template <class Blocks> DEVICE void finish_lanes(const ConvolutionArguments &a, u32 block, u32 lane, u32 y, u32 x, float v[4]) {
    if (a.flags & RESIDUAL) {
        float r[4];
        Blocks::four(a.residual.units[block], pixel(a.residual, y, x) * 16 + lane, r);
        UNROLL
        for (u32 k = 0; k < 4; ++k) v[k] += r[k];
    }
    UNROLL
    for (u32 k = 0; k < 4; ++k) v[k] = activated(a, v[k]);
    if (a.flags & GATED) {
        float g[4];
        Blocks::four(a.gated.units[block], pixel(a.gated, y, x) * 16 + lane, g);
        UNROLL
        for (u32 k = 0; k < 4; ++k) v[k] *= g[k];
    }
    Blocks::put_four(a.output.units[block], pixel(a.output, y, x) * 16 + lane, v);
}

// A plane's value, sum with bias, of a pixel inside.
DEVICE void finish_plane(const ConvolutionArguments &a, u32 plane, u32 y, u32 x, float v) {
    const bool wide = a.flags & WIDE_PLANES;
    if (a.flags & RESIDUAL) v += plane_value(wide, a.residual.units[plane], pixel(a.residual, y, x));
    put_plane_value(wide, a.output.units[plane], pixel(a.output, y, x), activated(a, v));
}
