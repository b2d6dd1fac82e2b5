// Pictures, label masks, checkpoints, preprocessing.
#pragma once

#include "io/image.h"
#include "io/labels.h"
#include "io/pil_resize.h"
#include "io/preprocess.h"
#include "io/tensor_file.h"
