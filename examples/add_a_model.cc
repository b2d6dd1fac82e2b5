// A new model family from outside: a Transformer encoder of feature frames with ALiBi positions. Built at
// random, its configuration told from its own names and shapes, and run on two sequences of different
// lengths.
#include <locant/locant.h>

#include <cstdio>
#include <map>

using namespace locant;

namespace {

// [readme]
// What checkpoints of the family differ in. `fields` serves reading, checking and writing alike.
struct FrameEncoderConfig {
  std::int64_t in_chans = 8, dim = 32, depth = 2, heads = 4, num_classes = 5;
  double mlp_ratio = 2.0, drop_path = 0.0;
  float norm_eps = 1e-5f;
};
template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("num_classes", c.num_classes);
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("norm_eps", c.norm_eps);
  a.field("drop_path", c.drop_path, rate());
}

// x + attention(norm1 x), then + mlp(norm2 x). The constructor asks for its tensors by name: the same code
// loads a checkpoint, starts at random, or lists names and shapes.
class Block {
 public:
  Block(const Weights& w, const FrameEncoderConfig& c, float drop_path)
      : norm1_(w / "norm1", c.dim, c.norm_eps),
        norm2_(w / "norm2", c.dim, c.norm_eps),
        qkv_(w / "attn" / "qkv", c.dim, 3 * c.dim),
        proj_(w / "attn" / "proj", c.dim, c.dim),
        mlp_(w / "mlp", c.dim, scaled_width(c.dim, c.mlp_ratio)),
        residual_(drop_path) {}
  Var operator()(const Context& ctx, Var x, const AttentionOptions& options) const {
    x = residual_(ctx, x, [&](const Var& skip) {
      return proj_(ctx, attention(ctx, qkv_(ctx, norm1_(ctx, x)), options), Activation::none, skip);
    });
    return residual_(ctx, x, [&](const Var& skip) { return mlp_(ctx, norm2_(ctx, x), skip); });
  }

 private:
  LayerNorm norm1_, norm2_;
  Linear qkv_, proj_;
  Mlp mlp_;
  Residual residual_;
};

class FrameEncoder final : public ModelOf<FrameEncoderConfig> {
 public:
  FrameEncoder(const Family& family, FrameEncoderConfig config, const Weights& w)
      : ModelOf(family, std::move(config)) {
    embed_ = Linear(w / "embed", c().in_chans, c().dim);
    const std::vector<float> rates = drop_rates(c().depth, c().drop_path);
    for (std::size_t i = 0; i < rates.size(); ++i) blocks_.emplace_back(w / "blocks" / i, c(), rates[i]);
    norm_ = LayerNorm(w / "norm", c().dim, c().norm_eps);
    head_ = Head(w / "head", c().dim, c().num_classes);
  }
  std::vector<Port> inputs() const override {
    return {{"frames", "B N C"}, {"lengths", "B", "frames of each sample", Port::Kind::lengths, true}};
  }
  std::vector<Port> outputs() const override { return {{"logits", "B classes"}, {"tokens", "B N C"}}; }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    const Var& frames = in.at("frames");
    AttentionOptions options;
    options.heads = c().heads;
    add_alibi(ctx, {.slopes = Var(alibi_slopes(c().heads)), .causal = false}, frames.dim(1), frames.dim(1), 0,
              options);
    if (const Var lengths = in.get("lengths"); lengths.defined())
      for (const float n : lengths.value().values())
        options.key_lengths.push_back(static_cast<std::int64_t>(n));
    Var x = embed_(ctx, frames);
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      x = ctx.shown("blocks", static_cast<std::int64_t>(i), blocks_[i](ctx, x, options));
    x = ctx.shown("norm", norm_(ctx, x));
    return {{"logits", head_(ctx, Prefix::token(ctx, x, 0))}, {"tokens", x}};
  }

 private:
  Linear embed_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
  Head head_;
};

// What names and shapes tell, and what has to be assumed.
void from_shapes(const NamedShapes& s, FrameEncoderConfig& c) {
  c.in_chans = s.dim("embed.weight", 1);
  c.dim = s.dim("embed.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  c.num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  s.ratio("blocks.0.mlp.fc1.weight", c.mlp_ratio);
  s.assume("heads", c.heads, c.dim / 8);
  s.assume("norm_eps", c.norm_eps);
}

std::vector<Variant<FrameEncoderConfig>> variants() {
  return {{"frame_encoder_small", {.dim = 32, .depth = 2, .heads = 4}},
          {"frame_encoder_base", {.dim = 64, .depth = 4, .heads = 8}}};
}

std::vector<Renames> renames() {
  Renames ours, fairseq;
  fairseq.naming = "fairseq";
  fairseq.rules = {{"blocks.{i}.norm1", "encoder.layers.{i}.self_attn_layer_norm"},
                   {"blocks.{i}", "encoder.layers.{i}"}};
  return {ours, fairseq};
}

const Family kFrameEncoder = family<FrameEncoder, variants, renames, from_shapes>("frame_encoder");
// [readme]

}  // namespace

int main() {
  const std::string config = kFrameEncoder.variants(kFrameEncoder)[1].config;
  RandomSource random(1);
  const Weights weights(random, WeightMode::inference);
  const auto model = build_model(kFrameEncoder, config, weights);
  std::printf("configuration %s\n", model->config().c_str());

  std::map<std::string, Shape> shapes;
  for (const Parameter& p : model->parameters()) shapes.emplace(p.name, p.shape);
  const NamedShapes named("frame_encoder", shapes);
  std::printf(
      "told from %zu shapes: %s\n", shapes.size(),
      kFrameEncoder.from_shapes(kFrameEncoder, named, "") == model->config() ? "the same" : "another");
  std::printf("assumed: %s\n", named.assumed().at(0).c_str());

  const Tensor lengths = Tensor::full({2}, 6.0f);
  const Values out =
      model->run({}, {{"frames", Var(Tensor::full({2, 10, 8}, 0.5f))}, {"lengths", Var(lengths)}});
  for (const auto& [name, value] : out) std::printf("%s %s\n", name.c_str(), value.shape().str().c_str());
  std::printf("called fairseq: %s\n",
              kFrameEncoder.renames()[1].to_library("blocks.0.norm1.weight", {64})[0].name.c_str());
}
