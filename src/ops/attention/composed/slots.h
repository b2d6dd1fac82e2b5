#pragma once

#include "core/parallel.h"
#include "ops/attention/inputs.h"

namespace locant {

/// Composed attention copies everything that belongs to tokens into slots with the heads apart, (B, G, H,
/// slots, width), and multiplies there. A pair (b, g, h) is number (b G + g) H + h.
struct Slots {
  const AttentionInputs& in;
  std::int64_t tokens = 0, width = 0;       ///< of the tensor (B, tokens, width) that rows come from
  std::int64_t offset = 0, head_width = 0;  ///< head h starts at offset + h * head_width of a row
  const std::int32_t* rows = nullptr;       ///< slot -> token, null: identity
  std::int64_t count = 0;                   ///< slots a group
  const float* pad = nullptr;               ///< (H, head_width) of padding slots; null: zeros

  std::int64_t row(std::int64_t g, std::int64_t i) const {
    return rows != nullptr ? rows[g * count + i] : g * count + i;
  }
  Shape shape() const { return {in.B, in.G, in.H, count, head_width}; }

  /// body(slot number of (b, g, h, i), b, token row or -1, h), a (b, h) pair in one thread.
  template <class Body>
  void visit(const Body& body) const {
    parallel_for(in.B * in.H, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t bh = begin; bh < end; ++bh)
        for (std::int64_t g = 0; g < in.G; ++g)
          for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t b = bh / in.H, h = bh % in.H;
            body(((b * in.G + g) * in.H + h) * count + i, b, row(g, i), h);
          }
    });
  }
};

/// Slots of part p (q, k, v) of the inputs, and of the result (B, query tokens, H Dv).
Slots part_slots(const AttentionInputs& in, std::size_t p);
Slots result_slots(const AttentionInputs& in);
/// Slots of a tensor (B, N, H, head_width) that belongs to the tokens of one side.
Slots token_slots(const AttentionInputs& in, Side side, std::int64_t head_width);

Tensor gather_slots(const Slots& slots, const float* from);
/// Adds back to the rows of `to`; padding slots go nowhere.
void scatter_slots(const Slots& slots, const Tensor& from, float* to);
/// Adds the numbers of padding slots to dpad (H, head_width).
void scatter_padding(const Slots& slots, const Tensor& from, float* dpad);
void clear_padding(const Slots& slots, Tensor& numbers);

/// c = alpha op(a) op(b) + c for every (b, g, h); an undefined c is made.
void slot_product(const AttentionInputs& in, const Tensor& a, bool transpose_a, const Tensor& b,
                  bool transpose_b, float alpha, Tensor& c);

/// Slots x (.., n, D) times vectors (R, D) shared by the heads or (H, R, D): alpha x vectors^T (.., n, R).
Tensor times_vectors(const AttentionInputs& in, const Tensor& x, const Tensor& vectors, float alpha);
/// x += alpha y vectors for y (.., n, R).
void add_vectors(const AttentionInputs& in, const Tensor& y, const Tensor& vectors, float alpha, Tensor& x);
/// Gradient alpha sum of y^T x, shaped as the vectors.
Tensor vectors_gradient(const AttentionInputs& in, const Tensor& y, const Tensor& x, float alpha,
                        const Shape& vectors);

}  // namespace locant
