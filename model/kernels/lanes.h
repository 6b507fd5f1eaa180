/* Vectors of LANES floats, once for each instruction set: NAME(f) is f's name in it.

   Vectors are GCC's own, so that every instruction set computes by the same lines. */

typedef float NAME(vector) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t NAME(integers) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int16_t NAME(shorts) __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef uint16_t NAME(halves) __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

#define vector NAME(vector)
#define integers NAME(integers)
#define INLINE static inline __attribute__((always_inline))

INLINE vector NAME(load)(const float *from) { return *(const vector *)from; }

INLINE void NAME(store)(float *to, vector value) { *(vector *)to = value; }

INLINE float NAME(sum)(vector value) {
    for (int half = LANES / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++)
            value[lane] += value[lane + half];
    return value[0];
}

/* The lanes of `one` where `mask` has all bits set, else those of `other`. */
INLINE vector NAME(select)(integers mask, vector one, vector other) {
    return (vector)(((integers)one & mask) | ((integers)other & ~mask));
}

/* e^x to a few units in the last place, for x from -87 up to 88. */
INLINE vector NAME(exponential)(vector x) {
    const vector low = (vector){0} - 87.0f, high = (vector){0} + 88.0f;
    x = NAME(select)(x < low, low, x);
    x = NAME(select)(x > high, high, x);
    vector shifted = x * 1.44269504f + ROUNDING;
    vector whole = shifted - ROUNDING;
    vector r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    vector result = (vector)((integers)p + ((integers)shifted << 23));
    return NAME(select)(x == x, result, x); /* NaNs of any bits stay so */
}

/* Root-mean-square norm of one row. */
INLINE void NAME(norm)(const float *x, const float *weight, int size, float epsilon, float *result) {
    vector squares = {0};
    for (int k = 0; k < size; k += LANES)
        squares += NAME(load)(x + k) * NAME(load)(x + k);
    float factor = 1.0f / sqrtf(NAME(sum)(squares) / size + epsilon);
    for (int k = 0; k < size; k += LANES)
        NAME(store)(result + k, NAME(load)(x + k) * factor * NAME(load)(weight + k));
}

INLINE vector NAME(load_state)(const void *states, int64_t at, int wide) {
    if (wide)
        return NAME(load)((const float *)states + at);
    integers bits = __builtin_convertvector(*(const NAME(halves) *)((const uint16_t *)states + at), integers);
    return (vector)(bits << 16);
}

/* Rounded to the nearest, ties to even; NaNs stay NaNs, some of which rounding would make numbers. */
INLINE void NAME(store_states)(void *states, int64_t at, vector values, int wide) {
    if (wide) {
        NAME(store)((float *)states + at, values);
        return;
    }
#if AMX
    _mm256_storeu_si256((__m256i *)((uint16_t *)states + at), (__m256i)_mm512_cvtneps_pbh((__m512)values));
    return;
#endif
    integers bits = (integers)values;
    bits += 0x7fff + (bits >> 16 & 1);
    bits = (integers)NAME(select)(values != values, (vector)((integers){0} + 0x7fc00000), (vector)bits);
    *(NAME(halves) *)((uint16_t *)states + at) = __builtin_convertvector(bits >> 16 & 0xffff, NAME(halves));
}

INLINE float NAME(widened_scalar)(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* Pairs of neighbours as complex numbers, turned. */
INLINE vector NAME(turned)(vector x, vector turns) {
    vector swapped, cosines, sines;
#ifdef __clang__
    for (int lane = 0; lane < LANES; lane++) {
        swapped[lane] = x[lane ^ 1];
        cosines[lane] = turns[lane & ~1];
        sines[lane] = lane & 1 ? turns[lane] : -turns[lane | 1];
    }
#else
    integers places = {0};
    vector signs = {0};
    for (int lane = 0; lane < LANES; lane++) {
        places[lane] = lane;
        signs[lane] = lane & 1 ? 1.0f : -1.0f;
    }
    swapped = __builtin_shuffle(x, places ^ 1);
    cosines = __builtin_shuffle(turns, places & ~1);
    sines = __builtin_shuffle(turns, places | 1) * signs;
#endif
    return x * cosines + swapped * sines;
}
