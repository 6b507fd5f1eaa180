/* Products of a prefill in bfloat16, once for each instruction set: sums are float32, on AMX's tiles where there are.

   A panel is PANEL of a weight's rows, and meets up to PANEL rows of activations at once: four tiles of sums, for
   which each step of PANEL columns needs two tiles of activations and two of weights. */

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

/* sums[count][PANEL] of a panel and rows of activations; tiles are configured for so many. */
INLINE void NAME(meet)(const uint16_t *x, int columns, const uint16_t *panel, int count, float *sums) {
    const uint16_t *lower = x + (size_t)TILE * columns;
    const size_t stride = sizeof *x * columns, width = sizeof *sums * PANEL;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int k = 0; k < columns; k += PANEL, panel += PANEL * PANEL) {
        _tile_loadd(6, panel, 4 * TILE);
        _tile_loadd(4, x + k, stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, panel + PANEL * TILE, 4 * TILE);
        _tile_dpbf16ps(1, 4, 7);
        if (count > TILE) {
            _tile_loadd(5, lower + k, stride);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, width);
    _tile_stored(1, sums + TILE, width);
    if (count > TILE) {
        _tile_stored(2, sums + TILE * PANEL, width);
        _tile_stored(3, sums + TILE * PANEL + TILE, width);
    }
}
#else
INLINE void NAME(configure_tiles)(int count) { (void)count; }

/* sums[count][PANEL] of a panel and rows of activations. */
static void NAME(meet)(const uint16_t *x, int columns, const uint16_t *panel, int count, float *sums) {
    for (int row = 0; row < count; row++, x += columns)
        for (int column = 0; column < PANEL; column += LANES) {
            const uint16_t *weight = panel + column / TILE * PANEL * TILE + column % TILE * 2;
            vector sum = {0};
            for (int k = 0; k < columns; k += 2, weight += k % PANEL ? 2 * TILE : PANEL * TILE + 2 * TILE) {
                const integers pairs = *(const integers *)weight;
                sum += (vector)(pairs << 16) * NAME(widened_scalar)(x[k]);
                sum += (vector)(pairs & (int32_t)0xffff0000) * NAME(widened_scalar)(x[k + 1]);
            }
            NAME(store)(sums + row * PANEL + column, sum);
        }
}
#endif

/* What becomes of sums[count][PANEL], which are for columns from `column` on of the product's results. */
INLINE void NAME(finish)(const Tiled *product, const float *sums, int count, int column, int row, void *result) {
    for (int at = 0; at < count; at++, sums += PANEL) {
        if (product->kind == GATED) {
            const int64_t place = (int64_t)(row + at) * (product->rows / 2) + column / 2;
            for (int k = 0; k < TILE; k += LANES) {
                const vector gate = NAME(load)(sums + k);
                const vector opened = gate / (1.0f + NAME(exponential)(-gate));
                NAME(store_states)(result, place + k, opened * NAME(load)(sums + TILE + k), 0);
            }
            continue;
        }
        const int64_t place = (int64_t)(row + at) * product->rows + column;
        for (int k = 0; k < PANEL; k += LANES) {
            vector value = NAME(load)(sums + k);
            if (product->bias)
                value += NAME(load)(product->bias + column + k);
            if (product->kind == ADDED)
                NAME(store)((float *)result + place + k, value + NAME(load)((float *)result + place + k));
            else
                NAME(store_states)(result, place + k, value, 0);
        }
    }
}

/* A member's part of a product with x[rows][columns]. Tasks are panels with some rows of activations: so many that
   these stay in a core's cache, and yet enough tasks for all. */
static void NAME(multiply_tiles)(
    const Tiled *product, const uint16_t *x, int rows, void *result, Team *team, int member
) {
    const int panels = product->rows / PANEL, run = rows_at_once(product, rows, team_size(team));
    float sums[PANEL * PANEL] __attribute__((aligned(64)));
    int first, last, configured = 0;
    team_share(team, member, (rows + run - 1) / run * panels, 1, &first, &last);
    for (int task = first; task < last; task++) {
        const int column = task % panels * PANEL, start = task / panels * run;
        const int end = start + run < rows ? start + run : rows;
        const uint16_t *panel = product->tiles + (size_t)column * product->columns;
        for (int row = start, count; row < end; row += count) {
            count = end - row < PANEL ? end - row : PANEL;
            if (count != configured)
                NAME(configure_tiles)(count);
            configured = count;
            NAME(meet)(x + (size_t)row * product->columns, product->columns, panel, count, sums);
            NAME(finish)(product, sums, count, column, row, result);
        }
    }
#if AMX
    if (configured)
        _tile_release();
#endif
}

static void NAME(tiles_job)(void *work, Team *team, int member) {
    const TiledMultiplication *wanted = work;
    NAME(multiply_tiles)(&wanted->product, wanted->rows, wanted->count, wanted->result, team, member);
}
