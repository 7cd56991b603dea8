// The motion of the camera: one affine map for the whole picture. It begins as that of most blocks of the quarter-size copy
// and is refined by least squares on the change of brightness. Partial sums are those of the processor, one for each
// thread of a block or warp, added half to half.
#include "fusion.cuh"

enum { THREADS = 256, UNKNOWNS = 6, SUMS = 27, STRIP = 16 };

// Adds up what the threads of a block hold. All of them call it.
DEVICE void halve(float *lanes) {
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) lanes[threadIdx.x] += lanes[threadIdx.x + half];
    }
    __syncthreads();
}

// Solves N linear equations in shared memory, the right side in the last column, by elimination: m[i][M − 1] / m[i][i] is
// unknown i then. Returns false for a singular system. All threads of the block, at least N·M, call it after a barrier.
template <int N, int M> DEVICE bool solve(double (*m)[M]) {
    const int row = threadIdx.x / M, column = threadIdx.x % M;
    for (int i = 0; i < N; ++i) {
        int pivot = i;
        double most = -1.0;
        for (int other = i; other < N; ++other) {
            const double size = fabs(m[other][i]);
            // Not a number, too, is singular.
            if (!(size < most)) {
                most = size;
                pivot = other;
            }
            if (size != size) return false;
        }
        if (!(most > 1e-12)) return false;
        __syncthreads();
        if (row == 0 && pivot != i) {
            const double value = m[i][column];
            m[i][column] = m[pivot][column];
            m[pivot][column] = value;
        }
        __syncthreads();
        const bool own = row < N && row != i && column >= i;
        const double value = own ? m[row][column] - m[row][i] / m[i][i] * m[i][column] : 0.0;
        __syncthreads();
        if (own) m[row][column] = value;
        __syncthreads();
    }
    return true;
}

// The median of counts around 128, of `total` in all.
DEVICE double median_of(const u32 *counts, u32 total) {
    u32 below = 0;
    for (int i = 0; i < 257; ++i) {
        below += counts[i];
        if (2 * below > total) return (double)(i - 128);
    }
    return 0.0;
}

// The motion of most blocks, then of those near it, twice; one block of threads. Empties what the frame is counted in.
KERNEL(camera_start, FusionArguments, 1) {
    const FusionArguments &a = arguments;
    __shared__ u32 counts[2][257];
    __shared__ float lanes[12][THREADS];
    __shared__ double camera[UNKNOWNS];
    __shared__ double across[3][4], down[3][4];
    if (is_alone(a)) return;
    State *state = state_of(a);
    const u32 thread = threadIdx.x;
    for (u32 i = thread; i < (1 + CURVES) * BINS * CLASSES; i += THREADS) (&state->counts[0][0][0])[i] = 0;
    if (thread == 0) {
        state->encoded = encoded_of(state);
        state->smooth = state->changed = state->believed = 0;
    }
    const u32 LEVEL = 1;
    const float scale = (float)(2 << LEVEL);
    const Field field = Field::of(a, LEVEL);
    const u32 total = field.columns * field.rows;
    for (u32 i = thread; i < 257; i += THREADS) counts[0][i] = counts[1][i] = 0;
    __syncthreads();
    for (u32 i = thread; i < total; i += THREADS) {
        const Vector v = field.vectors[i];
        atomicAdd(&counts[0][within(v.x, -128, 128) + 128], 1u);
        atomicAdd(&counts[1][within(v.y, -128, 128) + 128], 1u);
    }
    __syncthreads();
    if (thread < UNKNOWNS) {
        camera[thread] = thread % 3 == 0 ? median_of(counts[thread / 3], total) * (double)scale : 0.0;
    }
    const float width = 0.5f * (float)side_of(a.width, LEVEL), height = 0.5f * (float)side_of(a.height, LEVEL);
    for (u32 turn = 0; turn < 2; ++turn) {
        __syncthreads();
        float c[UNKNOWNS], sums[12];
        UNROLL
        for (u32 k = 0; k < UNKNOWNS; ++k) c[k] = (float)camera[k];
        UNROLL
        for (u32 k = 0; k < 12; ++k) sums[k] = 0.0f;
        for (u32 i = thread; i < total; i += THREADS) {
            const float x = ((float)(i % field.columns * STEP + STEP / 2) - width) * scale;
            const float y = ((float)(i / field.columns * STEP + STEP / 2) - height) * scale;
            const float dx = (float)field.vectors[i].x * scale, dy = (float)field.vectors[i].y * scale;
            const float ex = dx - (c[0] + c[1] * x + c[2] * y), ey = dy - (c[3] + c[4] * x + c[5] * y);
            const float far = (ex * ex + ey * ey) / (scale * scale);
            const float w = 1.0f / (1.0f + far * far), wx = w * x, wy = w * y;
            const float terms[12] = {w,      wx,      wy,      wx * x, wx * y,  wy * y,
                                     w * dx, wx * dx, wy * dx, w * dy, wx * dy, wy * dy};
            UNROLL
            for (u32 k = 0; k < 12; ++k) sums[k] += terms[k];
        }
        UNROLL
        for (u32 k = 0; k < 12; ++k) lanes[k][thread] = sums[k];
        UNROLL_NOT
        for (u32 k = 0; k < 12; ++k) halve(lanes[k]);
        if (thread < 9) {
            // w, x, y; x, xx, xy; y, xy, yy.
            const u32 i = thread / 3, j = thread % 3, low = min(i, j), high = max(i, j);
            const u32 which = low == 0 ? high : low + high + 1;
            across[i][j] = down[i][j] = (double)lanes[which][0];
        }
        if (thread < 3) {
            across[thread][3] = (double)lanes[6 + thread][0];
            down[thread][3] = (double)lanes[9 + thread][0];
        }
        __syncthreads();
        if (!solve<3, 4>(across) || !solve<3, 4>(down)) continue;
        if (thread < 3) {
            camera[thread] = across[thread][3] / across[thread][thread];
            camera[3 + thread] = down[thread][3] / down[thread][thread];
        }
    }
    __syncthreads();
    if (thread < UNKNOWNS) state->camera[thread] = camera[thread];
}

// Of a copy, one pixel of so many in each direction is looked at.
DEVICE u32 stride_of(const Small &copy) {
    const u32 samples = (u32)(copy.width * copy.height) / 8192;
    return samples < 4 ? 1 : samples < 16 ? 2 : 4;
}

DEVICE float lerp(float a, float b, float t) { return a + (b - a) * t; }

// Products of the derivatives with each other and with the difference, over a row of the copy at `level`: a warp takes a
// row.
KERNEL(camera_sums, FusionArguments, 2) {
    const FusionArguments &a = arguments;
    if (is_alone(a)) return;
    const Small now = Small::of(a, a.now, a.level), before = Small::of(a, a.before, a.level);
    const int width = now.width, height = now.height, stride = stride_of(now);
    const int row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32, y = row * stride;
    if (y >= height) return;
    const State *state = state_of(a);
    float c[UNKNOWNS], sums[SUMS];
    UNROLL
    for (u32 k = 0; k < UNKNOWNS; ++k) c[k] = (float)state->camera[k];
    UNROLL
    for (u32 k = 0; k < SUMS; ++k) sums[k] = 0.0f;
    const float scale = (float)(2 << a.level);
    const float noise = fmaxf(2.0f * noise_of(state) / (float)(1 << a.level), 1.0f / 255.0f);
    const float unit = 1.0f / (0.5f * (float)width * scale), inverse = 1.0f / fmaxf(noise * noise, 1e-8f);
    const float py = ((float)y + 0.5f - 0.5f * (float)height) * scale;
    for (int x = lane * stride; x < width; x += 32 * stride) {
        const float px = ((float)x + 0.5f - 0.5f * (float)width) * scale;
        const float fx = (float)x + (c[0] + c[1] * px + c[2] * py) / scale;
        const float fy = (float)y + (c[3] + c[4] * px + c[5] * py) / scale;
        if (!(fx >= 1.0f && fx < (float)width - 2.0f && fy >= 1.0f && fy < (float)height - 2.0f)) continue;
        const int ix = (int)fx, iy = (int)fy;
        const float tx = fx - (float)ix, ty = fy - (float)iy;
        const float *r0 = Small::at(before, ix - 1, iy - 1), *r1 = r0 + before.stride;
        const float *r2 = r1 + before.stride, *r3 = r2 + before.stride;
        const float b0 = load(r1), b1 = load(r1 + 1), b2 = load(r1 + 2), b3 = load(r1 + 3);
        const float d0 = load(r2), d1 = load(r2 + 1), d2 = load(r2 + 2), d3 = load(r2 + 3);
        const float value = lerp(lerp(b1, b2, tx), lerp(d1, d2, tx), ty);
        const float left = lerp(lerp(b0, b1, tx), lerp(d0, d1, tx), ty);
        const float right = lerp(lerp(b2, b3, tx), lerp(d2, d3, tx), ty);
        const float above = lerp(lerp(load(r0 + 1), load(r0 + 2), tx), lerp(b1, b2, tx), ty);
        const float below = lerp(lerp(d1, d2, tx), lerp(load(r3 + 1), load(r3 + 2), tx), ty);
        const float difference = load(Small::at(now, x, y)) - value;
        const float weight = 1.0f / (1.0f + difference * difference * inverse);
        const float gx = 0.5f * (right - left) / scale, gy = 0.5f * (below - above) / scale;
        const float ux = px * unit, uy = py * unit;
        const float d[UNKNOWNS] = {gx, gx * ux, gx * uy, gy, gy * ux, gy * uy};
        u32 next = 0;
        UNROLL
        for (u32 i = 0; i < UNKNOWNS; ++i) {
            const float scaled = weight * d[i];
            UNROLL
            for (u32 j = i; j < UNKNOWNS; ++j) sums[next++] += scaled * d[j];
            sums[21 + i] += scaled * difference;
        }
    }
    const float units[UNKNOWNS] = {1.0f, unit, unit, 1.0f, unit, unit};
    float *out = (float *)a.sums + row * SUMS;
    u32 next = 0;
    UNROLL
    for (u32 i = 0; i < UNKNOWNS; ++i) {
        UNROLL
        for (u32 j = i; j <= UNKNOWNS; ++j) {
            const u32 k = j < UNKNOWNS ? next++ : 21 + i;
            float sum = sums[k];
            UNROLL
            for (u32 half = 16; half > 0; half /= 2) {
                sum += __uint_as_float(__shfl_down_sync(0xffffffff, __float_as_uint(sum), half));
            }
            if (lane == 0) out[k] = sum / (j < UNKNOWNS ? units[i] * units[j] : units[i]);
        }
    }
}

// One step of Gauss–Newton from the rows' sums; one block of 64 threads. After the `last` one a camera that hardly moves
// stands still.
KERNEL(camera_step, FusionArguments, 1) {
    const FusionArguments &a = arguments;
    __shared__ double totals[SUMS], refined[UNKNOWNS];
    __shared__ double system[UNKNOWNS][UNKNOWNS + 1];
    if (is_alone(a)) return;
    State *state = state_of(a);
    const Small now = Small::of(a, a.now, a.level);
    const u32 thread = threadIdx.x, stride = stride_of(now), rows = (now.height + stride - 1) / stride;
    const float *sums = (const float *)a.sums;
    if (thread < SUMS) {
        double total = 0.0;
        for (u32 strip = 0; strip < rows; strip += STRIP / stride) {
            double sum = 0.0;
            for (u32 row = strip; row < min(rows, strip + STRIP / stride); ++row) sum += (double)sums[row * SUMS + thread];
            total += sum;
        }
        totals[thread] = total;
    }
    __syncthreads();
    if (thread < UNKNOWNS * UNKNOWNS) {
        const u32 i = thread / UNKNOWNS, j = thread % UNKNOWNS, low = min(i, j), high = max(i, j);
        double value = totals[low * UNKNOWNS - low * (low + 1) / 2 + high];
        // Where the picture says nothing, nothing changes.
        if (i == j) value = value * (1.0 + 1e-6) + 1e-6;
        system[i][j] = value;
    }
    if (thread < UNKNOWNS) system[thread][UNKNOWNS] = totals[21 + thread];
    __syncthreads();
    const bool solved = solve<UNKNOWNS, UNKNOWNS + 1>(system);
    if (thread < UNKNOWNS) {
        refined[thread] = state->camera[thread];
        if (solved) refined[thread] += system[thread][UNKNOWNS] / system[thread][thread];
    }
    __syncthreads();
    if (thread != 0) return;
    bool finite = true;
    for (u32 k = 0; k < UNKNOWNS; ++k) finite = finite && refined[k] - refined[k] == 0.0;
    if (finite) {
        for (u32 k = 0; k < UNKNOWNS; ++k) state->camera[k] = refined[k];
    }
    if (!a.last) return;
    // The corners are taken twice as far out as they are.
    const double w = (double)now.width, h = (double)now.height, STANDS = 0.12;
    bool stands = true;
    for (u32 corner = 0; corner < 4; ++corner) {
        const double x = corner % 2 ? -w : w, y = corner / 2 ? -h : h;
        const double *c = state->camera;
        stands = stands && fabs(c[0] + c[1] * x + c[2] * y) < STANDS && fabs(c[3] + c[4] * x + c[5] * y) < STANDS;
    }
    for (u32 k = 0; stands && k < UNKNOWNS; ++k) state->camera[k] = 0.0;
}
