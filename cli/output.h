#pragma once

namespace locant::cli {

/// Thrown when the reader of stdout has gone: main ends quietly.
struct ReaderGone {};

}  // namespace locant::cli
