/* What a search does around FAISS, in few calls that touch little memory: FAISS has just read megabytes through the
   caches, and each line of Python after that begins with a wait for memory. See `index/compiled.py`. */

#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define X86 1
#include <immintrin.h>
#endif

enum { LANES = 8 };

#ifdef X86
/* CRC-32C, by the processor's own instruction. */
__attribute__((target("sse4.2"))) static uint32_t crc(const uint8_t *bytes, size_t size, uint32_t begin) {
    uint64_t sum = begin;
    for (; size >= 8; size -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        sum = _mm_crc32_u64(sum, word);
    }
    for (; size; size--, bytes++)
        sum = _mm_crc32_u8((uint32_t)sum, *bytes);
    return (uint32_t)sum;
}

static int has_crc(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
}
#else
static uint32_t crc(const uint8_t *bytes, size_t size, uint32_t begin) {
    (void)bytes, (void)size;
    return begin;
}

static int has_crc(void) { return 0; }
#endif

/* Whether this processor has what is needed; without it, nothing else here is to be called. */
int compiled_suits(void) { return has_crc(); }

/* The checksum of a record's bytes, bound to the row key. */
uint32_t record_checksum(int64_t row, const uint8_t *bytes, int64_t size) { return crc(bytes, size, ~(uint32_t)row); }

/* Reads records [count][size] at positions of a file; right[i] says whether one is the row's, by the checksum in its last
   four bytes. Returns how many are. */
int64_t read_records(
    int32_t file, int64_t size, int64_t count, const int64_t *positions, const int64_t *rows, uint8_t *records,
    uint8_t *right
) {
    int64_t found = 0;
    for (int64_t at = 0; at < count; at++, records += size) {
        int64_t done = 0;
        while (done < size) {
            const ssize_t more = pread(file, records + done, size - done, size * positions[at] + done);
            if (more < 0 && errno == EINTR)
                continue;
            if (more <= 0)
                break;
            done += more;
        }
        memset(records + done, 0, size - done);
        uint32_t stored;
        memcpy(&stored, records + size - sizeof stored, sizeof stored);
        right[at] = done == size && stored == record_checksum(rows[at], records, size - sizeof stored);
        found += right[at];
    }
    return found;
}

/* The sums of products of rows [count], `stride` floats apart, with a query [dimensions], in float64. */
void exact_scores(
    int64_t count, int64_t dimensions, int64_t stride, const float *rows, const float *query, double *scores
) {
    for (int64_t at = 0; at < count; at++, rows += stride) {
        double sums[LANES] = {0};
        int64_t k = 0;
        for (; k + LANES <= dimensions; k += LANES)
            for (int lane = 0; lane < LANES; lane++)
                sums[lane] += (double)rows[k + lane] * query[k + lane];
        for (; k < dimensions; k++)
            sums[k % LANES] += (double)rows[k] * query[k];
        scores[at] = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    }
}

/* The sums of products of codes [count][dimensions] with a query's. Codes are off by 128, all sums by the same. */
static void code_products(int64_t count, int64_t dimensions, const uint8_t *codes, const int8_t *query, int32_t *sums) {
    for (int64_t at = 0; at < count; at++, codes += dimensions) {
        int32_t sum = 0;
        for (int64_t k = 0; k < dimensions; k++)
            sum += codes[k] * query[k];
        sums[at] = sum;
    }
}

#ifdef X86
__attribute__((target("avx2"))) static void code_products_avx2(
    int64_t count, int64_t dimensions, const uint8_t *codes, const int8_t *query, int32_t *sums
) {
    for (int64_t at = 0; at < count; at++, codes += dimensions) {
        int32_t sum = 0;
        for (int64_t k = 0; k < dimensions; k++)
            sum += codes[k] * query[k];
        sums[at] = sum;
    }
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))) static void code_products_vnni(
    int64_t count, int64_t dimensions, const uint8_t *codes, const int8_t *query, int32_t *sums
) {
    for (int64_t at = 0; at < count; at++, codes += dimensions) {
        __m512i sum = _mm512_setzero_si512();
        for (int64_t k = 0; k < dimensions; k += 64) {
            const __mmask64 held = dimensions - k >= 64 ? ~0ull : (1ull << (dimensions - k)) - 1;
            sum = _mm512_dpbusd_epi32(sum, _mm512_maskz_loadu_epi8(held, codes + k),
                                      _mm512_maskz_loadu_epi8(held, query + k));
        }
        sums[at] = _mm512_reduce_add_epi32(sum);
    }
}
#endif

static void all_code_products(
    int64_t count, int64_t dimensions, const uint8_t *codes, const int8_t *query, int32_t *sums
) {
#ifdef X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        code_products_vnni(count, dimensions, codes, query, sums);
    else if (__builtin_cpu_supports("avx2"))
        code_products_avx2(count, dimensions, codes, query, sums);
    else
#endif
        code_products(count, dimensions, codes, query, sums);
}

/* The places of the `wanted` largest sums, in no order: a heap, whose least stands first. */
static void largest(const int32_t *sums, int64_t count, int64_t wanted, int64_t *places) {
    for (int64_t at = 0; at < count; at++) {
        int64_t hole = at;
        if (at < wanted) { /* up from the end */
            for (; hole && sums[places[(hole - 1) / 2]] > sums[at]; hole = (hole - 1) / 2)
                places[hole] = places[(hole - 1) / 2];
        } else if (sums[at] > sums[places[0]]) { /* down from the top */
            for (hole = 0;;) {
                int64_t next = 2 * hole + 1;
                if (next + 1 < wanted && sums[places[next + 1]] < sums[places[next]])
                    next++;
                if (next >= wanted || sums[places[next]] >= sums[at])
                    break;
                places[hole] = places[next];
                hole = next;
            }
        } else {
            continue;
        }
        places[hole] = at;
    }
}

/* The `looked_at` cells [cells] whose codes have the largest products with a query's, and their centres' exact scores
   with it, in no order. `sums` takes as many as there are cells, `query_codes` as many as there are dimensions. */
void near_cells(
    int64_t cells, int64_t dimensions, const uint8_t *codes, const float *centres, const float *query,
    int64_t looked_at, int8_t *query_codes, int32_t *sums, int64_t *found, float *scores
) {
    float most = 0;
    for (int64_t k = 0; k < dimensions; k++)
        most = query[k] > most ? query[k] : -query[k] > most ? -query[k] : most;
    const float factor = most > 0 ? 127 / most : 0;
    for (int64_t k = 0; k < dimensions; k++) {
        const float code = query[k] * factor;
        query_codes[k] = (int8_t)(code < 0 ? code - 0.5f : code + 0.5f);
    }
    all_code_products(cells, dimensions, codes, query_codes, sums);
    largest(sums, cells, looked_at, found);
    for (int64_t at = 0; at < looked_at; at++) {
        double score;
        exact_scores(1, dimensions, dimensions, centres + found[at] * dimensions, query, &score);
        scores[at] = (float)score;
    }
}
