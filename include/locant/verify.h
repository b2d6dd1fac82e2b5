// Models against oracle files.
#pragma once

#include "verify/verify.h"
