#include "kernels.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define X86_VARIANTS 1
#include <immintrin.h>
#if defined(__linux__) && __GNUC__ >= 11
#define AMX_VARIANT 1
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

enum { LINE = 16, PARTS = 7, SHARED = 4 }; /* floats of a cache line, on which every part begins */
enum { AHEAD = 2048 };                     /* bytes that weights are fetched before their use */
enum { QUERIES = 4, KEYS = 2 };            /* positions and vectors of keys that attention takes together */
enum { MOST_QUERIES = TILE };              /* of QUERIES, and of those that tiles take together */
enum { RUN = 32 };                         /* positions that one member mixes together */
enum { BATCH = 4 };                        /* rows of activations that a weight is widened for */
enum { PANELS_AHEAD = 4096 };              /* weights in tiles that are fetched before their use, in elements */
enum { CACHED = 1 << 20, TASKS = 8 };      /* bytes of activations that meet all panels, and a member's tasks at least */
enum { MOST_LANES = 16 };

/* 1.5 * 2^23: adding it rounds a float to an integer, which then stands in its lowest bits. */
static const float ROUNDING = 12582912.0f;

/* Where a member finds its parts of a step's workspace; the first four are everyone's. */
typedef struct {
    float *qkv;     /* [count][qkv rows] */
    float *mixed;   /* [count][heads head_dim] */
    float *gate_up; /* [count][2 intermediate] */
    float *gated;   /* [count][intermediate] */
    float *normed;  /* [count][hidden] */
    float *brief;   /* [count] of `brief_floats` of the most columns */
    float *scratch; /* [2 head_dim + capacity] */
} Places;

/* A row of activations as int16: first a scale for each group, then the values, zeros behind the last. */
static size_t groups_of(size_t columns) { return (columns + GROUP - 1) / GROUP; }

static size_t brief_floats(size_t columns) {
    const size_t groups = groups_of(columns), scales = (groups + LINE - 1) / LINE * LINE;
    return scales + groups * GROUP / 2;
}

static int16_t *brief_values(float *brief, size_t columns) {
    return (int16_t *)(brief + brief_floats(columns) - groups_of(columns) * GROUP / 2);
}

static size_t largest(size_t one, size_t other) { return one > other ? one : other; }

/* Where a member's parts begin; returns the floats of all members' together. */
static size_t lay_out(
    const Decoder *decoder, size_t count, size_t capacity, size_t members, size_t member, size_t starts[PARTS]
) {
    const size_t mixed = (size_t)decoder->heads * decoder->head_dim, hidden = decoder->hidden;
    const size_t inner = decoder->intermediate, size = decoder->head_dim;
    const size_t floats[PARTS] = {
        count * (mixed + 2 * decoder->kv_heads * size),
        count * mixed,
        count * 2 * inner,
        count * inner,
        count * hidden,
        count * brief_floats(largest(largest(mixed, hidden), inner)),
        2 * size + capacity,
    };
    size_t used = 0;
    for (int part = 0; part < PARTS; part++) {
        const size_t whole = (floats[part] + LINE - 1) / LINE * LINE;
        starts[part] = used + (part < SHARED ? 0 : member * whole);
        used += whole * (part < SHARED ? 1 : members);
    }
    return used;
}

static Places places_of(const Step *step, int members, int member) {
    size_t starts[PARTS];
    lay_out(step->decoder, step->count, step->capacity, members, member, starts);
    float *base = step->workspace;
    return (Places){
        base + starts[0], base + starts[1], base + starts[2], base + starts[3],
        base + starts[4], base + starts[5], base + starts[6],
    };
}

size_t step_floats(const Decoder *decoder, int count, int capacity, int members) {
    size_t starts[PARTS];
    return lay_out(decoder, count, capacity, members, 0, starts);
}

size_t multiply_floats(const Product *product, int count, int members) {
    return (size_t)members * count * brief_floats(product->columns);
}

/* Positions with those that fill up the last block of keys, whatever its vectors. */
static size_t padded_positions(size_t positions) {
    const size_t block = KEYS * MOST_LANES;
    return (positions + block - 1) / block * block;
}

static size_t attention_member_floats(const Attention *pass) {
    const size_t size = pass->head_dim, padded = padded_positions(pass->longest);
    const size_t floats = 2 * padded * size + MOST_QUERIES * (2 * padded + largest(size, TILE));
    return (floats + LINE - 1) / LINE * LINE;
}

/* What a head's positions before one of them cost, in some unit: each sees all before it, and has a cost itself. */
static int64_t cost_before(int64_t position) { return position * (position + RUN); }

size_t attention_floats(const Attention *pass, int members) { return members * attention_member_floats(pass); }

/* Rows of activations that meet one panel after the other: see `multiply_tiles`. */
static int rows_at_once(const Tiled *product, int rows, int members) {
    const int panels = product->rows / PANEL;
    int run = CACHED / ((int)sizeof *product->tiles * product->columns) / PANEL * PANEL;
    run = run > PANEL ? run : PANEL;
    while (run > PANEL && (rows + run - 1) / run * panels < TASKS * members)
        run = (run / 2 + PANEL - 1) / PANEL * PANEL;
    return run;
}

/* What every platform has: x86-64's own SSE2, or Arm's NEON. */
#define NAME(function) function##_baseline
#define LANES 4
#include "variant.h"
#undef NAME
#undef LANES

#ifdef X86_VARIANTS
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define NAME(function) function##_avx2
#define LANES 8
#include "variant.h"
#undef NAME
#undef LANES
#pragma GCC pop_options

#ifdef AMX_VARIANT
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,amx-tile,amx-bf16")
#define NAME(function) function##_avx512amx
#define LANES 16
#define VNNI 1
#define AMX 1
#include "variant.h"
#undef NAME
#undef LANES
#undef VNNI
#undef AMX
#pragma GCC pop_options
#endif

#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#define NAME(function) function##_avx512vnni
#define LANES 16
#define VNNI 1
#include "variant.h"
#undef NAME
#undef LANES
#undef VNNI
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
#define NAME(function) function##_avx512
#define LANES 16
#include "variant.h"
#undef NAME
#undef LANES
#pragma GCC pop_options
#endif

typedef struct {
    const char *name;
    Job step, multiply, norm, attention, tiles, pass;
} Kernels;

#define JOBS(name)                                                                                      \
    {#name,           step_job_##name,  multiply_job_##name, norm_job_##name, attention_job_##name, \
     tiles_job_##name, pass_job_##name}

static const Kernels variants[] = {
#ifdef AMX_VARIANT
    JOBS(avx512amx),
#endif
#ifdef X86_VARIANTS
    JOBS(avx512vnni),
    JOBS(avx512),
    JOBS(avx2),
#endif
    JOBS(baseline),
};
static const Kernels *_Atomic chosen;

#ifdef AMX_VARIANT
/* Whether the CPU has tiles of bfloat16, and the system lets this process use them: it has to be asked. */
static int has_tiles(void) {
    unsigned a, b, c, d;
    const unsigned tiles = 1u << 24 | 1u << 22; /* AMX-TILE, AMX-BF16 */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & tiles) != tiles)
        return 0;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & 1u << 5)) /* AVX512-BF16 */
        return 0;
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return !syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA);
}
#endif

static int runs_here(const Kernels *kernels) {
#ifdef X86_VARIANTS
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!strcmp(kernels->name, "avx2"))
        return avx2;
    if (!strcmp(kernels->name, "avx512"))
        return avx512;
    if (!strcmp(kernels->name, "avx512vnni"))
        return avx512 && __builtin_cpu_supports("avx512vnni");
#endif
#ifdef AMX_VARIANT
    if (!strcmp(kernels->name, "avx512amx"))
        return avx512 && __builtin_cpu_supports("avx512vnni") && has_tiles();
#endif
    return !strcmp(kernels->name, "baseline");
}

static const Kernels *kernels(void) {
    for (size_t at = 0; !chosen; at++)
        if (runs_here(&variants[at]))
            chosen = &variants[at];
    return chosen;
}

size_t kernels_layout(void) {
    return sizeof(Block) + sizeof(Product) + sizeof(Layer) + sizeof(Decoder) + sizeof(Step) + sizeof(Multiplication) +
           sizeof(Norm) + sizeof(Attention) + sizeof(Tiled) + sizeof(TiledMultiplication) + sizeof(TiledLayer) +
           sizeof(Pass);
}

const char *kernels_name(void) { return kernels()->name; }

int kernels_choose(const char *name) {
    for (size_t at = 0; at < sizeof variants / sizeof *variants; at++)
        if (!strcmp(variants[at].name, name) && runs_here(&variants[at])) {
            chosen = &variants[at];
            return 1;
        }
    return 0;
}

void step_run(int members, Step *step) { team_run(members, kernels()->step, step); }

void multiply_run(int members, Multiplication *multiplication) {
    team_run(members, kernels()->multiply, multiplication);
}

void norm_run(int members, Norm *norm) { team_run(members, kernels()->norm, norm); }

void attention_run(int members, Attention *pass) { team_run(members, kernels()->attention, pass); }

void tiles_run(int members, TiledMultiplication *multiplication) {
    team_run(members, kernels()->tiles, multiplication);
}

void pass_run(int members, Pass *pass) { team_run(members, kernels()->pass, pass); }
