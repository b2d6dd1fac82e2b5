#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/runner.h"

namespace locant::bench {

/// Self-attention to time: `batch` pictures, each of `windows` groups of n tokens.
struct AttentionCase {
  std::string name = "custom";
  std::int64_t batch = 1;
  std::int64_t windows = 1;  ///< a square number where `side` is set
  std::int64_t heads = 4;
  std::int64_t n = 4096;  ///< tokens a group
  std::int64_t d = 64;    ///< head width
  std::int64_t side =
      0;  ///< window side of Swin: table, cyclic shift by side / 2 and region mask; 0: none of it
  bool decomposed = false;  ///< SAM's term on square groups, products with its tables included
};

/// "global": 4 heads, 4096 tokens, d 64. "sam_global", "sam_windows": layers of SAM ViT-B at 1024.
/// "swin_stage1" to "swin_stage4": Swin-T at 224, shifted.
const std::vector<AttentionCase>& attention_cases();

/// Times the fused op beside the packed matmul of matmul_size^3 and beside attention_composed (left out
/// unless `composed`: it holds every score), in turn, for `seconds`. Three rows: forward (4 H N^2 D
/// operations a group), backward (10 H N^2 D) and both. peak_mb is what the fused pass holds at once, inputs
/// and outputs included.
std::vector<Row> bench_attention(const AttentionCase& which, double seconds, bool composed,
                                 std::int64_t matmul_size);

/// oneDNN's rate itself: packed size^3, and the matmul op on plain row-major operands.
std::vector<Row> bench_matmul(double seconds, std::int64_t size);

}  // namespace locant::bench
