// Models by name, checkpoints, families.
#pragma once

#include "models/classify.h"
#include "models/family.h"
#include "models/load.h"
#include "models/model.h"
#include "models/parts.h"
#include "models/registry.h"
