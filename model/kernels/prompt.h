/* What a prefill does between its products, once for each instruction set. */

/* Adds to the residual stream, and norms it. */
static void NAME(norm_job)(void *work, Team *team, int member) {
    const Norm *wanted = work;
    const int size = wanted->size, wide = wanted->float_states;
    int first, last;
    team_share(team, member, wanted->rows, 1, &first, &last);
    for (int row = first; row < last; row++) {
        const int64_t start = (int64_t)row * size;
        float *hidden = wanted->hidden + start;
        vector squares = {0};
        for (int k = 0; k < size; k += LANES) {
            vector value = NAME(load)(hidden + k);
            if (wanted->change) {
                value += NAME(load_state)(wanted->change, start + k, wide);
                NAME(store)(hidden + k, value);
            }
            squares += value * value;
        }
        const float factor = 1.0f / sqrtf(NAME(sum)(squares) / size + wanted->epsilon);
        for (int k = 0; k < size; k += LANES)
            NAME(store_states)(wanted->normed, start + k,
                               NAME(load)(hidden + k) * factor * NAME(load)(wanted->weight + k), wide);
    }
}

/* The keys of one head transposed, [blocks of KEYS LANES positions][head_dim][KEYS LANES], zeros past the last,
   and its values as floats. */
static void NAME(lay_out_keys)(const Attention *pass, int start, int length, int shared, float *keys, float *values) {
    const int size = pass->head_dim, wide = pass->float_states, block = KEYS * LANES;
    const int64_t stride = (int64_t)(pass->heads + 2 * pass->kv_heads) * size;
    const int padded = (length + block - 1) / block * block;
    for (int at = 0; at < padded; at++) {
        float *place = keys + (size_t)(at / block) * block * size + at % block;
        const int64_t row = (start + at) * stride + (int64_t)(pass->heads + shared) * size;
        for (int k = 0; k < size; k += LANES) {
            vector key = {0};
            if (at < length)
                key = NAME(load_state)(pass->states, row + k, wide);
            for (int lane = 0; lane < LANES; lane++)
                place[(size_t)(k + lane) * block] = key[lane];
            if (at < length)
                NAME(store)(values + (size_t)at * size + k,
                            NAME(load_state)(pass->states, row + (int64_t)pass->kv_heads * size + k, wide));
        }
    }
}

/* One head's mixed values for QUERIES positions from `at` on, or as many as there are. */
static void NAME(mix)(
    const Attention *pass, int start, int length, int at, int head, const float *keys, const float *values,
    float *scratch
) {
    const int size = pass->head_dim, wide = pass->float_states, block = KEYS * LANES;
    const int64_t stride = (int64_t)(pass->heads + 2 * pass->kv_heads) * size;
    const int count = at + QUERIES <= length ? QUERIES : length - at;
    const int seen = at + count, padded = (seen + block - 1) / block * block;
    float *query = scratch, *weights = scratch + QUERIES * size;
    const vector scale = (vector){0} + 1.0f / sqrtf((float)size);
    float total[QUERIES];

    for (int q = 0; q < QUERIES; q++)
        for (int k = 0; k < size; k += LANES) {
            const int64_t place = (start + at + q) * stride + (int64_t)head * size + k;
            vector value = {0};
            if (q < count)
                value = NAME(load_state)(pass->states, place, wide) * scale;
            NAME(store)(query + q * size + k, value);
        }
    for (int first = 0; first < padded; first += block) {
        vector score[QUERIES][KEYS] = {0};
        const float *key = keys + (size_t)first * size;
        for (int k = 0; k < size; k++, key += block)
#pragma GCC unroll 4
            for (int q = 0; q < QUERIES; q++)
#pragma GCC unroll 2
                for (int part = 0; part < KEYS; part++)
                    score[q][part] += NAME(load)(key + part * LANES) * query[q * size + k];
        for (int q = 0; q < QUERIES; q++)
            for (int part = 0; part < KEYS; part++)
                NAME(store)(weights + (size_t)q * padded + first + part * LANES, score[q][part]);
    }
    for (int q = 0; q < count; q++) {
        float *weight = weights + (size_t)q * padded;
        vector most = (vector){0} - INFINITY, sums = {0};
        for (int k = at + q + 1; k < padded; k++)
            weight[k] = -INFINITY; /* no token sees what follows it */
        for (int k = 0; k < padded; k += LANES)
            most = NAME(select)(NAME(load)(weight + k) > most, NAME(load)(weight + k), most);
        float highest = most[0];
        for (int lane = 1; lane < LANES; lane++)
            highest = most[lane] > highest ? most[lane] : highest;
        for (int k = 0; k < padded; k += LANES) {
            /* The least that `exponential` gives is not nothing. */
            vector score = NAME(load)(weight + k), value = NAME(exponential)(score - highest);
            value = NAME(select)(score == -INFINITY, (vector){0}, value);
            NAME(store)(weight + k, value);
            sums += value;
        }
        total[q] = NAME(sum)(sums);
    }
    for (int q = count; q < QUERIES; q++)
        memset(weights + (size_t)q * padded, 0, sizeof *weights * seen);
    for (int k = 0; k < size; k += LANES) {
        vector mixed[QUERIES] = {0};
        for (int other = 0; other < seen; other++) {
            const vector value = NAME(load)(values + (size_t)other * size + k);
#pragma GCC unroll 4
            for (int q = 0; q < QUERIES; q++)
                mixed[q] += value * weights[(size_t)q * padded + other];
        }
        for (int q = 0; q < count; q++)
            NAME(store_states)(pass->mixed, ((int64_t)(start + at + q) * pass->heads + head) * size + k,
                               mixed[q] / total[q], wide);
    }
}

#if AMX
#include "tiled_attention.h"
#endif

/* A member's part of turning queries and keys where they stand. */
static void NAME(turn_states)(const Attention *pass, Team *team, int member) {
    const int size = pass->head_dim, turned_heads = pass->heads + pass->kv_heads, wide = pass->float_states;
    const int64_t stride = (int64_t)(turned_heads + pass->kv_heads) * size;
    int first, last;
    team_share(team, member, pass->starts[pass->count], 1, &first, &last);
    for (int row = first; row < last; row++)
        for (int head = 0; head < turned_heads; head++)
            for (int k = 0; k < size; k += LANES) {
                const int64_t place = row * stride + (int64_t)head * size + k;
                vector turns = NAME(load)(pass->turns + (size_t)row * size + k);
                NAME(store_states)(pass->states, place,
                                   NAME(turned)(NAME(load_state)(pass->states, place, wide), turns), wide);
            }
}

/* A member's part of mixing the values that each position sees. Runs of positions are shared by what they cost,
   one long sequence among short ones would else be a single member's; and stand in an order in which most find
   their keys laid out. */
static void NAME(mix_share)(const Attention *pass, Team *team, int member) {
    const int heads = pass->heads, group = heads / pass->kv_heads;
    float *keys = pass->workspace + (size_t)member * attention_member_floats(pass);
    float *values = keys + padded_positions(pass->longest) * pass->head_dim;
    float *scratch = values + padded_positions(pass->longest) * pass->head_dim;
    int64_t all = 0, before = 0;
    for (int sequence = 0; sequence < pass->count; sequence++)
        all += heads * cost_before(pass->starts[sequence + 1] - pass->starts[sequence]);
    const int64_t from = all * member / team_size(team), to = all * (member + 1) / team_size(team);
    int laid_out = -1;
#if AMX
    const int in_tiles = !pass->float_states && pass->head_dim % PANEL == 0;
#endif
    for (int task = 0; task < pass->count * heads; task++) {
        const int sequence = task / heads, head = task % heads, shared = head / group;
        const int start = pass->starts[sequence], length = pass->starts[sequence + 1] - start;
        const int key = sequence * pass->kv_heads + shared;
        for (int run = 0; run < length; run += RUN) {
            const int64_t place = before + cost_before(run);
            if (place < from || place >= to)
                continue;
            const int end = run + RUN < length ? run + RUN : length;
#if AMX
            if (in_tiles) {
                uint16_t *tiled_keys = (uint16_t *)keys, *tiled_values = (uint16_t *)values;
                if (key != laid_out)
                    NAME(lay_out_tiles)(pass, start, length, shared, tiled_keys, tiled_values);
                laid_out = key;
                for (int at = run; at < end; at += TILE)
                    NAME(mix_tiles)(pass, start, length, at, head, tiled_keys, tiled_values, scratch);
                continue;
            }
#endif
            if (key != laid_out)
                NAME(lay_out_keys)(pass, start, length, shared, keys, values);
            laid_out = key;
            for (int at = run; at < end; at += QUERIES)
                NAME(mix)(pass, start, length, at, head, keys, values, scratch);
        }
        before += cost_before(length);
    }
#if AMX
    if (in_tiles)
        _tile_release();
#endif
}

static void NAME(attention_job)(void *work, Team *team, int member) {
    const Attention *pass = work;
    const size_t width = (size_t)pass->heads * pass->head_dim * (pass->float_states ? sizeof(float) : sizeof(uint16_t));
    const size_t rows = pass->starts[pass->count];
    if (member == 0)
        memset((char *)pass->mixed + rows * width, 0, (pass->rows - rows) * width);
    NAME(turn_states)(pass, team, member);
    team_barrier(team);
    NAME(mix_share)(pass, team, member);
}
