// Segment Anything: prompts to masks, all masks of a picture.
#pragma once

#include "models/sam.h"
#include "segment/mask_generator.h"
#include "segment/predictor.h"
