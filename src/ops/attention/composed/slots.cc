#include "ops/attention/composed/slots.h"

#include <algorithm>

#include "ops/matmul.h"

namespace locant {

Slots part_slots(const AttentionInputs& in, std::size_t p) {
  const bool query = p == 0;
  const AttentionInputs::Part& part = in.parts[p];
  Slots slots{in, part.tokens, part.width, part.offset, part.head_width};
  slots.rows = query ? in.query_rows() : in.key_rows();
  slots.count = query ? in.Nq : in.Nk;
  const Var& bias = in.options.pad_bias;
  if (bias.defined() && !query) slots.pad = bias.value().data() + static_cast<std::int64_t>(p) * in.H * in.D;
  return slots;
}

Slots result_slots(const AttentionInputs& in) { return token_slots(in, Side::query, in.Dv); }

Slots token_slots(const AttentionInputs& in, Side side, std::int64_t head_width) {
  const bool query = side == Side::query;
  return {in,         in.parts[query ? 0 : 1].tokens,          in.H * head_width,    0,
          head_width, query ? in.query_rows() : in.key_rows(), query ? in.Nq : in.Nk};
}

Tensor gather_slots(const Slots& s, const float* from) {
  Tensor to(s.shape());
  const std::int64_t D = s.head_width;
  s.visit([&](std::int64_t slot, std::int64_t b, std::int64_t row, std::int64_t h) {
    if (row >= 0)
      std::copy_n(from + (b * s.tokens + row) * s.width + s.offset + h * D, D, to.data() + slot * D);
    else if (s.pad != nullptr)
      std::copy_n(s.pad + h * D, D, to.data() + slot * D);
    else
      std::fill_n(to.data() + slot * D, D, 0.0f);
  });
  return to;
}

void scatter_slots(const Slots& s, const Tensor& from, float* to) {
  const std::int64_t D = s.head_width;
  s.visit([&](std::int64_t slot, std::int64_t b, std::int64_t row, std::int64_t h) {
    if (row < 0) return;
    float* out = to + (b * s.tokens + row) * s.width + s.offset + h * D;
    for (std::int64_t d = 0; d < D; ++d) out[d] += from[slot * D + d];
  });
}

void scatter_padding(const Slots& s, const Tensor& from, float* dpad) {
  const std::int64_t D = s.head_width;
  for (std::int64_t bg = 0; bg < s.in.B * s.in.G; ++bg)
    for (std::int64_t h = 0; h < s.in.H; ++h)
      for (std::int64_t i = 0; i < s.count; ++i)
        if (s.row(bg % s.in.G, i) < 0)
          for (std::int64_t d = 0; d < D; ++d)
            dpad[h * D + d] += from[((bg * s.in.H + h) * s.count + i) * D + d];
}

void clear_padding(const Slots& s, Tensor& numbers) {
  if (s.rows == nullptr) return;
  const std::int64_t width = numbers.dim(-1);
  s.visit([&](std::int64_t slot, std::int64_t, std::int64_t row, std::int64_t) {
    if (row < 0) std::fill_n(numbers.data() + slot * width, width, 0.0f);
  });
}

void slot_product(const AttentionInputs& in, const Tensor& a, bool transpose_a, const Tensor& b,
                  bool transpose_b, float alpha, Tensor& c) {
  const std::int64_t M = a.dim(transpose_a ? -1 : -2), K = a.dim(transpose_a ? -2 : -1),
                     N = b.dim(transpose_b ? -2 : -1);
  const float beta = c.defined() ? 1.0f : 0.0f;
  if (!c.defined()) c = Tensor({in.B, in.G, in.H, M, N});
  matmul_batched(
      {transpose_a, transpose_b, M, N, K, alpha, a.data(), a.dim(-1), b.data(), b.dim(-1), beta, c.data(), N},
      in.B * in.G * in.H, a.dim(-2) * a.dim(-1), b.dim(-2) * b.dim(-1), M * N);
}

Tensor times_vectors(const AttentionInputs& in, const Tensor& x, const Tensor& vectors, float alpha) {
  const std::int64_t n = x.dim(3), D = x.dim(4), R = vectors.dim(-2), BG = in.B * in.G;
  Tensor y({in.B, in.G, in.H, n, R});
  MatmulArgs args{false, true, BG * in.H * n, R, D, alpha, x.data(), D, vectors.data(), D, 0.0f, y.data(), R};
  if (vectors.shape().rank() == 2) {
    matmul(args);
    return y;
  }
  args.M = n;
  for (std::int64_t h = 0; h < in.H; ++h) {
    args.a = x.data() + h * n * D;
    args.b = vectors.data() + h * R * D;
    args.c = y.data() + h * n * R;
    matmul_batched(args, BG, in.H * n * D, 0, in.H * n * R);
  }
  return y;
}

void add_vectors(const AttentionInputs& in, const Tensor& y, const Tensor& vectors, float alpha, Tensor& x) {
  const std::int64_t n = x.dim(3), D = x.dim(4), R = vectors.dim(-2), BG = in.B * in.G;
  MatmulArgs args{false,          false, BG * in.H * n, D,        R, alpha, y.data(), R,
                  vectors.data(), D,     1.0f,          x.data(), D};
  if (vectors.shape().rank() == 2) return matmul(args);
  args.M = n;
  for (std::int64_t h = 0; h < in.H; ++h) {
    args.a = y.data() + h * n * R;
    args.b = vectors.data() + h * R * D;
    args.c = x.data() + h * n * D;
    matmul_batched(args, BG, in.H * n * R, 0, in.H * n * D);
  }
}

Tensor vectors_gradient(const AttentionInputs& in, const Tensor& y, const Tensor& x, float alpha,
                        const Shape& vectors) {
  const std::int64_t n = x.dim(3), D = x.dim(4), R = vectors[-2], BG = in.B * in.G;
  Tensor out = Tensor::zeros(vectors);
  MatmulArgs args{true, false, R, D, BG * in.H * n, alpha, y.data(), R, x.data(), D, 1.0f, out.data(), D};
  if (vectors.rank() == 2) {
    matmul(args);
    return out;
  }
  args.K = n;
  for (std::int64_t bg = 0; bg < BG; ++bg) {  // heads side by side; samples one after the other, for they add
    args.a = y.data() + bg * in.H * n * R;
    args.b = x.data() + bg * in.H * n * D;
    matmul_batched(args, in.H, n * R, n * D, R * D);
  }
  return out;
}

}  // namespace locant
