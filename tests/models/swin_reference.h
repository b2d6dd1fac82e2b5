#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace locant::testing {

/// Swin V1 as its libraries compute it, in float64 and with every step an array moved about: pad, roll,
/// partition, scores with table and mask, reverse. Written against the paper and the libraries' conventions,
/// sharing nothing with src/.
struct SwinReference {
  enum class Fit { shrink, shrink_axis, pad };
  std::int64_t channels = 3, patch_rows = 4, patch_columns = 4, dim = 96, window_rows = 7, window_columns = 7;
  std::vector<std::int64_t> depths, heads;
  Fit fit = Fit::shrink;
  bool roll_then_pad = false, pad_image = true, absolute = false;
  double eps = 1e-5;
  /// Window that each stage's table was made for.
  std::vector<std::pair<std::int64_t, std::int64_t>> tables;
  std::map<std::string, std::vector<double>> weights;

  /// (H, W, C), the last axis fastest.
  struct Grid {
    std::int64_t H = 0, W = 0, C = 0;
    std::vector<double> x;
    double& at(std::int64_t r, std::int64_t c, std::int64_t k) {
      return x[static_cast<std::size_t>((r * W + c) * C + k)];
    }
    double at(std::int64_t r, std::int64_t c, std::int64_t k) const {
      return x[static_cast<std::size_t>((r * W + c) * C + k)];
    }
    Grid like(std::int64_t h, std::int64_t w, std::int64_t c) const {
      return {h, w, c, std::vector<double>(static_cast<std::size_t>(h * w * c), 0.0)};
    }
  };

  const std::vector<double>& w(const std::string& name) const { return weights.at(name); }

  Grid norm(Grid g, const std::string& name) const {
    const std::vector<double>&gain = w(name + ".weight"), &offset = w(name + ".bias");
    for (std::int64_t n = 0; n < g.H * g.W; ++n) {
      double* x = g.x.data() + n * g.C;
      double mean = 0, var = 0;
      for (std::int64_t k = 0; k < g.C; ++k) mean += x[k] / static_cast<double>(g.C);
      for (std::int64_t k = 0; k < g.C; ++k) var += (x[k] - mean) * (x[k] - mean) / static_cast<double>(g.C);
      for (std::int64_t k = 0; k < g.C; ++k)
        x[k] = (x[k] - mean) / std::sqrt(var + eps) * gain[static_cast<std::size_t>(k)] +
               offset[static_cast<std::size_t>(k)];
    }
    return g;
  }

  Grid linear(const Grid& g, const std::string& name, bool bias = true) const {
    const std::vector<double>& weight = w(name + ".weight");
    const std::vector<double> offset = bias ? w(name + ".bias") : std::vector<double>();
    const std::int64_t out = static_cast<std::int64_t>(weight.size()) / g.C;
    Grid y = g.like(g.H, g.W, out);
    for (std::int64_t n = 0; n < g.H * g.W; ++n)
      for (std::int64_t o = 0; o < out; ++o) {
        double sum = bias ? offset[static_cast<std::size_t>(o)] : 0.0;
        for (std::int64_t k = 0; k < g.C; ++k)
          sum += weight[static_cast<std::size_t>(o * g.C + k)] * g.x[static_cast<std::size_t>(n * g.C + k)];
        y.x[static_cast<std::size_t>(n * out + o)] = sum;
      }
    return y;
  }

  static Grid roll(const Grid& g, std::int64_t by_rows, std::int64_t by_columns) {
    Grid y = g;
    for (std::int64_t r = 0; r < g.H; ++r)
      for (std::int64_t c = 0; c < g.W; ++c)
        for (std::int64_t k = 0; k < g.C; ++k)
          y.at(((r + by_rows) % g.H + g.H) % g.H, ((c + by_columns) % g.W + g.W) % g.W, k) = g.at(r, c, k);
    return y;
  }

  static Grid resized(const Grid& g, std::int64_t H, std::int64_t W) {  // crop or zero-pad at the end
    Grid y = g.like(H, W, g.C);
    for (std::int64_t r = 0; r < std::min(H, g.H); ++r)
      for (std::int64_t c = 0; c < std::min(W, g.W); ++c)
        for (std::int64_t k = 0; k < g.C; ++k) y.at(r, c, k) = g.at(r, c, k);
    return y;
  }

  /// Attention of one window: qkv (tokens, 3 C), ids of the mask.
  void window_attention(Grid& out, const Grid& qkv, std::int64_t top, std::int64_t left, std::int64_t wh,
                        std::int64_t ww, const std::vector<int>& ids, const std::string& name, std::int64_t H,
                        std::int64_t table_columns, std::int64_t table_rows) const {
    const std::int64_t C = qkv.C / 3, D = C / H;
    const std::vector<double>& table = w(name + ".relative_position_bias_table");
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t i = 0; i < wh * ww; ++i) {
        std::vector<double> p;
        double sum = 0;
        for (std::int64_t j = 0; j < wh * ww; ++j) {
          double s = 0;
          for (std::int64_t d = 0; d < D; ++d)
            s += qkv.at(top + i / ww, left + i % ww, h * D + d) *
                 qkv.at(top + j / ww, left + j % ww, C + h * D + d);
          const std::int64_t row = (i / ww - j / ww + table_rows - 1) * (2 * table_columns - 1) + i % ww -
                                   j % ww + table_columns - 1;
          s = s / std::sqrt(static_cast<double>(D)) + table[static_cast<std::size_t>(row * H + h)];
          const auto id = [&](std::int64_t t) {
            return ids[static_cast<std::size_t>((top + t / ww) * qkv.W + left + t % ww)];
          };
          if (id(i) != id(j)) s -= 100;
          p.push_back(std::exp(s));
          sum += p.back();
        }
        for (std::int64_t j = 0; j < wh * ww; ++j)
          for (std::int64_t d = 0; d < D; ++d)
            out.at(top + i / ww, left + i % ww, h * D + d) +=
                p[static_cast<std::size_t>(j)] / sum * qkv.at(top + j / ww, left + j % ww, 2 * C + h * D + d);
      }
  }

  Grid attention(const Grid& x, const std::string& name, std::size_t stage, bool odd) const {
    auto [wh, ww] = tables[stage];
    const auto [table_rows, table_columns] = tables[stage];
    std::int64_t sh = odd ? wh / 2 : 0, sw = odd ? ww / 2 : 0;
    if (fit == Fit::shrink && std::min(x.H - wh, x.W - ww) <= 0) {
      const std::int64_t side = std::min(x.H, x.W);
      wh = std::min(wh, side), ww = std::min(ww, side), sh = sw = 0;
    } else {
      if (x.H <= wh) sh = 0;
      if (x.W <= ww) sw = 0;
      if (fit == Fit::shrink_axis) wh = std::min(wh, x.H), ww = std::min(ww, x.W);
    }
    const std::int64_t H = (x.H + wh - 1) / wh * wh, W = (x.W + ww - 1) / ww * ww;
    const Grid moved = roll_then_pad ? resized(roll(x, -sh, -sw), H, W) : roll(resized(x, H, W), -sh, -sw);
    std::vector<int> ids(static_cast<std::size_t>(H * W), 0);
    const auto band = [](std::int64_t p, std::int64_t n, std::int64_t window, std::int64_t shift) {
      return shift == 0 ? 0 : p < n - window ? 0 : p < n - shift ? 1 : 2;
    };
    for (std::int64_t r = 0; r < H; ++r)
      for (std::int64_t c = 0; c < W; ++c)
        ids[static_cast<std::size_t>(r * W + c)] = 3 * band(r, H, wh, sh) + band(c, W, ww, sw);
    const Grid qkv = linear(moved, name + ".qkv");
    Grid out = x.like(H, W, x.C);
    for (std::int64_t top = 0; top < H; top += wh)
      for (std::int64_t left = 0; left < W; left += ww)
        window_attention(out, qkv, top, left, wh, ww, ids, name, heads[stage], table_columns, table_rows);
    out = linear(out, name + ".proj");
    return roll_then_pad ? roll(resized(out, x.H, x.W), sh, sw) : resized(roll(out, sh, sw), x.H, x.W);
  }

  static Grid sum(Grid a, const Grid& b) {
    for (std::size_t i = 0; i < a.x.size(); ++i) a.x[i] += b.x[i];
    return a;
  }

  Grid block(const Grid& x, const std::string& name, std::size_t stage, bool odd) const {
    const Grid y = sum(x, attention(norm(x, name + ".norm1"), name + ".attn", stage, odd));
    Grid hidden = linear(norm(y, name + ".norm2"), name + ".mlp.fc1");
    for (double& u : hidden.x) u = 0.5 * u * (1 + std::erf(u / std::sqrt(2.0)));
    return sum(y, linear(hidden, name + ".mlp.fc2"));
  }

  Grid merge(const Grid& x, const std::string& name) const {
    const Grid even = resized(x, (x.H + 1) / 2 * 2, (x.W + 1) / 2 * 2);
    Grid y = x.like(even.H / 2, even.W / 2, 4 * x.C);
    for (std::int64_t r = 0; r < y.H; ++r)
      for (std::int64_t c = 0; c < y.W; ++c)
        for (std::int64_t q = 0; q < 4; ++q)
          for (std::int64_t k = 0; k < x.C; ++k)
            y.at(r, c, q * x.C + k) = even.at(2 * r + q % 2, 2 * c + q / 2, k);
    return linear(norm(y, name + ".norm"), name + ".reduction", false);
  }

  /// One image (channels, rows, columns) -> logits, or pooled features without a head.
  std::vector<double> forward(const std::vector<double>& image, std::int64_t rows,
                              std::int64_t columns) const {
    const std::int64_t H = pad_image ? (rows + patch_rows - 1) / patch_rows : rows / patch_rows;
    const std::int64_t W =
        pad_image ? (columns + patch_columns - 1) / patch_columns : columns / patch_columns;
    Grid x{H, W, channels * patch_rows * patch_columns, {}};
    x = x.like(x.H, x.W, x.C);
    for (std::int64_t r = 0; r < std::min(rows, H * patch_rows); ++r)
      for (std::int64_t c = 0; c < std::min(columns, W * patch_columns); ++c)
        for (std::int64_t k = 0; k < channels; ++k)
          x.at(r / patch_rows, c / patch_columns,
               (k * patch_rows + r % patch_rows) * patch_columns + c % patch_columns) =
              image[static_cast<std::size_t>((k * rows + r) * columns + c)];
    x = norm(linear(x, "patch_embed.proj"), "patch_embed.norm");
    if (absolute) x = sum(x, {H, W, x.C, w("absolute_pos_embed")});
    for (std::size_t s = 0; s < depths.size(); ++s) {
      const std::string at = "layers." + std::to_string(s);
      for (std::int64_t b = 0; b < depths[s]; ++b)
        x = block(x, at + ".blocks." + std::to_string(b), s, b % 2 == 1);
      if (s + 1 < depths.size()) x = merge(x, at + ".downsample");
    }
    x = norm(x, "norm");
    Grid pooled = x.like(1, 1, x.C);
    for (std::int64_t n = 0; n < x.H * x.W; ++n)
      for (std::int64_t k = 0; k < x.C; ++k)
        pooled.x[static_cast<std::size_t>(k)] +=
            x.x[static_cast<std::size_t>(n * x.C + k)] / static_cast<double>(x.H * x.W);
    return weights.count("head.weight") != 0 ? linear(pooled, "head").x : pooled.x;
  }
};

}  // namespace locant::testing
