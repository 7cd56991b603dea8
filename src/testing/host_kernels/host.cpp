// Runs the kernels' own sources on the processor, for tests; see host.h.
#include <setjmp.h>
#include <ucontext.h>
#include <vector>

#include "host.h"

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

struct Thread {
    ucontext_t start;
    jmp_buf place;
    bool started;
    std::vector<char> stack;
    bool done;
    unsigned shuffled;
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

void wait(Barrier &barrier) {
    const unsigned passed = barrier.passed;
    if (++barrier.arrived == barrier.expected) {
        barrier.arrived = 0;
        ++barrier.passed;
        block.moved = true;
        return;
    }
    while (barrier.passed == passed) turn();
}

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
