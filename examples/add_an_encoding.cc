// A new encoding from outside: a penalty a_h (i - j)^2 with a learned curvature per head. It lowers to a
// gather term, so the fused kernel runs it, and every gradient comes with it.
#include <locant/locant.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

using namespace locant;

// [readme]
// Index arithmetic: a number for each distance i - j of a sequence of N tokens. The code of a token is its
// position; offset = i - j + N - 1.
std::shared_ptr<const OffsetMap> distances(std::int64_t N) {
  OffsetMap map;
  for (std::int64_t n = 0; n < N; ++n) map.query_code.push_back(static_cast<std::int32_t>(n));
  map.key_code = map.query_code;
  map.origin = static_cast<std::int32_t>(N - 1);
  map.offsets = 2 * N - 1;
  return std::make_shared<const OffsetMap>(map);
}

// Lowering: the table (2 N - 1, H) of -a_h d^2 as a product on the tape, curvature (1, H).
AttentionTerm parabola_term(const Context& ctx, const Var& curvature, std::int64_t N) {
  Tensor squares({2 * N - 1, 1});
  for (std::int64_t d = -(N - 1); d < N; ++d) squares[d + N - 1] = -static_cast<float>(d * d);
  return gather_term(product(ctx, Var(squares), curvature), distances(N));
}

// The equation as it stands.
double parabola_score(double qk, double curvature, std::int64_t i, std::int64_t j) {
  return qk - curvature * static_cast<double>((i - j) * (i - j));
}
// [readme]

namespace {

constexpr std::int64_t N = 40, H = 2, D = 8;

// Attention of head h and query i by the equation, channel 0.
double by_equation(const Tensor& qkv, double curvature, std::int64_t h, std::int64_t i) {
  const auto at = [&](std::int64_t n, std::int64_t part, std::int64_t d) {
    return static_cast<double>(qkv[(n * 3 + part) * H * D + h * D + d]);
  };
  double total = 0, sum = 0;
  for (std::int64_t j = 0; j < N; ++j) {
    double qk = 0;
    for (std::int64_t d = 0; d < D; ++d) qk += at(i, 0, d) * at(j, 1, d);
    const double p = std::exp(parabola_score(qk / std::sqrt(static_cast<double>(D)), curvature, i, j));
    total += p;
    sum += p * at(j, 2, 0);
  }
  return sum / total;
}

}  // namespace

int main() {
  Tensor numbers({1, N, 3 * H * D});
  Rng rng(7);
  for (float& value : numbers.values()) value = rng.normal();
  const Var curvature(Tensor::from({1, H}, std::vector<float>{0.01f, 0.2f}), /*requires_grad=*/true);
  Tape tape;
  const Context ctx{.tape = &tape};
  const Var out = attention(ctx, Var(numbers), {.heads = H, .terms = {parabola_term(ctx, curvature, N)}});
  tape.backward({{out, Tensor::full(out.shape(), 1.0f)}});
  double worst = 0;
  for (std::int64_t i = 0; i < N; ++i)
    for (std::int64_t h = 0; h < H; ++h)
      worst = std::max(worst, std::abs(static_cast<double>(out.value()[i * H * D + h * D]) -
                                       by_equation(numbers, curvature.value()[h], h, i)));
  std::printf("agrees with the equation: %s\n", worst < 1e-5 ? "yes" : "no");
  std::printf("gradient of the curvatures: %.1f %.1f\n", curvature.grad()[0], curvature.grad()[1]);
}
