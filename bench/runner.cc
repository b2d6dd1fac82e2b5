#include "bench/runner.h"

#include <fmt/format.h>

#include <chrono>

#include "core/parallel.h"
#include "core/rng.h"
#include "simd/isa.h"

namespace locant::bench {

Tensor random_tensor(const Shape& shape, std::uint64_t seed) {
  Tensor tensor(shape);
  Rng rng(seed);
  for (float& value : tensor.values()) value = rng.normal();
  return tensor;
}

double seconds_of(const std::function<void()>& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void interleave(const std::vector<std::function<void()>>& sides, double seconds, int rounds) {
  constexpr double kTurn = 0.03;  // s
  double spent = 0.0;
  for (int round = 0; round < rounds || spent < seconds; ++round)
    for (const auto& side : sides)
      for (double turn = 0.0; turn < kTurn;) {
        const double call = seconds_of(side);
        turn += call;
        spent += call;
      }
}

std::string row_json(const Row& row) {
  std::string json = fmt::format(
      "{{\"name\":\"{}\",\"pass\":\"{}\",\"precision\":\"{}\",\"isa\":\"{}\",\"threads\":{},\"batch\":{},"
      "\"ms\":{:.4f}",
      row.name, row.pass, row.precision, isa_name(active_isa()), num_threads(), row.batch, row.ms);
  const auto add = [&](const char* key, double value, int digits) {
    if (value > 0.0) json += fmt::format(",\"{}\":{:.{}f}", key, value, digits);
  };
  add("gflops", row.gflops, 2);
  add("over_matmul", row.over_matmul, 4);
  add("over_composed", row.over_composed, 3);
  add("peak_mb", row.peak_mb, 1);
  add("images_per_s", row.images_per_s, 2);
  add("parameters", static_cast<double>(row.parameters), 0);
  add("gmac", row.gmac, 4);
  if (!row.model.empty()) json += "," + row.model;
  return json + "}";
}

std::string row_heading() {
  return fmt::format("{:<28} {:<16} {:>5} {:>10} {:>9} {:>9} {:>10} {:>8} {:>9}", "name", "pass", "batch",
                     "ms", "GFLOP/s", "of matmul", "x composed", "peak MB", "images/s");
}

std::string row_text(const Row& row) {
  const auto cell = [](double value, int digits, const char* unit = "") {
    return value > 0.0 ? fmt::format("{:.{}f}{}", value, digits, unit) : std::string("-");
  };
  return fmt::format("{:<28} {:<16} {:>5} {:>10.3f} {:>9} {:>9} {:>10} {:>8} {:>9}", row.name, row.pass,
                     row.batch, row.ms, cell(row.gflops, 1), cell(row.over_matmul * 100.0, 1, " %"),
                     cell(row.over_composed, 2), cell(row.peak_mb, 1), cell(row.images_per_s, 1));
}

}  // namespace locant::bench
