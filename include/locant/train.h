// Training.
#pragma once

#include "train/train.h"
