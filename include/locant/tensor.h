// Tensor, Shape, Rng, and the pool that buffers come from.
#pragma once

#include "core/pool.h"
#include "core/rng.h"
#include "core/shape.h"
#include "core/tensor.h"
