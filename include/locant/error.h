// Error, ErrorKind, Cancelled.
#pragma once

#include "core/error.h"
