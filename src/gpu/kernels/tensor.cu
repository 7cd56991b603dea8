// Convolutions on tensor cores, of compute capability 8.0 and later: 16-bit products, 32-bit sums.
//
// Pixels are the rows of the matrices, 16 of them in a row of the picture; input lanes are what is summed over; output
// channels are the columns. A block of threads computes 32 pixels across and 4 · ROWS down, each of its eight warps 16 × ROWS;
// blockIdx.z counts groups of COLUMNS · 8 channels. Of each chunk of 16 input lanes the tile and what is around it is copied
// to shared memory once, for all products with it, while the chunk before is multiplied. A pixel's two halves of 16 bytes
// change places with every fourth pixel, so that eight neighbours are in different banks.
//
// Weights lie as the lanes of a warp read them: [group][chunk][row and column of the filter][pair of columns][lane][column of
// the pair][4 input lanes 2q, 2q + 1, 2q + 8, 2q + 9] with q = lane % 4. Columns are in such an order that a lane has four
// neighbouring channels in a pair: column n of column tile i is channel 4 · (n / 2) + 2 · i + n % 2.
#include "convolution.cuh"
#include "mma.cuh"

enum { ACROSS = 32, MOST = 4 };

template <u32 COLUMNS, u32 ROWS> struct Tensor {
    enum {
        DOWN = 4 * ROWS,
        // Halves of pixels in a tile, and how many a thread copies.
        HALVES = (ACROSS + MOST) * (DOWN + MOST) * 2,
        COPIES = (HALVES + 255) / 256,
        PAIRS = (COLUMNS + 1) / 2,
    };

    // The place of a half of a pixel in shared memory.
    DEVICE u32 place(u32 p, u32 half) { return p * 2 + (half ^ (p / 4 & 1)); }

    DEVICE void plane_halves(const ConvolutionArguments &a, u32 chunk, uint4 *tile, u32 wide, u32 high, u32 x0, u32 y0) {
        UNROLL_NOT
        for (u32 i = threadIdx.x; i < wide * high * 2; i += 256) {
            const u32 p = i / 2, lane = chunk * 16 + i % 2 * 8;
            const int y = (int)(y0 + p / wide) - (int)(a.side / 2), x = (int)(x0 + p % wide);
            u32 w[4];
            UNROLL
            for (u32 k = 0; k < 4; ++k) {
                const u32 low = to_half(plane_lane(a, lane + 2 * k, y, x));
                w[k] = low | to_half(plane_lane(a, lane + 2 * k + 1, y, x)) << 16;
            }
            tile[place(p, i % 2)] = make_uint4(w[0], w[1], w[2], w[3]);
        }
    }

    DEVICE void run(const ConvolutionArguments &a) {
        __shared__ uint4 tiles[2][HALVES];
        const u32 thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
        const u32 x0 = blockIdx.x * ACROSS, y0 = blockIdx.y * DOWN, group = blockIdx.z;
        const Reach around = reach(a);
        const u32 wide = ACROSS + around.across - 1, high = DOWN + a.side - 1;
        const bool planes = a.flags & FROM_PLANES;

        // Where the halves that this thread copies come from, the same of every chunk.
        const u32 OUTSIDE = ~0u;
        u32 from[COPIES];
        UNROLL
        for (u32 k = 0; k < COPIES; ++k) {
            const u32 p = (thread + 256 * k) / 2;
            const int y = (int)(y0 + p / wide) - (int)around.up, x = (int)(x0 + p % wide) - (int)around.left;
            from[k] = inside(a, y, x) ? pixel(a.input, y, x) * 2 + thread % 2 : OUTSIDE;
        }
        auto fill = [&](u32 chunk) {
            uint4 *tile = tiles[chunk % 2];
            if (planes) return plane_halves(a, chunk, tile, wide, high, x0, y0);
            const uint4 *unit = (const uint4 *)a.input.units[chunk];
            const u32 lanes = a.inputs - chunk * 16;
            if (lanes < 16) {
                // The last lanes are none of the image's.
                UNROLL_NOT
                for (u32 i = thread; i < wide * high * 2; i += 256) {
                    const u32 p = i / 2, lane = i % 2 * 8;
                    const int y = (int)(y0 + p / wide) - (int)around.up, x = (int)(x0 + p % wide) - (int)around.left;
                    uint4 v = make_uint4(0, 0, 0, 0);
                    if (inside(a, y, x)) v = load(unit + pixel(a.input, y, x) * 2 + i % 2);
                    v.x = masked(v.x, lane, lanes);
                    v.y = masked(v.y, lane + 2, lanes);
                    v.z = masked(v.z, lane + 4, lanes);
                    v.w = masked(v.w, lane + 6, lanes);
                    tile[place(p, i % 2)] = v;
                }
                return;
            }
            UNROLL
            for (u32 k = 0; k < COPIES; ++k) {
                const u32 i = thread + 256 * k, p = i / 2;
                if (p < wide * high) begin_copy(tile + place(p, i % 2), from[k] == OUTSIDE ? unit : unit + from[k], from[k] != OUTSIDE);
            }
        };

        const u32 column = warp % 2 * 16, row = warp / 2 * ROWS, taps = around.across * a.side;
        float sum[ROWS][COLUMNS][4];
        UNROLL
        for (u32 r = 0; r < ROWS; ++r) {
            UNROLL
            for (u32 c = 0; c < COLUMNS; ++c) {
                UNROLL
                for (u32 k = 0; k < 4; ++k) sum[r][c][k] = 0.0f;
            }
        }
        // A lane's weights of a product: 16 bytes for each pair, 8 where there is one column.
        const u32 each = COLUMNS == 1 ? 32 : PAIRS * 64;
        const uint2 *weights = (const uint2 *)a.weights + (u64)group * a.chunks * taps * each + lane * (COLUMNS == 1 ? 1 : 2);
        uint2 now[COLUMNS], next[COLUMNS];
        fetch(weights, next);

        fill(0);
        end_group();
        UNROLL_NOT
        for (u32 chunk = 0; chunk < a.chunks; ++chunk) {
            if (chunk + 1 < a.chunks) fill(chunk + 1);
            end_group();
            wait_for_all_but_one();
            __syncthreads();
            const uint4 *tile = tiles[chunk % 2];
            u32 first = row * wide + column + lane % 16, across = 0;
            UNROLL_NOT
            for (u32 tap = 0; tap < taps; ++tap) {
                UNROLL
                for (u32 c = 0; c < COLUMNS; ++c) now[c] = next[c];
                weights += each;
                fetch(weights, next);
                u32 pixels[ROWS][4];
                UNROLL
                for (u32 r = 0; r < ROWS; ++r) load_rows(pixels[r], tile + place(first + r * wide, lane / 16));
                UNROLL
                for (u32 r = 0; r < ROWS; ++r) {
                    UNROLL
                    for (u32 c = 0; c < COLUMNS; ++c) multiply(sum[r][c], pixels[r], now[c]);
                }
                ++first;
                if (++across == around.across) {
                    across = 0;
                    first += wide - around.across;
                }
            }
            __syncthreads();
        }

        UNROLL
        for (u32 r = 0; r < ROWS; ++r) {
            UNROLL
            for (u32 half = 0; half < 2; ++half) {
                const u32 x = x0 + column + half * 8 + lane / 4, y = y0 + row + r;
                if (x >= a.width || y >= a.height) continue;
                store(a, group, lane % 4, y, x, sum[r], half * 2);
            }
        }
    }

  private:
    // Two lanes from `lane` on, without those from `lanes` on.
    DEVICE u32 masked(u32 v, u32 lane, u32 lanes) { return lane >= lanes ? 0 : lane + 1 >= lanes ? v & 0xffff : v; }

    // The weights of one product. Those behind the last one are there too, and are not used.
    DEVICE void fetch(const uint2 *from, uint2 to[COLUMNS]) {
        if (COLUMNS == 1) {
            to[0] = load(from);
            return;
        }
        UNROLL
        for (u32 pair = 0; pair < COLUMNS / 2; ++pair) {
            const uint4 w = load((const uint4 *)(from + pair * 64));
            to[2 * pair] = make_uint2(w.x, w.y);
            to[2 * pair + 1] = make_uint2(w.z, w.w);
        }
    }

    // What a lane has of a pixel.
    DEVICE void store(const ConvolutionArguments &a, u32 group, u32 q, u32 y, u32 x, float sum[COLUMNS][4], u32 k) {
        const float *bias = (const float *)a.bias + group * COLUMNS * 8;
        if (COLUMNS == 1) {
            UNROLL
            for (u32 e = 0; e < 2; ++e) {
                const u32 plane = 2 * q + e;
                if (plane < a.outputs) finish_plane(a, plane, y, x, sum[0][k + e] + load(bias + plane));
            }
            return;
        }
        UNROLL
        for (u32 pair = 0; pair < COLUMNS / 2; ++pair) {
            const u32 block = group * (COLUMNS / 2) + pair;
            if (block * 16 >= a.outputs) continue;
            float v[4];
            F32::four((u64)bias, pair * 16 + q * 4, v);
            UNROLL
            for (u32 e = 0; e < 2; ++e) {
                v[e] += sum[2 * pair][k + e];
                v[2 + e] += sum[2 * pair + 1][k + e];
            }
            finish_lanes<F16>(a, block, q * 4, y, x, v);
        }
    }
};

KERNEL(tensor_64, ConvolutionArguments, 1) { Tensor<8, 4>::run(arguments); }
KERNEL(tensor_32, ConvolutionArguments, 2) { Tensor<4, 4>::run(arguments); }
KERNEL(tensor_16, ConvolutionArguments, 2) { Tensor<2, 4>::run(arguments); }
KERNEL(tensor_8, ConvolutionArguments, 2) { Tensor<1, 4>::run(arguments); }
// For small images: a quarter of the rows, so that there are blocks for all multiprocessors.
KERNEL(tensor_64_low, ConvolutionArguments, 2) { Tensor<8, 1>::run(arguments); }
KERNEL(tensor_32_low, ConvolutionArguments, 2) { Tensor<4, 1>::run(arguments); }
KERNEL(tensor_16_low, ConvolutionArguments, 2) { Tensor<2, 1>::run(arguments); }
