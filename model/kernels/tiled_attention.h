/* Attention on AMX's tiles, for states of bfloat16: weights are rounded to it before they meet the values. */

/* The keys of one head as tiles take them, [blocks of TILE positions][head_dim / PANEL][16 pairs of dimensions]
   [16 positions][2], and its values, [blocks of PANEL positions][head_dim / TILE][16 pairs of positions]
   [16 dimensions][2]; zeros past the last. */
static void NAME(lay_out_tiles)(
    const Attention *pass, int start, int length, int shared, uint16_t *keys, uint16_t *values
) {
    const int size = pass->head_dim, padded = (length + PANEL - 1) / PANEL * PANEL;
    const int64_t stride = (int64_t)(pass->heads + 2 * pass->kv_heads) * size;
    const uint16_t *key = (const uint16_t *)pass->states + start * stride + (int64_t)(pass->heads + shared) * size;
    const uint16_t *value = key + (int64_t)pass->kv_heads * size;
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i places = _mm512_mullo_epi32(lanes, _mm512_set1_epi32((int)stride / 2));
    for (int at = 0; at < padded; at += TILE) {
        const int here = length - at < 0 ? 0 : length - at < TILE ? length - at : TILE;
        const __mmask16 held = (__mmask16)((1u << here) - 1);
        for (int pair = 0; pair < size / 2; pair++, keys += 2 * TILE)
            _mm512_storeu_si512(keys, _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), held, places,
                                                                  key + at * stride + 2 * pair, 4));
    }
    for (int at = 0; at < padded; at += PANEL)
        for (int k = 0; k < size; k += TILE)
            for (int pair = at; pair < at + PANEL; pair += 2, values += 2 * TILE) {
                __m512i first = _mm512_setzero_si512(), second = first;
                if (pair < length)
                    first = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(value + pair * stride + k)));
                if (pair + 1 < length)
                    second =
                        _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(value + (pair + 1) * stride + k)));
                _mm512_storeu_si512(values, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
            }
}

/* One position's scores of those that it sees as weights [padded], which are not yet divided by what is returned,
   their sum; zeros for all others. */
INLINE float NAME(weigh)(float *scores, int seen, int padded, float scale, uint16_t *weights) {
    const vector least = (vector){0} - INFINITY;
    integers lanes = {0};
    for (int lane = 0; lane < LANES; lane++)
        lanes[lane] = lane;
    vector most = least, sums = {0};
    for (int k = 0; k < seen; k += LANES) {
        const vector score = NAME(select)(lanes + k < seen, NAME(load)(scores + k) * scale, least);
        most = NAME(select)(score > most, score, most);
        NAME(store)(scores + k, score);
    }
    const float highest = _mm512_reduce_max_ps((__m512)most);
    for (int k = 0; k < padded; k += LANES) {
        vector weight = {0};
        if (k < seen)
            weight = NAME(brief_exponential)(NAME(load)(scores + k) - highest);
        NAME(store_states)(weights, k, weight, 0);
        sums += weight;
    }
    return NAME(sum)(sums);
}

/* One head's mixed values for TILE positions from `at` on, or as many as there are. */
static void NAME(mix_tiles)(
    const Attention *pass, int start, int length, int at, int head, const uint16_t *keys, const uint16_t *values,
    float *scratch
) {
    const int size = pass->head_dim, count = length - at < TILE ? length - at : TILE;
    const int padded = (at + count + PANEL - 1) / PANEL * PANEL;
    const size_t stride = sizeof *keys * (pass->heads + 2 * pass->kv_heads) * size;
    const char *query = (const char *)pass->states + (start + at) * stride + sizeof *keys * head * size;
    float *scores = scratch, *mixed = scores + (size_t)TILE * padded, total[TILE];
    uint16_t *weights = (uint16_t *)(mixed + TILE * TILE);
    const size_t width = sizeof *weights * padded;

    NAME(configure_tiles)(count);
    for (int other = 0; other < at + count; other += TILE) {
        const uint16_t *key = keys + (size_t)other * size;
        _tile_zero(0);
        for (int k = 0; k < size; k += PANEL) {
            _tile_loadd(4, query + sizeof *keys * k, stride);
            _tile_loadd(6, key + k * TILE, 4 * TILE);
            _tile_dpbf16ps(0, 4, 6);
        }
        _tile_stored(0, scores + other, sizeof *scores * padded);
    }
    for (int q = 0; q < count; q++)
        total[q] = NAME(weigh)(scores + (size_t)q * padded, at + q + 1, padded, 1.0f / sqrtf((float)size),
                               weights + (size_t)q * padded);
    for (int k = 0; k < size; k += TILE) {
        _tile_zero(0);
        for (int other = 0; other < padded; other += PANEL) {
            _tile_loadd(4, weights + other, width);
            _tile_loadd(6, values + (size_t)other * size + k * PANEL, 4 * TILE);
            _tile_dpbf16ps(0, 4, 6);
        }
        _tile_stored(0, mixed, 4 * TILE);
        for (int q = 0; q < count; q++)
            NAME(store_states)(pass->mixed, ((int64_t)(start + at + q) * pass->heads + head) * size + k,
                               NAME(load)(mixed + q * TILE) / total[q], 0);
    }
}
