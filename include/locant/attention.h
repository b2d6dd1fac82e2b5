// Fused attention, its terms, maps and masks.
#pragma once

#include "ops/attention/attention.h"
