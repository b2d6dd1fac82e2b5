#pragma once

#include <cstdint>

#include "autograd/tape.h"

namespace locant {

struct Pool2dOptions {
  std::int64_t kernel_rows = 2, kernel_columns = 2;
  std::int64_t stride_rows = 2, stride_columns = 2;
  std::int64_t pad_rows = 0, pad_columns = 0;  ///< half the kernel at most
  bool count_padding = true;  ///< average: divide by the whole kernel (torch's count_include_pad)
};

/// x (B, C, H, W). The first of equal maxima wins.
Var max_pool2d(const Context& ctx, const Var& x, const Pool2dOptions& options);
Var average_pool2d(const Context& ctx, const Var& x, const Pool2dOptions& options);
/// Cell (r, c) averages rows floor(r H / rows) to ceil((r + 1) H / rows), columns likewise.
Var adaptive_average_pool2d(const Context& ctx, const Var& x, std::int64_t rows, std::int64_t columns);

}  // namespace locant
