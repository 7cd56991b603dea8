/* A libgstcuda-1.0 for tests: its contexts are numbers and its device memory is the host's. It follows the documented
 * behaviour of the functions that the element uses, and counts what lives, so that leaks show.
 *
 * VERSION: 22, or 24 for streams too. DRIVER: 0 for a machine without one. OMIT_POP, OMIT_SYNC: leaves a function out. */
#include <string.h>
#include <gst/gst.h>
#include <gst/video/video.h>

#define CONTEXT_TYPE "gst.cuda.context"
#define MAP_CUDA (GST_MAP_FLAG_LAST << 1)
#define PITCH 256
#define STRING_(x) #x
#define STRING(x) STRING_ (x)
/* Several builds are open in one process, and GLib's type names are the process's. */
#define NAMED(name) "Mock" name STRING (SERIAL)

typedef struct { GstObject object; gpointer priv; guint device; gpointer handle; } GstCudaContext;
typedef struct { GstMiniObject parent; GstCudaContext *context; gpointer handle; } GstCudaStream;
typedef struct {
    GstMemory mem;
    GstCudaContext *context;
    GstVideoInfo info;
    gpointer priv;
    gpointer _gst_reserved[GST_PADDING];
    guint8 *data;
    GstCudaStream *stream;
    gboolean pending;
} GstCudaMemory;
typedef struct { GstBufferPool parent; GstCudaContext *context; gpointer priv; GstVideoInfo info; GstCudaStream *stream; } GstCudaBufferPool;

static gint contexts, memories, streams, pools, mapped, syncs, last_flags, serial;
static __thread gint depth;

gint mock_contexts (void) { return g_atomic_int_get (&contexts); }
gint mock_memories (void) { return g_atomic_int_get (&memories); }
gint mock_streams (void) { return g_atomic_int_get (&streams); }
gint mock_pools (void) { return g_atomic_int_get (&pools); }
gint mock_mapped (void) { return g_atomic_int_get (&mapped); }
gint mock_syncs (void) { return g_atomic_int_get (&syncs); }
gint mock_last_flags (void) { return g_atomic_int_get (&last_flags); }
gint mock_depth (void) { return depth; }

static GType
make_type (GType parent, const gchar *name, gsize class_size, gsize size, gpointer class_init, gpointer init)
{
    return g_type_register_static_simple (parent, name, class_size, class_init, size, init, 0);
}

/* Contexts */

static void
context_get (GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    g_value_set_uint (value, ((GstCudaContext *) object)->device);
}

static void
context_finalize (GObject *object)
{
    g_atomic_int_add (&contexts, -1);
    ((GObjectClass *) g_type_class_peek (GST_TYPE_OBJECT))->finalize (object);
}

static void
context_class (GObjectClass *klass)
{
    klass->get_property = context_get;
    klass->finalize = context_finalize;
    g_object_class_install_property (klass, 1,
        g_param_spec_uint ("cuda-device-id", "", "", 0, G_MAXUINT, 0, G_PARAM_READABLE));
}

GType
gst_cuda_context_get_type (void)
{
    static gsize type;
    if (g_once_init_enter (&type))
        g_once_init_leave (&type, make_type (GST_TYPE_OBJECT, NAMED ("CudaContext"), sizeof (GstObjectClass),
                sizeof (GstCudaContext), context_class, NULL));
    return type;
}

/* There are two GPUs. */
GstCudaContext *
gst_cuda_context_new (guint device)
{
    if (device > 1)
        return NULL;
    GstCudaContext *context = g_object_new (gst_cuda_context_get_type (), NULL);
    gst_object_ref_sink (context);
    context->device = device;
    context->handle = GINT_TO_POINTER (0xc000 + g_atomic_int_add (&serial, 1));
    g_atomic_int_inc (&contexts);
    return context;
}

gpointer gst_cuda_context_get_handle (GstCudaContext *context) { return context->handle; }
gboolean gst_cuda_context_push (GstCudaContext *context) { depth++; return TRUE; }
#ifndef OMIT_POP
gboolean gst_cuda_context_pop (gpointer *context) { depth--; return TRUE; }
#endif

static void
fill (GstContext *place, GstCudaContext *context)
{
    gst_structure_set (gst_context_writable_structure (place), CONTEXT_TYPE, gst_cuda_context_get_type (), context,
        "cuda-device-id", G_TYPE_UINT, context->device, NULL);
}

GstContext *
gst_context_new_cuda_context (GstCudaContext *context)
{
    GstContext *place = gst_context_new (CONTEXT_TYPE, TRUE);
    fill (place, context);
    return place;
}

gboolean
gst_cuda_handle_set_context (GstElement *element, GstContext *place, gint device, GstCudaContext **slot)
{
    if (!place || !gst_context_has_context_type (place, CONTEXT_TYPE))
        return FALSE;
    if (*slot)
        return TRUE;
    GstCudaContext *context = NULL;
    if (!gst_structure_get (gst_context_get_structure (place), CONTEXT_TYPE, gst_cuda_context_get_type (), &context, NULL))
        return FALSE;
    if (device != -1 && context->device != (guint) device) {
        gst_object_unref (context);
        return FALSE;
    }
    *slot = context;
    return TRUE;
}

gboolean
gst_cuda_handle_context_query (GstElement *element, GstQuery *query, GstCudaContext *context)
{
    const gchar *type;
    gst_query_parse_context_type (query, &type);
    if (!context || strcmp (type, CONTEXT_TYPE) != 0)
        return FALSE;
    GstContext *place = gst_context_new_cuda_context (context);
    gst_query_set_context (query, place);
    gst_context_unref (place);
    return TRUE;
}

static void
ask (GstElement *element, GList *pads)
{
    for (; pads; pads = pads->next) {
        GstQuery *query = gst_query_new_context (CONTEXT_TYPE);
        GstContext *place = NULL;
        if (gst_pad_peer_query (pads->data, query))
            gst_query_parse_context (query, &place);
        if (place)
            gst_element_set_context (element, place);
        gst_query_unref (query);
    }
}

/* The neighbours downstream, those upstream, the application, and at last a context of its own, of which the pipeline
 * is told. */
gboolean
gst_cuda_ensure_element_context (GstElement *element, gint device, GstCudaContext **slot)
{
    if (!*slot)
        ask (element, element->srcpads);
    if (!*slot)
        ask (element, element->sinkpads);
    if (!*slot)
        gst_element_post_message (element, gst_message_new_need_context (GST_OBJECT (element), CONTEXT_TYPE));
    if (*slot)
        return TRUE;
    *slot = gst_cuda_context_new (MAX (device, 0));
    if (!*slot)
        return FALSE;
    GstContext *place = gst_context_new_cuda_context (*slot);
    gst_element_set_context (element, place);
    gst_element_post_message (element, gst_message_new_have_context (GST_OBJECT (element), place));
    return TRUE;
}

/* Streams */

static gint
stream_compare (const GValue *a, const GValue *b)
{
    return g_value_get_boxed (a) == g_value_get_boxed (b) ? GST_VALUE_EQUAL : GST_VALUE_UNORDERED;
}

static GType
stream_type (void)
{
    static gsize type;
    if (g_once_init_enter (&type)) {
        GType made = g_boxed_type_register_static (NAMED ("CudaStream"), (GBoxedCopyFunc) gst_mini_object_ref,
            (GBoxedFreeFunc) gst_mini_object_unref);
        static GstValueTable table = { 0, stream_compare };
        table.type = made;
        gst_value_register (&table);
        g_once_init_leave (&type, made);
    }
    return type;
}

#if VERSION >= 24
static void
stream_free (GstCudaStream *stream)
{
    gst_object_unref (stream->context);
    g_free (stream);
    g_atomic_int_add (&streams, -1);
}

GstCudaStream *
gst_cuda_stream_new (GstCudaContext *context)
{
    GstCudaStream *stream = g_new0 (GstCudaStream, 1);
    gst_mini_object_init (GST_MINI_OBJECT_CAST (stream), 0, stream_type (), NULL, NULL,
        (GstMiniObjectFreeFunction) stream_free);
    stream->context = gst_object_ref (context);
    stream->handle = GINT_TO_POINTER (0x5000 + g_atomic_int_add (&serial, 1));
    g_atomic_int_inc (&streams);
    return stream;
}

gpointer gst_cuda_stream_get_handle (GstCudaStream *stream) { return stream ? stream->handle : NULL; }
GstCudaStream *gst_cuda_memory_get_stream (GstCudaMemory *memory) { return memory->stream; }
#ifndef OMIT_SYNC
void
gst_cuda_memory_sync (GstCudaMemory *memory)
{
    if (memory->stream && memory->pending) {
        memory->pending = FALSE;
        g_atomic_int_inc (&syncs);
    }
}
#endif

GstCudaStream *
gst_buffer_pool_config_get_cuda_stream (GstStructure *config)
{
    GstCudaStream *stream = NULL;
    gst_structure_get (config, "cuda-stream", stream_type (), &stream, NULL);
    return stream;
}

void
gst_buffer_pool_config_set_cuda_stream (GstStructure *config, GstCudaStream *stream)
{
    gst_structure_set (config, "cuda-stream", stream_type (), stream, NULL);
}
#endif

/* Memory */

static GstAllocator *allocator;

static gpointer
memory_map (GstMemory *memory, gsize size, GstMapFlags flags)
{
    GstCudaMemory *cuda = (GstCudaMemory *) memory;
    g_atomic_int_set (&last_flags, (gint) flags);
    g_atomic_int_inc (&mapped);
    if ((flags & MAP_CUDA) && (flags & GST_MAP_WRITE))
        cuda->pending = TRUE;
    return cuda->data;
}

static void
memory_unmap (GstMemory *memory, GstMapInfo *info)
{
    g_atomic_int_add (&mapped, -1);
}

static void
memory_free (GstAllocator *self, GstMemory *memory)
{
    GstCudaMemory *cuda = (GstCudaMemory *) memory;
    gst_object_unref (cuda->context);
    if (cuda->stream)
        gst_mini_object_unref (GST_MINI_OBJECT_CAST (cuda->stream));
    g_free (cuda->data);
    g_free (cuda);
    g_atomic_int_add (&memories, -1);
}

static void allocator_class (GstAllocatorClass *klass) { klass->free = memory_free; }

static void
allocator_init (GstAllocator *self)
{
    self->mem_type = "gst.cuda.memory";
    self->mem_map = memory_map;
    self->mem_unmap_full = memory_unmap;
    GST_OBJECT_FLAG_SET (self, GST_ALLOCATOR_FLAG_CUSTOM_ALLOC);
}

GType
gst_cuda_allocator_get_type (void)
{
    static gsize type;
    if (g_once_init_enter (&type))
        g_once_init_leave (&type, make_type (GST_TYPE_ALLOCATOR, NAMED ("CudaAllocator"), sizeof (GstAllocatorClass),
                sizeof (GstAllocator), allocator_class, allocator_init));
    return type;
}

void
gst_cuda_memory_init_once (void)
{
    static gsize once;
    if (g_once_init_enter (&once)) {
        allocator = gst_object_ref_sink (g_object_new (gst_cuda_allocator_get_type (), NULL));
        g_once_init_leave (&once, 1);
    }
}

gboolean
gst_is_cuda_memory (GstMemory *memory)
{
    return memory->allocator && g_type_is_a (G_OBJECT_TYPE (memory->allocator), gst_cuda_allocator_get_type ());
}

/* Rows of all planes have one pitch, chroma rows follow the last luma row, as on a GPU. */
GstMemory *
mock_alloc (GstCudaContext *context, GstCudaStream *stream, const GstVideoInfo *info)
{
    GstCudaMemory *cuda = g_new0 (GstCudaMemory, 1);
    gsize pitch = (info->stride[0] + PITCH - 1) / PITCH * PITCH, rows = 0;
    cuda->info = *info;
    for (guint plane = 0; plane < GST_VIDEO_INFO_N_PLANES (info); plane++) {
        cuda->info.stride[plane] = pitch;
        cuda->info.offset[plane] = rows * pitch;
        rows += plane == 0 ? info->height : (info->height + 1) / 2;
    }
    cuda->info.size = pitch * rows;
    cuda->context = gst_object_ref (context);
    cuda->stream = stream ? (GstCudaStream *) gst_mini_object_ref (GST_MINI_OBJECT_CAST (stream)) : NULL;
    cuda->data = g_malloc0 (cuda->info.size);
    gst_memory_init (GST_MEMORY_CAST (cuda), 0, allocator, NULL, cuda->info.size, 0, 0, cuda->info.size);
    g_atomic_int_inc (&memories);
    return GST_MEMORY_CAST (cuda);
}

/* Buffer pool */

static const gchar **
pool_options (GstBufferPool *pool)
{
    static const gchar *options[] = { GST_BUFFER_POOL_OPTION_VIDEO_META, NULL };
    return options;
}

static gpointer pool_parent;

static gboolean
pool_set_config (GstBufferPool *pool, GstStructure *config)
{
    GstCudaBufferPool *self = (GstCudaBufferPool *) pool;
    GstCaps *caps;
    guint size, min, max;
    if (!gst_buffer_pool_config_get_params (config, &caps, &size, &min, &max) || !caps
        || !gst_video_info_from_caps (&self->info, caps))
        return FALSE;
    if (self->stream)
        gst_mini_object_unref (GST_MINI_OBJECT_CAST (self->stream));
    self->stream = NULL;
    gst_structure_get (config, "cuda-stream", stream_type (), &self->stream, NULL);
    GstMemory *memory = mock_alloc (self->context, NULL, &self->info);
    gst_buffer_pool_config_set_params (config, caps, memory->size, min, max);
    gst_memory_unref (memory);
    return GST_BUFFER_POOL_CLASS (pool_parent)->set_config (pool, config);
}

static GstFlowReturn
pool_alloc (GstBufferPool *pool, GstBuffer **buffer, GstBufferPoolAcquireParams *params)
{
    GstCudaBufferPool *self = (GstCudaBufferPool *) pool;
    GstMemory *memory = mock_alloc (self->context, self->stream, &self->info);
    GstVideoInfo *info = &((GstCudaMemory *) memory)->info;
    *buffer = gst_buffer_new ();
    gst_buffer_append_memory (*buffer, memory);
    gst_buffer_add_video_meta_full (*buffer, 0, GST_VIDEO_INFO_FORMAT (info), info->width, info->height,
        GST_VIDEO_INFO_N_PLANES (info), info->offset, info->stride);
    return GST_FLOW_OK;
}

static void
pool_finalize (GObject *object)
{
    GstCudaBufferPool *self = (GstCudaBufferPool *) object;
    if (self->stream)
        gst_mini_object_unref (GST_MINI_OBJECT_CAST (self->stream));
    GstCudaContext *context = self->context;
    G_OBJECT_CLASS (pool_parent)->finalize (object);
    gst_object_unref (context);
    g_atomic_int_add (&pools, -1);
}

static void
pool_class (GstBufferPoolClass *klass)
{
    pool_parent = g_type_class_peek_parent (klass);
    G_OBJECT_CLASS (klass)->finalize = pool_finalize;
    klass->get_options = pool_options;
    klass->set_config = pool_set_config;
    klass->alloc_buffer = pool_alloc;
}

GType
gst_cuda_buffer_pool_get_type (void)
{
    static gsize type;
    if (g_once_init_enter (&type))
        g_once_init_leave (&type, make_type (GST_TYPE_BUFFER_POOL, NAMED ("CudaBufferPool"),
                sizeof (GstBufferPoolClass), sizeof (GstCudaBufferPool), pool_class, NULL));
    return type;
}

GstBufferPool *
gst_cuda_buffer_pool_new (GstCudaContext *context)
{
    GstCudaBufferPool *pool = g_object_new (gst_cuda_buffer_pool_get_type (), NULL);
    gst_object_ref_sink (pool);
    pool->context = gst_object_ref (context);
    g_atomic_int_inc (&pools);
    return GST_BUFFER_POOL (pool);
}

gboolean gst_cuda_load_library (void) { return DRIVER; }
