// What the kernels of temporal fusion share: their arguments, the small copies of a picture, the motion's vectors, the cells
// that innovations are measured in, and what is known of a stream's noise. The arithmetic is that of src/cpu/fusion/, in
// the same order, where the formulas and constants are explained.
#pragma once
#include "format.cuh"

// Mirrors FusionArguments of fusion.rs, where the fields are explained.
struct FusionArguments {
    u64 settings, image, image_half;
    u64 past, count, expected, now, before, vectors, sums, cells, texture, broad, trust, state;
    u32 width, height;
    u32 level;
    u32 last;
};

DEVICE Settings *settings_of(const FusionArguments &a) { return (Settings *)a.settings; }

// Whether there is nothing to fuse with: the frame is the first of its stream.
DEVICE bool is_fresh(const FusionArguments &a) { return load(&settings_of(a)->fresh) != 0; }

// Whether the frame is the one before once more.
DEVICE bool is_repeated(const FusionArguments &a) { return load(&settings_of(a)->repeated) != 0; }

// Whether the frame and the memory are not compared.
DEVICE bool is_alone(const FusionArguments &a) { return is_fresh(a) || is_repeated(a); }

// Between two numbers; NaN stays NaN.
DEVICE float within(float v, float least, float most) { return v < least ? least : v > most ? most : v; }

DEVICE int within(int v, int least, int most) { return v < least ? least : v > most ? most : v; }

// The nearest whole number in 16 bits, away from 0 in the middle; NaN is 0.
DEVICE short to_short(double v) {
    const double nearest = round(v);
    return nearest != nearest ? 0 : nearest < -32768.0 ? -32768 : nearest > 32767.0 ? 32767 : (short)nearest;
}

// Small copies of a picture's luma: a half, a quarter, an eighth and a sixteenth of its sides.
enum { LEVELS = 4, BORDER = 16 };

DEVICE u32 side_of(u32 side, u32 level) { return (side + (2u << level) - 1) / (2u << level); }

// One of them.
struct Small {
    // Pixel (0, 0), inside a border of repeated edges.
    float *data;
    int width, height, stride;

    DEVICE Small of(const FusionArguments &a, u64 pyramid, u32 level) {
        u32 start = 0;
        for (u32 above = 0; above < level; ++above) {
            start += (side_of(a.width, above) + 2 * BORDER) * (side_of(a.height, above) + 2 * BORDER);
        }
        const int width = side_of(a.width, level), height = side_of(a.height, level), stride = width + 2 * BORDER;
        return {(float *)pyramid + start + BORDER * stride + BORDER, width, height, stride};
    }

    DEVICE const float *at(const Small &s, int x, int y) { return s.data + y * s.stride + x; }
};

// Motion: where a block was in the frame before, in sixteenths of a pixel in the picture's vectors, in pixels elsewhere.
enum { STEP = 4, BLOCK = 8, PARTS = 16 };

struct Vector {
    short x, y;
};

// The vectors of one level.
struct Field {
    Vector *vectors;
    int columns, rows;

    DEVICE u32 columns_of(const FusionArguments &a, u32 level) { return (side_of(a.width, level) + STEP - 1) / STEP; }

    DEVICE u32 rows_of(const FusionArguments &a, u32 level) { return (side_of(a.height, level) + STEP - 1) / STEP; }

    // How many the levels above one have.
    DEVICE u32 before(const FusionArguments &a, u32 level) {
        u32 count = 0;
        for (u32 above = 0; above < level; ++above) count += columns_of(a, above) * rows_of(a, above);
        return count;
    }

    DEVICE Field of(const FusionArguments &a, u32 level) {
        return {(Vector *)a.vectors + before(a, level), (int)columns_of(a, level), (int)rows_of(a, level)};
    }
};

// Innovations are measured in cells of 4 × 4 pixels.
enum { CELL = 4 };

#define CODES (255.0f * 255.0f)

struct alignas(16) Cell {
    float energy, detail, intensity, spread;
    float means[3];
    float unused;
};

DEVICE float square(float r, float g, float b) { return (r * r + g * g + b * b) * (CODES / 3.0f); }

struct alignas(8) Trust {
    float share, precision;
};

DEVICE u32 cells_across(const FusionArguments &a) { return (a.width + CELL - 1) / CELL; }

DEVICE u32 cells_down(const FusionArguments &a) { return (a.height + CELL - 1) / CELL; }

// Noise: variances of 8-bit codes by intensity.
enum { CLASSES = 96, CURVES = 3 };

#define LEAST_OF_PIXELS 0.1f
#define LEAST_OF_MEANS 0.02f
#define LEAST_OF_BROAD_MEANS 0.01f

DEVICE float least_of(u32 curve) {
    return curve == 0 ? LEAST_OF_PIXELS : curve == 1 ? LEAST_OF_MEANS : LEAST_OF_BROAD_MEANS;
}

// What a stream remembers beside its picture, and what a frame is counted in. All of it is 0 before the first frame.
struct State {
    // The camera's motion: (a0 + a1·x + a2·y, a3 + a4·x + a5·y) pixels at (x, y) from the middle.
    double camera[6];
    // Sums of whole numbers: flat cells that are smooth, of those that have changed; shares that are believed.
    u64 smooth, changed, believed;
    // The curves: as they are learnt, and for this very frame.
    float learnt[CURVES][BINS], now[CURVES][BINS];
    // The most texture of a flat cell.
    float limit[BINS];
    // Whether a curve was learnt.
    u32 known[CURVES];
    // How far the noise was an encoder's in the frame before, from 0 to 1.
    float encoded;
    // Cells by intensity and texture, and flat ones by intensity and square for each curve.
    u32 counts[1 + CURVES][BINS][CLASSES];
};

DEVICE State *state_of(const FusionArguments &a) { return (State *)a.state; }

// How far the noise is an encoder's, from 0 to 1, by what was counted.
DEVICE float encoded_of(const State *state) {
    if (state->changed < 24) return state->encoded;
    const float share = (float)state->smooth / (float)state->changed;
    const float now = within((share - 0.3f) / (0.5f - 0.3f), 0.0f, 1.0f);
    return fminf(now, state->encoded + 0.15f);
}

// Where an intensity lies among the bins.
struct Tone {
    u32 bin;
    float part;

    DEVICE Tone of(float intensity) {
        const float at = sqrtf(within(intensity, 0.0f, 1.0f)) * (float)(BINS - 1);
        const u32 bin = at >= 0.0f ? min((u32)at, (u32)BINS - 2) : 0;
        return {bin, at - (float)bin};
    }

    DEVICE float value(const Tone &t, const float *values) {
        const float low = values[t.bin], high = values[t.bin + 1];
        return low + (high - low) * t.part;
    }
};

// A curve as it was learnt.
DEVICE float learnt_at(const State *state, u32 curve, const Tone &tone) {
    return state->known[curve] ? Tone::value(tone, state->learnt[curve]) : least_of(curve);
}

// The standard deviation of a pixel of the half-size copy, from 0 to 1: it is the mean of four.
DEVICE float noise_of(const State *state) {
    return 0.5f * sqrtf(learnt_at(state, 0, Tone::of(0.2f))) / 255.0f;
}

// Counts a square in a table of classes by intensity.
DEVICE void count_in(u32 *counts, float intensity, float square) {
    const float at = sqrtf(within(intensity, 0.0f, 1.0f)) * (float)(BINS - 1) + 0.5f;
    const u32 bin = at >= 0.0f ? min((u32)at, (u32)BINS - 1) : 0;
    // A float's exponent with two bits of its fraction counts quarter octaves, from 2^-10 on.
    const int level = (int)(__float_as_uint(fmaxf(square, 0.0f)) >> 21) - (117 << 2);
    atomicAdd(counts + bin * CLASSES + within(level, 0, CLASSES - 1), 1u);
}

// Adds a block's table to one in device memory. All 256 threads call it after a barrier.
DEVICE void flush(const u32 *counts, u32 *to, u32 n) {
    const u32 thread = threadIdx.y * blockDim.x + threadIdx.x;
    for (u32 i = thread; i < n; i += 256) {
        if (counts[i]) atomicAdd(to + i, counts[i]);
    }
}

// Whether less of the picture is as expected than the same scene would have.
DEVICE bool is_cut(const FusionArguments &a) {
    const float cells = (float)(cells_across(a) * cells_down(a));
    return (float)load(&state_of(a)->believed) / (65536.0f * cells) < 0.1f;
}
