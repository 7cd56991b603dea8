// The images of the networks: planes of one channel, row by row, of 32 or of 16 bits; and blocks, in which the 16 channels of
// a pixel lie side by side.
#pragma once

#include "prelude.cuh"

// A plane or block. Pixel (y, x) is number y · row + x · step.
struct Unit {
    u64 address;
    u32 row, step;
};

// Planes or blocks that lie alike.
struct Image {
    u64 units[16];
    u32 row, step;
};

DEVICE u32 pixel(const Image &image, u32 y, u32 x) { return y * image.row + x * image.step; }

// Value `i` of a plane.
DEVICE float plane_value(bool wide, u64 base, u32 i) { return wide ? F32::own(base, i) : F16::own(base, i); }

DEVICE void put_plane_value(bool wide, u64 base, u32 i, float v) {
    if (wide)
        F32::put_one(base, i, v);
    else
        F16::put_one(base, i, v);
}
