/* All of one instruction set: NAME(f) is f's name in it, LANES the floats of a vector. */

#include "lanes.h"
#include "step.h"
#include "tiles.h"
#include "prompt.h"
#include "pass.h"

#undef vector
#undef integers
#undef INLINE
