/* Qwen2-VL's text model on a CPU: a decode step whole (`model/native_step.py`), a prefill whole where there are
   AMX's tiles (`model/native_pass.py`), and elsewhere what it does between its products (`model/native_prompt.py`).

   A step's weights are int8, with a float scale for every GROUP of a row. A product turns its activations into int16,
   with a scale for every GROUP as well, so the integer sums are exact and the rounding of activations is a
   hundred times finer than that of the weights. All else is float32. */

#ifndef SOLOMON_KERNELS_H
#define SOLOMON_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "team.h"

enum { GROUP = 64, ROWS = 16, TILE = 16, PANEL = 2 * TILE };

/* ROWS rows' weights of one group, with their scales. A vector's lanes are rows: their pairs of weights lie side
   by side, and meet one pair of activations. And what is read together lies together, for a core that reads one
   stream gets twice the bytes of one that reads several. */
typedef struct {
    float scale[ROWS];
    int8_t weight[GROUP / 2][ROWS][2];
} Block;

/* y = x W^T + bias, from blocks [ceil(rows / ROWS)][ceil(columns / GROUP)], zeros where rows or columns end
   within one. bias may be NULL; columns is a multiple of 16. */
typedef struct {
    const Block *blocks;
    const float *bias;
    int32_t rows;
    int32_t columns;
} Product;

typedef struct {
    const float *attention_norm; /* [hidden] */
    const float *mlp_norm;
    Product qkv;     /* [(heads + 2 kv_heads) head_dim] rows; dimensions that turn together are neighbours */
    Product out;     /* hidden rows */
    Product gate_up; /* 2 intermediate rows, gates first */
    Product down;    /* hidden rows */
} Layer;

typedef struct {
    const Layer *layers;
    const float *norm; /* [hidden], the last one */
    int32_t layer_count;
    int32_t hidden;
    int32_t intermediate;
    int32_t heads;
    int32_t kv_heads;
    int32_t head_dim; /* a multiple of 16 */
    float epsilon;
} Decoder;

/* One token for each of `count` slots. */
typedef struct {
    const Decoder *decoder;
    int32_t count;
    int32_t capacity;       /* positions that a slot holds */
    int32_t float_states;   /* 1: keys and values are float32; 0: bfloat16 */
    float *hidden;          /* [count][hidden]: embeddings in, final hidden states out */
    const float *turns;     /* [count][head_dim]: cosine and sine of each pair of dimensions */
    const int32_t *slots;   /* [count], none twice */
    const int32_t *lengths; /* [count]: filled positions; the step's own are written behind them */
    void *states;           /* [layers][2][slots][kv_heads][capacity][head_dim] */
    int64_t layer_stride;   /* in elements, as the next two */
    int64_t kind_stride;    /* from keys to values */
    int64_t slot_stride;
    float *workspace; /* step_floats(...) of them */
} Step;

typedef struct {
    Product product;
    int32_t count;
    const float *rows; /* [count][columns] */
    float *result;     /* [count][rows] */
    float *workspace;  /* multiply_floats(...) */
} Multiplication;

/* What a prefill's rows go through before a product: hidden += change, normed = norm(hidden). */
typedef struct {
    int32_t rows;
    int32_t size;
    int32_t float_states; /* 1: change and normed are float32; 0: bfloat16 */
    float epsilon;
    float *hidden;       /* [rows][size] */
    const void *change;  /* [rows][size]; NULL: none */
    const float *weight; /* [size] */
    void *normed;        /* [rows][size] */
} Norm;

/* Causal attention within each of a prefill's sequences, which stand one behind the other. */
typedef struct {
    int32_t heads;
    int32_t kv_heads;
    int32_t head_dim;
    int32_t float_states;  /* 1: states and mixed are float32; 0: bfloat16 */
    int32_t rows;          /* with those behind the last sequence, whose mixed values are zeros */
    int32_t count;         /* sequences */
    int32_t longest;       /* of them */
    const int32_t *starts; /* [count + 1]: their first rows, and what follows the last one's */
    const float *turns;    /* [rows][head_dim]: cosine and sine of each pair of dimensions */
    void *states;          /* [rows][heads + 2 kv_heads][head_dim]: queries and keys are turned there, and stay so */
    void *mixed;           /* [rows][heads][head_dim] */
    float *workspace;      /* attention_floats(...) */
} Attention;

/* y = x W^T + bias in bfloat16, W as tiles take it: [rows / PANEL][columns / PANEL][2][16 pairs of columns][16 rows][2].
   bias may be NULL; rows and columns are multiples of PANEL. */
typedef struct {
    const uint16_t *tiles;
    const float *bias;
    int32_t rows;
    int32_t columns;
    int32_t kind;
} Tiled;

/* What a product's result is: y; silu(gate) * up, for which the upper tile of each panel has gates and the lower their
   ups; or y added to floats. */
enum { PLAIN, GATED, ADDED };

typedef struct {
    Tiled product;
    int32_t count;
    const uint16_t *rows; /* [count][columns] */
    void *result;         /* [count][rows] or, gated, half of that: bfloat16; added: float32 */
} TiledMultiplication;

typedef struct {
    const float *attention_norm; /* [hidden] */
    const float *mlp_norm;
    Tiled qkv;   /* dimensions that turn together are neighbours */
    Tiled out;   /* added, as is down */
    Tiled gated;
    Tiled down;
} TiledLayer;

/* All layers for some sequences, in bfloat16. */
typedef struct {
    const TiledLayer *layers;
    int32_t layer_count;
    int32_t hidden_size;
    float epsilon;
    Attention attention; /* its states are [layers][rows][heads + 2 kv_heads][head_dim] */
    float *hidden;       /* [rows][hidden]: embeddings in, the residual stream after the last layer out */
    uint16_t *normed;    /* [rows][hidden] */
    uint16_t *gated;     /* [rows][intermediate] */
} Pass;

/* Floats of workspace that each needs, with so many threads. */
size_t step_floats(const Decoder *decoder, int count, int capacity, int members);
size_t multiply_floats(const Product *product, int count, int members);
size_t attention_floats(const Attention *pass, int members);

void step_run(int members, Step *step);
void multiply_run(int members, Multiplication *multiplication);
void norm_run(int members, Norm *norm);
void attention_run(int members, Attention *pass);
void tiles_run(int members, TiledMultiplication *multiplication);
void pass_run(int members, Pass *pass);

/* Bytes of the structures above together, by which a caller knows whether it means the same ones. */
size_t kernels_layout(void);

/* The instruction set in use, and its choice by name: 0 where the CPU or this build lacks it. */
const char *kernels_name(void);
int kernels_choose(const char *name);

#endif
