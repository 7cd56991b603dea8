// Element-wise operations, a whole chain of them in one pass over memory, and the pixel shuffles among them.
//
// Instructions are read in turn, the same by all threads. A thread has four values: lanes of a pixel of blocks, or pixels of
// planes. Results that nothing reads after the program stay in shared memory, four values of every thread side by side.
#include "codes.cuh"
#include "images.cuh"

struct PointsArguments {
    Unit units[64];
    // Instructions; the pooled values.
    u64 instructions, pooled, written;
    u32 count, width, height;
    // Whether values lie in blocks, and whether planes are of 32 bits.
    u32 blocks, wide, reserved;
};

// Kinds of operands: the upper three bits of sixteen.
enum { REGISTER, UNIT, LANES, REPEATED, SHUFFLED };
// Where a thread's values are.
struct Values {
    // Blocks: row, column, the first of four lanes. Planes: the first pixel, and from one to the next.
    u32 y, x, lane, first, next;
};

template <class Blocks> DEVICE void fetch(const PointsArguments &a, const Values &at, const float4 *registers, u32 operand, float v[4]) {
    const u32 index = operand & 0x1fff;
    const u32 pixels = a.width * a.height;
    switch (operand >> 13) {
    case REGISTER: {
        const float4 four = registers[index * blockDim.x + threadIdx.x];
        v[0] = four.x;
        v[1] = four.y;
        v[2] = four.z;
        v[3] = four.w;
        return;
    }
    case LANES: {
        UNROLL
        for (u32 k = 0; k < 4; ++k) v[k] = ((const float *)a.pooled)[index + at.lane + k];
        return;
    }
    case REPEATED: {
        const float one = ((const float *)a.pooled)[index];
        UNROLL
        for (u32 k = 0; k < 4; ++k) v[k] = one;
        return;
    }
    case SHUFFLED: {
        const Unit &unit = a.units[index];
        const u32 i = (4 * at.y + at.lane / 4) * unit.row + 4 * at.x;
        if (a.wide)
            F32::own_four(unit.address, i, v);
        else
            F16::own_four(unit.address, i, v);
        return;
    }
    default: {
        const Unit &unit = a.units[index];
        if (a.blocks) return Blocks::own_four(unit.address, (at.y * unit.row + at.x * unit.step) * 16 + at.lane, v);
        UNROLL
        for (u32 k = 0; k < 4; ++k) v[k] = plane_value(a.wide, unit.address, min(at.first + k * at.next, pixels - 1));
    }
    }
}

template <class Blocks> DEVICE void put(const PointsArguments &a, const Values &at, float4 *registers, u32 operand, const float v[4]) {
    const u32 index = operand & 0x1fff;
    const u32 pixels = a.width * a.height;
    if (operand >> 13 == REGISTER) {
        registers[index * blockDim.x + threadIdx.x] = make_float4(v[0], v[1], v[2], v[3]);
        return;
    }
    const Unit &unit = a.units[index];
    if (operand >> 13 == SHUFFLED) {
        const u32 i = (4 * at.y + at.lane / 4) * unit.row + 4 * at.x;
        if (a.wide)
            F32::put_four(unit.address, i, v);
        else
            F16::put_four(unit.address, i, v);
        return;
    }
    if (a.blocks) return Blocks::put_four(unit.address, (at.y * unit.row + at.x * unit.step) * 16 + at.lane, v);
    UNROLL
    for (u32 k = 0; k < 4; ++k) {
        const u32 i = at.first + k * at.next;
        if (i < pixels) put_plane_value(a.wide, unit.address, i, v[k]);
    }
}

template <class Blocks> DEVICE void points(const PointsArguments &a) {
    DYNAMIC_SHARED(float4, registers);
    Values at = {0, 0, 0, blockIdx.x * blockDim.x * 4 + threadIdx.x, blockDim.x};
    if (a.blocks) {
        const u32 i = blockIdx.x * blockDim.x + threadIdx.x, p = i / 4;
        if (p >= a.width * a.height) return;
        at.y = p / a.width;
        at.x = p % a.width;
        at.lane = i % 4 * 4;
    }
    UNROLL_NOT
    for (u32 i = 0; i < a.count; ++i) {
        const uint4 w = load((const uint4 *)a.instructions + i);
        const u32 code = w.x & 0xffff;
        float v[4], other[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        fetch<Blocks>(a, at, registers, w.y & 0xffff, v);
        if (code >= ADD) fetch<Blocks>(a, at, registers, w.y >> 16, other);
        UNROLL
        for (u32 k = 0; k < 4; ++k) v[k] = applied(code, v[k], other[k], __uint_as_float(w.z), __uint_as_float(w.w));
        put<Blocks>(a, at, registers, w.x >> 16, v);
    }
}

KERNEL(points_f32, PointsArguments, 2) { points<F32>(arguments); }
KERNEL(points_f16, PointsArguments, 2) { points<F16>(arguments); }

// Channels copied one by one, blockIdx.y counts them: a value of row y and column x is number y · row + x · step.
struct Channel {
    Unit from, to;
    u32 from_wide, to_wide;
};

struct MoveArguments {
    Channel channels[16];
    u32 width, height;
};

KERNEL(move_channels, MoveArguments, 4) {
    const Channel &channel = arguments.channels[blockIdx.y];
    const u32 i = blockIdx.x * 256 + threadIdx.x;
    if (i >= arguments.width * arguments.height) return;
    const u32 y = i / arguments.width, x = i % arguments.width;
    const float v = plane_value(channel.from_wide, channel.from.address, y * channel.from.row + x * channel.from.step);
    put_plane_value(channel.to_wide, channel.to.address, y * channel.to.row + x * channel.to.step, v);
}
