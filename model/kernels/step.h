/* A decode step, once for each instruction set. */

/* Pairs of weights of LANES rows, as int16. */
INLINE integers NAME(widened)(const int8_t *weight) {
#if LANES == 16
    return (integers)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)weight));
#elif LANES == 8
    return (integers)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)weight));
#else
    typedef int8_t bytes __attribute__((vector_size(2 * LANES), aligned(1), may_alias));
    typedef int16_t pairs __attribute__((vector_size(4 * LANES)));
    return (integers)__builtin_convertvector(*(const bytes *)weight, pairs);
#endif
}

/* Every row's sum with the products of its pair of weights and a pair of activations. */
INLINE integers NAME(accumulate)(integers sums, integers weights, const int16_t *x) {
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    const integers both = (integers){0} + pair;
#if LANES == 16 && VNNI
    return (integers)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)weights, (__m512i)both);
#elif LANES == 16
    return sums + (integers)_mm512_madd_epi16((__m512i)weights, (__m512i)both);
#elif LANES == 8
    return sums + (integers)_mm256_madd_epi16((__m256i)weights, (__m256i)both);
#else
    return sums + (weights << 16 >> 16) * (both << 16 >> 16) + (weights >> 16) * (both >> 16);
#endif
}

/* Rows of activations, [count][columns], as int16 with a scale for each group. */
static void NAME(abbreviate)(const float *x, int count, int columns, float *brief) {
    for (int row = 0; row < count; row++, x += columns, brief += brief_floats(columns)) {
        int16_t *values = brief_values(brief, columns);
        memset(values, 0, sizeof *values * GROUP * groups_of(columns));
        for (int start = 0, group = 0; start < columns; start += GROUP, group++) {
            const int end = start + GROUP < columns ? start + GROUP : columns;
            vector most = {0};
            for (int k = start; k < end; k += LANES) {
                vector size = (vector)((integers)NAME(load)(x + k) & INT32_MAX);
                /* What is not finite becomes the group's scale, and so every result's fault. */
                most = NAME(select)((size > most) | (size != size), size, most);
            }
            float largest = 0;
            for (int lane = 0; lane < LANES; lane++)
                largest = most[lane] <= largest || largest != largest ? largest : most[lane];
            const float factor = largest > 0 ? 32767.0f / largest : 0;
            for (int k = start; k < end; k += LANES) {
                vector shifted = NAME(load)(x + k) * factor + ROUNDING;
                *(NAME(shorts) *)(values + k) = __builtin_convertvector((integers)shifted, NAME(shorts));
            }
            brief[group] = largest / 32767.0f;
        }
    }
}

/* ROWS rows of a product with `batch` rows of activations, a constant; the integer sums of a group are exact.
   Where the batch is small a row has several sums, or each would have to wait for the one before. */
INLINE void NAME(tile)(const Block *block, int columns, const float *brief, int batch, float *result) {
    enum { PARTS = ROWS / LANES };
    const size_t stride = brief_floats(columns);
    const int16_t *x = brief_values((float *)brief, columns);
    const int groups = groups_of(columns), chains = BATCH / batch;
    vector total[BATCH][PARTS] = {0};
    for (int group = 0; group < groups; group++, block++, x += GROUP) {
        integers sums[BATCH][PARTS] = {0};
        for (int line = 0; line < (int)sizeof *block; line += 64)
            __builtin_prefetch((const char *)block + AHEAD + line);
#pragma GCC unroll 1 /* unrolled, the sums would not stay in registers */
        for (int pair = 0; pair < GROUP / 2; pair += chains)
#pragma GCC unroll 4
            for (int chain = 0; chain < chains; chain++)
#pragma GCC unroll 4
                for (int part = 0; part < PARTS; part++) {
                    const integers weights = NAME(widened)(block->weight[pair + chain][part * LANES]);
#pragma GCC unroll 4
                    for (int b = 0; b < batch; b++)
                        sums[b * chains + chain][part] =
                            NAME(accumulate)(sums[b * chains + chain][part], weights,
                                             x + b * 2 * stride + 2 * (pair + chain));
                }
#pragma GCC unroll 4
        for (int b = 0; b < batch; b++)
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++) {
                integers sum = sums[b * chains][part];
#pragma GCC unroll 4
                for (int chain = 1; chain < chains; chain++)
                    sum += sums[b * chains + chain][part];
                total[b][part] += __builtin_convertvector(sum, vector) *
                                  (NAME(load)(block->scale + part * LANES) * brief[b * stride + group]);
            }
    }
    for (int b = 0; b < batch; b++)
        for (int part = 0; part < PARTS; part++)
            NAME(store)(result + b * ROWS + part * LANES, total[b][part]);
}

/* Results of rows `first`, a multiple of ROWS, to before `last`, into (or, with `add`, onto) those of
   result[count][stride]. The weights are read once, however many rows of activations there are. */
static void NAME(multiply)(
    const Product *product, const float *brief, int count, int first, int last, float *result, int stride, int add
) {
    const int columns = product->columns;
    const Block *block = product->blocks + (size_t)first / ROWS * groups_of(columns);
    float found[BATCH * ROWS];
    for (int row = first; row < last; row += ROWS, block += groups_of(columns)) {
        const int end = row + ROWS < last ? row + ROWS : last;
        for (int b = 0, batch; b < count; b += batch) {
            const float *taken = brief + b * brief_floats(columns);
            batch = count - b >= 4 ? 4 : count - b >= 2 ? 2 : 1;
            if (batch == 4)
                NAME(tile)(block, columns, taken, 4, found);
            else if (batch == 2)
                NAME(tile)(block, columns, taken, 2, found);
            else
                NAME(tile)(block, columns, taken, 1, found);
            for (int at = 0; at < batch; at++)
                for (int r = row; r < end; r++) {
                    float value = found[at * ROWS + r - row] + (product->bias ? product->bias[r] : 0);
                    float *place = result + (size_t)(b + at) * stride + r;
                    *place = add ? *place + value : value;
                }
        }
    }
}

/* One head of one row: turn its query, attend to the slot's positions and its own, write [head_dim].
   The first head of a group also stores the step's key and value. `scratch` takes 2 head_dim + capacity. */
INLINE void NAME(attend)(
    const Step *step, int layer, int row, int head, const float *qkv, float *scratch, float *mixed, int wide
) {
    const Decoder *decoder = step->decoder;
    const int size = decoder->head_dim, length = step->lengths[row];
    const int group = decoder->heads / decoder->kv_heads, shared = head / group;
    const float *turns = step->turns + (size_t)row * size;
    const float *own_value = qkv + (size_t)(decoder->heads + decoder->kv_heads + shared) * size;
    float *query = scratch, *own_key = scratch + size, *weights = scratch + 2 * size;
    const int64_t keys = layer * step->layer_stride + step->slots[row] * step->slot_stride +
                         (int64_t)shared * step->capacity * size;
    const int64_t values = keys + step->kind_stride;

    const float *unturned = qkv + (size_t)(decoder->heads + shared) * size, scale = 1.0f / sqrtf((float)size);
    for (int k = 0; k < size; k += LANES) {
        const vector turn = NAME(load)(turns + k), key = NAME(turned)(NAME(load)(unturned + k), turn);
        NAME(store)(query + k, NAME(turned)(NAME(load)(qkv + (size_t)head * size + k), turn) * scale);
        NAME(store)(own_key + k, key);
        if (head % group == 0) {
            NAME(store_states)(step->states, keys + (int64_t)length * size + k, key, wide);
            NAME(store_states)(step->states, values + (int64_t)length * size + k, NAME(load)(own_value + k), wide);
        }
    }

    float highest = -INFINITY;
    for (int at = 0; at <= length; at++) {
        vector product = {0};
        for (int k = 0; k < size; k += LANES) {
            vector key = at == length ? NAME(load)(own_key + k)
                                      : NAME(load_state)(step->states, keys + (int64_t)at * size + k, wide);
            product += key * NAME(load)(query + k);
        }
        weights[at] = NAME(sum)(product);
        highest = weights[at] > highest ? weights[at] : highest;
    }
    float total = 0;
    for (int at = 0; at <= length; at++) {
        weights[at] = expf(weights[at] - highest);
        total += weights[at];
    }
    for (int k = 0; k < size; k += LANES) {
        vector value = NAME(load)(own_value + k) * weights[length];
        for (int at = 0; at < length; at++)
            value += NAME(load_state)(step->states, values + (int64_t)at * size + k, wide) * weights[at];
        NAME(store)(mixed + k, value / total);
    }
}

/* A member's part of a step. */
static void NAME(step_job)(void *work, Team *team, int member) {
    const Step *step = work;
    const Decoder *decoder = step->decoder;
    const int count = step->count, hidden = decoder->hidden, inner = decoder->intermediate;
    const int mixed_size = decoder->heads * decoder->head_dim;
    const Places places = places_of(step, team_size(team), member);
    int first, last;

    for (int index = 0; index < decoder->layer_count; index++) {
        const Layer *layer = &decoder->layers[index];
        for (int row = 0; row < count; row++)
            NAME(norm)(step->hidden + (size_t)row * hidden, layer->attention_norm, hidden, decoder->epsilon,
                       places.normed + (size_t)row * hidden);
        NAME(abbreviate)(places.normed, count, hidden, places.brief);
        team_share(team, member, layer->qkv.rows, ROWS, &first, &last);
        NAME(multiply)(&layer->qkv, places.brief, count, first, last, places.qkv, layer->qkv.rows, 0);
        team_barrier(team);

        team_share(team, member, count * decoder->heads, 1, &first, &last);
        for (int task = first; task < last; task++) {
            const int row = task / decoder->heads, head = task % decoder->heads;
            const float *qkv = places.qkv + (size_t)row * layer->qkv.rows;
            float *mixed = places.mixed + (size_t)row * mixed_size + (size_t)head * decoder->head_dim;
            if (step->float_states)
                NAME(attend)(step, index, row, head, qkv, places.scratch, mixed, 1);
            else
                NAME(attend)(step, index, row, head, qkv, places.scratch, mixed, 0);
        }
        team_barrier(team);

        NAME(abbreviate)(places.mixed, count, mixed_size, places.brief);
        team_share(team, member, layer->out.rows, ROWS, &first, &last);
        NAME(multiply)(&layer->out, places.brief, count, first, last, step->hidden, hidden, 1);
        team_barrier(team);

        for (int row = 0; row < count; row++)
            NAME(norm)(step->hidden + (size_t)row * hidden, layer->mlp_norm, hidden, decoder->epsilon,
                       places.normed + (size_t)row * hidden);
        NAME(abbreviate)(places.normed, count, hidden, places.brief);
        team_share(team, member, inner, 16, &first, &last);
        NAME(multiply)(&layer->gate_up, places.brief, count, first, last, places.gate_up, 2 * inner, 0);
        NAME(multiply)(&layer->gate_up, places.brief, count, inner + first, inner + last, places.gate_up,
                       2 * inner, 0);
        for (int row = 0; row < count; row++)
            for (int k = first; k < last; k += LANES) {
                const float *gate = places.gate_up + (size_t)row * 2 * inner + k;
                vector g = NAME(load)(gate), up = NAME(load)(gate + inner);
                NAME(store)(places.gated + (size_t)row * inner + k, g * up / (1.0f + NAME(exponential)(-g)));
            }
        team_barrier(team);

        NAME(abbreviate)(places.gated, count, inner, places.brief);
        team_share(team, member, layer->down.rows, ROWS, &first, &last);
        NAME(multiply)(&layer->down, places.brief, count, first, last, step->hidden, hidden, 1);
        team_barrier(team);
    }
    team_share(team, member, count, 1, &first, &last);
    for (int row = first; row < last; row++) {
        float *x = step->hidden + (size_t)row * hidden;
        NAME(norm)(x, decoder->norm, hidden, decoder->epsilon, x);
    }
}

static void NAME(multiply_job)(void *work, Team *team, int member) {
    const Multiplication *wanted = work;
    const Product *product = &wanted->product;
    float *brief = wanted->workspace + (size_t)member * wanted->count * brief_floats(product->columns);
    int first, last;
    NAME(abbreviate)(wanted->rows, wanted->count, product->columns, brief);
    team_share(team, member, product->rows, ROWS, &first, &last);
    NAME(multiply)(product, brief, wanted->count, first, last, wanted->result, product->rows, 0);
}
