/* A driver for tests, in the place of libcuda.so.1: one GPU whose memory is the host's. Work is done at once, kernels are
 * counted and not run. Calls that need a context fail unless the one that was retained is current; what a capture forbids
 * fails while there is one. What lives is counted, so that leaks show. Environment variables choose what goes wrong. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int status;
typedef uint64_t address;
enum { SUCCESS = 0, INVALID = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_CONTEXT = 201, UNSUPPORTED_PTX = 222,
       NOT_FOUND = 500, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901 };
enum { DEPTH = 16 };

static int retained, live, launches, capturing, captured;
static size_t used;
static __thread void *stack[DEPTH];
static __thread int depth;
static int the_context;

/* For the tests: objects and allocations that live, contexts on this thread, kernels run, directly or by a graph. */
int driver_live (void) { return live + retained; }
int driver_depth (void) { return depth; }
int driver_launches (void) { return launches; }

static long
setting (const char *name, long otherwise)
{
    const char *text = getenv (name);
    return text ? atol (text) : otherwise;
}

#define NEED_CONTEXT if (!depth || stack[depth - 1] != &the_context) return INVALID_CONTEXT
#define NOT_IN_CAPTURE if (capturing) return CAPTURE_UNSUPPORTED
#define MAKE(to) do { *(to) = malloc (1); live++; return SUCCESS; } while (0)
#define UNMAKE(object) do { free (object); live--; return SUCCESS; } while (0)

status cuInit (unsigned flags) { return flags ? INVALID : setting ("DRIVER_INIT", SUCCESS); }
status cuDriverGetVersion (int *version) { *version = setting ("DRIVER_CUDA", 12000); return SUCCESS; }
status cuDeviceGetCount (int *count) { *count = 1; return SUCCESS; }
status cuDeviceGet (int *device, int ordinal) { *device = 7; return ordinal ? INVALID : SUCCESS; }
status cuDeviceGetName (char *name, int size, int device)
{
    snprintf (name, size, "Pretended GPU");
    return device == 7 ? SUCCESS : INVALID;
}
static size_t memory (void) { return setting ("DRIVER_MEMORY", 1L << 32); }
status cuDeviceTotalMem_v2 (size_t *bytes, int device) { *bytes = memory (); return device == 7 ? SUCCESS : INVALID; }
status
cuDeviceGetAttribute (int *value, int attribute, int device)
{
    /* 75 and 76: compute capability; 115: memory pools. */
    const int capability = setting ("DRIVER_CAPABILITY", 70);
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10
        : attribute == 115 ? setting ("DRIVER_POOLS", 1) : 0;
    return device == 7 ? SUCCESS : INVALID;
}
status cuGetErrorName (status error, const char **text) { *text = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR"; return SUCCESS; }
status cuGetErrorString (status error, const char **text) { (void) error; *text = "as planned"; return SUCCESS; }

status cuDevicePrimaryCtxRetain (void **context, int device) { *context = &the_context; retained++; return device == 7 ? SUCCESS : INVALID; }
status cuDevicePrimaryCtxRelease_v2 (int device) { retained--; return device == 7 ? SUCCESS : INVALID; }
status
cuCtxPushCurrent_v2 (void *context)
{
    if (depth == DEPTH || !retained)
        return INVALID;
    stack[depth++] = context;
    return SUCCESS;
}
status
cuCtxPopCurrent_v2 (void **context)
{
    if (!depth)
        return INVALID;
    *context = stack[--depth];
    return SUCCESS;
}

/* A module is its text; a function is its name. */
status
cuModuleLoadData (void **module, const void *image)
{
    NEED_CONTEXT;
    if (getenv ("DRIVER_REFUSES_PTX") || !strstr (image, ".version"))
        return UNSUPPORTED_PTX;
    *module = strdup (image);
    live++;
    return SUCCESS;
}
status
cuModuleGetFunction (void **function, void *module, const char *name)
{
    char entry[200];
    NEED_CONTEXT;
    snprintf (entry, sizeof entry, ".entry %s(", name);
    *function = strstr (module, entry);
    return *function ? SUCCESS : NOT_FOUND;
}
status cuModuleUnload (void *module) { NEED_CONTEXT; UNMAKE (module); }

status cuStreamCreate (void **stream, unsigned flags) { NEED_CONTEXT; if (flags != 1) return INVALID; MAKE (stream); }
status cuStreamDestroy_v2 (void *stream) { NEED_CONTEXT; UNMAKE (stream); }
status cuEventCreate (void **event, unsigned flags) { NEED_CONTEXT; if (flags & ~3u) return INVALID; MAKE (event); }
status cuEventDestroy_v2 (void *event) { NEED_CONTEXT; UNMAKE (event); }
status cuEventRecord (void *event, void *stream) { NEED_CONTEXT; return event && stream ? SUCCESS : INVALID; }
status cuStreamWaitEvent (void *stream, void *event, unsigned flags) { NEED_CONTEXT; return event && stream && !flags ? SUCCESS : INVALID; }
status cuEventSynchronize (void *event) { NEED_CONTEXT; NOT_IN_CAPTURE; return event ? SUCCESS : INVALID; }
status cuEventElapsedTime (float *ms, void *start, void *end) { NEED_CONTEXT; *ms = 0.25f; return start && end ? SUCCESS : INVALID; }

/* The length of an allocation lies before it; both are aligned as a GPU's are. */
static status
take (void **start, size_t bytes)
{
    char *memory_taken;
    NEED_CONTEXT;
    NOT_IN_CAPTURE;
    if (used + bytes > memory () || !(memory_taken = aligned_alloc (256, (bytes + 511) / 256 * 256)))
        return OUT_OF_MEMORY;
    memset (memory_taken, 0xa5, bytes + 256);
    memcpy (memory_taken, &bytes, sizeof bytes);
    used += bytes;
    live++;
    *start = memory_taken + 256;
    return SUCCESS;
}
static status
give_back (void *start)
{
    size_t bytes;
    NEED_CONTEXT;
    memcpy (&bytes, (char *) start - 256, sizeof bytes);
    used -= bytes;
    UNMAKE ((char *) start - 256);
}
status cuMemAllocAsync (address *to, size_t bytes, void *stream) { return stream ? take ((void **) to, bytes) : INVALID; }
status cuMemAlloc_v2 (address *to, size_t bytes) { return take ((void **) to, bytes); }
status cuMemHostAlloc (void **to, size_t bytes, unsigned flags) { return flags ? INVALID : take (to, bytes); }
status cuMemFreeAsync (address from, void *stream) { return stream ? give_back ((void *) from) : INVALID; }
status cuMemFree_v2 (address from) { return give_back ((void *) from); }
status cuMemFreeHost (void *from) { return give_back (from); }
status cuMemGetInfo_v2 (size_t *free_bytes, size_t *total) { NEED_CONTEXT; *free_bytes = memory () - used; *total = memory (); return SUCCESS; }
static status copy (void *to, const void *from, size_t bytes, void *stream)
{
    NEED_CONTEXT;
    NOT_IN_CAPTURE;
    if (!stream)
        return INVALID;
    memcpy (to, from, bytes);
    return SUCCESS;
}
status cuMemcpyHtoDAsync_v2 (address to, const void *from, size_t bytes, void *stream) { return copy ((void *) to, from, bytes, stream); }
status cuMemcpyDtoHAsync_v2 (void *to, address from, size_t bytes, void *stream) { return copy (to, (void *) from, bytes, stream); }
status cuMemcpyDtoDAsync_v2 (address to, address from, size_t bytes, void *stream) { return copy ((void *) to, (void *) from, bytes, stream); }
status
cuMemsetD8Async (address to, unsigned char value, size_t bytes, void *stream)
{
    NEED_CONTEXT;
    NOT_IN_CAPTURE;
    memset ((void *) to, value, bytes);
    return stream ? SUCCESS : INVALID;
}

status
cuLaunchKernel (void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                unsigned shared, void *stream, void **parameters, void **extra)
{
    NEED_CONTEXT;
    if (!function || !stream || !parameters || !parameters[0] || (uintptr_t) parameters[0] % 8 || extra || shared > 48 << 10
        || !x || !y || !z || y > 65535 || z > 65535 || bx * by * bz == 0 || bx * by * bz > 1024)
        return INVALID;
    ++*(capturing ? &captured : &launches);
    return SUCCESS;
}

status
cuStreamBeginCapture_v2 (void *stream, int mode)
{
    NEED_CONTEXT;
    if (capturing || !stream || mode != 1)
        return INVALID;
    capturing = 1;
    captured = 0;
    return SUCCESS;
}
/* A graph is the number of its kernels. */
status
cuStreamEndCapture (void *stream, void **graph)
{
    NEED_CONTEXT;
    if (!capturing || !stream)
        return INVALID;
    capturing = 0;
    *graph = NULL;
    if (getenv ("DRIVER_REFUSES_CAPTURE"))
        return CAPTURE_INVALIDATED;
    *graph = malloc (sizeof captured);
    memcpy (*graph, &captured, sizeof captured);
    live++;
    return SUCCESS;
}
status
cuGraphInstantiateWithFlags (void **executable, void *graph, unsigned long long flags)
{
    NEED_CONTEXT;
    if (flags)
        return INVALID;
    *executable = malloc (sizeof captured);
    memcpy (*executable, graph, sizeof captured);
    live++;
    return SUCCESS;
}
status cuGraphDestroy (void *graph) { NEED_CONTEXT; UNMAKE (graph); }
status cuGraphExecDestroy (void *executable) { NEED_CONTEXT; UNMAKE (executable); }
status
cuGraphLaunch (void *executable, void *stream)
{
    int kernels;
    NEED_CONTEXT;
    memcpy (&kernels, executable, sizeof kernels);
    launches += kernels;
    return stream ? SUCCESS : INVALID;
}
