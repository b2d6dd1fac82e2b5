#include "position/conv_ff.h"

#include "position/catalogue/all.h"
#include "position/catalogue/grid_reference.h"
#include "position/catalogue/instance.h"
#include "position/catalogue/picture.h"

namespace locant {
namespace conv_ff_encoding {
namespace {

constexpr std::int64_t kWide = 4, kKernel = 3, kSqueezed = 3;  // of the cases

// Parameters in the order in which they are asked for.
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : seed_(seed) {}
  Var take(const std::string& name, const Shape& shape, float scale = 0.5f, float offset = 0.0f) {
    out.emplace_back(name, random_parameter(shape, seed_++, scale, offset));
    return out.back().second;
  }
  Conv2dNumbers conv(const std::string& name, std::int64_t to, std::int64_t from, std::int64_t k, bool bias) {
    Conv2dNumbers conv;
    conv.weight = take(name + ".weight", {to, from, k, k});
    if (bias) conv.bias = take(name + ".bias", {to});
    return conv;
  }
  BatchNormNumbers norm(const std::string& name, std::int64_t C) {
    BatchNormNumbers norm;
    norm.weight = take(name + ".weight", {C}, 0.3f, 1.0f);
    norm.bias = take(name + ".bias", {C});
    norm.mean = Var(random_parameter({C}, seed_++).value());
    norm.var = Var(random_parameter({C}, seed_++, 0.5f, 1.0f).value());
    return norm;
  }
  Parameters out;

 private:
  std::uint64_t seed_;
};

// One kind of feed-forward: what it does, and the same by its equation on one sample's patches (h w, C), with
// the parameters from x[3] on.
struct Feed {
  Parameters parameters;
  std::function<Var(const Context&, const Var&)> run;
  std::function<Complexes(const Complexes&, const std::vector<Complexes>&)> reference;
};

template <class F>
Complexes each(Complexes x, const F& f) {
  for (Complex& number : x) number = f(number);
  return x;
}

Complexes product(const Complexes& x, std::int64_t N, const Complexes& weight, const Complex* bias,
                  std::int64_t in) {
  return plain_convolution(
      x, 1, N, {weight.data(), bias, in, static_cast<std::int64_t>(weight.size()) / in, 1, 1, 0, 1});
}

Complexes mixed(const Complexes& x, Grid grid, const Complexes& weight, const Complex* bias) {
  return plain_convolution(x, grid.rows, grid.columns,
                           {weight.data(), bias, kWide, kWide, kKernel, 1, kKernel / 2, kWide});
}

Complexes batch_normed(Complexes x, const BatchNormNumbers& norm, const Complexes& weight,
                       const Complexes& bias) {
  plain_norm(x, norm.mean.value().numel(), weight.data(), bias.data(), 1e-5, norm.mean.value().data(),
             norm.var.value().data());
  return x;
}

// x times a number per channel that its mean over tokens decides.
Complexes gated(const Complexes& x, FfGate gate, const std::vector<Complexes>& p, std::size_t at) {
  if (gate == FfGate::none) return x;
  Complexes mean(kWide), factor(kWide);
  for (std::size_t n = 0; n < x.size(); ++n)
    mean[n % kWide] += x[n] / (static_cast<double>(x.size()) / kWide);
  if (gate == FfGate::squeeze_excite) {
    const Complexes narrow = each(product(mean, 1, p[at], p[at + 1].data(), kWide),
                                  [](Complex s) { return s.real() > 0 ? s : Complex(0.0); });
    factor = each(product(narrow, 1, p[at + 2], p[at + 3].data(), kSqueezed), hard_sigmoid_number<Complex>);
  } else {
    for (std::size_t n = 0; n < kWide; ++n) {
      Complex sum = p[at][1] * mean[n];
      if (n > 0) sum += p[at][0] * mean[n - 1];
      if (n + 1 < kWide) sum += p[at][2] * mean[n + 1];
      factor[n] = gate == FfGate::eca ? 1.0 / (1.0 + std::exp(-sum)) : hard_sigmoid_number(sum);
    }
  }
  Complexes y = x;
  for (std::size_t n = 0; n < y.size(); ++n) y[n] *= factor[n % kWide];
  return y;
}

Feed localvit(const EncodingCase& c, FfGate gate, FfActivation act) {
  const std::int64_t C = c.H * c.Dv;
  Draws draw(c.seed);
  LocalityFf ff;
  ff.gate = gate, ff.act = act;
  ff.expand = draw.conv("conv.0", kWide, C, 1, false);
  ff.expand_norm = draw.norm("conv.1", kWide);
  ff.depthwise = draw.conv("conv.3", kWide, 1, kKernel, false);
  ff.depthwise_norm = draw.norm("conv.4", kWide);
  const std::string last = gate == FfGate::none ? "conv.6" : "conv.7";
  ff.project = draw.conv(last, C, kWide, 1, false);
  ff.project_norm = draw.norm(gate == FfGate::none ? "conv.7" : "conv.8", C);
  if (gate == FfGate::squeeze_excite) {
    ff.squeeze = {draw.take("conv.6.fc.0.weight", {kSqueezed, kWide}),
                  draw.take("conv.6.fc.0.bias", {kSqueezed})};
    ff.excite = {draw.take("conv.6.fc.2.weight", {kWide, kSqueezed}), draw.take("conv.6.fc.2.bias", {kWide})};
  } else if (gate != FfGate::none) {
    ff.eca_kernel = draw.take("conv.6.conv.weight", {1, 1, 3});
  }
  Feed out;
  out.parameters = draw.out;
  out.run = [c, ff](const Context& ctx, const Var& x) {
    return on_grid(ctx, "conv_ff", x, c.query, c.prefix,
                   [&](const Var& y) { return locality_ff(ctx, ff, y); });
  };
  out.reference = [c, ff, C](const Complexes& x, const std::vector<Complexes>& p) {
    const auto act = [&](Complex s) {
      if (ff.act == FfActivation::hard_swish) return hard_swish_number(s);
      return s.real() <= 0 ? Complex(0.0) : s.real() >= 6 ? Complex(6.0) : s;
    };
    const std::int64_t N = c.query.tokens();
    Complexes y = each(batch_normed(product(x, N, p[3], nullptr, C), ff.expand_norm, p[4], p[5]), act);
    y = each(batch_normed(mixed(y, c.query, p[6], nullptr), ff.depthwise_norm, p[7], p[8]), act);
    y = batch_normed(product(gated(y, ff.gate, p, 12), N, p[9], nullptr, kWide), ff.project_norm, p[10],
                     p[11]);
    for (std::size_t n = 0; n < y.size(); ++n) y[n] += x[n];
    return y;
  };
  return out;
}

Feed leff_feed(const EncodingCase& c, bool norms) {
  const std::int64_t C = c.H * c.Dv;
  Draws draw(c.seed);
  Leff ff;
  ff.conv1 = draw.conv("conv1", kWide, C, 1, true);
  ff.conv2 = draw.conv("conv2", kWide, 1, kKernel, true);
  ff.conv3 = draw.conv("conv3", C, kWide, 1, true);
  if (norms) ff.bn1 = draw.norm("bn1", kWide), ff.bn2 = draw.norm("bn2", kWide), ff.bn3 = draw.norm("bn3", C);
  Feed out;
  out.parameters = draw.out;
  out.run = [c, ff](const Context& ctx, const Var& x) { return leff(ctx, ff, x, c.query, c.prefix); };
  out.reference = [c, ff, C](const Complexes& x, const std::vector<Complexes>& p) {
    const auto normed = [&](const Complexes& y, const BatchNormNumbers& norm, std::size_t at) {
      return norm.defined() ? batch_normed(y, norm, p[at], p[at + 1]) : y;
    };
    const std::int64_t N = c.query.tokens();
    Complexes y = each(normed(product(x, N, p[3], p[4].data(), C), ff.bn1, 9), plain_gelu);
    y = each(normed(mixed(y, c.query, p[5], p[6].data()), ff.bn2, 11), plain_gelu);
    return normed(product(y, N, p[7], p[8].data(), kWide), ff.bn3, 13);
  };
  return out;
}

Feed conv_feed(const EncodingCase& c) {
  const std::int64_t C = c.H * c.Dv;
  Draws draw(c.seed);
  ConvFf ff;
  ff.up = draw.conv("up", kWide, C, 1, true);
  ff.depth = draw.conv("depth", kWide, 1, kKernel, true);
  ff.point = draw.conv("point", kWide, kWide, 1, true);
  ff.down = draw.conv("down", C, kWide, 1, true);
  Feed out;
  out.parameters = draw.out;
  out.run = [c, ff](const Context& ctx, const Var& x) { return conv_ff(ctx, ff, x, c.query, c.prefix); };
  out.reference = [c, C](const Complexes& x, const std::vector<Complexes>& p) {
    const std::int64_t N = c.query.tokens();
    Complexes y = each(product(x, N, p[3], p[4].data(), C), hard_swish_number<Complex>);
    y = mixed(y, c.query, p[5], p[6].data());
    y = each(product(y, N, p[7], p[8].data(), kWide), hard_swish_number<Complex>);
    return product(y, N, p[9], p[10].data(), kWide);
  };
  return out;
}

Feed feed_of(const EncodingCase& c) {
  if (c.variant == "localvit_eca") return localvit(c, FfGate::eca, FfActivation::hard_swish);
  if (c.variant == "localvit_ecah") return localvit(c, FfGate::eca_hard, FfActivation::hard_swish);
  if (c.variant == "localvit_relu6") return localvit(c, FfGate::none, FfActivation::relu6);
  if (c.variant == "leff") return leff_feed(c, true);
  if (c.variant == "leff_plain") return leff_feed(c, false);
  if (c.variant == "conv_ff") return conv_feed(c);
  return localvit(c, FfGate::squeeze_excite, FfActivation::hard_swish);
}

EncodingInstance instance(const EncodingCase& c) {
  const Feed feed = feed_of(c);
  EncodingInstance out;
  out.parameters = feed.parameters;
  out.run = [c, feed](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    AttentionOptions options;
    options.heads = c.H;
    return feed.run(ctx, run_attention(ctx, q, k, v, options, path));
  };
  out.reference = [c, feed](const std::vector<Complexes>& x) {
    return plain_on_grid(plain_attention(c, x[0], x[1], x[2]), c.B, c.prefix, c.query.tokens(),
                         [&](const Complexes& patches) { return feed.reference(patches, x); });
  };
  return out;
}

std::vector<EncodingCase> cases() {
  return {
      {.B = 2, .D = 2, .Dv = 2, .query = {1, 2, 1}, .key = {1, 2, 1}},
      {.D = 1, .Dv = 2, .query = {1, 2, 3}, .key = {1, 2, 2}, .prefix = 1, .variant = "localvit_eca"},
      {.H = 1, .D = 3, .Dv = 4, .query = {1, 3, 2}, .key = {1, 3, 2}, .variant = "localvit_ecah"},
      {.D = 1, .Dv = 2, .query = {1, 3, 3}, .key = {1, 1, 3}, .variant = "localvit_relu6"},
      {.D = 2, .Dv = 2, .query = {1, 2, 3}, .key = {1, 1, 3}, .prefix = 1, .variant = "leff"},
      {.D = 2, .Dv = 1, .query = {1, 1, 4}, .key = {1, 2, 2}, .variant = "leff_plain"},
      {.D = 2, .Dv = 2, .query = {1, 3, 2}, .key = {1, 1, 2}, .prefix = 1, .variant = "conv_ff"},
  };
}

Tensor picture(const EncodingCase& c) { return neighbour_counts(c.query, kKernel); }

}  // namespace
}  // namespace conv_ff_encoding

const Encoding kConvFf = {
    .name = "conv_ff",
    .title = "feed-forwards with a depthwise convolution: LocalViT's, LeFF, the survey's own",
    .place = EncodingPlace::projection,
    .paper = "Li et al. 2021, LocalViT; Yuan et al. 2021, CeiT",
    .models = "LocalViT, CeiT",
    .formula = "F(P) = Conv1(G(a(DW(a(Conv1(P))))))",
    .lowering = "convolutions of the tokens, in place of the feed-forward",
    .parameters = "(2 C + k^2) e C; the survey's own e^2 C^2 more",
    .multiply_adds = "(2 C + k^2) e N C in place of 2 e N C^2; the survey's own e^2 N C^2 more",
    .memory = "2 e N C",
    .grids = EncodingGrids::flat,
    .prefix = true,
    .variants = {"localvit_se", "localvit_eca", "localvit_ecah", "localvit_relu6", "leff", "leff_plain",
                 "conv_ff"},
    .cases = conv_ff_encoding::cases,
    .instance = conv_ff_encoding::instance,
    .picture = conv_ff_encoding::picture,
};

}  // namespace locant
