#include "ops/product.h"

#include <algorithm>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/profile.h"
#include "ops/matmul.h"

namespace locant {
namespace {

// c (L, M, N) = alpha op(a) op(b) for L pairs. Strides of 0 share an operand; a shared result is summed over
// the pairs in their order.
struct Pairs {
  std::int64_t L, M, N, K;
  const float* a;
  bool transpose_a;
  std::int64_t stride_a;
  const float* b;
  bool transpose_b;
  std::int64_t stride_b;
};

void multiply_pairs(const Pairs& p, float alpha, std::int64_t stride_c, float* c) {
  MatmulArgs args{p.transpose_a,
                  p.transpose_b,
                  p.M,
                  p.N,
                  p.K,
                  alpha,
                  p.a,
                  p.transpose_a ? p.M : p.K,
                  p.b,
                  p.transpose_b ? p.K : p.N,
                  0.0f,
                  c,
                  p.N};
  if (stride_c != 0 || p.L == 1) {
    matmul_batched(args, p.L, p.stride_a, p.stride_b, stride_c);
    return;
  }
  if (p.L == 0) std::fill_n(c, p.M * p.N, 0.0f);
  for (std::int64_t l = 0; l < p.L; ++l, args.beta = 1.0f) {
    matmul(args);
    args.a += p.stride_a;
    args.b += p.stride_b;
  }
}

struct ProductSizes {
  std::int64_t L = 1, M, N, K;
  bool a_shared, b_shared;
  Shape result{0};
};

ProductSizes sizes_of(const Shape& a, const Shape& b, const ProductOptions& o) {
  const auto misfit = [&] {
    fail("product", "{}{} and {}{} do not fit; leading axes must be equal, or absent on one side", a.str(),
         o.transpose_a ? " transposed" : "", b.str(), o.transpose_b ? " transposed" : "");
  };
  if (a.rank() < 2 || b.rank() < 2) misfit();
  ProductSizes s;
  s.M = a[o.transpose_a ? -1 : -2];
  s.K = a[o.transpose_a ? -2 : -1];
  s.N = b[o.transpose_b ? -2 : -1];
  s.a_shared = a.rank() == 2 && b.rank() > 2;
  s.b_shared = b.rank() == 2 && a.rank() > 2;
  if (b[o.transpose_b ? -1 : -2] != s.K || (!s.a_shared && !s.b_shared && a.rank() != b.rank())) misfit();
  const Shape& leading = s.a_shared ? b : a;
  std::vector<std::int64_t> extents;
  for (int axis = 0; axis + 2 < leading.rank(); ++axis) {
    if (!s.a_shared && !s.b_shared && a[axis] != b[axis]) misfit();
    extents.push_back(leading[axis]);
    s.L *= leading[axis];
  }
  extents.push_back(s.M);
  extents.push_back(s.N);
  s.result = Shape(std::span<const std::int64_t>(extents));
  return s;
}

}  // namespace

Var product(const Context& ctx, const Var& a, const Var& b, const ProductOptions& options) {
  ProfileScope scope("product");
  ProductSizes s = sizes_of(a.shape(), b.shape(), options);
  scope.works(s.L * s.M * s.N * s.K);
  if (s.b_shared && !options.transpose_a) {  // one product of all rows
    s.M *= s.L;
    s.L = 1;
  }
  const std::int64_t stride_a = s.a_shared ? 0 : s.M * s.K, stride_b = s.b_shared ? 0 : s.K * s.N,
                     stride_c = s.M * s.N;
  Tensor c(s.result);
  multiply_pairs({s.L, s.M, s.N, s.K, a.value().data(), options.transpose_a, stride_a, b.value().data(),
                  options.transpose_b, stride_b},
                 options.alpha, stride_c, c.data());
  return ctx.record({a, b}, std::move(c), [=](const Tensor& dc) {
    const ProfileScope inner("product");
    const bool ta = options.transpose_a, tb = options.transpose_b;
    const float *x = a.value().data(), *y = b.value().data(), *g = dc.data();
    if (a.requires_grad()) {  // dA = dC B^T, transposed as A is
      Tensor da(a.shape());
      const Pairs p = ta ? Pairs{s.L, s.K, s.M, s.N, y, tb, stride_b, g, true, stride_c}
                         : Pairs{s.L, s.M, s.K, s.N, g, false, stride_c, y, !tb, stride_b};
      multiply_pairs(p, options.alpha, stride_a, da.data());
      a.accumulate(std::move(da));
    }
    if (b.requires_grad()) {  // dB = A^T dC, transposed as B is
      Tensor db(b.shape());
      const Pairs p = tb ? Pairs{s.L, s.N, s.K, s.M, g, true, stride_c, x, ta, stride_a}
                         : Pairs{s.L, s.K, s.N, s.M, x, !ta, stride_a, g, false, stride_c};
      multiply_pairs(p, options.alpha, stride_b, db.data());
      b.accumulate(std::move(db));
    }
  });
}

Var head_products(const Context& ctx, const Var& x, std::int64_t heads, const Var& table, float alpha) {
  ProfileScope scope("head_products");
  const Shape &xs = x.shape(), &ts = table.shape();
  const bool own = ts.rank() == 3;  // a table a head
  if (xs.rank() != 3 || heads < 1 || xs[2] % heads != 0 || (ts.rank() != 2 && !own) ||
      ts[-1] * heads != xs[2] || (own && ts[0] != heads))
    fail("head_products",
         "x {} and a table {} do not fit {} heads; they must be (B, N, H D) and (R, D) or (H, R, D)",
         xs.str(), ts.str(), heads);
  const std::int64_t H = heads, D = ts[-1], R = ts[-2], rows = xs[0] * xs[1];
  scope.works(rows * H * D * R);
  // Each head by itself: rows of x are H D apart, of the result H R.
  const std::int64_t L = own ? H : 1, M = own ? rows : rows * H, ldx = own ? H * D : D, ldy = own ? H * R : R;
  Tensor y({xs[0], xs[1], H, R});
  matmul_batched(
      {false, true, M, R, D, alpha, x.value().data(), ldx, table.value().data(), D, 0.0f, y.data(), ldy}, L,
      D, R * D, R);
  return ctx.record({x, table}, std::move(y), [=](const Tensor& dy) {
    const ProfileScope inner("head_products");
    if (x.requires_grad()) {
      Tensor dx(x.shape());
      matmul_batched(
          {false, false, M, D, R, alpha, dy.data(), ldy, table.value().data(), D, 0.0f, dx.data(), ldx}, L, R,
          R * D, D);
      x.accumulate(std::move(dx));
    }
    if (table.requires_grad()) {
      Tensor dtable(table.shape());
      matmul_batched(
          {true, false, R, D, M, alpha, dy.data(), ldy, x.value().data(), ldx, 0.0f, dtable.data(), D}, L, R,
          D, R * D);
      table.accumulate(std::move(dtable));
    }
  });
}

}  // namespace locant
