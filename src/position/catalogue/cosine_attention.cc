#include "position/cosine_attention.h"

#include <numbers>

#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"
#include "position/catalogue/picture.h"

namespace locant {
namespace cosine_attention_encoding {
namespace {

EncodingInstance instance(const EncodingCase& c) {
  const Var logit_scale = random_parameter({c.H, 1, 1}, c.seed, 1.0f, c.variant == "clamped" ? 5.7f : 1.5f);
  const auto lower = [=](const Context& ctx, AttentionCall& call) {
    call.options.scale = 1.0f;
    const CosineQueryKey unit = cosine_query_key(ctx, call.q, call.k, logit_scale, c.H);
    call.q = unit.q;
    call.k = unit.k;
  };
  const auto reference = [c](const PlainCall& call) {
    const auto norm = [&](const Complex* row) {
      Complex square{};
      for (std::int64_t d = 0; d < c.D; ++d) square += row[d] * row[d];
      return std::sqrt(square);
    };
    return plain_attention(call, [&](auto b, auto h, auto i, auto j) {
      return cosine_score(call.dot(b, h, i, j), norm(call.query(b, h, i)), norm(call.key(b, h, j)),
                          call.x[3][static_cast<std::size_t>(h)]);
    });
  };
  return attention_instance(c, {{"logit_scale", logit_scale}}, lower, reference);
}

std::vector<EncodingCase> cases() {
  const auto grid = [](std::int64_t h, std::int64_t w) { return Grid{1, h, w}; };
  return {
      {.query = grid(1, 1), .key = grid(1, 1)},
      {.B = 2, .H = 3, .query = grid(3, 5), .key = grid(3, 5), .largest_score = 12},
      {.D = 7, .Dv = 3, .query = grid(2, 2), .key = grid(4, 3), .largest_score = 12},
      {.B = 2, .query = grid(3, 3), .key = grid(3, 3), .variant = "clamped", .largest_score = 100},
  };
}

// Scores of tokens that point all around a circle, of lengths 1, 2, 3, 1, ..., head beside head: the
// temperatures differ, the lengths do not show.
Tensor picture(const EncodingCase& c) {
  const auto around = [&](std::int64_t N) {
    Tensor out = Tensor::zeros({1, N, c.H * c.D});
    for (std::int64_t n = 0; n < N; ++n)
      for (std::int64_t h = 0; h < c.H; ++h) {
        const double turn = 2.0 * std::numbers::pi * static_cast<double>(n) / static_cast<double>(N);
        const auto length = static_cast<double>(1 + n % 3);
        float* x = out.data() + (n * c.H + h) * c.D;
        x[0] = static_cast<float>(length * std::cos(turn));
        if (c.D > 1) x[1] = static_cast<float>(length * std::sin(turn));
      }
    return Var(std::move(out));
  };
  const CosineQueryKey unit =
      cosine_query_key({}, around(c.Nq()), around(c.Nk()), instance(c).parameters[0].second, c.H);
  return panels(c.H, c.H, c.Nq(), c.Nk(), [&](std::int64_t h, std::int64_t i, std::int64_t j) {
    return token_dot(unit.q.value(), unit.k.value(), c.H, h, i, j);
  });
}

}  // namespace
}  // namespace cosine_attention_encoding

const Encoding kCosineAttention = {
    .name = "cosine_attention",
    .title = "unit queries and keys with a learned temperature per head",
    .place = EncodingPlace::query_key,
    .paper = "Liu et al. 2022, Swin Transformer V2, equation 2",
    .models = "Swin V2",
    .formula = "s = exp(min(logit_scale_h, ln 100)) cos(q, k)",
    .lowering = "q and k become unit vectors beforehand, q times the temperature",
    .parameters = "H",
    .multiply_adds = "5 N C",
    .memory = "5 N C",
    .prefix = true,
    .variants = {"clamped"},
    .cases = cosine_attention_encoding::cases,
    .instance = cosine_attention_encoding::instance,
    .picture = cosine_attention_encoding::picture,
};

}  // namespace locant
