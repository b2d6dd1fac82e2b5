// locant bench encodings: what each position encoding costs over the same attention without it.
#include <CLI/CLI.hpp>
#include <memory>

#include "bench/encodings.h"
#include "cli/bench.h"
#include "core/error.h"
#include "core/parallel.h"
#include "simd/isa.h"

namespace locant::cli {
namespace bench_encodings_command {
namespace {

struct Options {
  BenchOptions common;
  std::vector<std::string> patterns;
  std::string shape = "*";
  bool composed = true;
  bool markdown = false;
};

std::vector<bench::EncodingChoice> chosen_encodings(const std::vector<std::string>& patterns) {
  std::vector<bool> used(patterns.size(), false);
  std::vector<bench::EncodingChoice> chosen;
  for (const Encoding* encoding : encodings())
    for (const std::string& variant : bench::encoding_variants(*encoding)) {
      const bench::EncodingChoice choice{encoding, variant};
      bool wanted = patterns.empty() && variant.empty();
      for (std::size_t p = 0; p < patterns.size(); ++p) {
        const bool with_variant = patterns[p].find(':') != std::string::npos;
        if (with_variant == variant.empty() || !glob_match(patterns[p], choice.name())) continue;
        wanted = used[p] = true;
      }
      if (wanted) chosen.push_back(choice);
    }
  for (std::size_t p = 0; p < patterns.size(); ++p)
    require(used[p], "bench",
            "no encoding is called {}; locant list encodings shows them, and NAME:* stands "
            "for the variants of one",
            patterns[p]);
  return chosen;
}

struct Ratios {
  double forward, both;
};
Ratios ratios(const bench::PassCost& cost, const bench::PassCost& none) {
  return {cost.forward_ms / none.forward_ms, cost.both_ms / none.both_ms};
}

double mb(std::int64_t bytes) { return static_cast<double>(bytes) * 1e-6; }

void print_json(const bench::EncodingCost& c) {
  const Ratios fused = ratios(c.fused, c.none), composed = ratios(c.composed, c.none);
  std::string line = fmt::format(
      "{{\"name\":{},\"shape\":\"{}\",\"isa\":\"{}\",\"threads\":{},\"causal\":{},\"forward_ms\":{:.4f},"
      "\"both_ms\":{:.4f},\"over_none\":{:.3f},\"both_over_none\":{:.3f},\"forward_bytes\":{},"
      "\"both_bytes\":{},\"none_forward_ms\":{:.4f},\"none_both_ms\":{:.4f},\"none_both_bytes\":{}",
      json_string(c.name), c.shape, isa_name(active_isa()), num_threads(), c.causal, c.fused.forward_ms,
      c.fused.both_ms, fused.forward, fused.both, c.fused.forward_bytes, c.fused.both_bytes,
      c.none.forward_ms, c.none.both_ms, c.none.both_bytes);
  if (c.composed.forward_ms > 0.0)
    line += fmt::format(
        ",\"composed_over_none\":{:.3f},\"composed_both_over_none\":{:.3f},"
        "\"composed_both_bytes\":{}",
        composed.forward, composed.both, c.composed.both_bytes);
  out("{}}}\n", line);
}

const char* row_format(bool markdown) {
  return markdown ? "| {} | {} | {} | {} | {} | {} | {} |\n"
                  : "{:<30} {:>12} {:>12} {:>14} {:>14} {:>9} {:>12}\n";
}

void print_cells(bool markdown, const std::vector<std::string>& cells) {
  out("{}", fmt::format(fmt::runtime(row_format(markdown)), cells[0], cells[1], cells[2], cells[3], cells[4],
                        cells[5], cells[6]));
}

void print_heading(const bench::EncodingShape& shape, bool markdown) {
  out("\n{} ({} x {} tokens, {} heads, d {}), {}, {} threads; times over the same kernel without "
      "encoding\n\n",
      shape.name, shape.B, shape.side * shape.side, shape.H, shape.D, isa_name(active_isa()), num_threads());
  print_cells(markdown, {"encoding", "forward", "fwd+bwd", "composed fwd", "fwd+bwd", "MB", "composed MB"});
  if (markdown) out("| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
}

void print_text(const bench::EncodingCost& c, bool markdown) {
  const Ratios fused = ratios(c.fused, c.none), composed = ratios(c.composed, c.none);
  const bool measured = c.composed.forward_ms > 0.0;
  const auto cell = [](bool there, double value, int digits) {
    return there ? fmt::format("{:.{}f}", value, digits) : std::string("-");
  };
  print_cells(markdown, {c.name + (c.causal ? " (causal)" : ""), cell(true, fused.forward, 2),
                         cell(true, fused.both, 2), cell(measured, composed.forward, 2),
                         cell(measured, composed.both, 2), cell(true, mb(c.fused.both_bytes), 1),
                         cell(measured, mb(c.composed.both_bytes), 1)});
}

int run(const Options& options) {
  const std::vector<bench::EncodingChoice> choices = chosen_encodings(options.patterns);
  bool any = false;
  for (const bench::EncodingShape& shape : bench::encoding_shapes()) {
    if (!glob_match(options.shape, shape.name)) continue;
    any = true;
    if (!options.common.json) print_heading(shape, options.markdown);
    for (const bench::EncodingChoice& choice : choices) {
      try {
        const bench::EncodingCost cost =
            bench::bench_encoding(choice, shape, options.common.seconds, options.composed);
        options.common.json ? print_json(cost) : print_text(cost, options.markdown);
      } catch (const Error& error) {
        warn(fmt::format("{} at {} left out: {}", choice.name(), shape.name, error.what()));
      }
      flush_out();
    }
  }
  require(any, "bench", "no shape is called {}; there are vit_b and swin_stage1", options.shape);
  return kOk;
}

}  // namespace
}  // namespace bench_encodings_command

void add_bench_encodings(CLI::App& bench, GlobalOptions& globals) {
  auto options = std::make_shared<bench_encodings_command::Options>();
  CLI::App* sub = add_measurement(
      bench, globals, options->common, "encodings",
      "What each position encoding costs over the same attention without it",
      "locant bench encodings\n"
      "locant bench encodings swin_bias 'irpe:*' --shape vit_b --json\n",
      [options] { return run(*options); }, false);
  sub->add_option("NAME", options->patterns,
                  "Encodings, or patterns; NAME:VARIANT for variants ('irpe:*'); all of them otherwise");
  sub->add_option("--shape", options->shape, "vit_b, swin_stage1, or a pattern")->type_name("NAME");
  sub->add_flag("!--no-composed", options->composed, "Leave the composed path out");
  sub->add_flag("--markdown", options->markdown, "Tables for docs/benchmarks.md");
}

}  // namespace locant::cli
