// The official numbers: tests/verify/oracle_test.cc, all of them on square grids. Here: grids whose sides
// differ, against the equations in float64 with every step an array moved about.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/error.h"
#include "models/config_json.h"
#include "models/registry.h"
#include "ops/resize.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace sam_image_encoder_test {

using testing::random_tensor;
using Row = std::vector<double>;

constexpr std::int64_t kDim = 12, kHeads = 2, kHeadWidth = kDim / kHeads, kWindow = 3;
constexpr const char* kFamily = "sam_image_encoder";
// A grid of 4 x 6; windows of 3 pad rows alone.
constexpr const char* kConfig =
    R"({"img_size":[8,12],"patch_size":[2,2],"dim":12,"depth":2,"heads":2,"window":3,"global_blocks":[1],)"
    R"("out_chans":8})";

/// Numbers that a model shows.
class Stages final : public Probe {
 public:
  void see(const std::string& path, const Var& value) override { seen_[path] = value.value(); }
  const Tensor& at(const std::string& path) const { return seen_.at(path); }

 private:
  std::map<std::string, Tensor> seen_;
};

/// Random numbers for everything, tables and biases too.
class Noise final : public WeightSource {
 public:
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    std::uint64_t seed = 1;
    for (const char c : name) seed = seed * 131 + static_cast<unsigned char>(c);
    return random_tensor(shape, seed, 0.4f);
  }
};

/// A table of another length: linear, half-pixel centres, ends repeated.
std::vector<Row> resized(const Tensor& table, std::int64_t length) {
  std::vector<Row> out;
  for (std::int64_t n = 0; n < length; ++n) {
    const auto from = static_cast<double>(table.dim(0));
    const double at =
        std::max((static_cast<double>(n) + 0.5) * from / static_cast<double>(length) - 0.5, 0.0);
    const std::int64_t low = std::min(static_cast<std::int64_t>(at), table.dim(0) - 1),
                       high = std::min(low + 1, table.dim(0) - 1);
    const double part = at - static_cast<double>(low);
    Row& row = out.emplace_back();
    for (std::int64_t d = 0; d < table.dim(1); ++d)
      row.push_back((1.0 - part) * static_cast<double>(table[low * table.dim(1) + d]) +
                    part * static_cast<double>(table[high * table.dim(1) + d]));
  }
  return out;
}

struct Reference {
  std::map<std::string, Tensor> weights;

  Row linear(const Row& x, const std::string& name) const {
    const Tensor &w = weights.at(name + ".weight"), &b = weights.at(name + ".bias");
    Row y;
    for (std::int64_t o = 0; o < w.dim(0); ++o) {
      double sum = static_cast<double>(b[o]);
      for (std::int64_t i = 0; i < w.dim(1); ++i)
        sum += static_cast<double>(w[o * w.dim(1) + i]) * x[static_cast<std::size_t>(i)];
      y.push_back(sum);
    }
    return y;
  }
  Row norm(const Row& x, const std::string& name) const {
    const Tensor &w = weights.at(name + ".weight"), &b = weights.at(name + ".bias");
    double mean = 0, var = 0;
    for (const double v : x) mean += v / static_cast<double>(x.size());
    for (const double v : x) var += (v - mean) * (v - mean) / static_cast<double>(x.size());
    Row y;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto c = static_cast<std::int64_t>(i);
      y.push_back((x[i] - mean) / std::sqrt(var + 1e-6) * static_cast<double>(w[c]) +
                  static_cast<double>(b[c]));
    }
    return y;
  }

  /// Attention of one window of rows x columns projected tokens.
  std::vector<Row> window(const std::vector<Row>& qkv, std::int64_t rows, std::int64_t columns,
                          const std::string& name) const {
    const auto high = resized(weights.at(name + ".rel_pos_h"), 2 * rows - 1),
               wide = resized(weights.at(name + ".rel_pos_w"), 2 * columns - 1);
    const auto N = static_cast<std::int64_t>(qkv.size());
    std::vector<Row> out(qkv.size(), Row(kDim, 0.0));
    for (std::int64_t h = 0; h < kHeads; ++h)
      for (std::int64_t i = 0; i < N; ++i) {
        const double* q = qkv[static_cast<std::size_t>(i)].data() + h * kHeadWidth;
        Row scores;
        double total = 0;
        for (std::int64_t j = 0; j < N; ++j) {
          const double* k = qkv[static_cast<std::size_t>(j)].data() + kDim + h * kHeadWidth;
          const Row& r = high[static_cast<std::size_t>(i / columns - j / columns + rows - 1)];
          const Row& c = wide[static_cast<std::size_t>(i % columns - j % columns + columns - 1)];
          double score = 0;
          for (std::int64_t d = 0; d < kHeadWidth; ++d) {
            const auto at = static_cast<std::size_t>(d);
            score += q[d] * (k[d] / std::sqrt(static_cast<double>(kHeadWidth)) + r[at] + c[at]);
          }
          scores.push_back(std::exp(score));
          total += scores.back();
        }
        for (std::int64_t j = 0; j < N; ++j)
          for (std::int64_t d = 0; d < kHeadWidth; ++d)
            out[static_cast<std::size_t>(i)][static_cast<std::size_t>(h * kHeadWidth + d)] +=
                scores[static_cast<std::size_t>(j)] / total *
                qkv[static_cast<std::size_t>(j)][static_cast<std::size_t>(2 * kDim + h * kHeadWidth + d)];
      }
    return out;
  }

  /// One picture's tokens (rows * columns, kDim) behind a block.
  std::vector<double> block(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t index,
                            bool global) const {
    const std::string at = "blocks." + std::to_string(index);
    const std::int64_t high = global ? rows : kWindow, wide = global ? columns : kWindow;
    std::vector<Row> tokens(static_cast<std::size_t>(rows * columns));
    for (std::int64_t n = 0; n < rows * columns; ++n)
      tokens[static_cast<std::size_t>(n)] = Row(x + n * kDim, x + (n + 1) * kDim);
    std::vector<Row> result = tokens;
    for (std::int64_t top = 0; top < rows; top += high)
      for (std::int64_t left = 0; left < columns; left += wide) {
        std::vector<Row> qkv;
        const auto token = [&](std::int64_t slot) {  // -1 where the window is padded
          const std::int64_t r = top + slot / wide, c = left + slot % wide;
          return r < rows && c < columns ? r * columns + c : std::int64_t{-1};
        };
        for (std::int64_t slot = 0; slot < high * wide; ++slot) {
          const std::int64_t n = token(slot);
          const Row in = n < 0 ? Row(kDim, 0.0) : norm(tokens[static_cast<std::size_t>(n)], at + ".norm1");
          qkv.push_back(linear(in, at + ".attn.qkv"));
        }
        const std::vector<Row> out = window(qkv, high, wide, at + ".attn");
        for (std::int64_t slot = 0; slot < high * wide; ++slot) {
          if (token(slot) < 0) continue;
          Row& to = result[static_cast<std::size_t>(token(slot))];
          add(to, linear(out[static_cast<std::size_t>(slot)], at + ".attn.proj"));
        }
      }
    std::vector<double> flat;
    for (Row& row : result) {
      Row hidden = linear(norm(row, at + ".norm2"), at + ".mlp.lin1");
      for (double& v : hidden) v = 0.5 * v * (1.0 + std::erf(v / std::sqrt(2.0)));
      add(row, linear(hidden, at + ".mlp.lin2"));
      flat.insert(flat.end(), row.begin(), row.end());
    }
    return flat;
  }
  static void add(Row& to, const Row& more) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += more[i];
  }
};

/// Both blocks on pictures of rows x columns pixels.
void compare(std::int64_t rows, std::int64_t columns) {
  Noise noise;
  const std::unique_ptr<Model> model = make_model(kFamily, kConfig, Weights(noise, WeightMode::train));
  Reference reference;
  for (const Parameter& p : model->parameters()) reference.weights[p.name] = p.value.value();
  Stages stages;
  const std::int64_t B = 2, R = rows / 2, C = columns / 2;
  const Tensor images = random_tensor({B, 3, rows, columns}, 9);
  const Var out = model->forward({.probe = &stages}, Var(images));
  EXPECT_EQ(out.shape(), (Shape{B, 8, R, C}));
  const std::unique_ptr<Model> packed = make_model(kFamily, kConfig, Weights(noise, WeightMode::inference));
  testing::expect_close(packed->forward({}, Var(images)).value(), testing::to_double(out.value()), 1e-5,
                        "packed");

  const Var table(reference.weights.at("pos_embed"));
  const Tensor positions =
      R == 4 && C == 6 ? table.value() : resize({}, table, R, C, ResizeRule::bicubic_antialias).value();
  Tensor x = stages.at("patch_embed");
  for (std::int64_t i = 0; i < x.numel(); ++i) x[i] += positions[i % positions.numel()];
  for (const std::int64_t index : {0, 1}) {
    const std::string name = "blocks." + std::to_string(index);
    std::vector<double> want;
    for (std::int64_t b = 0; b < B; ++b) {
      const auto one = reference.block(x.data() + b * R * C * kDim, R, C, index, index == 1);
      want.insert(want.end(), one.begin(), one.end());
    }
    testing::expect_close(stages.at(name), want, 1e-5, name.c_str());
    x = stages.at(name);
  }
}

TEST(SamImageEncoder, WindowsThatPadOneSide) { compare(8, 12); }
TEST(SamImageEncoder, TablesThatAreResizedToSidesThatDiffer) { compare(10, 6); }
TEST(SamImageEncoder, AGridSmallerThanAWindow) { compare(2, 4); }
TEST(SamImageEncoder, OneToken) { compare(2, 2); }

TEST(SamImageEncoder, RefusesWhatDoesNotFit) {
  Noise noise;
  const std::unique_ptr<Model> model = make_model(kFamily, kConfig, Weights(noise, WeightMode::inference));
  const auto run = [&](const Shape& shape) { model->forward({}, Var(Tensor::zeros(shape))); };
  EXPECT_NO_THROW(run({1, 3, 4, 4}));
  EXPECT_THROW(run({1, 3, 5, 4}), Error);
  EXPECT_THROW(run({1, 3, 0, 4}), Error);
  EXPECT_THROW(run({1, 4, 4, 4}), Error);
  EXPECT_THROW(run({0, 3, 4, 4}), Error);
  EXPECT_THROW(run({3, 4, 4}), Error);
  for (const char* change :
       {R"({"heads":5})", R"({"depth":0})", R"({"window":0})", R"({"global_blocks":[2]})",
        R"({"global_blocks":[-1]})", R"({"neck":"norm"})", R"({"num_classes":3})", R"({"pos_resize":"best"})",
        R"({"net_chans":[0]})", R"({"net_chans":[-4]})", R"({"mlp_ratio":0})", R"({"mlp_ratio":0.01})",
        R"({"in_chans":0})", R"({"img_size":1})", R"({"rel_pos":false})", R"({"unknown":1})"})
    EXPECT_THROW(model_parameters(kFamily, merge_config(kConfig, change)), Error) << change;
}

TEST(SamImageEncoder, ATableThatMayNotBeResized) {
  Noise noise;
  const std::unique_ptr<Model> model = make_model(kFamily, merge_config(kConfig, R"({"pos_resize":"none"})"),
                                                  Weights(noise, WeightMode::inference));
  EXPECT_NO_THROW(model->forward({}, Var(Tensor::zeros({1, 3, 8, 12}))));
  EXPECT_THROW(model->forward({}, Var(Tensor::zeros({1, 3, 8, 8}))), Error);
}

}  // namespace sam_image_encoder_test
}  // namespace locant
