// Motion from the frame before, by block matching on the small copies, from coarse to fine.
#include "fusion.cuh"

enum { WINDOW = 8, REACH = WINDOW / 2, SEARCH = 4, SIDE = 2 * SEARCH + 1 };

// How much better than no motion, or the camera's, another place must be, as a share of the difference.
#define SHARE 0.95f

// A window of 8 × 8 pixels in the new copy, and where it may have been in the copy before.
struct Window {
    Small now, before;
    const float *own;
    int left, top;
    int least_x, most_x, least_y, most_y;

    DEVICE Window of(const FusionArguments &a, int column, int row) {
        Window w;
        w.now = Small::of(a, a.now, a.level);
        w.before = Small::of(a, a.before, a.level);
        w.left = column * STEP + STEP / 2 - REACH;
        w.top = row * STEP + STEP / 2 - REACH;
        w.own = Small::at(w.now, w.left, w.top);
        w.least_x = -BORDER - w.left;
        w.most_x = w.now.width + BORDER - WINDOW - w.left;
        w.least_y = -BORDER - w.top;
        w.most_y = w.now.height + BORDER - WINDOW - w.top;
        return w;
    }
};

// The sum of absolute differences of the window and one in the copy before.
DEVICE float distance(const Window &w, int dx, int dy) {
    const float *other = Small::at(w.before, w.left + dx, w.top + dy);
    const int stride = w.now.stride;
    float sums[WINDOW] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    UNROLL
    for (int y = 0; y < WINDOW; ++y) {
        UNROLL
        for (int i = 0; i < WINDOW; ++i) sums[i] += fabsf(load(w.own + y * stride + i) - load(other + y * stride + i));
    }
    float sum = 0.0f;
    UNROLL
    for (int i = 0; i < WINDOW; ++i) sum += sums[i];
    return sum;
}

// The same for one between pixels, (tx, ty) of a pixel on.
DEVICE float between(const Window &w, int dx, int dy, float tx, float ty) {
    const float *other = Small::at(w.before, w.left + dx, w.top + dy);
    const int stride = w.now.stride;
    const float k00 = (1.0f - tx) * (1.0f - ty), k10 = tx * (1.0f - ty), k01 = (1.0f - tx) * ty, k11 = tx * ty;
    float sums[WINDOW] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    UNROLL_NOT
    for (int y = 0; y < WINDOW; ++y) {
        const float *a = w.own + y * stride, *b = other + y * stride, *c = b + stride;
        UNROLL
        for (int i = 0; i < WINDOW; ++i) {
            const float there = k00 * load(b + i) + k10 * load(b + i + 1) + k01 * load(c + i) + k11 * load(c + i + 1);
            sums[i] += fabsf(load(a + i) - there);
        }
    }
    float sum = 0.0f;
    UNROLL
    for (int i = 0; i < WINDOW; ++i) sum += sums[i];
    return sum;
}

// How much better in sum another place must be, and what is no more than noise. Of averages of four the noise falls by half
// with each level.
struct Bounds {
    float bias, quiet;

    DEVICE Bounds of(const FusionArguments &a) {
        const float noise = noise_of(state_of(a)), part = (float)(1 << a.level);
        return {0.1f * (float)(WINDOW * WINDOW) * noise / part, 0.85f * (float)(WINDOW * WINDOW) * noise / part};
    }
};

// The coarsest level looks everywhere near: a block of 128 threads takes a window, each thread a place. Of the best places
// the first counts, as if they had been tried in order.
KERNEL(motion_search, FusionArguments, 1) {
    const FusionArguments &a = arguments;
    __shared__ float distances[128];
    __shared__ u32 orders[128];
    if (is_alone(a)) return;
    const Window w = Window::of(a, blockIdx.x, blockIdx.y);
    const Bounds bounds = Bounds::of(a);
    const u32 thread = threadIdx.x;
    const float none = distance(w, 0, 0);
    float best = __uint_as_float(0x7f800000);
    if (thread < SIDE * SIDE) {
        const int x = within((int)(thread % SIDE) - SEARCH, w.least_x, w.most_x);
        const int y = within((int)(thread / SIDE) - SEARCH, w.least_y, w.most_y);
        // What is no number is never better.
        best = fminf(distance(w, x, y), best);
    }
    distances[thread] = best;
    orders[thread] = thread;
    for (u32 half = 64; half > 0; half /= 2) {
        __syncthreads();
        if (thread >= half) continue;
        const float other = distances[thread + half];
        const u32 order = orders[thread + half];
        if (other < distances[thread] || (other == distances[thread] && order < orders[thread])) {
            distances[thread] = other;
            orders[thread] = order;
        }
    }
    if (thread != 0) return;
    const bool found = distances[0] < none && !(none < bounds.quiet);
    best = found ? distances[0] : none;
    Vector vector = {0, 0};
    if (found && !(best + bounds.bias > none * SHARE)) {
        vector.x = (short)within((int)(orders[0] % SIDE) - SEARCH, w.least_x, w.most_x);
        vector.y = (short)within((int)(orders[0] / SIDE) - SEARCH, w.least_y, w.most_y);
    }
    const Field field = Field::of(a, a.level);
    field.vectors[blockIdx.y * field.columns + blockIdx.x] = vector;
}

// The best place so far.
struct Best {
    float distance;
    int x, y;
};

DEVICE void attempt(const Window &w, Best &best, int x, int y) {
    x = within(x, w.least_x, w.most_x);
    y = within(y, w.least_y, w.most_y);
    if (x == best.x && y == best.y) return;
    const float d = distance(w, x, y);
    if (d < best.distance) best = {d, x, y};
}

// What this place had a frame ago, what the coarser level says of it and its neighbours, and what is beside the best.
DEVICE void follow(const FusionArguments &a, const Window &w, Best &best, Vector last, int unit, int column, int row) {
    const Field coarse = Field::of(a, a.level + 1);
    const int x = (last.x + unit / 2 * ((last.x > 0) - (last.x < 0))) / unit;
    const int y = (last.y + unit / 2 * ((last.y > 0) - (last.y < 0))) / unit;
    Best found = best;
    int mx = 0, my = 0;
    UNROLL_NOT
    for (int k = 0; k < 13; ++k) {
        int px = x, py = y;
        if (k > 0 && k < 5) {
            const int cx = column / 2 + ((k - 1) % 2) * (column % 2 * 2 - 1);
            const int cy = row / 2 + ((k - 1) / 2) * (row % 2 * 2 - 1);
            const int at = within(cy, 0, coarse.rows - 1) * coarse.columns + within(cx, 0, coarse.columns - 1);
            px = 2 * coarse.vectors[at].x;
            py = 2 * coarse.vectors[at].y;
        } else if (k >= 5) {
            if (k == 5) {
                mx = found.x;
                my = found.y;
            }
            // Left, right, above, below, then the corners.
            const int i = k - 5;
            px = mx + (i == 2 || i == 3 ? 0 : i % 2 * 2 - 1);
            py = my + (i < 2 ? 0 : i == 2 || i == 4 || i == 5 ? -1 : 1);
        }
        attempt(w, found, px, py);
    }
    best = found;
}

KERNEL(motion_follow, FusionArguments, 1) {
    const FusionArguments &a = arguments;
    const Field field = Field::of(a, a.level);
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (is_alone(a) || i >= (u32)(field.columns * field.rows)) return;
    const int column = i % field.columns, row = i / field.columns;
    const Window w = Window::of(a, column, row);
    const Bounds bounds = Bounds::of(a);
    const float none = distance(w, 0, 0);
    Best best = {none, 0, 0};
    if (!(none < bounds.quiet)) follow(a, w, best, field.vectors[i], 1, column, row);
    const bool stays = best.distance + bounds.bias > none * SHARE;
    const Vector vector = {(short)best.x, (short)best.y}, nothing = {0, 0};
    field.vectors[i] = stays ? nothing : vector;
}

// Where three sums of absolute differences at −1, 0 and 1 have their minimum.
DEVICE float minimum(float before, float middle, float after) {
    const float slope = fmaxf(before, after) - middle;
    return slope > 1e-9f ? within(0.5f * (before - after) / slope, -0.5f, 0.5f) : 0.0f;
}

// The half-size copy: the vectors of the picture, with the camera's motion as one more place, and between the pixels.
KERNEL(motion_vectors, FusionArguments, 1) {
    const FusionArguments &a = arguments;
    const Field field = Field::of(a, 0);
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (is_alone(a) || i >= (u32)(field.columns * field.rows)) return;
    const int column = i % field.columns, row = i / field.columns, UNIT = 2 * PARTS;
    const Window w = Window::of(a, column, row);
    const Bounds bounds = Bounds::of(a);
    const double *camera = state_of(a)->camera;
    const double x = 2.0 * ((double)(column * STEP + STEP / 2) - 0.5 * (double)w.now.width);
    const double y = 2.0 * ((double)(row * STEP + STEP / 2) - 0.5 * (double)w.now.height);
    const Vector along = {
        to_short((camera[0] + camera[1] * x + camera[2] * y) * (double)PARTS),
        to_short((camera[3] + camera[4] * x + camera[5] * y) * (double)PARTS)
    };
    const float none = distance(w, 0, 0);
    float with_camera = none;
    if (along.x != 0 || along.y != 0) {
        const float hx = (float)along.x / (float)UNIT, hy = (float)along.y / (float)UNIT;
        const float fx = floorf(hx), fy = floorf(hy);
        const int ix = (int)fx, iy = (int)fy;
        const bool inside = ix >= w.least_x && ix < w.most_x && iy >= w.least_y && iy < w.most_y;
        with_camera = inside ? between(w, ix, iy, hx - fx, hy - fy) : __uint_as_float(0x7f800000);
    }
    Best best = {none, 0, 0};
    if (!(fminf(none, with_camera) < bounds.quiet)) follow(a, w, best, field.vectors[i], UNIT, column, row);
    const bool stays = best.distance + bounds.bias > none * SHARE;
    Vector vector = {0, 0};
    if (with_camera <= none + bounds.bias && best.distance + bounds.bias > with_camera * SHARE) {
        vector = along;
    } else if (!stays && (best.x != 0 || best.y != 0)) {
        float parts[2] = {0.0f, 0.0f};
        if (best.x > w.least_x && best.x < w.most_x) {
            const float before = distance(w, best.x - 1, best.y);
            parts[0] = minimum(before, best.distance, distance(w, best.x + 1, best.y));
        }
        if (best.y > w.least_y && best.y < w.most_y) {
            const float before = distance(w, best.x, best.y - 1);
            parts[1] = minimum(before, best.distance, distance(w, best.x, best.y + 1));
        }
        vector.x = (short)roundf(((float)best.x + parts[0]) * (float)UNIT);
        vector.y = (short)roundf(((float)best.y + parts[1]) * (float)UNIT);
    }
    field.vectors[i] = vector;
}
