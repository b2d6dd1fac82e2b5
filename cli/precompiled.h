// scripts/precompiled.h and what most commands include besides.
#include <CLI/CLI.hpp>

#include "scripts/precompiled.h"
