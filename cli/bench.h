#pragma once

#include <functional>

#include "bench/runner.h"
#include "cli/cli.h"

namespace locant::cli {

/// What every measurement of `locant bench` takes.
struct BenchOptions {
  double seconds = 5.0;
  std::int64_t matmul_size = 2048;  ///< of the product whose rate is the measure
  bool json = false;
};

/// A measurement as a subcommand of `bench`, with those options. `run` is called after the banner and the
/// heading of rows (unless it prints others); it keeps `options` alive.
CLI::App* add_measurement(CLI::App& bench, GlobalOptions& globals, BenchOptions& options, const char* name,
                          const char* description, const char* examples, std::function<int()> run,
                          bool rows = true);
/// A line on stdout, at once.
void print_row(const BenchOptions& options, const bench::Row& row);

void add_matmul_size(CLI::App* sub, BenchOptions& options);
void add_bench_attention(CLI::App& bench, GlobalOptions& globals);
void add_bench_encodings(CLI::App& bench, GlobalOptions& globals);
void add_bench_zoo(CLI::App& bench, GlobalOptions& globals);

}  // namespace locant::cli
