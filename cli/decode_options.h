#pragma once

#include "cli/cli.h"
#include "io/image.h"

namespace locant::cli {

/// --page and --depth16, for commands that read pictures; what decoding has to say becomes notes. `globals`
/// must outlive `options`.
void add_decode_options(CLI::App* sub, const GlobalOptions& globals, DecodeOptions& options);

}  // namespace locant::cli
