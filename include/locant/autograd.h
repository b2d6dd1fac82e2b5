// Var, Tape, Context, Probe.
#pragma once

#include "autograd/tape.h"
