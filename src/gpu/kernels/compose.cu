// The frame that goes out: input + strength · (clamp(L'·R, 0, 1) − input) in the input's format, and the sum of its luma.
//
//     Y'  = K_R·R' + K_G·G' + K_B·B'
//     C_B = (B' − Y') / 2(1 − K_B)      C_R = (R' − Y') / 2(1 − K_R)
//
// Subsampled chroma is the mean over the pixels around the sample, weighted by where it lies. The arithmetic is that of
// src/cpu/colour/{compose,store,guided}.rs in the same order.
#include "format.cuh"

struct ComposeArguments {
    u64 settings, image, r, adjusted, fitted, smooth;
    u32 working_width, working_height, padded_width, padded_height;
    Format format;
};

DEVICE Settings *settings_of(const ComposeArguments &a) { return (Settings *)a.settings; }

DEVICE float blend(float strength, float input, float bright) { return input + strength * (bright - input); }

DEVICE Rgb blend(float strength, Rgb input, Rgb bright) {
    return {
        blend(strength, input.r, bright.r), blend(strength, input.g, bright.g), blend(strength, input.b, bright.b)
    };
}

// Where the bright picture is.

// R at the frame's own size, and L'.
template <class Storage> struct Relit {
    DEVICE Rgb pixel(const ComposeArguments &a, float strength, u32 x, u32 y) { return one<Any>(a, strength, x, y); }

    // Pixel (x, y); `Read` reads the input's.
    template <class Read> DEVICE Rgb one(const ComposeArguments &a, float strength, u32 x, u32 y) {
        const u32 plane = a.padded_width * a.padded_height, at = y * a.padded_width + x;
        const float l = Storage::one(a.adjusted, at);
        const Rgb bright = {
            clamp(Storage::one(a.r, at) * l), clamp(Storage::one(a.r, plane + at) * l),
            clamp(Storage::one(a.r, 2 * plane + at) * l)
        };
        return strength < 1.0f ? blend(strength, Read::one(a.format, settings_of(a)->input, x, y), bright) : bright;
    }

    // Pixels x to x + 3.
    template <class Read> DEVICE void four(const ComposeArguments &a, float strength, u32 x, u32 y, Rgb out[4]) {
        const u32 plane = a.padded_width * a.padded_height, at = y * a.padded_width + x;
        float l[4], r[3][4];
        Storage::four(a.adjusted, at, l);
        UNROLL
        for (u32 c = 0; c < 3; ++c) Storage::four(a.r, c * plane + at, r[c]);
        UNROLL
        for (u32 k = 0; k < 4; ++k) out[k] = {clamp(r[0][k] * l[k]), clamp(r[1][k] * l[k]), clamp(r[2][k] * l[k])};
        if (strength < 1.0f) {
            Rgb input[4];
            Read::four(a.format, settings_of(a)->input, x, y, input);
            UNROLL
            for (u32 k = 0; k < 4; ++k) out[k] = blend(strength, input[k], out[k]);
        }
    }
};

// The working pixel to the left of (or above) a frame's pixel, the one after it, and the way between them, 0 to 1.
struct Place {
    u32 first, next;
    float way;

    DEVICE Place of(u32 i, u32 full, u32 working) {
        // Centres: (i + 1/2) · working / full − 1/2, in units of 1 / (2 · full).
        const u32 centre = (2 * i + 1) * working, half = full, unit = 2 * full;
        const u32 at = min(centre - min(centre, half), (working - 1) * unit);
        const u32 first = at / unit;
        return {first, min(first + 1, working - 1), (float)(at % unit) / (float)unit};
    }
};

DEVICE float between(float a, float b, float way) { return a + way * (b - a); }

// A linear map from the frame's own pixels, fitted at the working size.
struct Guided {
    DEVICE Rgb pixel(const ComposeArguments &a, float strength, u32 x, u32 y) {
        const Rgb input = Any::one(a.format, settings_of(a)->input, x, y);
        const Place column = Place::of(x, a.format.width, a.working_width);
        const Place row = Place::of(y, a.format.height, a.working_height);
        const float colours[3] = {input.r, input.g, input.b};
        float bright[3];
        UNROLL
        for (u32 c = 0; c < 3; ++c) bright[c] = clamp(term(a, c, column, row) * colours[c] + term(a, 3 + c, column, row));
        const Rgb out = {bright[0], bright[1], bright[2]};
        return strength < 1.0f ? blend(strength, input, out) : out;
    }

  private:
    // Plane p of the smoothed lines at a frame's pixel.
    DEVICE float term(const ComposeArguments &a, u32 p, const Place &column, const Place &row) {
        const u32 width = a.working_width, plane = p * width * a.working_height;
        const u32 upper = plane + row.first * width, lower = plane + row.next * width;
        const float left = between(
            F32::one(a.smooth, upper + column.first), F32::one(a.smooth, lower + column.first), row.way
        );
        const float right = between(
            F32::one(a.smooth, upper + column.next), F32::one(a.smooth, lower + column.next), row.way
        );
        return between(left, right, column.way);
    }
};

// Codes.

DEVICE u32 code_of(const Format &f, float v) { return min(nearest(v), f.maximum); }

// Of luma, or of a colour.
DEVICE u32 luma_code(const Format &f, float v) { return code_of(f, f.code_black + f.code_span * v); }

// Sample `i` of row `y` of a component.
DEVICE void put(const Format &f, const Surface &s, const Component &c, u32 y, u32 i, u32 code) {
    const u32 n = c.offset + i * c.step;
    if (f.wide == SHARED) {
        // Other threads write the rest of the word. The two bits above the third sample belong to none and become 0.
        u32 *word = (u32 *)byte_at(s, c.plane, y, n / 3 * 4);
        const u32 bit = n % 3 * 10;
        atomicAnd(word, ~(0x3ffu << bit) & 0x3fffffff);
        atomicOr(word, code << bit);
        return;
    }
    u8 *at = byte_at(s, c.plane, y, n);
    code <<= f.shift;
    at[0] = (u8)code;
    if (f.wide) at[1] = (u8)(code >> 8);
}

// Carries over alpha or padding of pixel (x, y).
DEVICE void carry(const Format &f, const Settings *settings, u32 x, u32 y) {
    for (u32 byte = 0; byte <= f.wide; ++byte) {
        const u32 i = f.fourth.offset + x * f.fourth.step + byte;
        *byte_at(settings->output, f.fourth.plane, y, i) = load(byte_at(settings->input, f.fourth.plane, y, i));
    }
}

// Chroma.

struct Difference {
    float u, v;
};

// `weight` times a pixel's colour differences.
DEVICE Difference difference(const Format &f, float weight, Rgb v) {
    const float luma = luma_of(f, v);
    return {weight * f.code_u * (v.b - luma), weight * f.code_v * (v.r - luma)};
}

DEVICE void add(Difference &to, Difference d, bool really) {
    to.u += really ? d.u : 0.0f;
    to.v += really ? d.v : 0.0f;
}

// The code of a chroma sample from the differences before, at and after its own pixel.
DEVICE u32 chroma_code(const Format &f, float before, float own, float after) {
    const float left = f.cosited_x ? 0.25f : 0.0f, right = f.cosited_x ? 0.25f : 0.5f;
    const float mean = left * before + 0.5f * own + right * after;
    return code_of(f, f.code_middle + mean);
}

// Row `j` (0 above, 1 own, 2 below) of those that a chroma row is made of: where it is, its weight, and whether its luma
// belongs to the same thread.
struct Line {
    u32 y;
    float weight;
    bool own;
};

DEVICE Line line_of(const Format &f, u32 top, u32 j) {
    if (f.sub_y == 0) return {top, j == 1 ? 1.0f : 0.0f, j == 1};
    if (j == 0) return {top - (top > 0), f.cosited_y ? 0.25f : 0.0f, false};
    if (j == 1) return {top, 0.5f, true};
    const u32 below = min(top + 1, f.height - 1);
    return {below, f.cosited_y ? 0.25f : 0.5f, below != top};
}

// Any format and size: a thread writes the pixels that share a chroma sample, or one pixel. `Bright` gives the pixels that go out.
template <class Bright> DEVICE void compose_cells(const ComposeArguments &a) {
    const Format &f = a.format;
    Settings *settings = settings_of(a);
    const float strength = load(&settings->strength);
    const Surface &output = settings->output;
    const u32 column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    const u32 x = column << f.sub_x, y = row << f.sub_y;
    float sum = 0.0f;
    if (x < f.width && y < f.height) {
        const u32 last = f.width - 1;
        const bool shared = f.sub_x != 0;
        Difference before = {0.0f, 0.0f}, own = {0.0f, 0.0f}, after = {0.0f, 0.0f};
        // Column n / 3 (0 before, 1 own, 2 after) and row n % 3 of the pixels around; its own alone where pixels share
        // nothing. One loop, so that reading a pixel is in the program once.
        const u32 end = shared ? 9 : 5;
        UNROLL_NOT
        for (u32 n = !shared ? 4 : f.cosited_x ? 0 : 3; n < end; ++n) {
            const u32 k = n / 3;
            const Line line = line_of(f, y, n % 3);
            if (line.weight == 0.0f) continue;
            const u32 at = k == 0 ? x - (x > 0) : min(x + k - 1, last);
            const Rgb v = Bright::pixel(a, strength, at, line.y);
            const Difference d = difference(f, line.weight, v);
            add(before, d, k == 0);
            add(own, d, k == 1);
            add(after, d, k == 2);
            if (!line.own || k == 0 || x + k - 1 > last) continue;
            const float luma = luma_of(f, v);
            sum += luma;
            if (f.carried) carry(f, settings, at, line.y);
            if (f.model != RGB) {
                put(f, output, f.colour[0], line.y, at, luma_code(f, luma));
                continue;
            }
            const float values[3] = {v.r, v.g, v.b};
            UNROLL
            for (u32 c = 0; c < 3; ++c) put(f, output, f.colour[c], y, at, luma_code(f, values[c]));
        }
        if (f.model == YUV) {
            const u32 u = shared ? chroma_code(f, before.u, own.u, after.u) : code_of(f, f.code_middle + own.u);
            const u32 v = shared ? chroma_code(f, before.v, own.v, after.v) : code_of(f, f.code_middle + own.v);
            put(f, output, f.colour[1], row, column, u);
            put(f, output, f.colour[2], row, column, v);
        }
    }
    block_add(fixed(sum), &settings->luma_out);
}

// Four pixels of one chroma row, of one or two rows of luma, a thread, for frames whose width is a multiple of four.
template <class Samples, class Chroma, class Storage> DEVICE void compose_yuv(const ComposeArguments &a) {
    const Format &f = a.format;
    Settings *settings = settings_of(a);
    const float strength = load(&settings->strength);
    const Surface &output = settings->output;
    const u32 x = 4 * (blockIdx.x * blockDim.x + threadIdx.x), row = blockIdx.y * blockDim.y + threadIdx.y;
    const u32 y = row << f.sub_y;
    float sum = 0.0f;
    if (x < f.width && y < f.height) {
        // The pixel before the group, then the group's.
        Difference d[5] = {{0.0f, 0.0f}, {0.0f, 0.0f}, {0.0f, 0.0f}, {0.0f, 0.0f}, {0.0f, 0.0f}};
        UNROLL_NOT
        for (u32 j = 0; j < 3; ++j) {
            const Line line = line_of(f, y, j);
            if (line.weight == 0.0f) continue;
            Rgb v[4];
            Relit<Storage>::template four<Yuv<Samples, Chroma>>(a, strength, x, line.y, v);
            if (f.cosited_x) {
                const Rgb before = Relit<Storage>::template one<Yuv<Samples, Chroma>>(a, strength, x - (x > 0), line.y);
                add(d[0], difference(f, line.weight, before), true);
            }
            u32 codes[4];
            float luma = 0.0f;
            UNROLL
            for (u32 k = 0; k < 4; ++k) {
                add(d[k + 1], difference(f, line.weight, v[k]), true);
                const float own = luma_of(f, v[k]);
                luma += own;
                codes[k] = luma_code(f, own);
            }
            if (line.own) {
                sum += luma;
                Samples::put(f, byte_at(output, 0, line.y, Samples::SIZE * x), codes);
            }
        }
        u32 codes[4];
        UNROLL
        for (u32 k = 0; k < 2; ++k) {
            const Difference *at = d + 2 * k;
            codes[2 * k] = chroma_code(f, at[0].u, at[1].u, at[2].u);
            codes[2 * k + 1] = chroma_code(f, at[0].v, at[1].v, at[2].v);
        }
        Chroma::put(f, output, row, x / 2, codes);
    }
    block_add(fixed(sum), &settings->luma_out);
}

// Four pixels of four bytes a thread, for frames whose width is a multiple of four.
template <class Storage> DEVICE void compose_packed(const ComposeArguments &a) {
    const Format &f = a.format;
    Settings *settings = settings_of(a);
    const float strength = load(&settings->strength);
    const u32 x = 4 * (blockIdx.x * blockDim.x + threadIdx.x), y = blockIdx.y * blockDim.y + threadIdx.y;
    float sum = 0.0f;
    if (x < f.width && y < f.height) {
        const uint4 w = load((const uint4 *)byte_at(settings->input, 0, y, 4 * x));
        Rgb v[4];
        Relit<Storage>::template four<Packed>(a, strength, x, y, v);
        u32 pixels[4] = {w.x, w.y, w.z, w.w};
        UNROLL
        for (u32 k = 0; k < 4; ++k) {
            sum += luma_of(f, v[k]);
            pixels[k] = (pixels[k] & 0xffu << 8 * f.fourth.offset) |
                        luma_code(f, v[k].r) << 8 * f.colour[0].offset |
                        luma_code(f, v[k].g) << 8 * f.colour[1].offset |
                        luma_code(f, v[k].b) << 8 * f.colour[2].offset;
        }
        *(uint4 *)byte_at(settings->output, 0, y, 4 * x) = make_uint4(pixels[0], pixels[1], pixels[2], pixels[3]);
    }
    block_add(fixed(sum), &settings->luma_out);
}

// The guided filter: in a window of 5 × 5 working pixels each channel of the bright picture E is fitted as a line over
// the input I, E ≈ a·I + b. One thread for each pixel and channel.
template <class Storage> DEVICE void guide_fit(const ComposeArguments &a) {
    const int RADIUS = 2, SIDE = 2 * RADIUS + 1;
    const float FLAT_CONTRAST = 0.01f, FLAT_LEAST = 1e-6f;
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    const int width = a.working_width, height = a.working_height;
    if (x >= width || y >= height) return;
    const u32 channel = blockIdx.z * a.padded_width * a.padded_height;
    float window[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int k = -RADIUS; k <= RADIUS; ++k) {
        // Sums down a column: I, E, I², I·E.
        float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        const u32 column = min(max(x + k, 0), width - 1);
        UNROLL
        for (int j = -RADIUS; j <= RADIUS; ++j) {
            const u32 row = min(max(y + j, 0), (int)a.padded_height - 1);
            const u32 at = row * a.padded_width + column;
            const float i = F32::one(a.image, channel + at);
            const float e = clamp(Storage::one(a.r, channel + at) * Storage::one(a.adjusted, at));
            sums[0] += i;
            sums[1] += e;
            sums[2] += i * i;
            sums[3] += i * e;
        }
        UNROLL
        for (u32 t = 0; t < 4; ++t) window[t] += sums[t];
    }
    const float share = 1.0f / (SIDE * SIDE);
    const float i = window[0] * share, e = window[1] * share, ii = window[2] * share, ie = window[3] * share;
    const float slope = (ie - i * e) / (fmaxf(ii - i * i, 0.0f) + FLAT_CONTRAST * i * i + FLAT_LEAST);
    const u32 plane = width * height, at = y * width + x;
    F32::put_one(a.fitted, blockIdx.z * plane + at, slope);
    F32::put_one(a.fitted, (3 + blockIdx.z) * plane + at, e - slope * i);
}

// The mean of 3 × 3 of each of the six fitted planes.
DEVICE void smooth(const ComposeArguments &a) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    const int width = a.working_width, height = a.working_height;
    if (x >= width || y >= height) return;
    const u32 plane = blockIdx.z * width * height;
    float sum = 0.0f;
    UNROLL
    for (int k = -1; k <= 1; ++k) {
        const u32 column = plane + min(max(x + k, 0), width - 1);
        sum += F32::one(a.fitted, max(y - 1, 0) * width + column) + F32::one(a.fitted, y * width + column) +
               F32::one(a.fitted, min(y + 1, height - 1) * width + column);
    }
    F32::put_one(a.smooth, plane + y * width + x, sum / 9.0f);
}

KERNEL(compose_any_f32, ComposeArguments, 4) { compose_cells<Relit<F32>>(arguments); }
KERNEL(compose_any_f16, ComposeArguments, 4) { compose_cells<Relit<F16>>(arguments); }
KERNEL(compose_semi8_f32, ComposeArguments, 3) { compose_yuv<Bytes, Pairs<Bytes>, F32>(arguments); }
KERNEL(compose_semi8_f16, ComposeArguments, 3) { compose_yuv<Bytes, Pairs<Bytes>, F16>(arguments); }
KERNEL(compose_semi10_f32, ComposeArguments, 3) { compose_yuv<Words, Pairs<Words>, F32>(arguments); }
KERNEL(compose_semi10_f16, ComposeArguments, 3) { compose_yuv<Words, Pairs<Words>, F16>(arguments); }
KERNEL(compose_planar8_f32, ComposeArguments, 3) { compose_yuv<Bytes, Apart<Bytes>, F32>(arguments); }
KERNEL(compose_planar8_f16, ComposeArguments, 3) { compose_yuv<Bytes, Apart<Bytes>, F16>(arguments); }
KERNEL(compose_planar10_f32, ComposeArguments, 3) { compose_yuv<Words, Apart<Words>, F32>(arguments); }
KERNEL(compose_planar10_f16, ComposeArguments, 3) { compose_yuv<Words, Apart<Words>, F16>(arguments); }
KERNEL(compose_packed_f32, ComposeArguments, 4) { compose_packed<F32>(arguments); }
KERNEL(compose_packed_f16, ComposeArguments, 4) { compose_packed<F16>(arguments); }
KERNEL(guide_fit_f32, ComposeArguments, 4) { guide_fit<F32>(arguments); }
KERNEL(guide_fit_f16, ComposeArguments, 4) { guide_fit<F16>(arguments); }
KERNEL(guide_smooth, ComposeArguments, 4) { smooth(arguments); }
KERNEL(compose_guided, ComposeArguments, 4) { compose_cells<Guided>(arguments); }
