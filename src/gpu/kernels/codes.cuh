// Functions of one and of two numbers, as instructions name them.
#pragma once

#include "prelude.cuh"

// e^x, to a few units of the last place.
#ifdef __CUDACC_RTC__
DEVICE float fast_exp(float x) { return __expf(x); }
#else
DEVICE float fast_exp(float x) { return expf(x); }
#endif

enum { COPY, LEAKY, LIMIT, SIGMOID_OF, EXP, LOG, RECIPROCAL, ADD, SUB, MUL, DIV, MAX, MIN, POW };

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(fminf(-x, 88.0f))); }

// The smallest normal number for anything below it.
DEVICE float logarithm(float x) { return logf(fmaxf(x, 1.17549435e-38f)); }

DEVICE float exponential(float x) { return expf(fminf(x, 88.0f)); }

// What an instruction gives.
DEVICE float applied(u32 code, float x, float y, float p, float q) {
    switch (code) {
    case LEAKY: return fmaxf(x, p * x);
    case LIMIT: return fminf(fmaxf(x, p), q);
    case SIGMOID_OF: return sigmoid(x);
    case EXP: return exponential(x);
    case LOG: return logarithm(x);
    case RECIPROCAL: return 1.0f / x;
    case ADD: return x + y;
    case SUB: return x - y;
    case MUL: return x * y;
    case DIV: return x / y;
    case MAX: return fmaxf(x, y);
    case MIN: return fminf(x, y);
    case POW: return exponential(y * logarithm(x));
    default: return x;
    }
}
