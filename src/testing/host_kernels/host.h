// CUDA's built-in names for a C++ compiler, so that the kernels run on the processor, for tests. A grid runs block after
// block; the threads of a block are contexts that take turns, and change at barriers and shuffles alone. A kernel whose
// threads do not all reach a barrier is refused rather than left hanging.
#pragma once

#include <cmath>
#include <cstring>

#define __shared__ static thread_local

struct uint3 {
    unsigned x, y, z;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern thread_local uint3 threadIdx, blockIdx, blockDim, gridDim;

// Waits for the other threads of the block.
void __syncthreads();
// The value of the thread `distance` further in the warp; past its end, the own one. All threads of the warp call it.
unsigned __shfl_down_sync(unsigned mask, unsigned value, unsigned distance);

template <class T> T __ldg(const T *from) { return *from; }

template <class T> T atomicAdd(T *to, T value) {
    T old = *to;
    *to += value;
    return old;
}

// Of words that may begin anywhere, which a GPU's may not.
template <class T> T atomicAnd(T *to, T value) {
    T old;
    memcpy(&old, to, sizeof old);
    value &= old;
    memcpy(to, &value, sizeof old);
    return old;
}

template <class T> T atomicOr(T *to, T value) {
    T old;
    memcpy(&old, to, sizeof old);
    value |= old;
    memcpy(to, &value, sizeof old);
    return old;
}

template <class T> T min(T a, T b) { return a < b ? a : b; }
template <class T> T max(T a, T b) { return a > b ? a : b; }

static inline float __fdividef(float a, float b) { return a / b; }
static inline unsigned __float2uint_rn(float v) { return (unsigned)nearbyintf(v); }
static inline unsigned __float_as_uint(float v) {
    unsigned bits;
    memcpy(&bits, &v, 4);
    return bits;
}
static inline float __uint_as_float(unsigned bits) {
    float v;
    memcpy(&v, &bits, 4);
    return v;
}

// IEEE 754 binary16.
static inline float from_half(unsigned bits) {
    const unsigned sign = (bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | fraction << 13);
    return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}

// Rounded to nearest, ties to even.
static inline unsigned to_half(float v) {
    const unsigned sign = __float_as_uint(v) >> 16 & 0x8000;
    const float magnitude = fabsf(v);
    if (magnitude != magnitude) return sign | 0x7fff;
    if (magnitude >= 65520.0f) return sign | 0x7c00;
    // A half has eleven bits: whole steps of 2^(exponent - 11), of 2^-24 below the least normal number.
    int exponent;
    frexpf(magnitude, &exponent);
    const int step = magnitude < 0x1p-14f ? -24 : exponent - 11;
    const unsigned steps = (unsigned)nearbyintf(ldexpf(magnitude, -step));
    if (step == -24) return sign | steps;
    return sign | (((unsigned)(step + 24) << 10) + steps);
}

// A kernel by its name.
struct Kernel {
    const char *name;
    unsigned bytes;
    void (*run)(const void *arguments);
    Kernel *next;

    Kernel(const char *name, unsigned bytes, void (*run)(const void *));
};

#define KERNEL(name, Arguments, blocks)                                                                               \
    static void name(const Arguments &arguments);                                                                     \
    static Kernel kernel_##name(                                                                                      \
        #name, sizeof(Arguments), [](const void *arguments) { name(*(const Arguments *)arguments); }                  \
    );                                                                                                                \
    static void name(const Arguments &arguments)
