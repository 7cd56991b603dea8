// Runs the kernels' own sources on the processor, for tests; see host.h.
#include <atomic>
#include <setjmp.h>
#include <ucontext.h>
#include <vector>

#include "mma.cuh"

thread_local uint3 threadIdx, blockIdx, blockDim, gridDim;

static Kernel *kernels;

Kernel::Kernel(const char *name, unsigned bytes, void (*run)(const void *)) : name(name), bytes(bytes), run(run) {
    next = kernels;
    kernels = this;
}

namespace {

// Threads that wait for each other.
struct Barrier {
    unsigned expected, arrived, passed;
};

// A copy of 16 bytes, or of zeros from null.
struct Copy {
    uint4 *to;
    const uint4 *from;
};

struct Thread {
    ucontext_t start;
    jmp_buf place;
    bool started;
    std::vector<char> stack;
    bool done;
    unsigned shuffled;
    // What the thread gives to an operation of the whole warp.
    float *sums;
    unsigned *words;
    const unsigned *a;
    uint2 b;
    const uint4 *row;
    // Copies to shared memory that have begun: those of each group, oldest first, and those of none yet.
    std::vector<std::vector<Copy>> groups;
    std::vector<Copy> begun;
};

struct Block {
    std::vector<Thread> threads;
    std::vector<Barrier> warps;
    Barrier all;
    jmp_buf scheduler;
    unsigned current;
    const Kernel *kernel;
    const void *arguments;
    bool moved, backwards;
    const char *fault;
};

thread_local Block block;

std::atomic<unsigned long long> shared_reads, shared_conflicts;

// Back to the scheduler. Jumps change contexts without a system call; only the first step onto a stack takes one.
void turn() {
    if (_setjmp(block.threads[block.current].place) == 0) _longjmp(block.scheduler, 1);
}

__attribute__((noinline)) void resume(Thread &thread) {
    if (_setjmp(block.scheduler) != 0) return;
    if (thread.started) _longjmp(thread.place, 1);
    thread.started = true;
    setcontext(&thread.start);
}

// The last to arrive does `work` before all go on.
template <class Work> void wait(Barrier &barrier, Work work) {
    const unsigned passed = barrier.passed;
    if (++barrier.arrived == barrier.expected) {
        work();
        barrier.arrived = 0;
        ++barrier.passed;
        block.moved = true;
        return;
    }
    while (barrier.passed == passed) turn();
}

void wait(Barrier &barrier) {
    wait(barrier, [] {});
}

// The threads of the warp of the current one.
Thread *warp_threads() { return &block.threads[block.current / 32 * 32]; }

void thread_main() {
    block.kernel->run(block.arguments);
    block.threads[block.current].done = true;
    block.moved = true;
    turn();
}

// Runs the threads of one block until all have returned.
bool run_block(unsigned count) {
    if (block.threads.size() < count) block.threads.resize(count);
    block.warps.assign((count + 31) / 32, Barrier{32, 0, 0});
    if (count % 32) block.warps.back().expected = count % 32;
    block.all = Barrier{count, 0, 0};
    for (unsigned i = 0; i < count; ++i) {
        Thread &thread = block.threads[i];
        thread.stack.resize(64 * 1024);
        thread.done = thread.started = false;
        thread.groups.clear();
        thread.begun.clear();
        getcontext(&thread.start);
        thread.start.uc_stack.ss_sp = thread.stack.data();
        thread.start.uc_stack.ss_size = thread.stack.size();
        thread.start.uc_link = nullptr;
        makecontext(&thread.start, thread_main, 0);
    }
    for (;;) {
        unsigned left = 0;
        block.moved = false;
        for (unsigned turn = 0; turn < count; ++turn) {
            const unsigned i = block.backwards ? count - 1 - turn : turn;
            if (block.threads[i].done) continue;
            ++left;
            block.current = i;
            threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
            resume(block.threads[i]);
        }
        if (left == 0) return true;
        if (!block.moved) {
            block.fault = "some threads wait at a barrier that others never reach";
            return false;
        }
    }
}

} // namespace

void __syncthreads() { wait(block.all); }

unsigned __shfl_down_sync(unsigned, unsigned value, unsigned distance) {
    const unsigned own = block.current, other = own + distance;
    Barrier &warp = block.warps[own / 32];
    block.threads[own].shuffled = value;
    wait(warp);
    const bool inside = other / 32 == own / 32 && own % 32 + distance < warp.expected;
    const unsigned result = inside ? block.threads[other].shuffled : value;
    wait(warp);
    return result;
}

// PTX ISA, "Matrix multiply-accumulate operation using mma instruction", m16n8k16 of 16-bit floats: with g = lane / 4 and
// q = lane % 4, word i of A is row g + i % 2 · 8, columns 2q + i / 2 · 8 and the next; word i of B is rows 2q + i · 8 and the
// next, column g; sum i is row g + i / 2 · 8, column 2q + i % 2.
void multiply(float d[4], const unsigned a[4], uint2 b) {
    static const std::vector<float> halves = [] {
        std::vector<float> all(65536);
        for (unsigned bits = 0; bits < 65536; ++bits) all[bits] = from_half(bits);
        return all;
    }();
    Thread &own = block.threads[block.current];
    own.sums = d;
    own.a = a;
    own.b = b;
    wait(block.warps[block.current / 32], [] {
        Thread *warp = warp_threads();
        float rows[16][16], columns[16][8], sums[16][8] = {};
        for (unsigned lane = 0; lane < 32; ++lane) {
            const unsigned g = lane / 4, q = lane % 4;
            for (unsigned e = 0; e < 2; ++e) {
                for (unsigned i = 0; i < 4; ++i)
                    rows[g + i % 2 * 8][2 * q + i / 2 * 8 + e] = halves[warp[lane].a[i] >> 16 * e & 0xffff];
                columns[2 * q + e][g] = halves[warp[lane].b.x >> 16 * e & 0xffff];
                columns[2 * q + 8 + e][g] = halves[warp[lane].b.y >> 16 * e & 0xffff];
            }
        }
        for (unsigned row = 0; row < 16; ++row) {
            for (unsigned k = 0; k < 16; ++k) {
                for (unsigned n = 0; n < 8; ++n) sums[row][n] += rows[row][k] * columns[k][n];
            }
        }
        for (unsigned lane = 0; lane < 32; ++lane) {
            for (unsigned i = 0; i < 4; ++i) warp[lane].sums[i] += sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
        }
    });
}

// PTX ISA, ldmatrix with .x4: lanes 8i … 8i + 7 give the rows of matrix i, of which a lane gets elements 2 (lane % 4) and the
// next of row lane / 4. Counts how often the eight rows of a matrix are not in different banks.
void load_rows(unsigned words[4], const uint4 *row) {
    Thread &own = block.threads[block.current];
    own.words = words;
    own.row = row;
    wait(block.warps[block.current / 32], [] {
        Thread *warp = warp_threads();
        for (unsigned i = 0; i < 4; ++i) {
            unsigned banks = 0;
            for (unsigned r = 0; r < 8; ++r) banks |= 1u << ((size_t)warp[8 * i + r].row / 16 % 8);
            shared_reads += 1;
            shared_conflicts += banks != 0xff;
        }
        for (unsigned lane = 0; lane < 32; ++lane) {
            for (unsigned i = 0; i < 4; ++i)
                memcpy(&warp[lane].words[i], (const char *)warp[8 * i + lane / 4].row + lane % 4 * 4, 4);
        }
    });
}

// Copies are done as late as they may be: when the thread waits for them.
void begin_copy(uint4 *to, const uint4 *from, bool there) {
    block.threads[block.current].begun.push_back({to, there ? from : nullptr});
}

void end_group() {
    Thread &own = block.threads[block.current];
    own.groups.push_back(std::move(own.begun));
    own.begun.clear();
}

void wait_for_all_but_one() {
    auto &groups = block.threads[block.current].groups;
    while (groups.size() > 1) {
        for (const Copy &copy : groups.front()) *copy.to = copy.from ? *copy.from : uint4{0, 0, 0, 0};
        groups.erase(groups.begin());
    }
}

// What tests of fragments run: a warp's words of A and B give its sums; and the words that rows of 16 bytes give.
struct FragmentArguments {
    u64 a, b, sums, rows, words;
};

KERNEL(host_multiply, FragmentArguments, 1) {
    const unsigned lane = threadIdx.x;
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    multiply(sums, (const unsigned *)arguments.a + lane * 4, ((const uint2 *)arguments.b)[lane]);
    memcpy((float *)arguments.sums + lane * 4, sums, sizeof sums);
}

KERNEL(host_load_rows, FragmentArguments, 1) {
    const unsigned lane = threadIdx.x;
    unsigned words[4];
    load_rows(words, (const uint4 *)arguments.rows + lane);
    memcpy((unsigned *)arguments.words + lane * 4, words, sizeof words);
}

// Reads of eight rows from shared memory by `load_rows` so far, and those in which banks met.
extern "C" void uretinex_host_banks(unsigned long long counts[2]) {
    counts[0] = shared_reads;
    counts[1] = shared_conflicts;
}

// Runs a kernel, blocks and threads in their order or `backwards`; returns null, or what went wrong, until the next call
// of the same thread.
extern "C" const char *uretinex_host_launch(
    const char *name, const unsigned grid[3], const unsigned size[3], const void *arguments, unsigned bytes,
    bool backwards
) {
    block.kernel = nullptr;
    for (const Kernel *k = kernels; k; k = k->next) {
        if (strcmp(k->name, name) == 0) block.kernel = k;
    }
    if (!block.kernel) return "there is no kernel of that name";
    if (block.kernel->bytes != bytes) return "the kernel's arguments have another size";
    block.arguments = arguments;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {size[0], size[1], size[2]};
    block.backwards = backwards;
    const unsigned blocks = grid[0] * grid[1] * grid[2];
    for (unsigned turn = 0; turn < blocks; ++turn) {
        const unsigned i = backwards ? blocks - 1 - turn : turn;
        blockIdx = {i % grid[0], i / grid[0] % grid[1], i / (grid[0] * grid[1])};
        if (!run_block(size[0] * size[1] * size[2])) return block.fault;
    }
    return nullptr;
}
