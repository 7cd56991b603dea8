// I from a frame: R'G'B' planes at the working size, edges repeated up to the padded size, and the sum of their luma.
#include "format.cuh"

struct IngestArguments {
    u64 settings, image, image_half;
    u32 working_width, working_height, padded_width, padded_height;
    Format format;
};

DEVICE Settings *settings_of(const IngestArguments &a) { return (Settings *)a.settings; }

// A pixel a thread: any format and any size, every load and store of a warp in one piece. `Read` gives the working
// picture's pixels. Threads outside the padded size read an edge pixel and write nothing.
template <class Read> DEVICE void ingest_pixels(const IngestArguments &a) {
    const u32 x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    const Rgb v = Read::pixel(a, min(x, a.working_width - 1), min(y, a.working_height - 1));
    if (x < a.padded_width && y < a.padded_height) {
        const u32 plane = a.padded_width * a.padded_height, at = y * a.padded_width + x;
        const float values[3] = {v.r, v.g, v.b};
        UNROLL
        for (u32 c = 0; c < 3; ++c) {
            F32::put_one(a.image, c * plane + at, values[c]);
            if (a.image_half) F16::put_one(a.image_half, c * plane + at, values[c]);
        }
    }
    const bool own = x < a.working_width && y < a.working_height;
    block_add(own ? fixed(luma_of(a.format, v)) : 0, &settings_of(a)->luma_in);
}

// The frame's own pixels.
struct Native {
    DEVICE Rgb pixel(const IngestArguments &a, u32 x, u32 y) {
        return Any::one(a.format, settings_of(a)->input, x, y);
    }
};

// The frame's pixels under a pixel of the working picture, and how much of the first and of the last one it covers.
struct Cover {
    u32 first, last;
    float head, tail;

    DEVICE Cover of(u32 i, u32 full, u32 working) {
        const u32 from = i * full, to = from + full;
        const u32 first = from / working, last = (to + working - 1) / working - 1;
        if (first == last) return {first, last, 1.0f, 0.0f};
        const float head = (float)((first + 1) * working - from) / (float)working;
        return {first, last, head, (float)(to - last * working) / (float)working};
    }

    DEVICE float weight(const Cover &c, u32 i) { return i == c.first ? c.head : i == c.last ? c.tail : 1.0f; }

    DEVICE float total(const Cover &c) {
        return c.head + c.tail + (c.last > c.first + 1 ? (float)(c.last - c.first - 1) : 0.0f);
    }
};

// The mean of the frame's pixels that a working pixel covers.
struct Reduced {
    DEVICE Rgb pixel(const IngestArguments &a, u32 x, u32 y) {
        const Cover columns = Cover::of(x, a.format.width, a.working_width);
        const Cover rows = Cover::of(y, a.format.height, a.working_height);
        Rgb sum = {0.0f, 0.0f, 0.0f};
        for (u32 j = rows.first; j <= rows.last; ++j) {
            for (u32 i = columns.first; i <= columns.last; ++i) {
                const float weight = Cover::weight(rows, j) * Cover::weight(columns, i);
                const Rgb v = Native::pixel(a, i, j);
                sum.r += weight * v.r;
                sum.g += weight * v.g;
                sum.b += weight * v.b;
            }
        }
        const float area = Cover::total(columns) * Cover::total(rows);
        return {sum.r / area, sum.g / area, sum.b / area};
    }
};

// Four pixels a thread, in loads and stores of up to 16 bytes, where the working size is the frame's and all widths are
// multiples of four.
template <class Read> DEVICE void ingest_fours(const IngestArguments &a) {
    const u32 x = 4 * (blockIdx.x * blockDim.x + threadIdx.x), y = blockIdx.y * blockDim.y + threadIdx.y;
    const bool beyond = x >= a.working_width;
    Rgb pixels[4];
    Read::four(
        a.format, settings_of(a)->input, beyond ? a.working_width - 4 : x, min(y, a.working_height - 1), pixels
    );
    float luma = 0.0f;
    float values[3][4];
    UNROLL
    for (u32 k = 0; k < 4; ++k) {
        const Rgb v = beyond ? pixels[3] : pixels[k];
        luma += luma_of(a.format, v);
        values[0][k] = v.r;
        values[1][k] = v.g;
        values[2][k] = v.b;
    }
    if (x < a.padded_width && y < a.padded_height) {
        const u32 plane = a.padded_width * a.padded_height, at = y * a.padded_width + x;
        UNROLL
        for (u32 c = 0; c < 3; ++c) {
            F32::put(a.image, c * plane + at, values[c]);
            if (a.image_half) F16::put_four(a.image_half, c * plane + at, values[c]);
        }
    }
    block_add(!beyond && y < a.working_height ? fixed(luma) : 0, &settings_of(a)->luma_in);
}

KERNEL(ingest_any, IngestArguments, 4) { ingest_pixels<Native>(arguments); }
KERNEL(ingest_semi8, IngestArguments, 4) { ingest_fours<Yuv<Bytes, Pairs<Bytes>>>(arguments); }
KERNEL(ingest_semi10, IngestArguments, 4) { ingest_fours<Yuv<Words, Pairs<Words>>>(arguments); }
KERNEL(ingest_planar8, IngestArguments, 4) { ingest_fours<Yuv<Bytes, Apart<Bytes>>>(arguments); }
KERNEL(ingest_planar10, IngestArguments, 4) { ingest_fours<Yuv<Words, Apart<Words>>>(arguments); }
KERNEL(ingest_packed, IngestArguments, 4) { ingest_fours<Packed>(arguments); }
KERNEL(ingest_reduced, IngestArguments, 4) { ingest_pixels<Reduced>(arguments); }
