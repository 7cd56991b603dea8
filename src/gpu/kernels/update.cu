// The closed-form updates of a round (URetinex-Net, CVPR 2022, section 3), in one pass over memory:
//
//     P = (I·Q + γ·R) / (Q·Q + γ)
//     Q = (Σ_c I_c·P_c + λ·L) / (Σ_c P_c·P_c + λ)      with the new P
//
// Bytes moved for each pixel: I 12 read; R, L, Q 5 values read and P, Q 4 values written: 48 with 32-bit storage, 30 with
// 16-bit storage. The arithmetic is of 32 bits.
#include "prelude.cuh"

struct UpdateArguments {
    u64 image, r, l, p, q;
    u32 pixels;
    float gamma, lambda;
    u32 reserved;
};

// One pixel. The denominators are at least γ and λ, so the fast division is within two units of the last place.
DEVICE void refine(float gamma, float lambda, const float i[3], const float r[3], float l, float p[3], float &q) {
    const float share = __fdividef(1.0f, q * q + gamma);
    UNROLL
    for (u32 c = 0; c < 3; ++c) p[c] = (i[c] * q + gamma * r[c]) * share;
    const float above = i[0] * p[0] + i[1] * p[1] + i[2] * p[2];
    const float below = p[0] * p[0] + p[1] * p[1] + p[2] * p[2];
    q = __fdividef(above + lambda * l, below + lambda);
}

// A thread takes as many neighbouring pixels as fill 16 bytes of storage; planes are whole groups of these.
template <class Storage> DEVICE void update_vectors(const UpdateArguments &a) {
    const u32 N = Storage::VECTOR, plane = a.pixels;
    const u32 at = (blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (at >= plane) return;
    float i[3][N], r[3][N], l[N], q[N];
    UNROLL
    for (u32 c = 0; c < 3; ++c) {
        UNROLL
        for (u32 k = 0; k < N; k += 4) F32::four(a.image, c * plane + at + k, i[c] + k);
        Storage::vector(a.r, c * plane + at, r[c]);
    }
    Storage::vector(a.l, at, l);
    Storage::own_vector(a.q, at, q);
    UNROLL
    for (u32 k = 0; k < N; ++k) {
        const float image[3] = {i[0][k], i[1][k], i[2][k]}, reflectance[3] = {r[0][k], r[1][k], r[2][k]};
        float p[3];
        refine(a.gamma, a.lambda, image, reflectance, l[k], p, q[k]);
        UNROLL
        for (u32 c = 0; c < 3; ++c) r[c][k] = p[c];
    }
    UNROLL
    for (u32 c = 0; c < 3; ++c) Storage::put(a.p, c * plane + at, r[c]);
    Storage::put(a.q, at, q);
}

// The same for planes of any length, whose second and third channel are not aligned: a thread takes four pixels, a
// block apart from each other, so that each load of a warp is still in one piece. Past the end it reads the last pixel
// and writes nothing.
template <class Storage> DEVICE void update_singles(const UpdateArguments &a) {
    const u32 N = 4, plane = a.pixels;
    const u32 first = blockIdx.x * blockDim.x * N + threadIdx.x;
    float i[N][3], r[N][3], l[N], q[N];
    UNROLL
    for (u32 k = 0; k < N; ++k) {
        const u32 at = min(first + k * blockDim.x, plane - 1);
        UNROLL
        for (u32 c = 0; c < 3; ++c) {
            i[k][c] = F32::one(a.image, c * plane + at);
            r[k][c] = Storage::one(a.r, c * plane + at);
        }
        l[k] = Storage::one(a.l, at);
        q[k] = Storage::own(a.q, at);
    }
    UNROLL
    for (u32 k = 0; k < N; ++k) {
        const u32 at = first + k * blockDim.x;
        float p[3];
        refine(a.gamma, a.lambda, i[k], r[k], l[k], p, q[k]);
        if (at < plane) {
            UNROLL
            for (u32 c = 0; c < 3; ++c) Storage::put_one(a.p, c * plane + at, p[c]);
            Storage::put_one(a.q, at, q[k]);
        }
    }
}

KERNEL(update_f32, UpdateArguments, 4) { update_vectors<F32>(arguments); }
KERNEL(update_f16, UpdateArguments, 3) { update_vectors<F16>(arguments); }
KERNEL(update_f32_single, UpdateArguments, 4) { update_singles<F32>(arguments); }
KERNEL(update_f16_single, UpdateArguments, 4) { update_singles<F16>(arguments); }
