/* A prefill whole, once for each instruction set: what stands between its products, and they in tiles. */

/* A member's part of the residual stream's norm, in bfloat16. */
INLINE void NAME(norm_stream)(const Pass *pass, const float *weight, Team *team, int member) {
    Norm norm = {
        .rows = pass->attention.rows,
        .size = pass->hidden_size,
        .epsilon = pass->epsilon,
        .hidden = pass->hidden,
        .weight = weight,
        .normed = pass->normed,
    };
    NAME(norm_job)(&norm, team, member);
    team_barrier(team);
}

static void NAME(pass_job)(void *work, Team *team, int member) {
    const Pass *pass = work;
    Attention attention = pass->attention;
    const int rows = attention.rows;
    const size_t width = (size_t)(attention.heads + 2 * attention.kv_heads) * attention.head_dim;
    for (int index = 0; index < pass->layer_count; index++) {
        const TiledLayer *layer = &pass->layers[index];
        attention.states = (uint16_t *)pass->attention.states + index * rows * width;
        NAME(norm_stream)(pass, layer->attention_norm, team, member);
        NAME(multiply_tiles)(&layer->qkv, pass->normed, rows, attention.states, team, member);
        team_barrier(team);
        NAME(attention_job)(&attention, team, member);
        team_barrier(team);
        NAME(multiply_tiles)(&layer->out, attention.mixed, rows, pass->hidden, team, member);
        team_barrier(team);
        NAME(norm_stream)(pass, layer->mlp_norm, team, member);
        NAME(multiply_tiles)(&layer->gated, pass->normed, rows, pass->gated, team, member);
        team_barrier(team);
        NAME(multiply_tiles)(&layer->down, pass->gated, rows, pass->hidden, team, member);
        team_barrier(team);
    }
}
