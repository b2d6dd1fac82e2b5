#include "position/peg.h"

#include "core/error.h"
#include "position/catalogue/all.h"
#include "position/catalogue/grid_reference.h"
#include "position/catalogue/instance.h"
#include "position/catalogue/picture.h"

namespace locant {
namespace peg_encoding {
namespace {

constexpr std::int64_t kHidden = 5;  // of the feed-forward in the cases

// "between", "attention" or "feed_forward"; then what is unlike the usual.
struct Setting {
  std::string placement = "between";
  std::int64_t k = 3, stride = 1;
  bool residual = true;
};

Setting setting_of(const EncodingCase& c) {
  Setting out;
  if (c.variant == "attention" || c.variant == "feed_forward") {
    out.placement = c.variant;
    out.residual = false;
  } else if (c.variant == "stride") {
    out.stride = 2;
    out.residual = false;
  } else if (c.variant == "no_residual") {
    out.residual = false;
  } else if (c.variant == "kernel_5") {
    out.k = 5;
  }
  require(out.placement == "feed_forward" || c.D == c.Dv, "peg",
          "one convolution acts on keys {} and values {} wide; they must be equal", c.D, c.Dv);
  return out;
}

Var run(const Context& ctx, const EncodingCase& c, const Setting& s, const PegFeedForward& ff, const Var& q,
        const Var& k, const Var& v, AttentionPath path) {
  AttentionOptions options;
  options.heads = c.H;
  const auto act = [&](const Var& x, Grid grid) { return peg(ctx, ff.peg, x, grid, c.prefix); };
  if (s.placement == "attention")
    return peg_in_attention(ctx, ff.peg, run_attention(ctx, q, k, v, options, path), v, c.key, c.prefix);
  if (s.placement == "feed_forward")
    return peg_feed_forward(ctx, ff, run_attention(ctx, q, k, v, options, path), c.query, c.prefix);
  return run_attention(ctx, s.stride > 1 ? q : act(q, c.query), act(k, c.key), act(v, c.key), options, path);
}

Complexes act(const EncodingCase& c, const Setting& s, const Complexes& x, Grid grid, const Complexes& weight,
              const Complexes& bias) {
  const auto C = static_cast<std::int64_t>(bias.size());
  const Grid after = peg_grid(grid, s.stride);
  return plain_on_grid(x, c.B, c.prefix, grid.tokens(), [&](const Complexes& tokens) {
    Complexes out;
    for (std::int64_t r = 0; r < after.rows; ++r)
      for (std::int64_t q = 0; q < after.columns; ++q)
        for (std::int64_t n = 0; n < C; ++n)
          out.push_back(
              peg_number(tokens, weight.data(), bias.data(), grid, C, s.k, s.stride, s.residual, r, q, n));
    return out;
  });
}

Complexes reference(const EncodingCase& c, const Setting& s, const std::vector<Complexes>& x) {
  if (s.placement == "between") {
    EncodingCase after = c;
    after.key = peg_grid(c.key, s.stride);
    const Complexes k = act(c, s, x[1], c.key, x[3], x[4]), v = act(c, s, x[2], c.key, x[3], x[4]);
    return plain_attention(after, s.stride > 1 ? x[0] : act(c, s, x[0], c.query, x[3], x[4]), k, v);
  }
  Complexes out = plain_attention(c, x[0], x[1], x[2]);
  if (s.placement == "attention") {
    const Complexes more = act(c, s, x[2], c.key, x[3], x[4]);
    for (std::size_t n = 0; n < out.size(); ++n)
      if (static_cast<std::int64_t>(n) / (c.H * c.Dv) % c.Nk() >= c.prefix) out[n] += more[n];
    return out;
  }
  // A product of every token is a convolution of 1 x 1.
  const std::int64_t C = c.H * c.Dv, N = c.B * c.Nq();
  Complexes hidden = plain_convolution(out, 1, N, {x[5].data(), x[6].data(), C, kHidden, 1, 1, 0, 1});
  hidden = act(c, s, hidden, c.query, x[3], x[4]);
  for (auto& number : hidden) number = plain_gelu(number);
  return plain_convolution(hidden, 1, N, {x[7].data(), x[8].data(), kHidden, C, 1, 1, 0, 1});
}

EncodingInstance instance(const EncodingCase& c) {
  const Setting s = setting_of(c);
  const bool feeds = s.placement == "feed_forward";
  const std::int64_t C = c.H * c.Dv, channels = feeds ? kHidden : C;
  PegFeedForward ff;
  ff.peg = {random_parameter({channels, 1, s.k, s.k}, c.seed), random_parameter({channels}, c.seed + 1),
            s.stride, s.residual};
  EncodingInstance out;
  out.parameters = {{Peg::kWeight, ff.peg.weight}, {Peg::kBias, ff.peg.bias}};
  if (feeds) {
    ff.fc1_weight = random_parameter({kHidden, C}, c.seed + 2);
    ff.fc1_bias = random_parameter({kHidden}, c.seed + 3);
    ff.fc2_weight = random_parameter({C, kHidden}, c.seed + 4);
    ff.fc2_bias = random_parameter({C}, c.seed + 5);
    out.parameters.insert(out.parameters.end(), {{"fc1.weight", ff.fc1_weight},
                                                 {"fc1.bias", ff.fc1_bias},
                                                 {"fc2.weight", ff.fc2_weight},
                                                 {"fc2.bias", ff.fc2_bias}});
  }
  out.run = [c, s, ff](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    return run(ctx, c, s, ff, q, k, v, path);
  };
  out.reference = [c, s](const std::vector<Complexes>& x) { return reference(c, s, x); };
  return out;
}

std::vector<EncodingCase> cases() {
  return {
      {.B = 2, .D = 2, .Dv = 2, .query = {1, 2, 1}, .key = {1, 2, 1}},
      {.H = 1, .D = 2, .Dv = 2, .query = {1, 3, 4}, .key = {1, 3, 4}, .prefix = 1},
      {.D = 1, .Dv = 1, .query = {1, 2, 5}, .key = {1, 3, 3}},
      {.D = 1, .Dv = 1, .query = {1, 3, 3}, .key = {1, 3, 3}, .variant = "no_residual"},
      {.D = 2, .Dv = 2, .query = {1, 2, 3}, .key = {1, 2, 3}, .variant = "kernel_5"},
      {.D = 2, .Dv = 2, .query = {1, 2, 3}, .key = {1, 4, 5}, .variant = "stride"},
      {.D = 2, .Dv = 2, .query = {1, 3, 2}, .key = {1, 3, 2}, .prefix = 2, .variant = "attention"},
      {.D = 2, .Dv = 3, .query = {1, 2, 3}, .key = {1, 3, 2}, .prefix = 1, .variant = "feed_forward"},
  };
}

Tensor picture(const EncodingCase& c) { return neighbour_counts(c.query, setting_of(c).k); }

}  // namespace
}  // namespace peg_encoding

const Encoding kPeg = {
    .name = "peg",
    .title = "a depthwise convolution with zeros around the tokens as a picture",
    .place = EncodingPlace::tokens,
    .paper = "Chu et al. 2021, CPVT",
    .models = "CPVT, Twins; in attention CSWin, in the feed-forward PVT v2",
    .formula = "Y = X + DWConv(X)",
    .lowering = "a convolution of tokens, values or hidden channels",
    .parameters = "(k^2 + 1) C",
    .multiply_adds = "k^2 N C",
    .memory = "2 N C",
    .grids = EncodingGrids::flat,
    .prefix = true,
    .variants = {"attention", "feed_forward", "stride", "no_residual", "kernel_5"},
    .cases = peg_encoding::cases,
    .instance = peg_encoding::instance,
    .picture = peg_encoding::picture,
};

}  // namespace locant
