// What the tensor cores of compute capability 8.0 and later do, and copies to shared memory that go on meanwhile. On the
// processor host.cpp does it, with fragments laid out as the PTX manual says.
#pragma once

#include "prelude.cuh"

#ifdef __CUDACC_RTC__
// D += A · B: A 16 × 16 and B 16 × 8 of 16 bits, D 16 × 8 of 32 bits (mma.m16n8k16). A warp calls it together.
DEVICE void multiply(float d[4], const u32 a[4], uint2 b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}

// A fragment of A: lane i gives the address of the 8 values k = i / 16 · 8 and up of row i % 16, in shared memory.
DEVICE void load_rows(u32 a[4], const uint4 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"((u32)__cvta_generic_to_shared(row))
                 : "memory");
}

// Begins to copy 16 bytes to shared memory, or zeros if not `there`; the address is one that may be read either way.
DEVICE void begin_copy(uint4 *to, const uint4 *from, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"((u32)__cvta_generic_to_shared(to)), "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}

// What the thread has begun to copy since the last call is a group.
DEVICE void end_group() { asm volatile("cp.async.commit_group;" : : : "memory"); }

// Waits until all groups of the thread but the last one are there.
DEVICE void wait_for_all_but_one() { asm volatile("cp.async.wait_group 1;" : : : "memory"); }
#else
void multiply(float d[4], const u32 a[4], uint2 b);
void load_rows(u32 a[4], const uint4 *row);
void begin_copy(uint4 *to, const uint4 *from, bool there);
void end_group();
void wait_for_all_but_one();
#endif
