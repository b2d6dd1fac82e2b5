#pragma once

#include <cstdint>

namespace locant {

/// Kinds of attention whose cost the surveys compare, each with its projections.
enum class AttentionKind {
  global,             ///< MSA: every token sees every token
  window,             ///< W-MSA: windows of M x M (Swin, equation 2)
  spatial_reduction,  ///< PVT: keys and values of a grid reduced R times a side by a convolution
  axial,              ///< a row pass and a column pass, projections shared
  local,              ///< SASA, NATTEN: M x M neighbours of each token
  linear,             ///< kernelised: sums of D x D a head
};

/// Sizes of one layer on a grid of rows x columns tokens.
struct LayerShape {
  std::int64_t rows = 1, columns = 1;
  std::int64_t C = 1;  ///< width
  std::int64_t H = 1;  ///< heads; linear only
  std::int64_t M = 7;  ///< window side, or neighbourhood side
  std::int64_t R = 1;  ///< reduction a side
};

/// Multiply-adds of one attention layer, softmax and biases left out as the papers do. With N = rows columns:
///   global             4 N C^2 + 2 N^2 C
///   window, local      4 N C^2 + 2 M^2 N C
///   spatial_reduction  2 N C^2 + 2 (N / R^2) C^2 + N C^2 [R > 1: the reduction] + 2 N (N / R^2) C
///   axial              4 N C^2 + 2 N (rows + columns) C
///   linear             4 N C^2 + 2 N C D,   D = C / H
/// Windows that do not divide the grid are padded, and cost what whole ones do; a reduction drops the
/// remainder. Throws Error on sizes below 1, on H that does not divide C, and where the number exceeds 64
/// bits.
std::int64_t complexity(AttentionKind kind, const LayerShape& shape);

}  // namespace locant
