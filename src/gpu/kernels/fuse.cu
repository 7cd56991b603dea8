// The memory moved to where it is expected, what the new picture differs by, and the Kalman update of the picture.
#include "fusion.cuh"

// Between which squared innovations, in variances of the noise, a single pixel's memory is given up.
#define PIXEL_FROM 4.0f
#define PIXEL_TO 9.0f

// The weights of four neighbours at `part` of the way between the middle two (Catmull–Rom).
DEVICE void weights_of(int part, float w[4]) {
    const float t = (float)part / (float)PARTS, t2 = t * t, t3 = t * t * t;
    w[0] = 0.5f * (-t + 2.0f * t2 - t3);
    w[1] = 0.5f * (2.0f - 5.0f * t2 + 3.0f * t3);
    w[2] = 0.5f * (t + 4.0f * t2 - 3.0f * t3);
    w[3] = 0.5f * (t3 - t2);
}

DEVICE float weigh(const float w[4], float a, float b, float c, float d) {
    return w[0] * a + w[1] * b + w[2] * c + w[3] * d;
}

// The value at a place of a row, between its pixels if there are weights.
DEVICE float along(const float *at, bool weighted, const float w[4]) {
    return weighted ? weigh(w, load(at - 1), load(at), load(at + 1), load(at + 2)) : load(at);
}

// A pixel a thread: the picture remembered and the count of its frames.
KERNEL(fuse_expect, FusionArguments, 4) {
    const FusionArguments &a = arguments;
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    const int width = a.width, height = a.height;
    if (is_alone(a) || x >= width || y >= height) return;
    const Field field = Field::of(a, 0);
    const int left = x / BLOCK * BLOCK, top = y / BLOCK * BLOCK;
    const Vector vector = field.vectors[top / BLOCK * field.columns + left / BLOCK];
    // Whole pixels, rounded down, and the part that is left.
    const int move_x = vector.x >> 4, move_y = vector.y >> 4, part_x = vector.x & 15, part_y = vector.y & 15;
    const int from_x = left + move_x, from_y = top + move_y;
    const int columns = min((int)BLOCK, width - left), rows = min((int)BLOCK, height - top);
    const bool inside = from_x >= 1 && from_x + columns + 2 <= width && from_y >= 1 && from_y + rows + 2 <= height;
    const u32 plane = width * height, at = y * width + x;
    // At the picture's edges the nearest whole pixel will do.
    const u32 there = within(y + move_y, 0, height - 1) * width + within(x + move_x, 0, width - 1);
    float across[4], down[4];
    weights_of(part_x, across);
    weights_of(part_y, down);
    UNROLL_NOT
    for (u32 c = 0; c < 3; ++c) {
        const float *from = (const float *)a.past + c * plane + there;
        float value;
        if (!inside) {
            value = load(from);
        } else if (part_y == 0) {
            value = along(from, part_x != 0, across);
        } else {
            value = weigh(
                down, along(from - width, part_x != 0, across), along(from, part_x != 0, across),
                along(from + width, part_x != 0, across), along(from + 2 * width, part_x != 0, across)
            );
        }
        F32::put_one(a.expected, c * plane + at, value);
    }
    F32::put_one(a.expected, 3 * plane + at, F32::one(a.count, there));
}

// A cell a thread: what the new picture differs by from what is expected, and how much texture the memory has there.
KERNEL(fuse_cells, FusionArguments, 4) {
    const FusionArguments &a = arguments;
    __shared__ u32 counts[BINS * CLASSES];
    if (is_alone(a)) return;
    for (u32 i = threadIdx.y * blockDim.x + threadIdx.x; i < BINS * CLASSES; i += 256) counts[i] = 0;
    __syncthreads();
    const u32 column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    const u32 columns = cells_across(a), width = a.width, height = a.height, plane = width * height;
    if (column < columns && row < cells_down(a)) {
        const u32 left = CELL * column, top = CELL * row;
        const u32 across = min((u32)CELL, width - left), rows = min((u32)CELL, height - top);
        // Sums down the columns, then of the columns.
        float squares[CELL], means[3][CELL], intensities[CELL], details[CELL];
        UNROLL
        for (u32 i = 0; i < CELL; ++i) {
            squares[i] = intensities[i] = details[i] = means[0][i] = means[1][i] = means[2][i] = 0.0f;
        }
        UNROLL
        for (u32 j = 0; j < CELL; ++j) {
            if (j >= rows) break;
            UNROLL
            for (u32 c = 0; c < 3; ++c) {
                const u32 at = c * plane + (top + j) * width + left;
                float before = 0.0f;
                UNROLL
                for (u32 i = 0; i < CELL; ++i) {
                    if (i >= across) break;
                    const float own = F32::one(a.image, at + i), old = F32::one(a.expected, at + i);
                    const float innovation = own - old, difference = innovation - before;
                    squares[i] += innovation * innovation;
                    means[c][i] += innovation;
                    intensities[i] += old;
                    if (i > 0) details[i - 1] += difference * difference;
                    before = innovation;
                }
            }
        }
        float energy = 0.0f, detail = 0.0f, intensity = 0.0f, mean[3] = {0.0f, 0.0f, 0.0f};
        UNROLL
        for (u32 i = 0; i < CELL; ++i) {
            if (i >= across) break;
            energy += squares[i];
            intensity += intensities[i];
            if (i + 1 < across) detail += details[i];
            UNROLL
            for (u32 c = 0; c < 3; ++c) mean[c] += means[c][i];
        }
        const float pixels = (float)(across * rows), pairs = (float)((max(across, 2u) - 1) * rows);
        Cell cell;
        cell.energy = CODES * energy / (3.0f * pixels);
        cell.detail = CODES * detail / (6.0f * pairs);
        cell.intensity = intensity / (3.0f * pixels);
        cell.spread = 1.0f / fmaxf(F32::one(a.expected, 3 * plane + (top + rows / 2) * width + left + across / 2), 1.0f);
        UNROLL
        for (u32 c = 0; c < 3; ++c) cell.means[c] = mean[c] / pixels;
        cell.unused = 0.0f;
        const u32 i = row * columns + column;
        ((Cell *)a.cells)[i] = cell;
        // The squared gradient of the memory.
        const Small half = Small::of(a, a.before, 0);
        float sum = 0.0f;
        UNROLL
        for (u32 k = 0; k < 4; ++k) {
            const float *at = Small::at(half, 2 * column + k % 2, 2 * row + k / 2);
            sum += fabsf(load(at + 1) - load(at - 1)) + fabsf(load(at + half.stride) - load(at - half.stride));
        }
        const float texture = sum * sum * CODES;
        F32::put_one(a.texture, i, texture);
        // Of every second row.
        if (row % 2 == 0) count_in(counts, cell.intensity, texture);
    }
    __syncthreads();
    flush(counts, &state_of(a)->counts[0][0][0], BINS * CLASSES);
}

// A pixel a thread: the new picture is fused with what was expected, as far as that is believed, and becomes the memory.
// The first picture of a stream, and one of another scene, is the memory as it is; in the place of a repeated one the memory is
// the picture.
KERNEL(fuse_merge, FusionArguments, 4) {
    const FusionArguments &a = arguments;
    Settings *settings = settings_of(a);
    const u32 x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    const u32 width = a.width, height = a.height, plane = width * height, at = y * width + x;
    if (x >= width || y >= height) return;
    if (at < BINS) {
        const State *state = state_of(a);
        settings->noise[at] = state->learnt[0][at];
        if (at == 0) settings->noise_known = state->known[0];
    }
    if (is_repeated(a)) {
        UNROLL
        for (u32 c = 0; c < 3; ++c) {
            const float value = F32::own(a.past, c * plane + at);
            F32::put_one(a.image, c * plane + at, value);
            if (a.image_half) F16::put_one(a.image_half, c * plane + at, value);
        }
        return;
    }
    const bool fresh = is_fresh(a), cut = !fresh && is_cut(a);
    float own[3];
    UNROLL
    for (u32 c = 0; c < 3; ++c) own[c] = F32::own(a.image, c * plane + at);
    float count = 1.0f;
    if (fresh || cut) {
        // What moved, too, is forgotten.
        const Vector nothing = {0, 0};
        if (at < Field::before(a, LEVELS)) ((Vector *)a.vectors)[at] = nothing;
        if (cut && at == 0) settings->cut = 1;
    } else {
        float d[3];
        UNROLL
        for (u32 c = 0; c < 3; ++c) d[c] = F32::one(a.expected, c * plane + at) - own[c];
        const float before = fmaxf(F32::one(a.expected, 3 * plane + at), 1.0f);
        // The share that is believed, between the cells' middles.
        const u32 columns = cells_across(a), rows = cells_down(a), column = x / CELL, row = y / CELL;
        const float part = (float)(y % CELL) / (float)CELL + 0.125f;
        const bool upper = part < 0.5f;
        const u32 above = upper ? row - min(row, 1u) : row, below = upper ? row : min(row + 1, rows - 1);
        const float t = upper ? part + 0.5f : part - 0.5f;
        const u32 k = x % CELL;
        const u32 first = k < 2 ? column - min(column, 1u) : column, second = k < 2 ? column : min(column + 1, columns - 1);
        const Trust *trust = (const Trust *)a.trust;
        const float along = k < 2 ? 0.625f + 0.25f * (float)k : 0.125f + 0.25f * (float)(k - 2);
        const float left = load(&trust[above * columns + first].share), low = load(&trust[below * columns + first].share);
        const float high = left + (load(&trust[above * columns + second].share) - left) * along;
        const float deep = low + (load(&trust[below * columns + second].share) - low) * along;
        const float share = high + (deep - high) * t;
        const float precision = load(&trust[row * columns + column].precision);
        const float variances =
            (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]) * (CODES / 3.0f) * precision * before / (before + 1.0f);
        const float pixel = within((PIXEL_TO - variances) / (PIXEL_TO - PIXEL_FROM), 0.0f, 1.0f);
        const float frames = fminf(before * share * pixel, load(&settings->most) - 1.0f);
        // A memory that is no number fails this comparison, and is given up.
        if (variances < PIXEL_TO && frames > 0.0f) {
            const float keep = frames / (frames + 1.0f);
            UNROLL
            for (u32 c = 0; c < 3; ++c) {
                own[c] += keep * d[c];
                F32::put_one(a.image, c * plane + at, own[c]);
                if (a.image_half) F16::put_one(a.image_half, c * plane + at, own[c]);
            }
            count = frames + 1.0f;
        }
    }
    UNROLL
    for (u32 c = 0; c < 3; ++c) F32::put_one(a.past, c * plane + at, own[c]);
    F32::put_one(a.count, at, count);
}
