// What every kernel uses: names for the compiler's keywords, loads, 16-bit floats, sums over a block. No CUDA header is
// included, so NVRTC compiles the kernels alone; host.h stands in for the built-in names where a C++ compiler
// compiles them for the processor.
#pragma once

#ifdef __CUDACC_RTC__
#define DEVICE static __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define UNROLL_NOT _Pragma("unroll 1")
// Shared memory of the size that the launch asks for; at most 48 KiB.
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
// A kernel for blocks of 256 threads, with registers for at least `blocks` of them on a multiprocessor.
#define KERNEL(name, Arguments, blocks)                                                                               \
    extern "C" __global__ void __launch_bounds__(256, blocks) name(const Arguments arguments)
#else
#include "host.h"
#define DEVICE static inline
#define UNROLL
#define UNROLL_NOT
#define DYNAMIC_SHARED(type, name) static thread_local type name[48 * 1024 / sizeof(type)]
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// A value that nothing writes while the kernel runs.
template <class T> DEVICE T load(const T *from) { return __ldg(from); }

// Between 0 and 1; NaN becomes 0.
DEVICE float clamp(float v) { return fminf(fmaxf(v, 0.0f), 1.0f); }

// The nearest whole number, ties to even, of a value below 2^23; anything below 0, and NaN, is 0. From 2^23 on
// neighbouring floats are 1 apart: the addition rounds.
DEVICE u32 nearest(float v) { return __float_as_uint(fmaxf(v, 0.0f) + 8388608.0f) & 0x7fffff; }

#ifdef __CUDACC_RTC__
DEVICE float from_half(u32 bits) {
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"((u16)bits));
    return v;
}

DEVICE u32 to_half(float v) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    return bits;
}
#endif

// Planes of 32-bit and of 16-bit floats. `one` reads value `i` of the plane at `base`; `four` and `vector` read values
// from `i` on, which are aligned as a group; `put` writes what `vector` reads.
struct F32 {
    enum { VECTOR = 4 };

    DEVICE float one(u64 base, u32 i) { return load((const float *)base + i); }

    DEVICE void four(u64 base, u32 i, float v[4]) { unpack(load((const float4 *)((const float *)base + i)), v); }

    DEVICE void vector(u64 base, u32 i, float v[4]) { four(base, i, v); }

    // Of a plane that the kernel also writes.
    DEVICE void own_vector(u64 base, u32 i, float v[4]) { unpack(*(const float4 *)((const float *)base + i), v); }

    DEVICE void own_four(u64 base, u32 i, float v[4]) { own_vector(base, i, v); }

    DEVICE float own(u64 base, u32 i) { return ((const float *)base)[i]; }

    DEVICE void put(u64 base, u32 i, const float v[4]) {
        *(float4 *)((float *)base + i) = make_float4(v[0], v[1], v[2], v[3]);
    }

    DEVICE void put_four(u64 base, u32 i, const float v[4]) { put(base, i, v); }

    DEVICE void put_one(u64 base, u32 i, float v) { ((float *)base)[i] = v; }

  private:
    DEVICE void unpack(float4 w, float v[4]) {
        v[0] = w.x;
        v[1] = w.y;
        v[2] = w.z;
        v[3] = w.w;
    }
};

struct F16 {
    enum { VECTOR = 8 };

    DEVICE float one(u64 base, u32 i) { return from_half(load((const u16 *)base + i)); }

    DEVICE void four(u64 base, u32 i, float v[4]) {
        const uint2 w = load((const uint2 *)((const u16 *)base + i));
        unpack(w.x, v);
        unpack(w.y, v + 2);
    }

    DEVICE void vector(u64 base, u32 i, float v[8]) { unpack8(load((const uint4 *)((const u16 *)base + i)), v); }

    DEVICE void own_vector(u64 base, u32 i, float v[8]) { unpack8(*(const uint4 *)((const u16 *)base + i), v); }

    DEVICE void own_four(u64 base, u32 i, float v[4]) {
        const uint2 w = *(const uint2 *)((const u16 *)base + i);
        unpack(w.x, v);
        unpack(w.y, v + 2);
    }

    DEVICE float own(u64 base, u32 i) { return from_half(((const u16 *)base)[i]); }

    DEVICE void put(u64 base, u32 i, const float v[8]) {
        *(uint4 *)((u16 *)base + i) = make_uint4(pack(v), pack(v + 2), pack(v + 4), pack(v + 6));
    }

    DEVICE void put_four(u64 base, u32 i, const float v[4]) {
        *(uint2 *)((u16 *)base + i) = make_uint2(pack(v), pack(v + 2));
    }

    DEVICE void put_one(u64 base, u32 i, float v) { ((u16 *)base)[i] = (u16)to_half(v); }

  private:
    DEVICE void unpack(u32 w, float v[2]) {
        v[0] = from_half(w & 0xffff);
        v[1] = from_half(w >> 16);
    }

    DEVICE void unpack8(uint4 w, float v[8]) {
        unpack(w.x, v);
        unpack(w.y, v + 2);
        unpack(w.z, v + 4);
        unpack(w.w, v + 6);
    }

    DEVICE u32 pack(const float v[2]) { return to_half(v[0]) | to_half(v[1]) << 16; }
};

// Adds every thread's value to `sum`. All 256 threads of the block call it, with a barrier before they do so again. The
// values are whole numbers, so the order in which blocks come does not matter.
DEVICE void block_add(u32 value, u64 *sum) {
    __shared__ u32 warps[8];
    const u32 thread = threadIdx.y * blockDim.x + threadIdx.x;
    UNROLL
    for (u32 distance = 16; distance > 0; distance /= 2) value += __shfl_down_sync(0xffffffff, value, distance);
    if (thread % 32 == 0) warps[thread / 32] = value;
    __syncthreads();
    if (thread == 0) {
        u32 total = 0;
        UNROLL
        for (u32 i = 0; i < 8; ++i) total += warps[i];
        atomicAdd(sum, (u64)total);
    }
}
