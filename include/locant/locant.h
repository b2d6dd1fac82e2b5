// Everything a user of the library needs, in namespace locant. README.md shows it in use.
#pragma once

#include "locant/attention.h"
#include "locant/autograd.h"
#include "locant/error.h"
#include "locant/io.h"
#include "locant/models.h"
#include "locant/nn.h"
#include "locant/ops.h"
#include "locant/position.h"
#include "locant/segment.h"
#include "locant/tensor.h"
#include "locant/threads.h"
#include "locant/train.h"
#include "locant/verify.h"
#include "locant/version.h"
