// How far the memory is believed: innovations against the noise that the stream has shown, which is learnt from the cells
// with the least texture.
#include "fusion.cuh"

// Between which multiples of what noise explains the belief falls: for squares of pixels, of cells' means, and of means over
// 3 × 3 cells.
#define ENERGY_FROM 1.0f
#define ENERGY_TO 1.55f
#define OFFSET_FROM 1.1f
#define OFFSET_TO 2.1f
#define BROAD_FROM 1.3f
#define BROAD_TO 3.2f

DEVICE float offset_of(const Cell &cell) { return square(cell.means[0], cell.means[1], cell.means[2]); }

// The `quantile` of a bin's squares; false where too little was counted.
DEVICE bool quantile_of(const u32 *counts, float quantile, float &value) {
    u32 total = 0;
    for (u32 level = 0; level < CLASSES; ++level) total += counts[level];
    if (total < 24) return false;
    const float wanted = quantile * (float)total;
    float below = 0.0f;
    for (u32 level = 0; level < CLASSES; ++level) {
        const float count = (float)counts[level];
        if (below + count >= wanted) {
            const u32 lowest = 117 << 2;
            const float edge = __uint_as_float((level + lowest) << 21);
            const float part = (wanted - below) / fmaxf(count, 1.0f);
            value = level == 0 ? 0.0f : edge + (__uint_as_float((level + 1 + lowest) << 21) - edge) * part;
            return true;
        }
        below += count;
    }
    return false;
}

// What a frame shows of a curve: the `quantile` of the squares in a table, over `share`, smoothed, for bin `threadIdx.x` of
// the first 24 threads. Returns whether anything was seen. All 256 threads of a block call it, once.
DEVICE bool seen_by(const u32 *counts, float quantile, float share, float least, float &value) {
    __shared__ u32 table[BINS][CLASSES];
    __shared__ float found[BINS], filled[BINS];
    __shared__ bool is_found[BINS];
    const int bin = threadIdx.x;
    for (u32 i = threadIdx.x; i < BINS * CLASSES; i += 256) (&table[0][0])[i] = counts[i];
    __syncthreads();
    if (bin < BINS) {
        float own = 0.0f;
        is_found[bin] = quantile_of(table[bin], quantile, own);
        found[bin] = fmaxf(own / share, least);
    }
    __syncthreads();
    bool any = false;
    if (bin < BINS) {
        int nearest = 0, distance = BINS;
        for (int other = 0; other < BINS; ++other) {
            const int away = bin < other ? other - bin : bin - other;
            if (is_found[other] && away < distance) {
                distance = away;
                nearest = other;
            }
        }
        any = distance < BINS;
        filled[bin] = found[nearest];
    }
    __syncthreads();
    if (bin < BINS) {
        const float before = filled[bin - min(bin, 1)], after = filled[min(bin + 1, (int)BINS - 1)];
        value = 0.25f * before + 0.5f * filled[bin] + 0.25f * after;
    }
    return any;
}

// The texture that a quarter of the cells of each intensity stays below; one block of threads.
KERNEL(trust_limit, FusionArguments, 1) {
    const FusionArguments &a = arguments;
    if (is_alone(a)) return;
    State *state = state_of(a);
    float value = 0.0f;
    const bool seen = seen_by(&state->counts[0][0][0], 0.25f, 1.0f, 0.0f, value);
    if (threadIdx.x < BINS) state->limit[threadIdx.x] = seen ? value : 0.0f;
}

// A cell a thread: the mean square of the mean innovation over 3 × 3 cells, and what the flat cells are counted in.
KERNEL(trust_flat, FusionArguments, 2) {
    const FusionArguments &a = arguments;
    __shared__ u32 counts[CURVES][BINS * CLASSES];
    if (is_alone(a)) return;
    State *state = state_of(a);
    for (u32 i = threadIdx.y * blockDim.x + threadIdx.x; i < CURVES * BINS * CLASSES; i += 256) counts[0][i] = 0;
    __syncthreads();
    const int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    const int columns = cells_across(a), rows = cells_down(a);
    const Cell *cells = (const Cell *)a.cells;
    u32 smooth = 0, changed = 0;
    if (column < columns && row < rows) {
        float means[3] = {0.0f, 0.0f, 0.0f}, spread = 0.0f, count = 0.0f;
        for (int y = max(row - 1, 0); y < min(row + 2, rows); ++y) {
            for (int x = max(column - 1, 0); x < min(column + 2, columns); ++x) {
                const Cell *cell = cells + y * columns + x;
                UNROLL
                for (u32 c = 0; c < 3; ++c) means[c] += load(&cell->means[c]);
                spread += load(&cell->spread);
                count += 1.0f;
            }
        }
        const float broad = square(means[0] / count, means[1] / count, means[2] / count) / (1.0f + spread / count);
        const u32 i = row * columns + column;
        F32::put_one(a.broad, i, broad);
        const Cell cell = cells[i];
        const Tone tone = Tone::of(cell.intensity);
        if (row % 2 == 0 && F32::one(a.texture, i) <= Tone::value(tone, state->limit)) {
            const float own = 1.0f + cell.spread, energy = cell.energy / own, detail = cell.detail / own;
            // What an encoder has not touched tells nothing.
            changed = energy > 0.25f * learnt_at(state, 0, tone) ? 1 : 0;
            smooth = changed != 0 && energy > 2.0f * (detail + 0.2f) ? 1 : 0;
            count_in(counts[0], cell.intensity, energy);
            count_in(counts[1], cell.intensity, offset_of(cell) / (1.0f + cell.spread));
            count_in(counts[2], cell.intensity, broad);
        }
    }
    block_add(smooth, &state->smooth);
    __syncthreads();
    block_add(changed, &state->changed);
    flush(counts[0], &state->counts[1][0][0], CURVES * BINS * CLASSES);
}

// The share of their mean that the quantile of χ² is, for a mean of so many squares (Wilson, Hilferty 1931).
DEVICE float share_of(float samples, float deviations) {
    const float variance = 2.0f / (9.0f * samples), root = 1.0f - variance + deviations * sqrtf(variance);
    return root * (root * root);
}

// Learns a curve, block x of threads.
KERNEL(trust_learn, FusionArguments, 1) {
    const FusionArguments &a = arguments;
    if (is_alone(a)) return;
    State *state = state_of(a);
    const u32 curve = blockIdx.x, bin = threadIdx.x;
    const float encoded = encoded_of(state);
    const float deviations = 0.25f + (1.28f - 0.25f) * encoded, burst = 2.0f + 2.0f * encoded, rate = 0.25f + 0.25f * encoded;
    const float quantile = 1.0f / (1.0f + expf(-1.702f * deviations));
    const float share = share_of(curve == 0 ? (float)(3 * CELL * CELL) : 3.0f, deviations);
    const float least = least_of(curve);
    float value = 0.0f;
    const bool seen = seen_by(&state->counts[1 + curve][0][0], quantile, share, least, value);
    if (bin < BINS) {
        const bool known = state->known[curve] != 0;
        float learnt = known ? state->learnt[curve][bin] : least;
        float now = learnt;
        if (seen && known) {
            // What is far above what was learnt is motion.
            value = fminf(value, learnt * burst);
            learnt += (value - learnt) * rate;
            now = fmaxf(learnt, value);
        } else if (seen) {
            learnt = now = value;
        }
        state->learnt[curve][bin] = learnt;
        state->now[curve][bin] = now;
    }
    __syncthreads();
    if (bin == 0 && seen) state->known[curve] = 1;
}

// A cell's squares over their variances.
struct Ratios {
    float energy, offset, broad;

    DEVICE Ratios of(const FusionArguments &a, const State *state, u32 i) {
        const Cell cell = ((const Cell *)a.cells)[i];
        const Tone tone = Tone::of(cell.intensity);
        const float own = 1.0f / (1.0f + cell.spread);
        return {
            own * cell.energy / Tone::value(tone, state->now[0]), own * offset_of(cell) / Tone::value(tone, state->now[1]),
            F32::one(a.broad, i) / Tone::value(tone, state->now[2])
        };
    }
};

// Three rows at a column, the middle one twice.
DEVICE Ratios down(const FusionArguments &a, const State *state, u32 above, u32 own, u32 below) {
    const Ratios p = Ratios::of(a, state, above), q = Ratios::of(a, state, own), r = Ratios::of(a, state, below);
    return {
        p.energy + 2.0f * q.energy + r.energy, p.offset + 2.0f * q.offset + r.offset, p.broad + 2.0f * q.broad + r.broad
    };
}

// The share that is believed at a mean of ratios, whose bounds are `wider` than they stand.
DEVICE float fall(float before, float here, float after, float from, float to, float wider) {
    const float mean = (before + 2.0f * here + after) * (1.0f / 16.0f);
    return within((to * wider - mean) / ((to - from) * wider), 0.0f, 1.0f);
}

// A cell a thread: how far its memory is believed.
KERNEL(trust_share, FusionArguments, 4) {
    const FusionArguments &a = arguments;
    if (is_alone(a)) return;
    State *state = state_of(a);
    const u32 column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    const u32 columns = cells_across(a), rows = cells_down(a);
    u32 units = 0;
    if (column < columns && row < rows) {
        const float wider = 1.0f + 0.2f * encoded_of(state);
        // At the edges the cell itself stands for the one outside.
        const u32 above = (row - min(row, 1u)) * columns, own = row * columns, below = min(row + 1, rows - 1) * columns;
        const u32 left = column - min(column, 1u), right = min(column + 1, columns - 1);
        const Ratios before = down(a, state, above + left, own + left, below + left);
        const Ratios here = down(a, state, above + column, own + column, below + column);
        const Ratios after = down(a, state, above + right, own + right, below + right);
        const float energy = fall(before.energy, here.energy, after.energy, ENERGY_FROM, ENERGY_TO, wider);
        const float offset = fall(before.offset, here.offset, after.offset, OFFSET_FROM, OFFSET_TO, wider);
        const float broad = fall(before.broad, here.broad, after.broad, BROAD_FROM, BROAD_TO, wider);
        const float share = fminf(fminf(energy, offset), broad);
        const Tone tone = Tone::of(((const Cell *)a.cells)[own + column].intensity);
        Trust trust = {share, 1.0f / Tone::value(tone, state->now[0])};
        ((Trust *)a.trust)[own + column] = trust;
        // In whole 65536ths; what is no number counts as nothing.
        units = share >= 0.0f ? (u32)(share * 65536.0f + 0.5f) : 0;
    }
    block_add(units, &state->believed);
}
