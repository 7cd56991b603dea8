// Methods that take or give structures, and callers of the logger and the progress monitor, as a C++ compiler makes them. Compiled and loaded by
// the test in abi.rs: its own side of each call is checked against this one.

#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

struct NarrowDims {
    int32_t count;
    int32_t d[8];
};

struct WideDims {
    int32_t count;
    int64_t d[8];
};

char seen[256];

template <class D> void see(char const* name, int32_t which, D const& dims) {
    int at = std::snprintf(seen, sizeof seen, "%s %d:", name, which);
    for (int i = 0; i < dims.count && i < 8; ++i) {
        at += std::snprintf(seen + at, sizeof seen - at, " %lld", static_cast<long long>(dims.d[i]));
    }
}

template <class D> D shape() {
    D dims{};
    dims.count = 4;
    int const sides[] = {1, 3, 48, 64};
    for (int i = 0; i < 4; ++i) {
        dims.d[i] = sides[i];
    }
    return dims;
}

template <class D> struct Methods {
    virtual bool by_value(char const* name, int32_t which, D dims) noexcept {
        see(name, which, dims);
        return which < 2;
    }
    virtual bool by_reference(char const* name, int32_t which, D const& dims) noexcept {
        see(name, which, dims);
        return which < 2;
    }
    virtual bool set_shape(char const* name, D const& dims) noexcept {
        see(name, -1, dims);
        return dims.d[2] > 0;
    }
    virtual D shape_of(char const* name) const noexcept {
        D dims = shape<D>();
        dims.d[0] = static_cast<int>(std::strlen(name));
        return dims;
    }
    virtual D dimensions() const noexcept {
        return shape<D>();
    }
};

Methods<NarrowDims> narrow;
Methods<WideDims> wide;

} // namespace

struct InterfaceInfo {
    char const* kind;
    int32_t major;
    int32_t minor;
};

struct PlainLogger {
    virtual void log(int32_t severity, char const* message) noexcept = 0;
    virtual ~PlainLogger() = default;
};

struct VersionedLogger {
    virtual int32_t language() const noexcept = 0;
    virtual InterfaceInfo info() const noexcept = 0;
    virtual ~VersionedLogger() = default;
    virtual void log(int32_t severity, char const* message) noexcept = 0;
};

struct Monitor {
    virtual int32_t language() const noexcept = 0;
    virtual InterfaceInfo info() const noexcept = 0;
    virtual ~Monitor() = default;
    virtual void phase_start(char const* phase, char const* parent, int32_t steps) noexcept = 0;
    virtual bool step_complete(char const* phase, int32_t step) noexcept = 0;
    virtual void phase_finish(char const* phase) noexcept = 0;
};

extern "C" void* method(int32_t is_wide, int32_t slot) {
    void* object = is_wide ? static_cast<void*>(&wide) : static_cast<void*>(&narrow);
    return (*static_cast<void***>(object))[slot];
}

extern "C" char const* what_was_seen() {
    return seen;
}

extern "C" int32_t log_plain(PlainLogger* logger, int32_t severity, char const* message) {
    logger->log(severity, message);
    return 0;
}

extern "C" int32_t log_versioned(VersionedLogger* logger, int32_t severity, char const* message) {
    InterfaceInfo const info = logger->info();
    bool const known = logger->language() == 0 && std::strcmp(info.kind, "ILogger") == 0 && info.major == 1 && info.minor == 0;
    if (known) {
        logger->log(severity, message);
    }
    return known ? 0 : 1;
}

// Whether a build goes on after a step: 1 or 0; -1 if the monitor is another interface.
extern "C" int32_t goes_on(Monitor* monitor) {
    InterfaceInfo const info = monitor->info();
    if (monitor->language() != 0 || std::strcmp(info.kind, "IProgressMonitor") != 0 || info.major != 1 || info.minor != 0) {
        return -1;
    }
    monitor->phase_start("inner", "outer", 7);
    bool const on = monitor->step_complete("inner", 3);
    monitor->phase_finish("inner");
    return on ? 1 : 0;
}
