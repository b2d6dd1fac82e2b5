#pragma once

#include "core/error.h"

namespace locant {

/// What long work throws when its callback asks it to stop.
class Cancelled : public Error {
 public:
  using Error::Error;
};

}  // namespace locant
