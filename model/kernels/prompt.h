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

/* Turns queries and keys where they stand, then mixes the values that each position sees. */
static void NAME(attention_job)(void *work, Team *team, int member) {
    const Attention *pass = work;
    const int size = pass->head_dim, heads = pass->heads, wide = pass->float_states;
    const int rows = pass->starts[pass->count];
    const int64_t stride = (int64_t)(heads + 2 * pass->kv_heads) * size;
    int first, last, laid_out = -1;

    if (member == 0) {
        const size_t width = (size_t)heads * size * (wide ? sizeof(float) : sizeof(uint16_t));
        memset((char *)pass->mixed + rows * width, 0, (pass->rows - rows) * width);
    }
    team_share(team, member, rows, 1, &first, &last);
    for (int row = first; row < last; row++)
        for (int head = 0; head < heads + pass->kv_heads; head++)
            for (int k = 0; k < size; k += LANES) {
                const int64_t place = row * stride + (int64_t)head * size + k;
                vector turns = NAME(load)(pass->turns + (size_t)row * size + k);
                NAME(store_states)(pass->states, place,
                                   NAME(turned)(NAME(load_state)(pass->states, place, wide), turns), wide);
            }
    team_barrier(team);

    /* Runs of positions are shared by what they cost, one long sequence among short ones would else be a single
       member's; and stand in an order in which most find their keys laid out. */
    int64_t all = 0, before = 0;
    for (int sequence = 0; sequence < pass->count; sequence++)
        all += heads * cost_before(pass->starts[sequence + 1] - pass->starts[sequence]);
    const int64_t from = all * member / team_size(team), to = all * (member + 1) / team_size(team);
    float *keys = pass->workspace + (size_t)member * attention_member_floats(pass);
    float *values = keys + padded_positions(pass->longest) * size;
    float *scratch = values + (size_t)pass->longest * size;
    for (int sequence = 0; sequence < pass->count; sequence++) {
        const int start = pass->starts[sequence], length = pass->starts[sequence + 1] - start;
        for (int head = 0; head < heads; head++, before += cost_before(length))
            for (int run = 0; run < length; run += RUN) {
                const int64_t place = before + cost_before(run);
                const int shared = head / (heads / pass->kv_heads), key = sequence * pass->kv_heads + shared;
                if (place < from || place >= to)
                    continue;
                if (key != laid_out)
                    NAME(lay_out_keys)(pass, start, length, shared, keys, values);
                laid_out = key;
                for (int at = run; at < length && at < run + RUN; at += QUERIES)
                    NAME(mix)(pass, start, length, at, head, keys, values, scratch);
            }
    }
}
