// What test files include, read once; and their assertions counted (tests/support/main.cc).
#include <gtest/gtest.h>

#include "scripts/precompiled.h"
#include "tests/support/count.h"
