// Small copies of the new picture's luma and of the remembered one's, each half the size of the one before, with a border
// of repeated edges: z 0 is the new picture, z 1 the remembered one. A thread makes a pixel, of the border too.
#include "fusion.cuh"

// The luma (R + 2·G + B) / 4 of a column of two pixels, four times as large twice.
DEVICE float column(const FusionArguments &a, u64 picture, u32 x, u32 y0, u32 y1) {
    const u32 plane = a.width * a.height, upper = y0 * a.width + x, lower = y1 * a.width + x;
    const float r = F32::one(picture, upper) + F32::one(picture, lower);
    const float g = F32::one(picture, plane + upper) + F32::one(picture, plane + lower);
    const float b = F32::one(picture, 2 * plane + upper) + F32::one(picture, 2 * plane + lower);
    return r + 2.0f * g + b;
}

// The pixel of the copy that a thread's own repeats; false outside of the border.
DEVICE bool own_pixel(const Small &to, int &x, int &y) {
    x = (int)(blockIdx.x * blockDim.x + threadIdx.x) - BORDER;
    y = (int)(blockIdx.y * blockDim.y + threadIdx.y) - BORDER;
    return x < to.width + BORDER && y < to.height + BORDER;
}

KERNEL(pyramid_half, FusionArguments, 4) {
    const FusionArguments &a = arguments;
    const Small to = Small::of(a, blockIdx.z ? a.before : a.now, 0);
    int x, y;
    if (is_alone(a) || !own_pixel(to, x, y)) return;
    const u64 picture = blockIdx.z ? a.past : a.image;
    const u32 left = 2 * within(x, 0, to.width - 1), top = 2 * within(y, 0, to.height - 1);
    const u32 right = min(left + 1, a.width - 1), bottom = min(top + 1, a.height - 1);
    const float sum = column(a, picture, left, top, bottom) + column(a, picture, right, top, bottom);
    to.data[y * to.stride + x] = sum * (1.0f / 16.0f);
}

// The copy at `level`, which is 1 or more.
KERNEL(pyramid_next, FusionArguments, 4) {
    const FusionArguments &a = arguments;
    const u64 pyramid = blockIdx.z ? a.before : a.now;
    const Small from = Small::of(a, pyramid, a.level - 1), to = Small::of(a, pyramid, a.level);
    int x, y;
    if (is_alone(a) || !own_pixel(to, x, y)) return;
    const int left = 2 * within(x, 0, to.width - 1), top = 2 * within(y, 0, to.height - 1);
    const float *upper = Small::at(from, left, top), *lower = Small::at(from, left, min(top + 1, from.height));
    to.data[y * to.stride + x] = (load(upper) + load(upper + 1) + load(lower) + load(lower + 1)) * 0.25f;
}
