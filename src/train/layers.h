#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/weights.h"

namespace locant {

/// Where each parameter stands between pictures and answer, counted in blocks, for rates that fall towards
/// the input (Clark et al. 2020, "ELECTRA"; Bao et al. 2022, "BEiT") and for freezing: 0 for what comes
/// before the first block (patches, tokens, position tables), 1 to n for the blocks through all stages, n + 1
/// for what comes after the last (norm and head). What stands between blocks (downsampling) counts with the
/// block before it.
struct Layers {
  std::vector<std::int64_t> of;  ///< of each parameter, in their order
  std::int64_t last = 1;         ///< n + 1

  /// decay^(n + 1 - layer), one for each parameter: 1 for the head.
  std::vector<double> rates(double decay) const;
};

Layers layers_of(const std::vector<Parameter>& parameters);

/// Which parameters stand still: those of the first `layers` layers (0: none, 1: what comes before the first
/// block, ...), and those whose names match a glob pattern ('*' for any characters). Throws Error for a
/// pattern that matches none, and where nothing would be left to learn.
std::vector<bool> frozen_parameters(const std::vector<Parameter>& parameters, std::int64_t layers,
                                    const std::vector<std::string>& patterns);

}  // namespace locant
