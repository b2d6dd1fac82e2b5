#pragma once

#include <cstdint>
#include <vector>

// One head of ops/linear_attention.h, in the calling thread.

namespace locant {

/// Tokens of one head: M floats each.
struct LinearView {
  const float* data;
  std::int64_t row;  ///< floats from one token to the next
};

/// Of one head, features whose pairs weigh columns [first, first + width) of [v | 1].
struct LinearStream {
  LinearView q, k;
  std::int64_t M = 0, first = 0, width = 0;
  float *dq = nullptr, *dk = nullptr;  ///< rows as those of q and k
  std::vector<float> state = {};       ///< (M, width): sum of g_j [v_j | 1], or of f_i d[o_i | den_i]
};

/// One head of one sample. W = Dv + 1: the denominator is one more value, always 1.
struct LinearHead {
  std::int64_t Nq = 0, Nk = 0, Dv = 0, row_v = 0;
  bool causal = false;
  float decay = 0.0f, eps = 0.0f;
  const float* v = nullptr;
  float* den = nullptr;  ///< (Nq); the forward fills it
  std::vector<LinearStream> streams = {};
};

/// out: rows as those of v.
void linear_head_forward(LinearHead& head, float* out);
/// Writes dq and dk of each stream and dv of the keys that are seen.
void linear_head_backward(LinearHead& head, const float* out, const float* dout, float* dv);

}  // namespace locant
