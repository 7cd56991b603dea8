/* An NVIDIA driver for tests, in the place of libcuda.so.1 and libnvcuvid.so.1: one GPU whose memory is the host's.
 *
 * It serves the library's own device, and GStreamer's CUDA library and elements of 1.22 to 1.26, on machines without a GPU.
 * Work is done at once; kernels are counted and not run; nothing can be decoded. Calls that need a context fail unless one
 * that lives is current on the thread; what a capture forbids fails while the thread has one. What lives is counted, so
 * that leaks show. Environment variables choose what goes wrong:
 *
 *   DRIVER_INIT             what cuInit returns
 *   DRIVER_CUDA             the CUDA version that is served, as 12040
 *   DRIVER_CAPABILITY       the compute capability, as 70
 *   DRIVER_DEVICE           the GPU's handle, 7 by default, so that it is not taken for its number; GStreamer 1.22 wants 0
 *   DRIVER_MEMORY           bytes of the GPU's memory
 *   DRIVER_POOLS            0: memory is not allocated in stream order
 *   DRIVER_REFUSES_PTX      no module is loaded
 *   DRIVER_REFUSES_CAPTURE  no capture ends well */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int status;
typedef uint64_t address;
enum { SUCCESS = 0, INVALID = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, UNSUPPORTED_PTX = 222, NOT_FOUND = 500,
       UNSUPPORTED = 801, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901 };
enum { DEPTH = 16, CONTEXTS = 64 };

/* What lives, by kind (memories: the device's; others: the host's page-locked memory, events, modules, graphs); kernels
 * that were run, directly or by a graph. */
static atomic_int primary, contexts, memories, streams, others, launches;
static atomic_size_t used;
static __thread void *stack[DEPTH];
static __thread int depth;
static __thread int capturing, captured;

static char the_primary;
static void *created[CONTEXTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* For the tests. */
int driver_live (void) { return primary + contexts + memories + streams + others; }
int driver_contexts (void) { return contexts; }
int driver_memories (void) { return memories; }
int driver_streams (void) { return streams; }
int driver_launches (void) { return launches; }
int driver_depth (void) { return depth; }
void *driver_current (void) { return depth ? stack[depth - 1] : NULL; }

static long
setting (const char *name, long otherwise)
{
    const char *text = getenv (name);
    return text ? atol (text) : otherwise;
}

static int gpu (void) { return setting ("DRIVER_DEVICE", 7); }

/* The place of a context among those that were created; NULL: a free place. Under the lock. */
static void **
place_of (void *context)
{
    for (int i = 0; i < CONTEXTS; i++)
        if (created[i] == context)
            return &created[i];
    return NULL;
}

static int
is_context (void *context)
{
    int found;
    if (context == &the_primary)
        return primary > 0;
    pthread_mutex_lock (&lock);
    found = context && place_of (context);
    pthread_mutex_unlock (&lock);
    return found;
}

#define NEED_CONTEXT do { if (!is_context (driver_current ())) return INVALID_CONTEXT; } while (0)
#define NOT_IN_CAPTURE do { if (capturing) return CAPTURE_UNSUPPORTED; } while (0)
#define MAKE(count, to) do { *(to) = malloc (1); count++; return SUCCESS; } while (0)
#define UNMAKE(count, object) do { free (object); --count; return SUCCESS; } while (0)

/* The driver and its device. */
status cuInit (unsigned flags) { return flags ? INVALID : setting ("DRIVER_INIT", SUCCESS); }
status cuDriverGetVersion (int *version) { *version = setting ("DRIVER_CUDA", 12040); return SUCCESS; }
status cuDeviceGetCount (int *count) { *count = 1; return SUCCESS; }
status cuDeviceGet (int *device, int ordinal) { *device = gpu (); return ordinal ? INVALID : SUCCESS; }
status
cuDeviceGetName (char *name, int size, int device)
{
    snprintf (name, size, "Pretended GPU");
    return device == gpu () ? SUCCESS : INVALID;
}
static size_t memory (void) { return setting ("DRIVER_MEMORY", 1L << 32); }
status cuDeviceTotalMem_v2 (size_t *bytes, int device) { *bytes = memory (); return device == gpu () ? SUCCESS : INVALID; }
status
cuDeviceGetAttribute (int *value, int attribute, int device)
{
    /* 14: alignment of textures; 75 and 76: compute capability; 115: memory pools. */
    const int capability = setting ("DRIVER_CAPABILITY", 70);
    *value = attribute == 14 ? 512 : attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10
        : attribute == 115 ? setting ("DRIVER_POOLS", 1) : 0;
    return device == gpu () ? SUCCESS : INVALID;
}
status cuDeviceCanAccessPeer (int *can, int device, int peer) { (void) device; (void) peer; *can = 0; return SUCCESS; }
status
cuGetErrorName (status error, const char **text)
{
    *text = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR";
    return SUCCESS;
}
status cuGetErrorString (status error, const char **text) { (void) error; *text = "as planned"; return SUCCESS; }

/* Contexts. */
status
cuDevicePrimaryCtxRetain (void **context, int device)
{
    *context = &the_primary;
    primary++;
    return device == gpu () ? SUCCESS : INVALID;
}
status cuDevicePrimaryCtxRelease_v2 (int device) { primary--; return device == gpu () ? SUCCESS : INVALID; }
status
cuCtxPushCurrent_v2 (void *context)
{
    if (depth == DEPTH || !is_context (context))
        return INVALID;
    stack[depth++] = context;
    return SUCCESS;
}
status
cuCtxPopCurrent_v2 (void **context)
{
    if (!depth)
        return INVALID;
    depth--;
    if (context)
        *context = stack[depth];
    return SUCCESS;
}
status
cuCtxCreate_v2 (void **context, unsigned flags, int device)
{
    void **place;
    (void) flags;
    pthread_mutex_lock (&lock);
    place = place_of (NULL);
    if (place)
        *place = malloc (1);
    pthread_mutex_unlock (&lock);
    if (!place || device != gpu ())
        return INVALID;
    *context = *place;
    contexts++;
    return cuCtxPushCurrent_v2 (*context);
}
status
cuCtxDestroy_v2 (void *context)
{
    void **place;
    pthread_mutex_lock (&lock);
    place = context ? place_of (context) : NULL;
    if (place)
        *place = NULL;
    pthread_mutex_unlock (&lock);
    if (!place)
        return INVALID;
    UNMAKE (contexts, context);
}

/* A module is its text; a function is its name. */
status
cuModuleLoadData (void **module, const void *image)
{
    NEED_CONTEXT;
    if (getenv ("DRIVER_REFUSES_PTX") || !strstr (image, ".version"))
        return UNSUPPORTED_PTX;
    *module = strdup (image);
    others++;
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
status cuModuleUnload (void *module) { NEED_CONTEXT; UNMAKE (others, module); }

/* Streams and events. GStreamer makes streams that wait for the default one (0), the library those that do not (1). */
status cuStreamCreate (void **stream, unsigned flags) { NEED_CONTEXT; if (flags > 1) return INVALID; MAKE (streams, stream); }
status cuStreamDestroy_v2 (void *stream) { NEED_CONTEXT; UNMAKE (streams, stream); }
status cuStreamDestroy (void *stream) { return cuStreamDestroy_v2 (stream); }
status cuStreamSynchronize (void *stream) { (void) stream; NEED_CONTEXT; NOT_IN_CAPTURE; return SUCCESS; }
status
cuStreamWaitEvent (void *stream, void *event, unsigned flags)
{
    NEED_CONTEXT;
    return event && stream && !flags ? SUCCESS : INVALID;
}
status cuEventCreate (void **event, unsigned flags) { NEED_CONTEXT; if (flags & ~3u) return INVALID; MAKE (others, event); }
status cuEventDestroy_v2 (void *event) { NEED_CONTEXT; UNMAKE (others, event); }
status cuEventRecord (void *event, void *stream) { NEED_CONTEXT; return event && stream ? SUCCESS : INVALID; }
status cuEventSynchronize (void *event) { NEED_CONTEXT; NOT_IN_CAPTURE; return event ? SUCCESS : INVALID; }
status
cuEventElapsedTime (float *ms, void *start, void *end)
{
    NEED_CONTEXT;
    *ms = 0.25f;
    return start && end ? SUCCESS : INVALID;
}

/* The length of an allocation lies before it; both are aligned as a GPU's are. New memory holds no zeros. */
static status
take (void **start, size_t bytes, atomic_int *count)
{
    char *taken;
    NEED_CONTEXT;
    NOT_IN_CAPTURE;
    if (used + bytes > memory () || !(taken = aligned_alloc (256, (bytes + 511) / 256 * 256)))
        return OUT_OF_MEMORY;
    memset (taken, 0xa5, bytes + 256);
    memcpy (taken, &bytes, sizeof bytes);
    used += bytes;
    ++*count;
    *start = taken + 256;
    return SUCCESS;
}
static status
give_back (void *start, atomic_int *count)
{
    size_t bytes;
    NEED_CONTEXT;
    memcpy (&bytes, (char *) start - 256, sizeof bytes);
    used -= bytes;
    UNMAKE (*count, (char *) start - 256);
}
status cuMemAllocAsync (address *to, size_t bytes, void *stream) { return stream ? take ((void **) to, bytes, &memories) : INVALID; }
status cuMemAlloc_v2 (address *to, size_t bytes) { return take ((void **) to, bytes, &memories); }
status
cuMemAllocPitch_v2 (address *to, size_t *pitch, size_t width, size_t height, unsigned element)
{
    (void) element;
    *pitch = (width + 511) / 512 * 512;
    return take ((void **) to, *pitch * height, &memories);
}
status cuMemHostAlloc (void **to, size_t bytes, unsigned flags) { return flags ? INVALID : take (to, bytes, &others); }
status cuMemAllocHost_v2 (void **to, size_t bytes) { return take (to, bytes, &others); }
status cuMemFreeAsync (address from, void *stream) { return stream ? give_back ((void *) from, &memories) : INVALID; }
status cuMemFree_v2 (address from) { return give_back ((void *) from, &memories); }
status cuMemFreeHost (void *from) { return give_back (from, &others); }
status
cuMemGetInfo_v2 (size_t *free_bytes, size_t *total)
{
    NEED_CONTEXT;
    *free_bytes = memory () - used;
    *total = memory ();
    return SUCCESS;
}

/* Copies. */
static status
copy (void *to, const void *from, size_t bytes, void *stream)
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

/* CUDA_MEMCPY2D; kind 1 is memory of the host. */
struct side { size_t x, y; int kind; void *host; address device; void *array; size_t pitch; };
struct copy { struct side from, to; size_t width, height; };

static char *
row_of (const struct side *side, size_t row)
{
    char *start = side->kind == 1 ? side->host : (char *) (uintptr_t) side->device;
    return start + (side->y + row) * side->pitch + side->x;
}
status
cuMemcpy2D_v2 (const struct copy *copy)
{
    NEED_CONTEXT;
    NOT_IN_CAPTURE;
    for (size_t row = 0; row < copy->height; row++)
        memcpy (row_of (&copy->to, row), row_of (&copy->from, row), copy->width);
    return SUCCESS;
}
status cuMemcpy2DAsync_v2 (const struct copy *copy, void *stream) { (void) stream; return cuMemcpy2D_v2 (copy); }

/* Kernels, and captures, whose graph is the number of its kernels. */
status
cuLaunchKernel (void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                unsigned shared, void *stream, void **parameters, void **extra)
{
    NEED_CONTEXT;
    if (!function || !stream || !parameters || !parameters[0] || (uintptr_t) parameters[0] % 8 || extra || shared > 48 << 10
        || !x || !y || !z || y > 65535 || z > 65535 || bx * by * bz == 0 || bx * by * bz > 1024)
        return INVALID;
    if (capturing)
        captured++;
    else
        launches++;
    return SUCCESS;
}
status
cuStreamBeginCapture_v2 (void *stream, int mode)
{
    NEED_CONTEXT;
    /* 1: calls of this thread alone are bound by the capture. */
    if (capturing || !stream || mode != 1)
        return INVALID;
    capturing = 1;
    captured = 0;
    return SUCCESS;
}
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
    others++;
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
    others++;
    return SUCCESS;
}
status cuGraphDestroy (void *graph) { NEED_CONTEXT; UNMAKE (others, graph); }
status cuGraphExecDestroy (void *executable) { NEED_CONTEXT; UNMAKE (others, executable); }
status
cuGraphLaunch (void *executable, void *stream)
{
    int kernels;
    NEED_CONTEXT;
    memcpy (&kernels, executable, sizeof kernels);
    launches += kernels;
    return stream ? SUCCESS : INVALID;
}

/* What libgstcuda looks for and does not call here. */
#define NONE(name) status name (void) { return UNSUPPORTED; }
NONE (cuCtxEnablePeerAccess) NONE (cuCtxDisablePeerAccess) NONE (cuCtxSynchronize) NONE (cuCtxGetLimit)
NONE (cuCtxSetLimit) NONE (cuGraphicsMapResources) NONE (cuGraphicsUnmapResources)
NONE (cuGraphicsResourceSetMapFlags_v2) NONE (cuGraphicsSubResourceGetMappedArray)
NONE (cuGraphicsResourceGetMappedPointer_v2) NONE (cuGraphicsUnregisterResource) NONE (cuGraphicsGLRegisterImage)
NONE (cuGraphicsGLRegisterBuffer) NONE (cuGLGetDevices) NONE (cuGLGetDevices_v2) NONE (cuGraphicsEGLRegisterImage)
NONE (cuGraphicsResourceGetMappedEglFrame) NONE (cuTexObjectCreate) NONE (cuTexObjectDestroy)
NONE (cuIpcGetEventHandle) NONE (cuIpcOpenEventHandle) NONE (cuIpcGetMemHandle) NONE (cuIpcOpenMemHandle_v2)
NONE (cuIpcOpenMemHandle) NONE (cuIpcCloseMemHandle) NONE (cuMemcpyDtoD_v2) NONE (cuMemcpyDtoH_v2) NONE (cuMemcpyHtoD_v2)
NONE (cuMemsetD2D8_v2) NONE (cuMemsetD2D8Async) NONE (cuMemsetD2D16_v2) NONE (cuMemsetD2D16Async)
NONE (cuMemsetD2D32_v2) NONE (cuMemsetD2D32Async)

/* libnvcuvid.so.1: with it GStreamer's plugin has its elements that need no codec. */
NONE (cuvidCtxLockCreate) NONE (cuvidCtxLockDestroy) NONE (cuvidCtxLock) NONE (cuvidCtxUnlock)
NONE (cuvidCreateDecoder) NONE (cuvidDestroyDecoder) NONE (cuvidDecodePicture) NONE (cuvidCreateVideoParser)
NONE (cuvidParseVideoData) NONE (cuvidDestroyVideoParser) NONE (cuvidMapVideoFrame64) NONE (cuvidUnmapVideoFrame64)
NONE (cuvidMapVideoFrame) NONE (cuvidUnmapVideoFrame) NONE (cuvidGetDecoderCaps)
