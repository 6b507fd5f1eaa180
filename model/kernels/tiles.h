/* Products of a prefill in bfloat16, once for each instruction set: sums are float32, on AMX's tiles where there are.

   A panel is PANEL of a weight's rows, and meets up to PANEL rows of activations at once: four tiles of sums, for
   which each step of PANEL columns needs two tiles of activations and two of weights. */

/* Sums that are still to become results: of `count` rows from `row` on, and PANEL columns from `column` on. */
typedef struct {
    float sums[PANEL * PANEL] __attribute__((aligned(64)));
    int count, row, column, finished;
} NAME(Sums);

#define Sums NAME(Sums)

#if AMX
/* e^x to a hundredth of what bfloat16 can tell apart; nothing for minus infinity. */
INLINE vector NAME(brief_exponential)(vector x) {
    const __m512 power = _mm512_mul_ps((__m512)x, _mm512_set1_ps(1.44269504f));
    const __m512 rest = _mm512_reduce_ps(power, 0); /* from the nearest whole number, which scalef takes */
    __m512 curve = _mm512_fmadd_ps(rest, _mm512_set1_ps(9.67075e-3f), _mm512_set1_ps(5.5503324e-2f));
    curve = _mm512_fmadd_ps(curve, rest, _mm512_set1_ps(0.24022651f));
    curve = _mm512_fmadd_ps(curve, rest, _mm512_set1_ps(0.69314718f));
    curve = _mm512_fmadd_ps(curve, rest, _mm512_set1_ps(1.0f));
    return (vector)_mm512_scalef_ps(curve, _mm512_roundscale_ps(power, 0));
}

INLINE vector NAME(silu)(vector x) {
    const __m512 below = _mm512_add_ps((__m512)NAME(brief_exponential)(-x), _mm512_set1_ps(1.0f));
    return (vector)_mm512_mul_ps((__m512)x, _mm512_rcp14_ps(below));
}
#else
INLINE vector NAME(silu)(vector x) { return x / (1.0f + NAME(exponential)(-x)); }
#endif

/* Up to `rows` more rows of sums become results. */
INLINE void NAME(finish)(const Tiled *product, Sums *pending, int rows, void *result) {
    const int end = pending->finished + rows < pending->count ? pending->finished + rows : pending->count;
    for (; pending->finished < end; pending->finished++) {
        const float *sums = pending->sums + pending->finished * PANEL;
        const int64_t row = pending->row + pending->finished;
        if (product->kind == GATED) {
            const int64_t place = row * (product->rows / 2) + pending->column / 2;
            for (int k = 0; k < TILE; k += LANES)
                NAME(store_states)(result, place + k,
                                   NAME(silu)(NAME(load)(sums + k)) * NAME(load)(sums + TILE + k), 0);
            continue;
        }
        const int64_t place = row * product->rows + pending->column;
        for (int k = 0; k < PANEL; k += LANES) {
            vector value = NAME(load)(sums + k);
            if (product->bias)
                value += NAME(load)(product->bias + pending->column + k);
            if (product->kind == ADDED)
                NAME(store)((float *)result + place + k, value + NAME(load)((float *)result + place + k));
            else
                NAME(store_states)(result, place + k, value, 0);
        }
    }
}

#if AMX
/* Tiles 0 to 3 are sums, 4 and 5 activations, 6 and 7 weights; of `count` rows of activations. */
INLINE void NAME(configure_tiles)(int count) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1};
    const int upper = count < TILE ? count : TILE, lower = count - upper ? count - upper : 1;
    for (int tile = 0; tile < 8; tile++) {
        tiles.bytes[tile] = 4 * TILE;
        tiles.rows[tile] = tile > 5 ? TILE : tile == 2 || tile == 3 || tile == 5 ? lower : upper;
    }
    _tile_loadconfig(&tiles);
}

/* A panel meets rows x of activations, for which tiles are configured, while earlier sums are finished: the units
   for vectors would else wait for those for tiles, and these for them. `fetch`: the weights were not met before. */
INLINE void NAME(meet)(
    const Tiled *product, const uint16_t *x, const uint16_t *panel, int fetch, Sums *sums, Sums *earlier, void *result
) {
    const int columns = product->columns, both = sums->count > TILE, steps = columns / PANEL;
    const int rows = (earlier->count + steps - 1) / steps;
    const uint16_t *lower = x + (size_t)TILE * columns;
    const size_t stride = sizeof *x * columns, width = sizeof *sums->sums * PANEL;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    /* The panel stays in the nearest cache for the rows that follow; these come by as a stream. */
    for (int k = 0; k < columns; k += PANEL, panel += PANEL * PANEL) {
        if (fetch)
            for (int line = 0; line < PANEL * PANEL; line += 32)
                __builtin_prefetch(panel + PANELS_AHEAD + line);
        _tile_loadd(6, panel, 4 * TILE);
        _tile_stream_loadd(4, x + k, stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, panel + PANEL * TILE, 4 * TILE);
        _tile_dpbf16ps(1, 4, 7);
        if (both) {
            _tile_stream_loadd(5, lower + k, stride);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        NAME(finish)(product, earlier, rows, result);
    }
    _tile_stored(0, sums->sums, width);
    _tile_stored(1, sums->sums + TILE, width);
    if (both) {
        _tile_stored(2, sums->sums + TILE * PANEL, width);
        _tile_stored(3, sums->sums + TILE * PANEL + TILE, width);
    }
}
#else
INLINE void NAME(configure_tiles)(int count) { (void)count; }

/* A panel meets rows x of activations; earlier sums are finished. */
static void NAME(meet)(
    const Tiled *product, const uint16_t *x, const uint16_t *panel, int fetch, Sums *sums, Sums *earlier, void *result
) {
    const int columns = product->columns;
    (void)fetch;
    NAME(finish)(product, earlier, PANEL, result);
    for (int row = 0; row < sums->count; row++, x += columns)
        for (int column = 0; column < PANEL; column += LANES) {
            const uint16_t *weight = panel + column / TILE * PANEL * TILE + column % TILE * 2;
            vector sum = {0};
            for (int k = 0; k < columns; k += 2, weight += k % PANEL ? 2 * TILE : PANEL * TILE + 2 * TILE) {
                const integers pairs = *(const integers *)weight;
                sum += (vector)(pairs << 16) * NAME(widened_scalar)(x[k]);
                sum += (vector)(pairs & (int32_t)0xffff0000) * NAME(widened_scalar)(x[k + 1]);
            }
            NAME(store)(sums->sums + row * PANEL + column, sum);
        }
}
#endif

/* A member's part of a product with x[rows][columns]. Tasks are panels with some rows of activations: so many that
   these stay in a core's cache, and yet enough tasks for all. */
static void NAME(multiply_tiles)(
    const Tiled *product, const uint16_t *x, int rows, void *result, Team *team, int member
) {
    const int panels = product->rows / PANEL, run = rows_at_once(product, rows, team_size(team));
    Sums sums[2];
    int first, last, configured = 0, turn = 0;
    sums[1].count = sums[1].finished = 0;
    team_share(team, member, (rows + run - 1) / run * panels, 1, &first, &last);
    for (int task = first; task < last; task++) {
        const int column = task % panels * PANEL, start = task / panels * run;
        const int end = start + run < rows ? start + run : rows;
        const uint16_t *panel = product->tiles + (size_t)column * product->columns;
        for (int row = start, count; row < end; row += count, turn ^= 1) {
            Sums *mine = &sums[turn];
            count = end - row < PANEL ? end - row : PANEL;
            mine->count = count, mine->row = row, mine->column = column, mine->finished = 0;
            if (count != configured)
                NAME(configure_tiles)(count);
            configured = count;
            NAME(meet)(product, x + (size_t)row * product->columns, panel, row == start, mine, &sums[!turn], result);
        }
    }
    NAME(finish)(product, &sums[!turn], PANEL, result);
#if AMX
    if (configured)
        _tile_release();
#endif
}

static void NAME(tiles_job)(void *work, Team *team, int member) {
    const TiledMultiplication *wanted = work;
    NAME(multiply_tiles)(&wanted->product, wanted->rows, wanted->count, wanted->result, team, member);
}

#undef Sums
