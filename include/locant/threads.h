// Threads, spinning, the instruction set, time by kind of layer.
#pragma once

#include "core/parallel.h"
#include "core/profile.h"
#include "core/spin.h"
#include "simd/isa.h"
