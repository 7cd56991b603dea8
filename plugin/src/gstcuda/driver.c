/* An NVIDIA driver for tests, in the place of libcuda.so.1 and libnvcuvid.so.1: one GPU whose memory is the host's. It
 * serves GStreamer's own CUDA library and elements, so that these can be run where there is no GPU. Work is done at once,
 * kernels cannot be launched, nothing can be decoded. What lives is counted, so that leaks show.
 *
 * The functions are those that libgstcuda of 1.22 to 1.26 looks for; who asks for more is refused with the name. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include <stddef.h>

typedef int status;
typedef uint64_t address;
enum { SUCCESS = 0, INVALID = 1, UNSUPPORTED = 801 };
enum { HOST = 1, DEVICE = 2 };
enum { DEPTH = 16 };

static int contexts, memories, streams;
static __thread void *stack[DEPTH];
static __thread int depth;

int driver_contexts (void) { return __atomic_load_n (&contexts, __ATOMIC_SEQ_CST); }
int driver_memories (void) { return __atomic_load_n (&memories, __ATOMIC_SEQ_CST); }
int driver_streams (void) { return __atomic_load_n (&streams, __ATOMIC_SEQ_CST); }
int driver_depth (void) { return depth; }
void *driver_current (void) { return depth ? stack[depth - 1] : NULL; }
static void add (int *count, int n) { __atomic_add_fetch (count, n, __ATOMIC_SEQ_CST); }

status cuInit (unsigned flags) { return SUCCESS; }
status cuDriverGetVersion (int *version) { *version = 12040; return SUCCESS; }
status cuGetErrorName (status error, const char **text) { *text = "error"; return SUCCESS; }
status cuGetErrorString (status error, const char **text) { *text = "error"; return SUCCESS; }
status cuDeviceGetCount (int *count) { *count = 1; return SUCCESS; }
status cuDeviceGet (int *device, int ordinal) { *device = ordinal; return ordinal == 0 ? SUCCESS : INVALID; }
status cuDeviceGetName (char *name, int size, int device) { strncpy (name, "none", size); return SUCCESS; }
status cuDeviceTotalMem_v2 (size_t *bytes, int device) { *bytes = (size_t) 1 << 30; return SUCCESS; }
status cuDeviceCanAccessPeer (int *can, int device, int peer) { *can = 0; return SUCCESS; }

status
cuDeviceGetAttribute (int *value, int attribute, int device)
{
    /* 14: alignment of textures; 75 and 76: compute capability. */
    *value = attribute == 14 ? 512 : attribute == 75 ? 7 : 0;
    return SUCCESS;
}

status
cuCtxPushCurrent_v2 (void *context)
{
    if (depth == DEPTH)
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
    *context = malloc (1);
    add (&contexts, 1);
    return cuCtxPushCurrent_v2 (*context);
}

status cuCtxDestroy_v2 (void *context) { free (context); add (&contexts, -1); return SUCCESS; }

status
cuMemAlloc_v2 (address *memory, size_t bytes)
{
    if (!depth)
        return INVALID;
    *memory = (address) (uintptr_t) calloc (1, bytes);
    add (&memories, 1);
    return SUCCESS;
}

status
cuMemAllocPitch_v2 (address *memory, size_t *pitch, size_t width, size_t height, unsigned element)
{
    *pitch = (width + 511) / 512 * 512;
    return cuMemAlloc_v2 (memory, *pitch * height);
}

status cuMemFree_v2 (address memory) { free ((void *) (uintptr_t) memory); add (&memories, -1); return SUCCESS; }
status cuMemAllocHost_v2 (void **memory, size_t bytes) { *memory = calloc (1, bytes); return SUCCESS; }
status cuMemFreeHost (void *memory) { free (memory); return SUCCESS; }

/* CUDA_MEMCPY2D */
struct side { size_t x, y; int kind; void *host; address device; void *array; size_t pitch; };
struct copy { struct side from, to; size_t width, height; };

status
cuMemcpy2D_v2 (const struct copy *copy)
{
    const struct side *from = &copy->from, *to = &copy->to;
    if (!depth)
        return INVALID;
    char *a = from->kind == HOST ? from->host : (void *) (uintptr_t) from->device;
    char *b = to->kind == HOST ? to->host : (void *) (uintptr_t) to->device;
    for (size_t row = 0; row < copy->height; row++)
        memcpy (b + (to->y + row) * to->pitch + to->x, a + (from->y + row) * from->pitch + from->x, copy->width);
    return SUCCESS;
}

status cuMemcpy2DAsync_v2 (const struct copy *copy, void *stream) { return cuMemcpy2D_v2 (copy); }

status
cuStreamCreate (void **stream, unsigned flags)
{
    *stream = malloc (1);
    add (&streams, 1);
    return SUCCESS;
}

status cuStreamDestroy_v2 (void *stream) { free (stream); add (&streams, -1); return SUCCESS; }
status cuStreamDestroy (void *stream) { return cuStreamDestroy_v2 (stream); }
status cuStreamSynchronize (void *stream) { return SUCCESS; }

#define NONE(name) status name (void) { return UNSUPPORTED; }
NONE (cuCtxEnablePeerAccess) NONE (cuCtxDisablePeerAccess) NONE (cuCtxSynchronize) NONE (cuCtxGetLimit)
NONE (cuCtxSetLimit) NONE (cuGraphicsMapResources) NONE (cuGraphicsUnmapResources)
NONE (cuGraphicsResourceSetMapFlags_v2) NONE (cuGraphicsSubResourceGetMappedArray)
NONE (cuGraphicsResourceGetMappedPointer_v2) NONE (cuGraphicsUnregisterResource) NONE (cuGraphicsGLRegisterImage)
NONE (cuGraphicsGLRegisterBuffer) NONE (cuGLGetDevices) NONE (cuGLGetDevices_v2) NONE (cuGraphicsEGLRegisterImage)
NONE (cuGraphicsResourceGetMappedEglFrame) NONE (cuModuleLoadData) NONE (cuModuleUnload) NONE (cuModuleGetFunction)
NONE (cuTexObjectCreate) NONE (cuTexObjectDestroy) NONE (cuLaunchKernel) NONE (cuEventCreate) NONE (cuEventDestroy_v2)
NONE (cuEventRecord) NONE (cuEventSynchronize) NONE (cuIpcGetEventHandle) NONE (cuIpcOpenEventHandle)
NONE (cuIpcGetMemHandle) NONE (cuIpcOpenMemHandle_v2) NONE (cuIpcOpenMemHandle) NONE (cuIpcCloseMemHandle)
NONE (cuMemcpyDtoD_v2) NONE (cuMemcpyDtoDAsync_v2) NONE (cuMemcpyDtoH_v2) NONE (cuMemcpyDtoHAsync_v2)
NONE (cuMemcpyHtoD_v2) NONE (cuMemcpyHtoDAsync_v2) NONE (cuMemsetD2D8_v2) NONE (cuMemsetD2D8Async)
NONE (cuMemsetD2D16_v2) NONE (cuMemsetD2D16Async) NONE (cuMemsetD2D32_v2) NONE (cuMemsetD2D32Async)

/* libnvcuvid.so.1: with it GStreamer's plugin has its elements that need no codec. */
NONE (cuvidCtxLockCreate) NONE (cuvidCtxLockDestroy) NONE (cuvidCtxLock) NONE (cuvidCtxUnlock)
NONE (cuvidCreateDecoder) NONE (cuvidDestroyDecoder) NONE (cuvidDecodePicture) NONE (cuvidCreateVideoParser)
NONE (cuvidParseVideoData) NONE (cuvidDestroyVideoParser) NONE (cuvidMapVideoFrame64) NONE (cuvidUnmapVideoFrame64)
NONE (cuvidMapVideoFrame) NONE (cuvidUnmapVideoFrame) NONE (cuvidGetDecoderCaps)
