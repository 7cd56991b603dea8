// A frame in device memory, and R'G'B' of its pixels (ITU-R BT.601, BT.709, BT.2020: inverse of the YCbCr equations), with
// the arithmetic of src/cpu/colour/unpack.rs in the same order.
#pragma once
#include "prelude.cuh"

// Where the samples of one component are; offset and step in bytes, or in samples where three share a word.
struct Component {
    u32 plane, offset, step;
};

enum Model { RGB = 0, YUV = 1, GRAY = 2 };

// What holds a sample.
enum Wide { BYTE = 0, WORD = 1, SHARED = 2 };

// Mirrors Format of format.rs, where the fields are explained.
struct Format {
    u32 width, height;
    u32 model, wide, shift, maximum;
    u32 sub_x, sub_y, cosited_x, cosited_y;
    u32 carried;
    Component colour[3];
    Component fourth;
    float kr, kg, kb;
    float black, scale, middle, rv, gu, gv, bu;
    float code_black, code_span, code_middle, code_u, code_v;
};

// Planes in device memory, strides in bytes.
struct Surface {
    u64 address[4], stride[4];
};

// Intensities that noise is known at; they lie closer in the dark.
enum { BINS = 24 };

// Mirrors Settings of launch.rs.
struct Settings {
    u32 ratio;
    float strength, most;
    u32 fresh;
    u64 luma_in, luma_out;
    u32 cut, repeated;
    Surface input, output;
    // Variances by intensity, as the stream's memory has learnt them, if it has.
    float noise[BINS];
    u32 noise_known, unused;
};

struct Rgb {
    float r, g, b;
};

// Byte `i` of row `y` of a plane.
DEVICE u8 *byte_at(const Surface &s, u32 plane, u32 y, u32 i) {
    return (u8 *)(load(&s.address[plane]) + y * load(&s.stride[plane]) + i);
}

// Sample `i` of row `y` of a component. Words are read by bytes: a plane may begin anywhere. Where three samples share a
// word of 32 bits, the first is in its lowest bits.
DEVICE float sample(const Format &f, const Surface &s, const Component &c, u32 y, u32 i) {
    const u32 n = c.offset + i * c.step;
    const bool shared = f.wide == SHARED;
    // 0, 10 or 20 bits into the word: the sample is within the two bytes from there on.
    const u32 bit = shared ? n % 3 * 10 : 0;
    const u8 *at = byte_at(s, c.plane, y, shared ? n / 3 * 4 + bit / 8 : n);
    const u32 low = load(at);
    if (f.wide == BYTE) return (float)low;
    const u32 word = low | load(at + 1) << 8;
    return (float)(shared ? word >> bit % 8 & 0x3ff : word);
}

DEVICE float luma_of(const Format &f, Rgb v) { return f.kr * v.r + f.kg * v.g + f.kb * v.b; }

// Luma in whole 65536ths, for block_add.
DEVICE u32 fixed(float luma) { return __float2uint_rn(fmaxf(luma, 0.0f) * 65536.0f); }

DEVICE Rgb from_rgb(const Format &f, float r, float g, float b) {
    return {clamp((r - f.black) * f.scale), clamp((g - f.black) * f.scale), clamp((b - f.black) * f.scale)};
}

DEVICE Rgb from_yuv(const Format &f, float y, float u, float v) {
    y = (y - f.black) * f.scale;
    u -= f.middle;
    v -= f.middle;
    return {clamp(y + f.rv * v), clamp(y - f.gu * u - f.gv * v), clamp(y + f.bu * u)};
}

// The chroma rows that pixel row y lies between: value = near + weight · (far − near).
struct Between {
    u32 near, far;
    float weight;
};

DEVICE Between rows_of(const Format &f, u32 y) {
    if (f.sub_y == 0) return {y, y, 0.0f};
    const u32 near = y / 2, odd = y % 2, after = min(near + 1, (f.height + 1) / 2 - 1);
    if (f.cosited_y) return {near, odd ? after : near, odd ? 0.5f : 0.0f};
    return {near, odd ? after : near - (near > 0), 0.25f};
}

// The chroma columns that pixel column x lies between, where two pixels share one.
struct Columns {
    u32 left, right;
    float weight_left, weight_right;
};

DEVICE Columns columns_of(const Format &f, u32 x) {
    const u32 own = x / 2;
    if (x % 2) {
        const u32 after = min(own + 1, (f.width + 1) / 2 - 1);
        return {own, after, f.cosited_x ? 0.5f : 0.75f, f.cosited_x ? 0.5f : 0.25f};
    }
    return {own - (own > 0), own, f.cosited_x ? 0.0f : 0.25f, f.cosited_x ? 1.0f : 0.75f};
}

// Readers of pixels, between 0 and 1: `one` at (x, y); `four` from there on, for which x and the width are multiples of
// four and the group's bytes aligned.

// Any format.
struct Any {
    DEVICE Rgb one(const Format &f, const Surface &s, u32 x, u32 y) {
        const float first = sample(f, s, f.colour[0], y, x);
        if (f.model == RGB) {
            return from_rgb(f, first, sample(f, s, f.colour[1], y, x), sample(f, s, f.colour[2], y, x));
        }
        if (f.model == GRAY) return from_rgb(f, first, first, first);
        return from_yuv(f, first, chroma(f, s, f.colour[1], x, y), chroma(f, s, f.colour[2], x, y));
    }

  private:
    // A colour difference at pixel (x, y), between its samples.
    DEVICE float chroma(const Format &f, const Surface &s, const Component &c, u32 x, u32 y) {
        const Between rows = rows_of(f, y);
        const Columns columns = f.sub_x ? columns_of(f, x) : Columns{x, x, 0.0f, 1.0f};
        float a = sample(f, s, c, rows.near, columns.left), b = sample(f, s, c, rows.near, columns.right);
        a += rows.weight * (sample(f, s, c, rows.far, columns.left) - a);
        b += rows.weight * (sample(f, s, c, rows.far, columns.right) - b);
        return columns.weight_left * a + columns.weight_right * b;
    }
};

// Samples of 8 bits, four in a word of 32.
struct Bytes {
    enum { SIZE = 1 };

    DEVICE void four(const u8 *at, float v[4]) {
        const u32 w = load((const u32 *)at);
        UNROLL
        for (u32 k = 0; k < 4; ++k) v[k] = (float)(w >> 8 * k & 0xff);
    }

    DEVICE float one(const u8 *at) { return (float)load(at); }

    DEVICE void two(const u8 *at, float v[2]) {
        const u32 w = load((const u16 *)at);
        v[0] = (float)(w & 0xff);
        v[1] = (float)(w >> 8);
    }

    DEVICE void put(const Format &, u8 *at, const u32 code[4]) {
        *(u32 *)at = code[0] | code[1] << 8 | code[2] << 16 | code[3] << 24;
    }

    DEVICE void put_two(const Format &, u8 *at, u32 a, u32 b) { *(u16 *)at = (u16)(a | b << 8); }
};

// Samples of 16 bits, four in two words of 32.
struct Words {
    enum { SIZE = 2 };

    DEVICE void four(const u8 *at, float v[4]) {
        const uint2 w = load((const uint2 *)at);
        v[0] = (float)(w.x & 0xffff);
        v[1] = (float)(w.x >> 16);
        v[2] = (float)(w.y & 0xffff);
        v[3] = (float)(w.y >> 16);
    }

    DEVICE float one(const u8 *at) { return (float)load((const u16 *)at); }

    DEVICE void two(const u8 *at, float v[2]) {
        const u32 w = load((const u32 *)at);
        v[0] = (float)(w & 0xffff);
        v[1] = (float)(w >> 16);
    }

    DEVICE void put(const Format &f, u8 *at, const u32 code[4]) {
        *(uint2 *)at = make_uint2((code[0] | code[1] << 16) << f.shift, (code[2] | code[3] << 16) << f.shift);
    }

    DEVICE void put_two(const Format &f, u8 *at, u32 a, u32 b) { *(u32 *)at = (a | b << 16) << f.shift; }
};

// Where colour differences lie: `at` gives U and V of chroma column i of row j, `four` U, V, U, V of columns i and i + 1,
// for even i; `put` writes what `four` reads.

// In pairs in one plane.
template <class Samples> struct Pairs {
    DEVICE void at(const Format &f, const Surface &s, u32 j, u32 i, float v[2]) {
        float pair[2];
        Samples::two(byte_at(s, 1, j, 2 * Samples::SIZE * i), pair);
        v[0] = swapped(f) ? pair[1] : pair[0];
        v[1] = swapped(f) ? pair[0] : pair[1];
    }

    DEVICE void four(const Format &f, const Surface &s, u32 j, u32 i, float v[4]) {
        float pairs[4];
        Samples::four(byte_at(s, 1, j, 2 * Samples::SIZE * i), pairs);
        UNROLL
        for (u32 k = 0; k < 4; ++k) v[k] = swapped(f) ? pairs[k ^ 1] : pairs[k];
    }

    DEVICE void put(const Format &f, const Surface &s, u32 j, u32 i, const u32 codes[4]) {
        u32 pairs[4];
        UNROLL
        for (u32 k = 0; k < 4; ++k) pairs[k] = swapped(f) ? codes[k ^ 1] : codes[k];
        Samples::put(f, byte_at(s, 1, j, 2 * Samples::SIZE * i), pairs);
    }

  private:
    DEVICE bool swapped(const Format &f) { return f.colour[1].offset != 0; }
};

// In a plane each.
template <class Samples> struct Apart {
    DEVICE void at(const Format &f, const Surface &s, u32 j, u32 i, float v[2]) {
        v[0] = Samples::one(byte_at(s, f.colour[1].plane, j, Samples::SIZE * i));
        v[1] = Samples::one(byte_at(s, f.colour[2].plane, j, Samples::SIZE * i));
    }

    DEVICE void four(const Format &f, const Surface &s, u32 j, u32 i, float v[4]) {
        float u[2], w[2];
        Samples::two(byte_at(s, f.colour[1].plane, j, Samples::SIZE * i), u);
        Samples::two(byte_at(s, f.colour[2].plane, j, Samples::SIZE * i), w);
        v[0] = u[0];
        v[1] = w[0];
        v[2] = u[1];
        v[3] = w[1];
    }

    DEVICE void put(const Format &f, const Surface &s, u32 j, u32 i, const u32 codes[4]) {
        Samples::put_two(f, byte_at(s, f.colour[1].plane, j, Samples::SIZE * i), codes[0], codes[2]);
        Samples::put_two(f, byte_at(s, f.colour[2].plane, j, Samples::SIZE * i), codes[1], codes[3]);
    }
};

// Luma in the first plane, a colour difference for each 2 pixels of a row in the others.
template <class Samples, class Chroma> struct Yuv {
    DEVICE Rgb one(const Format &f, const Surface &s, u32 x, u32 y) {
        const Between rows = rows_of(f, y);
        const Columns columns = columns_of(f, x);
        float left[2], right[2], far[2];
        Chroma::at(f, s, rows.near, columns.left, left);
        Chroma::at(f, s, rows.far, columns.left, far);
        mix<2>(left, far, rows.weight);
        Chroma::at(f, s, rows.near, columns.right, right);
        Chroma::at(f, s, rows.far, columns.right, far);
        mix<2>(right, far, rows.weight);
        return colours(f, Samples::one(byte_at(s, 0, y, Samples::SIZE * x)), columns, left, right);
    }

    DEVICE void four(const Format &f, const Surface &s, u32 x, u32 y, Rgb out[4]) {
        const Between rows = rows_of(f, y);
        float luma[4], near[8], far[8];
        Samples::four(byte_at(s, 0, y, Samples::SIZE * x), luma);
        row(f, s, rows.near, x / 2, near);
        row(f, s, rows.far, x / 2, far);
        mix<8>(near, far, rows.weight);
        UNROLL
        for (u32 k = 0; k < 4; ++k) {
            // The column on the left of the two that this pixel lies between.
            const float *left = near + 2 * ((k + 1) / 2);
            // x is even, which the compiler does not know.
            out[k] = colours(f, luma[k], columns_of(f, (x & ~1u) + k), left, left + 2);
        }
    }

  private:
    // U and V of columns own − 1 to own + 2 of row j, repeated at the edges; own is even.
    DEVICE void row(const Format &f, const Surface &s, u32 j, u32 own, float v[8]) {
        Chroma::at(f, s, j, own - (own > 0), v);
        Chroma::four(f, s, j, own, v + 2);
        Chroma::at(f, s, j, min(own + 2, f.width / 2 - 1), v + 6);
    }

    template <u32 N> DEVICE void mix(float near[N], const float far[N], float weight) {
        UNROLL
        for (u32 k = 0; k < N; ++k) near[k] += weight * (far[k] - near[k]);
    }

    DEVICE Rgb colours(const Format &f, float luma, const Columns &c, const float left[2], const float right[2]) {
        const float u = c.weight_left * left[0] + c.weight_right * right[0];
        const float v = c.weight_left * left[1] + c.weight_right * right[1];
        return from_yuv(f, luma, u, v);
    }
};

// Four bytes a pixel: three colours and one that is carried over.
struct Packed {
    DEVICE void four(const Format &f, const Surface &s, u32 x, u32 y, Rgb out[4]) {
        const uint4 w = load((const uint4 *)byte_at(s, 0, y, 4 * x));
        const u32 pixels[4] = {w.x, w.y, w.z, w.w};
        UNROLL
        for (u32 k = 0; k < 4; ++k) {
            float v[3];
            UNROLL
            for (u32 c = 0; c < 3; ++c) v[c] = (float)(pixels[k] >> 8 * f.colour[c].offset & 0xff);
            out[k] = from_rgb(f, v[0], v[1], v[2]);
        }
    }
};
