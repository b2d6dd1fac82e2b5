// locant bench: how fast the attention kernel, a model and the matmul beneath them run here.
#include "cli/bench.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "bench/attention.h"
#include "bench/model.h"
#include "cli/weights_options.h"

namespace locant::cli {

void print_row(const BenchOptions& options, const bench::Row& row) {
  out("{}\n", options.json ? bench::row_json(row) : bench::row_text(row));
  flush_out();
}

CLI::App* add_measurement(CLI::App& bench, GlobalOptions& globals, BenchOptions& options, const char* name,
                          const char* description, const char* examples, std::function<int()> run,
                          bool rows) {
  CLI::App* sub = add_command(bench, globals, name, description, examples,
                              [&options, &globals, rows, run = std::move(run)] {
                                banner(globals);
                                if (rows && !options.json) out("{}\n", bench::row_heading());
                                return run();
                              });
  sub->add_option("--seconds", options.seconds, "Time to spend on a case; the best call counts")
      ->type_name("S")
      ->check(CLI::Range(0.0, 3600.0));
  sub->add_flag("--json", options.json, "One JSON object a line");
  return sub;
}

void add_matmul_size(CLI::App* sub, BenchOptions& options) {
  sub->add_option("--matmul-size", options.matmul_size,
                  "Side of the square product whose rate is the measure")
      ->type_name("N")
      ->check(CLI::Range(1, 16384));
}

namespace {

struct Options {
  BenchOptions common;
  bench::ModelOptions model;
  WeightsOptions weights;
};

int run_model(const Options& options) {
  bench::ModelOptions model = options.model;
  model.seconds = options.common.seconds;
  model.weights = options.weights.weights;
  if (!model.weights.empty()) model.load = load_options(options.weights);
  bench::ModelResult result =
      bench::bench_model(model, [] { return static_cast<double>(peak_rss_bytes()) * 1e-6; });
  result.row.model = loaded_json(result.loaded, false);
  say_assumed(result.loaded.assumed);
  print_row(options.common, result.row);
  if (!model.profile) return kOk;
  if (!options.common.json)
    out("\n{:<24} {:>6} {:>10} {:>7}\n", "kind of layer", "calls", "ms a pass", "share");
  double rest = result.profiled_ms;
  const auto line = [&](const std::string& kind, std::int64_t calls, double ms) {
    const double share = ms / result.profiled_ms;
    if (options.common.json)
      out("{{\"name\":\"{}\",\"pass\":\"{}\",\"layer\":\"{}\",\"calls\":{},\"ms\":{:.4f},\"share\":{:.4f}}}"
          "\n",
          result.row.name, result.row.pass, kind, calls, ms, share);
    else
      out("{:<24} {:>6} {:>10.3f} {:>5.1f} %\n", kind, calls, ms, share * 100.0);
  };
  for (const ProfileEntry& layer : result.layers) {
    line(layer.kind, layer.calls, layer.seconds * 1e3);
    rest -= layer.seconds * 1e3;
  }
  line("other", 1, rest);
  return kOk;
}

int run_matmul(const BenchOptions& options) {
  for (const bench::Row& row : bench::bench_matmul(options.seconds, options.matmul_size))
    print_row(options, row);
  return kOk;
}

void add_bench_model(CLI::App& bench, GlobalOptions& globals) {
  auto options = std::make_shared<Options>();
  bench::ModelOptions& model = options->model;
  CLI::App* sub = add_measurement(bench, globals, options->common, "model",
                                  "A model's pass: time, images/s, peak memory, kinds of layer",
                                  "locant bench model swin_tiny_patch4_window7_224 --profile\n"
                                  "locant bench model vit_base_patch16_224 --batch 8 --train --json\n"
                                  "locant bench model mobile_sam --json\n",
                                  [options] { return run_model(*options); });
  sub->add_option(
      "NAME", model.name,
      "Model name (locant list); weights start at random; mobile_sam, sam_vit_b: the image encoder");
  add_weights_options(sub, options->weights, "Checkpoint or folder of the hub instead of a random start");
  sub->remove_option(sub->get_option("--model"));  // NAME
  sub->add_option("--batch", model.batch, "Pictures at once")->type_name("N")->check(CLI::Range(1, 4096));
  sub->add_option("--img-size", model.img_size, "Input side in pixels; 0: the model's own")
      ->type_name("N")
      ->check(CLI::Range(0, 8192));
  sub->add_flag("--train", model.train, "Forward and backward instead of inference");
  sub->add_flag("--profile", model.profile, "Time per kind of layer");
}

}  // namespace

void add_bench(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<Options>();
  CLI::App* all =
      add_command(app, globals, "bench", "Measures speed; the sides of each ratio take turns",
                  "locant bench attention --preset global\nlocant bench model swin_tiny --profile\n"
                  "locant bench matmul --json --threads 1\n",
                  {});
  all->require_subcommand(1);
  add_bench_attention(*all, globals);
  add_bench_encodings(*all, globals);
  add_bench_model(*all, globals);
  add_bench_zoo(*all, globals);
  CLI::App* matmul = add_measurement(
      *all, globals, options->common, "matmul", "oneDNN's matmul rate, the measure of the others",
      "locant bench matmul --threads 1\n", [options] { return run_matmul(options->common); });
  add_matmul_size(matmul, options->common);
}

}  // namespace locant::cli
