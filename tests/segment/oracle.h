#pragma once

// The formulas of tests/data/oracle/sam/README.md.

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/rng.h"
#include "core/sha256.h"
#include "io/image.h"
#include "segment/mask.h"

namespace locant::testing {

using Json = nlohmann::json;

inline Json read_oracle(const std::string& name) {
  std::ifstream file(std::string(LOCANT_TEST_DATA "/oracle/sam/") + name + ".json");
  return Json::parse(file);
}

/// v(name, i) in [-1, 1).
inline double v(std::uint64_t hash, std::uint64_t i) {
  return 2.0 * (static_cast<double>(splitmix64(hash + i) >> 40) * 0x1p-24) - 1.0;
}

/// A photograph, or a part of it: crop [x0, y0, x1, y1] or null.
inline Image read_photo(const std::string& name, const Json& crop = nullptr) {
  const Image whole = read_image(LOCANT_TEST_DATA "/photos/" + name + ".png");
  if (crop.is_null()) return whole;
  const std::int64_t x0 = crop[0], y0 = crop[1], x1 = crop[2], y1 = crop[3];
  Image out{y1 - y0, x1 - x0, {}};
  for (std::int64_t y = y0; y < y1; ++y) {
    const auto row = whole.rgb.begin() + 3 * (y * whole.columns + x0);
    out.rgb.insert(out.rgb.end(), row, row + 3 * out.columns);
  }
  return out;
}

/// max over discs of (r^2 - d^2) / s, then min over holes of (d^2 - r^2) / s; float64, one rounding.
inline std::vector<float> disc_logits(ImageSize size, const Json& spec) {
  const auto distance = [](const Json& o, std::int64_t y, std::int64_t x) {
    const double a = static_cast<double>(x) - o[0].get<double>(),
                 b = static_cast<double>(y) - o[1].get<double>();
    return a * a + b * b;
  };
  const auto squared = [](const Json& o) { return o[2].get<double>() * o[2].get<double>(); };
  const double s = spec["s"];
  std::vector<float> out;
  for (std::int64_t y = 0; y < size.rows; ++y) {
    for (std::int64_t x = 0; x < size.columns; ++x) {
      double logit = -1e4;
      for (const Json& o : spec.value("discs", Json::array()))
        logit = std::max(logit, (squared(o) - distance(o, y, x)) / s);
      for (const Json& o : spec.value("holes", Json::array()))
        logit = std::min(logit, (distance(o, y, x) - squared(o)) / s);
      out.push_back(static_cast<float>(logit));
    }
  }
  return out;
}

inline ImageSize size_of(const Json& hw) { return {hw[0].get<std::int64_t>(), hw[1].get<std::int64_t>()}; }

/// Logits of a mask written as discs, or as bits (+5 and -5).
inline std::vector<float> spec_logits(const Json& spec) {
  const ImageSize size = size_of(spec["size"]);
  if (!spec.contains("bits")) return disc_logits(size, spec);
  const Json& bits = spec["bits"];
  std::vector<float> out(static_cast<std::size_t>(size.rows * size.columns), bits == "all" ? 5.0f : -5.0f);
  if (bits.is_array())
    for (const Json& at : bits)
      out[at[0].get<std::int64_t>() * size.columns + at[1].get<std::int64_t>()] = 5.0f;
  if (bits.is_string() && bits != "all") {
    const std::uint64_t hash = fnv1a64(bits.get<std::string>());
    const double above = spec["above"];
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = v(hash, i) > above ? 5.0f : -5.0f;
  }
  return out;
}

inline Mask above_zero(ImageSize size, const std::vector<float>& logits) {
  Mask mask{size, {}};
  for (const float logit : logits) mask.bits.push_back(logit > 0.0f ? 1 : 0);
  return mask;
}

inline Mask spec_mask(const Json& spec) { return above_zero(size_of(spec["size"]), spec_logits(spec)); }

inline std::int64_t area(const Mask& mask) {
  std::int64_t sum = 0;
  for (const std::uint8_t bit : mask.bits) sum += bit;
  return sum;
}

/// Of the bits, 8 a byte, first pixel highest bit.
inline std::string bits_sha256(const Mask& mask) {
  std::vector<std::uint8_t> packed((mask.bits.size() + 7) / 8, 0);
  for (std::size_t i = 0; i < mask.bits.size(); ++i)
    packed[i / 8] = static_cast<std::uint8_t>(packed[i / 8] | mask.bits[i] << (7 - i % 8));
  return sha256_hex(packed);
}

inline std::int64_t differing_pixels(const Mask& a, const Mask& b) {
  EXPECT_EQ(a.bits.size(), b.bits.size());
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < std::min(a.bits.size(), b.bits.size()); ++i) sum += a.bits[i] != b.bits[i];
  return sum;
}

/// Worst of samples and norm against an oracle's summary, in units of norm / sqrt(n).
inline double summary_error(std::span<const float> values, const Json& summary) {
  const double norm = summary["norm"];
  const double unit = norm > 0.0 ? norm / std::sqrt(static_cast<double>(values.size())) : 1.0;
  double worst = 0.0, squares = 0.0;
  for (const float x : values) squares += static_cast<double>(x) * x;
  if (norm > 0.0) worst = std::abs(std::sqrt(squares) - norm) / norm;
  for (const Json& sample : summary["samples"])
    worst = std::max(worst, std::abs(values[sample[0].get<std::size_t>()] - sample[1].get<double>()) / unit);
  return worst;
}

inline PixelBox pixel_box(const Json& xyxy) {
  return {xyxy[0].get<std::int64_t>(), xyxy[1].get<std::int64_t>(), xyxy[2].get<std::int64_t>(),
          xyxy[3].get<std::int64_t>()};
}

/// The message of the Error that `call` throws; empty when it throws none.
template <class Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

}  // namespace locant::testing
