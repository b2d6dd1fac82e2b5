// Layers, and where their numbers come from.
#pragma once

#include "nn/layers.h"
#include "nn/weights.h"
